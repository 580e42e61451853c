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
        asked: queries given to an engine so far; more may come.
        sat, unsat, unknown: of those that were answered.
        stored: of those, answered by earlier runs; they say nothing of how long the rest takes.
        start: `time.monotonic()` when the first was given.
        begin: called then.
    """

    what: str = ""
    asked: int = 0
    sat: int = 0
    unsat: int = 0
    unknown: int = 0
    stored: int = 0
    start: float = field(default_factory=time.monotonic)
    begin: Callable[[], None] | None = None

    def ask(self, count: int) -> None:
        """So many queries are given to an engine."""
        first, self.asked = not self.asked, self.asked + count
        if first:
            self.start = time.monotonic()
            if self.begin is not None:
                self.begin()

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
        """By the pace so far; None before the first query is solved."""
        answered = self.answered
        solved = answered - self.stored
        return (self.asked - answered) * (now - self.start) / solved if solved > 0 else None


def progress_line(progress: Progress, now: float, width: int | None = None) -> str:
    """Queries decided of those asked, outcomes and time left; what for, as far as the width allows.

    Args:
        now: `time.monotonic()`.
        width: columns; None for any.
    """
    sat, unsat, unknown = progress.sat, progress.unsat, progress.unknown
    left = progress.seconds_left(now)
    # undecided queries are done with, but not decided
    parts = [
        f"{sat + unsat}/{progress.asked} decided",
        f"{sat} sat, {unsat} unsat, {unknown} unknown",
        f"{duration(now - progress.start)}, {'? left' if left is None else f'{duration(left)} left'}",
    ]
    counts = "  ".join(parts)
    what = printable(progress.what)
    if width is None:
        return f"{what}  {counts}"
    if len(counts) > width:
        return "  ".join(parts[::2])[:width]
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
