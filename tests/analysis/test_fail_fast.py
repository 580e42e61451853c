"""Stopping when verdicts are certain: the same verdicts, from fewer queries."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ensemble.analysis import analysis as module
from pytest_ensemble.analysis.analysis import UNASKED, Analysis
from pytest_ensemble.analysis.gates import Gate, Metric, Verdict, certain, judge, scores_of
from pytest_ensemble.analysis.scores import Pair, pairs_of
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.queries.answer import Answer
from pytest_ensemble.queries.query import Query
from tests.analysis.tables import Recorder, Says, agreeing, by_radius, unknown

NAMES = ("a", "b", "c", "d")
COUNT = 6
GRID = [k / 64 for k in (1, 4, 16)]
SETTING = agreeing(NAMES, COUNT)
METRICS: list[Metric] = ["min_uniqueness", "max_mutual_error"]

PLACES = st.tuples(st.sampled_from(pairs_of(NAMES)), st.integers(0, COUNT - 1))
RADII = st.dictionaries(PLACES, st.sampled_from([k / 64 for k in (1, 2, 4, 9, 16)]), max_size=30)
OPEN = st.sets(st.tuples(PLACES, st.sampled_from(GRID)), max_size=30)
GATES = st.lists(
    st.builds(
        Gate,
        st.sampled_from(METRICS),
        st.fractions(0, 1, max_denominator=6).map(float),
        st.sampled_from(GRID),
    ),
    min_size=1,
    max_size=3,
)
MEMBERS = st.lists(st.sampled_from(NAMES), min_size=2, unique=True)


def analyse(says: Says, **options: Any) -> tuple[Analysis, Recorder]:
    engine = Recorder(says)
    return Analysis(*SETTING, epsilons=GRID, engine=engine, **options), engine


def scores(analysis: Analysis, members: Sequence[str], gate: Gate) -> dict[str, Any]:
    return scores_of(gate, members, analysis.tallies(epsilon=gate.epsilon, members=members, ask=False))


def solve_fast(analysis: Analysis, members: Sequence[str], gates: Sequence[Gate]) -> None:
    radii = [gate.epsilon for gate in gates]
    analysis.solve(members, radii, lambda: certain(gates, lambda gate: scores(analysis, members, gate)))


@settings(max_examples=300)
@given(RADII, OPEN, st.lists(st.tuples(MEMBERS, GATES), min_size=1, max_size=4), st.integers(1, 20))
def test_verdicts_are_the_same(
    radii: dict[Any, float], open_ones: set[Any], checks: list[tuple[list[str], list[Gate]]], batch: int
) -> None:
    truth = by_radius(radii, COUNT)

    def says(pair: Pair, point: int, epsilon: float) -> Answer:
        return unknown() if ((pair, point), epsilon) in open_ones else truth(pair, point, epsilon)

    (fast, asked), (whole, asked_by_whole) = analyse(says), analyse(says)
    for number, (members, gates) in enumerate(checks):
        with mock.patch.object(module, "_ANSWERS", batch):
            solve_fast(fast, members, gates)
        whole.solve(members, [gate.epsilon for gate in gates])
        for gate in gates:
            known, all_known = scores(fast, members, gate), scores(whole, members, gate)
            ruling = judge(gate, known)
            assert ruling.verdict is judge(gate, all_known).verdict
            assert all(
                known[name].low <= score.low <= score.high <= known[name].high
                for name, score in all_known.items()
            )
            if ruling.verdict is Verdict.INCONCLUSIVE:
                assert known == all_known
                assert not any(fast.undecided(p, gate.epsilon)[UNASKED] for p in pairs_of(members))
        if number == 0:  # later ones may be asked what the first ones were not
            assert asked.asked == asked_by_whole.asked[: len(asked.asked)]
    assert not asked.repeated()
    assert fast.stats.total == len(asked.asked)
    for epsilon in GRID:  # whoever needs scores gets them whole
        tallies, expected = fast.tallies(epsilon=epsilon), whole.tallies(epsilon=epsilon)
        if not open_ones:
            assert tallies == expected
        assert all(tally.total == COUNT for tally in tallies.values())
        assert not any(fast.undecided(pair, epsilon)[UNASKED] for pair in tallies)
    assert not asked.repeated()


def everywhere(pair: Pair, point: int, epsilon: float) -> Answer:
    return by_radius({(pair, point): 1 / 64}, COUNT)(pair, point, epsilon)


def test_a_clearly_failing_gate_asks_strictly_less() -> None:
    analysis, engine = analyse(everywhere)
    gates = [Gate("max_mutual_error", 0.1, 0.25)]
    with mock.patch.object(module, "_ANSWERS", 4):
        solve_fast(analysis, NAMES, gates)
    assert len(engine.asked) == analysis.stats.total == 4
    assert judge(gates[0], scores(analysis, NAMES, gates[0])).verdict is Verdict.FAIL
    assert sum(analysis.undecided(pair, 0.25)[UNASKED] for pair in pairs_of(NAMES)) == 6 * COUNT - 4
    solve_fast(analysis, NAMES, gates)  # known by now
    assert len(engine.asked) == 4


def test_a_gate_that_surely_holds_asks_strictly_less() -> None:
    analysis, engine = analyse(by_radius({}, COUNT))
    solve_fast(analysis, NAMES, [Gate("min_uniqueness", 0.0, 0.25)])
    assert engine.asked == []
    with mock.patch.object(module, "_ANSWERS", 1):
        solve_fast(analysis, NAMES, [Gate("min_uniqueness", 0.5, 0.25)])
    assert COUNT < len(engine.asked) < 6 * COUNT


def test_all_gates_must_be_certain() -> None:
    analysis, engine = analyse(
        lambda pair, point, epsilon: unknown() if pair[0] == "a" else everywhere(pair, point, epsilon)
    )
    with mock.patch.object(module, "_ANSWERS", 1):
        solve_fast(analysis, NAMES, [Gate("max_mutual_error", 0.1, 0.25), Gate("min_uniqueness", 0.2, 0.25)])
    assert len(engine.asked) == 6 * COUNT


def test_what_was_left_out_is_asked_if_a_later_gate_is_open_without_it() -> None:
    """m(a, b) is unknown at 0.25 itself, but follows from the witness that is found at 1/16."""
    truth = by_radius({(("a", "b"), k): 1 / 64 for k in range(COUNT)}, COUNT)
    analysis, engine = analyse(lambda *asked: unknown() if asked[2] == 0.25 else truth(*asked))
    with mock.patch.object(module, "_ANSWERS", 1):
        solve_fast(analysis, ["a", "b"], [Gate("max_mutual_error", 0.1, 1 / 16)])
        assert len(engine.asked) == 1
        gate = Gate("max_mutual_error", 0.5, 0.25)
        solve_fast(analysis, ["a", "b"], [gate])
    assert judge(gate, scores(analysis, ["a", "b"], gate)).verdict is Verdict.FAIL
    # one of six points follows at once, the others are asked at 0.25, and three more at 1/16 are enough
    assert [epsilon for _, _, epsilon in engine.asked] == [1 / 16] + [0.25] * 5 + [1 / 16] * 3


def test_slow_answers_are_looked_at_one_by_one() -> None:
    def slow(pair: Pair, point: int, epsilon: float) -> Answer:
        time.sleep(0.12)
        return everywhere(pair, point, epsilon)

    analysis, engine = analyse(slow)
    solve_fast(analysis, NAMES, [Gate("max_mutual_error", 0.1, 0.25)])
    assert len(engine.asked) == 1


class Watched(Recorder):
    """Says when it was left."""

    left = False

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
        try:
            yield from super().solve(queries, budget)
        finally:
            self.left = True


class Listed(Recorder):
    """Gives a plain iterator, which can't be closed."""

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
        return iter(list(super().solve(queries, budget)))


@pytest.mark.parametrize("kind", [Watched, Listed])
def test_the_engine_is_told_that_nobody_waits(kind: type[Recorder]) -> None:
    engine = kind(everywhere)
    analysis = Analysis(*SETTING, epsilons=GRID, engine=engine)
    with mock.patch.object(module, "_ANSWERS", 4):
        analysis.solve(until=lambda: analysis.stats.total >= 4)
    assert analysis.stats.total == 4
    assert getattr(engine, "left", True)
