"""`Bracket`: what is known at every epsilon, merged in any order."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pytest_ensemble.queries.answer import Bracket, Outcome
from tests.strategies import brackets

EPSILONS = st.floats(0, 1)
RISING = [Outcome.UNSAT, Outcome.UNKNOWN, Outcome.SAT]


def known(bracket: Bracket) -> tuple[float, float]:
    return bracket.proven, bracket.witnessed


@given(brackets(), brackets())
def test_merge_is_commutative(a: Bracket, b: Bracket) -> None:
    assert (
        known(a.merge(b))
        == known(b.merge(a))
        == (
            max(a.proven, b.proven),
            min(a.witnessed, b.witnessed),
        )
    )


@given(brackets(), brackets(), brackets())
def test_merge_is_associative(a: Bracket, b: Bracket, c: Bracket) -> None:
    assert known(a.merge(b).merge(c)) == known(a.merge(b.merge(c)))


@given(brackets())
def test_merge_is_idempotent_and_nothing_is_neutral(a: Bracket) -> None:
    assert known(a.merge(a)) == known(a) == known(a.merge(Bracket())) == known(Bracket().merge(a))


@given(brackets(), brackets())
def test_merge_keeps_the_witness_of_the_distance(a: Bracket, b: Bracket) -> None:
    merged = a.merge(b)
    if merged.witnessed == math.inf:
        assert merged.witness is None
    else:
        assert merged.witness is not None
        assert merged.witness[0] == np.float32(merged.witnessed)


@given(brackets(consistent=True), EPSILONS, EPSILONS)
def test_outcomes_rise_with_epsilon(bracket: Bracket, a: float, b: float) -> None:
    low, high = sorted([a, b])
    assert RISING.index(bracket.outcome(low)) <= RISING.index(bracket.outcome(high))


@given(brackets(consistent=True), EPSILONS)
def test_outcome_is_what_was_proven_or_witnessed(bracket: Bracket, epsilon: float) -> None:
    expected = {
        (True, False): Outcome.UNSAT,
        (False, True): Outcome.SAT,
        (False, False): Outcome.UNKNOWN,
    }[epsilon <= bracket.proven, bracket.witnessed <= epsilon]
    assert bracket.outcome(epsilon) is expected


@given(brackets(), brackets(), EPSILONS)
def test_more_knowledge_changes_no_decision_unless_it_contradicts(
    a: Bracket, b: Bracket, epsilon: float
) -> None:
    merged = a.merge(b)
    if a.outcome(epsilon) is not Outcome.UNKNOWN and not merged.contradictory:
        assert merged.outcome(epsilon) is a.outcome(epsilon)


@given(brackets(), EPSILONS)
def test_contradiction_decides_nothing(bracket: Bracket, epsilon: float) -> None:
    assert bracket.contradictory == (bracket.proven >= bracket.witnessed)
    if bracket.contradictory:
        assert bracket.outcome(epsilon) is Outcome.UNKNOWN


def test_proof_and_witness_at_one_epsilon_contradict() -> None:
    assert Bracket(proven=0.1, witnessed=0.1).outcome(0.1) is Outcome.UNKNOWN


def test_nothing_is_known_at_first() -> None:
    assert Bracket().outcome(0.0) is Outcome.UNKNOWN
    assert Bracket().outcome(1e300) is Outcome.UNKNOWN
