"""Gates: a metric, a threshold, and the verdict that score intervals allow."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_ensemble.analysis.scores import Interval, Pair, Tally, uniqueness
from pytest_ensemble.analysis.statistics import Sample

__all__ = ["Gate", "Metric", "Ruling", "Verdict", "certain", "judge", "scores_of"]

Metric = Literal["min_uniqueness", "max_mutual_error"]


class Verdict(enum.StrEnum):
    """PASS: the worst end of every interval satisfies the gate. FAIL: the best end of one violates it.
    INCONCLUSIVE: neither, because queries are undecided, or the points too few for the gate's confidence.
    """

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Gate:
    """Every member's uniqueness, or every pair's mutual error, must be on the right side of a threshold.

    Attributes:
        metric: "min_uniqueness" or "max_mutual_error".
        threshold: between 0 and 1; equal to it is good.
        epsilon: radius of the balls, in the units of the data.
        confidence: the gate must hold for all inputs like the points with this confidence, not for the points
            alone; None for these.
    """

    metric: Metric
    threshold: float
    epsilon: float
    confidence: float | None = None

    def assured(self, score: Interval, sample: Sample | None = None) -> Interval:
        """The score, its worst end moved by as much as chance may explain if the gate has a confidence.

        Args:
            sample: what stands behind the score; needed with a confidence.
        """
        if self.confidence is None:
            return score
        assert sample is not None
        widen = sample.uniqueness if self.metric == "min_uniqueness" else sample.mutual_error
        return widen(score, self.confidence)

    def bound(self, score: Interval, sample: Sample | None = None) -> float:
        """The worst end of `assured`."""
        assured = self.assured(score, sample)
        return assured.low if self.metric == "min_uniqueness" else assured.high

    def verdict(self, score: Interval, sample: Sample | None = None) -> Verdict:
        """The verdict on one score; FAIL only if the points themselves violate the gate.

        Args:
            sample: as in `assured`.
        """
        score = self.assured(score, sample)
        if self.metric == "min_uniqueness":
            good, bad = score.low >= self.threshold, score.high < self.threshold
        else:
            good, bad = score.high <= self.threshold, score.low > self.threshold
        return Verdict.PASS if good else Verdict.FAIL if bad else Verdict.INCONCLUSIVE


@dataclass(frozen=True)
class Ruling:
    """A gate's verdict over all its subjects.

    Attributes:
        subject: the worst one: a member's name, or "a~b" for a pair.
        score: its score.
        scores: all of them, by subject.
    """

    gate: Gate
    verdict: Verdict
    subject: str
    score: Interval
    scores: Mapping[str, Interval]


def judge(gate: Gate, scores: Mapping[str, Interval], sample: Sample | None = None) -> Ruling:
    """FAIL if one subject fails, else INCONCLUSIVE if one is, else PASS; names the worst subject.

    Args:
        sample: what stands behind each score; needed for gates with a confidence.
    """
    sign = 1.0 if gate.metric == "min_uniqueness" else -1.0
    severity = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}

    def badness(subject: str) -> tuple[int, float, float]:
        score = scores[subject]
        worst, best = (score.low, score.high) if sign > 0 else (score.high, score.low)
        return severity[gate.verdict(score, sample)], sign * worst, sign * best

    worst = min(scores, key=badness)
    return Ruling(gate, gate.verdict(scores[worst], sample), worst, scores[worst], scores)


def scores_of(gate: Gate, members: Sequence[str], tallies: Mapping[Pair, Tally]) -> dict[str, Interval]:
    """The scores that a gate judges, by subject, from the tallies of all pairs of members."""
    if gate.metric == "min_uniqueness":
        return {
            name: uniqueness(name, [other for other in members if other != name], tallies) for name in members
        }
    return {"~".join(pair): tally.mutual_error for pair, tally in tallies.items()}


def certain(
    gates: Iterable[Gate],
    scores: Callable[[Gate], Mapping[str, Interval]],
    sample: Sample | None = None,
) -> bool:
    """Whether no gate's verdict can change any more, however the unknown queries turn out."""
    return all(judge(gate, scores(gate), sample).verdict is not Verdict.INCONCLUSIVE for gate in gates)
