"""Scores beside their baseline: as entries of a document, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_ensemble.analysis.baseline import LOST, WORST, Change, Move, Place
from pytest_ensemble.analysis.gates import Metric
from pytest_ensemble.analysis.scores import Interval
from pytest_ensemble.errors import printable

__all__ = ["Comparison", "baseline_counts", "counts_line"]


@dataclass(frozen=True)
class Comparison:
    """A score of a test's gate beside its baseline.

    Attributes:
        subject: a member "a", a pair "a~b", or "(worst)" for the worst of all.
        move: "new", "same", "better", "worse", or "open" if undecided queries can explain the difference.
        low, high: the score.
        before: (low, high) of the baseline, None if new.
        reason: why a loss was accepted in this run; None if not.
    """

    test: str
    metric: Metric
    epsilon: float
    subject: str
    move: str
    low: float
    high: float
    before: tuple[float, float] | None
    reason: str | None = None

    @classmethod
    def of(cls, change: Change, reason: str | None) -> Comparison:
        """An entry for a change; the reason counts where there is something to accept."""
        place, now, before = change.place, change.now, change.before
        return cls(
            place.test,
            place.metric,
            place.epsilon,
            place.subject,
            change.move.value,
            now.low,
            now.high,
            None if before is None else (before.low, before.high),
            reason if change.move in LOST else None,
        )

    @property
    def lost(self) -> bool:
        """Whether it is worse, or may be, and nobody accepted that."""
        return self.move in LOST and self.reason is None

    @property
    def change(self) -> Change:
        """What it is an entry of."""
        before = None if self.before is None else Interval(*self.before)
        place = Place(self.test, self.metric, self.epsilon, self.subject)
        return Change(place, before, Interval(self.low, self.high))

    @property
    def noun(self) -> str:
        """Whose score of what."""
        what = "uniqueness" if self.metric == "min_uniqueness" else "mutual error"
        return f"worst {what}" if self.subject == WORST else f"{printable(self.subject)} {what}"


def counts_line(
    found: Sequence[Comparison], path: str, *, written: bool, better: bool, unmeasured: int = 0
) -> str:
    """How all scores stand to the baseline, and what became of it.

    Args:
        written: whether the run changed it.
        better: whether better scores were to be kept.
        unmeasured: scores that it keeps of tests or members that were not in this run.
    """
    counts = Counter(one.move for one in found)
    end = f"; {unmeasured} others were not measured" if unmeasured else ""
    end += "; written" if written else ""
    if not better and (counts[Move.NEW] or counts[Move.BETTER]):
        end += "; --ensemble-baseline-update keeps what is new or better"
    return f"baseline {path}: {baseline_counts(found)}{end}"


def baseline_counts(found: Sequence[Comparison]) -> str:
    """How many scores are new, the same, better, worse or open."""
    counts = Counter(one.move for one in found)
    texts = [f"{counts[move]} {move}" for move in Move if counts[move]]
    accepted = sum(one.reason is not None for one in found)
    if accepted:
        texts.append(f"{accepted} of them accepted")
    return ", ".join(texts) or "nothing to compare"
