"""`Progress`: how far solving is, and one line that says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_ensemble.errors import printable
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.runtime.cached import STORED

__all__ = ["Progress", "duration", "progress_line"]


@dataclass
class Progress:
    """Counts of one stretch of solving. Written by whoever solves, read by another thread.

    Attributes:
        what: test and gates that it is for.
        doing: what is being done.
        deadline: `time.monotonic()` at which solving must end, or None.
        asked: queries given to an engine so far; more may come.
        sat, unsat, unknown: of those that were answered.
        stored: of those, answered by earlier runs; they say nothing of how long the rest takes.
        start: `time.monotonic()` when it began.
        begin: called then.
    """

    what: str = ""
    doing: str = ""
    deadline: float | None = None
    asked: int = 0
    sat: int = 0
    unsat: int = 0
    unknown: int = 0
    stored: int = 0
    start: float = field(default_factory=time.monotonic)
    begin: Callable[[], None] | None = None

    def ask(self, count: int, deadline: float | None = None) -> None:
        """So many queries are given to an engine, which has until the deadline."""
        if not self.asked:
            self.start = time.monotonic()
        self.asked, self.deadline = self.asked + count, deadline
        self.tell(self.doing)

    def tell(self, doing: str) -> None:
        """Something is being done."""
        self.doing = doing
        if self.begin is not None:
            begin, self.begin = self.begin, None
            begin()

    def count(self, answer: Answer) -> None:
        """Take an answer into account."""
        if answer.outcome is Outcome.UNSAT:
            self.unsat += 1
        elif answer.outcome is Outcome.SAT:
            self.sat += 1
        else:
            self.unknown += 1
        if answer.stage == STORED:
            self.stored += 1

    @property
    def answered(self) -> int:
        """Queries that an engine is done with."""
        return self.sat + self.unsat + self.unknown

    def seconds_left(self, now: float) -> float | None:
        """By the pace so far, and never beyond the deadline; None while nobody can tell."""
        answered = self.answered
        solved = answered - self.stored
        left = (self.asked - answered) * (now - self.start) / solved if solved > 0 else None
        if self.deadline is None:
            return left
        rest = max(0.0, self.deadline - now)
        return rest if left is None else min(left, rest)


def progress_line(progress: Progress, now: float, width: int | None = None) -> str:
    """Queries decided of those asked, outcomes, time left, what is being done, and what for.

    As far as the width allows. Before anything is asked, what is being done alone.

    Args:
        now: `time.monotonic()`.
        width: columns; None for any.
    """
    sat, unsat, unknown = progress.sat, progress.unsat, progress.unknown
    left = progress.seconds_left(now)
    # undecided queries are done with, but not decided
    passed, doing = duration(now - progress.start), printable(progress.doing)
    if not progress.asked:
        return "  ".join(part for part in (printable(progress.what), doing, passed) if part)[:width]
    parts = [
        f"{sat + unsat}/{progress.asked} decided",
        f"{sat} sat, {unsat} unsat, {unknown} unknown",
        f"{passed}, {'? left' if left is None else f'{duration(left)} left'}",
    ]
    counts = "  ".join(parts)
    what = printable(progress.what)
    if width is None:
        return "  ".join(part for part in (what, counts, doing) if part)
    if len(counts) > width:
        return "  ".join(parts[::2])[:width]
    if doing and len(counts) + 2 + len(doing) <= width:
        counts += f"  {doing}"
    room = width - len(counts) - 2
    if len(what) > room:
        what = f"...{what[3 - room :]}" if room > 8 else ""
    return f"{what}  {counts}" if what else counts


def duration(seconds: float) -> str:
    """Like 9 s, 2:05 min or 1:02 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02} h"
