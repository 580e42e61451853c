"""Curves over epsilon: against brackets counted one by one, and after each way of making them smaller."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ensemble.queries.answer import Bracket, Outcome
from pytest_ensemble.report.curves import coarse, curves_of, steps
from pytest_ensemble.report.entries import Curve, MutualError
from tests.report.pages import large

FEW = settings(max_examples=50)
DISTANCES = st.floats(0, 0.1, allow_subnormal=False)


@st.composite
def brackets(draw):
    """What is known of one point: a witness at a distance or none, and a proof below it or none."""
    witnessed = draw(st.one_of(st.just(math.inf), DISTANCES))
    proven = draw(st.one_of(st.just(-1.0), DISTANCES.filter(lambda value: value < witnessed)))
    return Bracket(proven, witnessed)


def curve_of(known):
    witnessed = sorted(b.witnessed for b in known if b.witnessed < math.inf)
    proven = sorted(b.proven for b in known if b.proven >= 0)
    return Curve("e", ("a", "b"), len(known), tuple(witnessed), tuple(proven))


def counted(known, epsilon):
    outcomes = [b.outcome(epsilon) for b in known]
    sat, unsat = outcomes.count(Outcome.SAT), outcomes.count(Outcome.UNSAT)
    return sat / len(known), (len(known) - unsat) / len(known)


@FEW
@given(st.lists(brackets(), min_size=1, max_size=12), DISTANCES)
def test_a_curve_says_what_the_brackets_say(known, epsilon):
    score = curve_of(known).at(epsilon)
    assert (score.low, score.high) == counted(known, epsilon)


@FEW
@given(st.lists(st.tuples(brackets(), brackets()), min_size=1, max_size=8), DISTANCES)
def test_merged_curves_are_never_surer_than_both_together(known, epsilon):
    known = [(a, b) for a, b in known if not a.merge(b).contradictory]
    if not known:
        return
    one, other = (curve_of([pair[k] for pair in known]) for k in (0, 1))
    merged = one.merge(other).at(epsilon)
    assert merged == other.merge(one).at(epsilon)
    assert merged.low == max(one.at(epsilon).low, other.at(epsilon).low)
    low, high = counted([a.merge(b) for a, b in known], epsilon)
    assert merged.low <= low
    assert high <= merged.high


@FEW
@given(st.lists(brackets(), min_size=1, max_size=12), st.lists(DISTANCES, min_size=1), DISTANCES)
def test_coarse_curves_hold_what_was_asked_and_what_is_known(known, epsilons, epsilon):
    curve = curve_of(known)

    def entry(at):
        low, high = counted(known, at)
        sat, unsat = round(low * len(known)), round((1 - high) * len(known))
        return MutualError("e", at, ("a", "b"), low, high, sat, unsat, len(known) - sat - unsat)

    scores = [entry(at) for at in epsilons]
    small = coarse(scores)
    for at in epsilons:
        assert small.at(at) == curve.at(at)
    assert small.at(epsilon).low <= curve.at(epsilon).low
    assert curve.at(epsilon).high <= small.at(epsilon).high


@FEW
@given(st.lists(DISTANCES.filter(lambda value: value == 0 or value > 1e-6), max_size=20))
def test_steps_round_to_the_safe_side(values):
    values = sorted(values)
    for outward in (1, -1):
        found = [value for value, count in steps(values, outward) for _ in range(count)]
        assert len(found) == len(values)
        for exact, rounded in zip(values, found, strict=True):
            assert (rounded - exact) * outward >= 0
            assert abs(rounded - exact) <= 2e-5 * exact


def test_steps_keep_round_epsilons():
    assert steps([0.02, 0.02, 0.05], 1) == steps([0.02, 0.02, 0.05], -1) == [(0.02, 2), (0.05, 1)]
    assert steps([0.019999998], 1) == [(0.02, 1)]
    assert steps([0.020000002], -1) == [(0.02, 1)]


def test_of_many_pairs_the_worst_keep_their_curves():
    document = large(6)
    (ensemble,) = document.ensembles
    curves, missing = curves_of(document, ensemble, 1000)
    assert len(curves) == 15
    assert missing == 15 - 1000 // 180
