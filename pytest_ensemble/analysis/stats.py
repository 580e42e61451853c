"""`Stats`: how many queries were answered, what came out, by whom, and in what time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.runtime.cached import STORED

__all__ = ["Stats"]


@dataclass
class Stats:
    """What an analysis has asked so far.

    Attributes:
        solved: queries given to the engine, by (engine, stage) that had them last; stage "" decided nothing.
        seconds: of work on those, decided or not.
        decided: by engine, queries that it answered sat or unsat now; earlier runs' answers are left out.
        outcomes: the same queries by what was answered.
        unknown: undecided queries by reason.
    """

    solved: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: Counter[tuple[str, str]] = field(default_factory=Counter)
    decided: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Queries given to the engine."""
        return sum(self.solved.values())

    def count(self, answer: Answer) -> None:
        """Take an answer into account."""
        self.solved[answer.engine, answer.stage] += 1
        self.seconds[answer.engine, answer.stage] += answer.seconds  # type: ignore[assignment]
        self.outcomes[answer.outcome] += 1
        if answer.outcome is Outcome.UNKNOWN:
            self.unknown[answer.reason] += 1
        elif answer.stage != STORED:
            self.decided[answer.engine] += 1
