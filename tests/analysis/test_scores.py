"""Scores against the definitions, in fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ensemble.analysis.scores import Interval, Pair, Tally, make_pair, pairs_of, uniqueness
from tests.strategies import tallies

TALLIES = st.integers(1, 300).flatmap(tallies)


@given(TALLIES)
def test_mutual_error_is_the_share_of_the_points(tally: Tally) -> None:
    score = tally.mutual_error
    assert score.low == float(Fraction(tally.sat, tally.total))
    assert score.high == float(Fraction(tally.sat + tally.unknown, tally.total))
    assert score.exact == (tally.unknown == 0)


@st.composite
def ensembles(draw: st.DrawFn) -> tuple[list[str], dict[Pair, Tally]]:
    members = [f"m{k}" for k in range(draw(st.integers(2, 5)))]
    points = draw(st.integers(1, 200))
    members = list(draw(st.permutations(members)))
    return members, {pair: draw(tallies(points)) for pair in pairs_of(members)}


@given(ensembles())
def test_uniqueness_is_one_minus_the_mean_mutual_error(ensemble: tuple[list[str], dict[Pair, Tally]]) -> None:
    members, known = ensemble
    for member in members:
        others = [name for name in members if name != member]
        rows = [known[make_pair(member, other)] for other in others]
        worst = 1 - sum(Fraction(row.sat + row.unknown, row.total) for row in rows) / len(others)
        best = 1 - sum(Fraction(row.sat, row.total) for row in rows) / len(others)
        # correctly rounded: a score that equals a threshold compares as equal to it
        assert uniqueness(member, others, known) == Interval(float(worst), float(best))


def test_a_score_that_should_equal_a_decimal_does() -> None:
    known = {("a", "b"): Tally(sat=15, unsat=85), ("a", "c"): Tally(sat=5, unsat=95)}
    assert uniqueness("a", ["b", "c"], known).low == 0.9
    assert Tally(sat=30, unsat=170).mutual_error.high == 0.15


@given(st.lists(st.text("abm10", max_size=3), unique=True, max_size=5))
def test_pairs(members: list[str]) -> None:
    pairs = pairs_of(members)
    assert len(pairs) == len(set(pairs)) == len(members) * (len(members) - 1) // 2
    assert all(a < b for a, b in pairs)
    assert all(make_pair(b, a) == (a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("interval", "text"), [(Interval(0.25, 0.25), "0.250"), (Interval(0.25, 0.5), "0.250 .. 0.500")]
)
def test_interval_as_text(interval: Interval, text: str) -> None:
    assert str(interval) == text
