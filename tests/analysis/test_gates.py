"""A verdict holds however the undecided queries turn out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ensemble.analysis.gates import Gate, Metric, Verdict, judge
from pytest_ensemble.analysis.scores import Interval, Tally
from tests.strategies import tallies

METRICS: list[Metric] = ["min_uniqueness", "max_mutual_error"]
TALLIES = st.integers(1, 12).flatmap(tallies)
# ends of intervals among them: a score that equals the threshold is good
THRESHOLDS = st.floats(0, 1) | st.fractions(0, 1, max_denominator=12).map(float)


def completions(tally: Tally) -> Iterator[int]:
    """Numbers of sat points when every undecided query is decided one way or the other."""
    return iter(range(tally.sat, tally.sat + tally.unknown + 1))


def good(metric: Metric, sat: int, total: int, threshold: float) -> bool:
    if metric == "min_uniqueness":
        return float(Fraction(total - sat, total)) >= threshold
    return float(Fraction(sat, total)) <= threshold


def score_of(metric: Metric, tally: Tally) -> Interval:
    error = tally.mutual_error
    if metric == "max_mutual_error":
        return error
    total = tally.total
    return Interval(float(Fraction(tally.unsat, total)), float(Fraction(total - tally.sat, total)))


@given(st.sampled_from(METRICS), TALLIES, THRESHOLDS)
def test_verdict_is_that_of_all_completions(metric: Metric, tally: Tally, threshold: float) -> None:
    results = {good(metric, sat, tally.total, threshold) for sat in completions(tally)}
    expected = {
        (True,): Verdict.PASS,
        (False,): Verdict.FAIL,
        (False, True): Verdict.INCONCLUSIVE,
    }[tuple(sorted(results))]
    assert Gate(metric, threshold, 0.1).verdict(score_of(metric, tally)) is expected


@given(st.sampled_from(METRICS), st.lists(TALLIES, min_size=1, max_size=3), THRESHOLDS)
def test_ruling_is_that_of_all_subjects(metric: Metric, rows: list[Tally], threshold: float) -> None:
    gate = Gate(metric, threshold, 0.1)
    scores = {f"m{k}": score_of(metric, row) for k, row in enumerate(rows)}
    ruling = judge(gate, scores)
    outcomes = {
        all(good(metric, sat, row.total, threshold) for sat, row in zip(choice, rows, strict=True))
        for choice in itertools.product(*(completions(row) for row in rows))
    }
    assert (ruling.verdict is Verdict.PASS) == (outcomes == {True})
    assert (ruling.verdict is Verdict.FAIL) == (outcomes == {False})
    assert ruling.score == scores[ruling.subject]
    assert gate.verdict(ruling.score) is ruling.verdict
    assert ruling.scores == scores


TRUTH = [  # threshold 0.5: low, high, verdict for min_uniqueness, for max_mutual_error
    (0.5, 0.5, "pass", "pass"),
    (0.5, 0.6, "pass", "inconclusive"),
    (0.4, 0.5, "inconclusive", "pass"),
    (0.4, 0.6, "inconclusive", "inconclusive"),
    (0.3, 0.4, "fail", "pass"),
    (0.6, 0.7, "pass", "fail"),
    (0.0, 1.0, "inconclusive", "inconclusive"),
]


@pytest.mark.parametrize(("low", "high", "uniqueness", "error"), TRUTH)
def test_truth_table(low: float, high: float, uniqueness: str, error: str) -> None:
    assert Gate("min_uniqueness", 0.5, 0.1).verdict(Interval(low, high)) == uniqueness
    assert Gate("max_mutual_error", 0.5, 0.1).verdict(Interval(low, high)) == error


@pytest.mark.parametrize(
    ("metric", "scores", "worst"),
    [
        ("min_uniqueness", {"a": (0.9, 0.9), "b": (0.8, 0.8), "c": (0.85, 0.85)}, "b"),
        # one that fails is worse than one that might be lower
        ("min_uniqueness", {"a": (0.1, 0.9), "b": (0.4, 0.4)}, "b"),
        ("min_uniqueness", {"a": (0.6, 0.9), "b": (0.6, 0.7)}, "b"),
        ("max_mutual_error", {"a~b": (0.1, 0.1), "a~c": (0.7, 0.7), "b~c": (0.6, 0.6)}, "a~c"),
        ("max_mutual_error", {"a~b": (0.1, 0.9), "a~c": (0.6, 0.6)}, "a~c"),
        ("max_mutual_error", {"a~b": (0.1, 0.3), "a~c": (0.2, 0.3)}, "a~c"),
    ],
)
def test_worst_subject_is_named(
    metric: Metric, scores: Mapping[str, tuple[float, float]], worst: str
) -> None:
    ruling = judge(Gate(metric, 0.5, 0.1), {name: Interval(*ends) for name, ends in scores.items()})
    assert ruling.subject == worst
