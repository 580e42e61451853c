"""The terms of gates: their nouns and signs, how many digits a score needs, and which gate is worst."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.analysis.scores import Interval
from pytest_ensemble.analysis.statistics import Sample
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.entries import Example, GateResult, MutualError

__all__ = [
    "Digits",
    "assured",
    "counts_text",
    "how_far",
    "noun",
    "opposite",
    "percent",
    "queries_of",
    "relation",
    "sample_of",
    "severity",
    "title_of",
    "verdict_word",
    "worst_of",
]


_WORST_FIRST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def worst_of(verdicts: Collection[Verdict]) -> Verdict | None:
    """The worst of some verdicts; None if there are none."""
    return min(verdicts, key=_WORST_FIRST.index, default=None)


def severity(gate: GateResult) -> tuple[int, float]:
    """Sorts gates, worst first: fail, inconclusive, pass, and the largest miss of the threshold."""
    return _WORST_FIRST.index(gate.verdict), -_miss(gate)


def _miss(gate: GateResult) -> float:
    """By how much the best end of the score is on the wrong side of the threshold."""
    if gate.metric == "min_uniqueness":
        return gate.threshold - gate.high
    return gate.low - gate.threshold


def title_of(test: str) -> str:
    """What a test is about: "release" for tests/test_release.py::test_it and ensemble.toml::release[...]."""
    path, _, name = test.partition("::")
    if path.endswith(".toml"):
        return name.partition("[")[0]
    stem = PurePosixPath(path).stem
    return stem.removeprefix("test_").removesuffix("_test") or stem


def verdict_word(gate: GateResult) -> str:
    """How a line of text starts: what fails stands out."""
    return "FAIL" if gate.verdict is Verdict.FAIL else gate.verdict.value


def percent(share: float) -> str:
    """A share as text."""
    return f"{100 * share:.12g} %"


def assured(gate: GateResult, show: Digits) -> str:
    """Where the worst end of the score is at the confidence that the gate asks for."""
    assert gate.bound is not None
    assert gate.confidence is not None
    return f"{relation(gate)} {show(gate.bound)} at {percent(gate.confidence)} confidence"


def sample_of(document: Document, gate: GateResult) -> Sample:
    """How much stands behind the scores of a gate."""
    pairs, ensemble = document.pairs(gate), document.ensemble(gate)
    points = max((queries_of(entry) for entry in pairs.values()), default=0)
    return Sample(points, 1 if ensemble is None else len(ensemble.members) - 1)


def noun(gate: GateResult) -> str:
    """What a gate's score is called."""
    return "uniqueness" if gate.metric == "min_uniqueness" else "mutual error"


def relation(gate: GateResult) -> str:
    """How a score must compare with the threshold."""
    return ">=" if gate.metric == "min_uniqueness" else "<="


def opposite(gate: GateResult) -> str:
    """How a score that fails compares with it."""
    return "<" if gate.metric == "min_uniqueness" else ">"


def counts_text(counts: Mapping[str, int], order: str = "number first") -> str:
    """Counts by name as text, like "3 timeout, 1 memory"."""
    pairs = [(str(count), name) for name, count in counts.items()]
    return ", ".join(" ".join(pair if order == "number first" else pair[::-1]) for pair in pairs)


class Digits:
    """Writes scores with enough digits: one that misses the gate's threshold must not look equal to it."""

    def __init__(self, gate: GateResult, scores: Iterable[Interval]) -> None:
        threshold = gate.threshold
        ends = {end for score in scores for end in (score.low, score.high)} - {threshold}
        enough = (
            digits
            for digits in range(3, 9)
            if float(f"{threshold:.{digits}f}") == threshold
            and all(f"{end:.{digits}f}" != f"{threshold:.{digits}f}" for end in ends)
        )
        self._digits = next(enough, 9)

    def __call__(self, value: float | Interval) -> str:
        if not isinstance(value, Interval):
            return f"{value:.{self._digits}f}"
        return self(value.low) if value.exact else f"{self(value.low)} .. {self(value.high)}"


def how_far(example: Example) -> str:
    """How an input differs from its point."""
    if example.changed is None:  # reports of older versions
        return f"no value changed by more than {example.distance:.4g}"
    return f"{example.changed} of {example.values} values changed, by at most {example.distance:.4g}"


def queries_of(entry: MutualError) -> int:
    """How many queries are behind a pair's score."""
    return entry.sat + entry.unsat + entry.unknown
