"""Confidence bounds: exact, or counted out by simulation; and what gates make of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from pytest_ensemble.analysis.gates import Gate, Verdict, certain, judge
from pytest_ensemble.analysis.scores import Interval
from pytest_ensemble.analysis.statistics import Sample, highest_mean, highest_share, points_needed

CONFIDENCES = st.sampled_from([0.8, 0.95, 0.99])


@given(st.data(), st.integers(1, 300), CONFIDENCES)
def test_shares_have_the_exact_bound(data, points, confidence):
    errors = data.draw(st.integers(0, points))
    bound = highest_share(errors, points, confidence)
    exact = binomtest(errors, points, alternative="less").proportion_ci(confidence, method="exact")
    assert bound == pytest.approx(exact.high, abs=1e-9)
    if errors < points:  # what the bound means
        assert binom.cdf(errors, points, bound) == pytest.approx(1 - confidence, abs=1e-9)


@given(st.data(), st.integers(1, 200), st.integers(1, 6), CONFIDENCES)
def test_means_have_bounds_between_the_observed_and_one(data, points, others, confidence):
    errors = data.draw(st.integers(0, points * others))
    bound = highest_mean(errors, others, points, confidence)
    assert errors / (points * others) <= bound <= 1
    assert bound >= highest_mean(errors, others, points, confidence - 0.1) - 1e-12
    if errors:
        assert bound >= highest_mean(errors - 1, others, points, confidence) - 1e-12
    if others == 1:
        assert bound == highest_share(errors, points, confidence)


@pytest.mark.parametrize("others", [1, 2, 4])
@pytest.mark.parametrize("mean", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("together", [True, False])
def test_means_are_covered(others, mean, together):
    """In 4000 samples the true mean is beyond the bound at most as often as promised."""
    rng = np.random.default_rng(0)
    points, confidence, samples = 60, 0.9, 4000
    if together:  # all others err at the same points: the widest that a mean can spread
        errors = others * rng.binomial(points, mean, size=samples)
    else:
        errors = rng.binomial(points * others, mean, size=samples)
    bounds = {k: highest_mean(k, others, points, confidence) for k in np.unique(errors).tolist()}
    missed = np.mean([bounds[k] < mean for k in errors.tolist()])
    assert missed <= 1 - confidence + 3 * math.sqrt(0.09 / samples)


def test_the_bound_of_a_mean_is_tighter_than_a_union_over_pairs():
    for errors in (0, 4, 16):
        assert highest_mean(errors, 4, 100, 0.95) < highest_share(errors // 4, 100, 1 - 0.05 / 4)


@given(st.floats(0.01, 0.5), CONFIDENCES)
def test_points_needed_without_errors(allowed, confidence):
    points = points_needed(allowed, confidence)
    gate = Gate("max_mutual_error", allowed, 0.1, confidence)
    none = Interval(0.0, 0.0)
    assert gate.verdict(none, Sample(points, 4)) is Verdict.PASS
    if points > 1:
        assert gate.verdict(none, Sample(points - 1, 4)) is Verdict.INCONCLUSIVE
    assert points == math.ceil(math.log(1 - confidence) / math.log(1 - allowed) - 1e-9)


@given(st.floats(0.02, 0.5), CONFIDENCES, st.floats(0, 0.9), st.integers(1, 6))
def test_points_needed_are_enough_and_hardly_fewer_are(allowed, confidence, share, others):
    expected = allowed * share
    points = points_needed(allowed, confidence, expected, others)

    def bound(count: int) -> float:
        return highest_mean(math.ceil(expected * count * others - 1e-9), others, count, confidence)

    assert bound(points) <= allowed
    assert points == 1 or bound(points - 1) > allowed or bound(max(1, points // 2)) > allowed


def test_points_needed_as_the_manual_says():
    assert points_needed(0.05, 0.95) == 59
    assert points_needed(0.05, 0.95, 0.02) > 150
    for bad in ((0.05, 0.95, 0.05), (0, 0.95), (0.1, 1), (1, 0.5)):
        with pytest.raises(ValueError, match="points_needed needs"):
            points_needed(*bad)


def counts(points):
    return st.tuples(st.integers(0, points), st.integers(0, points)).map(sorted)


@given(st.integers(1, 50).flatmap(lambda m: st.tuples(st.just(m), counts(m))), st.floats(0, 1), CONFIDENCES)
def test_confidence_only_makes_gates_stricter(sample, threshold, confidence):
    points, (low, high) = sample
    for metric, score in (
        ("max_mutual_error", Interval(low / points, high / points)),
        ("min_uniqueness", Interval(1 - high / points, 1 - low / points)),
    ):
        plain = Gate(metric, threshold, 0.1).verdict(score)
        sure = Gate(metric, threshold, 0.1, confidence)
        verdict = sure.verdict(score, Sample(points, 1))
        assert (verdict is Verdict.FAIL) == (plain is Verdict.FAIL)
        assert verdict is not Verdict.PASS or plain is Verdict.PASS
        bound = sure.bound(score, Sample(points, 1))
        good = bound <= threshold if metric == "max_mutual_error" else bound >= threshold
        assert (verdict is Verdict.PASS) == good


def test_too_few_points_are_never_certain():
    """--ensemble-fail-fast does not stop for a gate that more answers could still make fail."""
    gate = Gate("max_mutual_error", 0.05, 0.1, 0.95)
    scores = {"a~b": Interval(0.0, 0.0)}
    assert not certain([gate], lambda _: scores, Sample(20, 1))
    assert certain([gate], lambda _: scores, Sample(60, 1))
    assert judge(gate, scores, Sample(20, 1)).verdict is Verdict.INCONCLUSIVE
