"""`Analysis` asks for what scores need, each once, and never takes an unknown for a "no"."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ensemble.analysis.analysis import Analysis
from pytest_ensemble.analysis.points import Points, agreement_points
from pytest_ensemble.analysis.scores import Interval, Tally, make_pair, pairs_of, uniqueness
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.errors import EngineError, QueryError
from pytest_ensemble.networks.pool import Pool
from pytest_ensemble.queries.answer import Answer, Bracket, Outcome
from pytest_ensemble.queries.query import Query
from tests.analysis.tables import Asked, Recorder, agreeing, by_radius, samples, table_pool, unknown, witness

NAMES = ("a", "b", "c", "d")
COUNT = 4
GRID = [k / 64 for k in (1, 4, 16)]

Setting = tuple[Pool, Points]


@pytest.fixture(scope="module")
def setting() -> Setting:
    return agreeing(NAMES, COUNT)


def analyse(setting: Setting, engine: Recorder, **options: Any) -> Analysis:
    return Analysis(*setting, epsilons=options.pop("epsilons", GRID), engine=engine, **options)


def no(pair: Any, point: int, epsilon: float) -> Answer:
    return Answer(Outcome.UNSAT, engine="recorder", stage="table")


# --- scores ---------------------------------------------------------------------------------------

RADII = st.dictionaries(
    st.tuples(st.sampled_from(pairs_of(NAMES)), st.integers(0, COUNT - 1)),
    st.sampled_from([k / 64 for k in (1, 2, 4, 9, 16, 20)]),
)
CALLS = st.sampled_from(["mutual_error", "uniqueness", "suggest", "answer", "solve"])


@settings(max_examples=50)
@given(RADII, st.lists(st.tuples(CALLS, st.sampled_from(GRID)), min_size=1, max_size=5))
def test_scores_are_right_and_no_query_is_asked_twice(
    radii: dict[Any, float], calls: list[tuple[str, float]]
) -> None:
    setting = _SETTING
    engine = Recorder(by_radius(radii, COUNT))
    analysis = analyse(setting, engine)
    for call, epsilon in calls:
        truth = {
            pair: Tally(sat := sum(radii.get((pair, k), 9) <= epsilon for k in range(COUNT)), COUNT - sat)
            for pair in pairs_of(NAMES)
        }
        if call == "mutual_error":
            assert analysis.mutual_error(epsilon=epsilon) == {p: t.mutual_error for p, t in truth.items()}
        elif call == "uniqueness":
            others = {name: [other for other in NAMES if other != name] for name in NAMES}
            expected = {name: uniqueness(name, rest, truth) for name, rest in others.items()}
            assert analysis.uniqueness(epsilon=epsilon) == expected
        elif call == "suggest":
            for swap in analysis.suggest(["a", "b"], epsilon=epsilon):
                score = analysis.uniqueness(epsilon=epsilon, members=swap.members)[swap.into]
                assert score == swap.uniqueness_after
        elif call == "answer":
            answer = analysis.answer(("b", "a"), 2, epsilon)
            assert answer.outcome == ("sat" if radii.get((("a", "b"), 2), 9) <= epsilon else "unsat")
        else:
            analysis.solve()
    assert engine.repeated() == []
    assert analysis.stats.total == len(engine.asked)


_SETTING = agreeing(NAMES, COUNT)


def test_only_pairs_of_the_members_are_asked(setting: Setting) -> None:
    engine = Recorder(no)
    analysis = analyse(setting, engine)
    assert analysis.mutual_error(epsilon=0.25, members=["d", "b"]) == {("b", "d"): Interval(0, 0)}
    analysis.uniqueness(epsilon=0.25, members=["d", "b"])
    assert {pair for pair, _, _ in engine.asked} == {("b", "d")}
    assert len(engine.asked) == COUNT
    assert analysis.answer(("a", "c"), 1, 0.25).outcome is Outcome.UNSAT
    assert engine.asked[COUNT:] == [(("a", "c"), 1, 0.25)]


def test_suggest_asks_neither_for_pairs_of_candidates_nor_of_the_weak_member(setting: Setting) -> None:
    engine = Recorder(by_radius({(("a", "b"), 0): 0.25}, COUNT))
    swaps = analyse(setting, engine).suggest(["a", "b"], epsilon=0.25, limit=1)
    assert [(swap.out, swap.into) for swap in swaps] == [("a", "c")]
    assert {pair for pair, _, _ in engine.asked} == {("a", "b"), ("b", "c"), ("b", "d")}


def test_suggest_reports_the_accuracy_of_the_averaged_scores() -> None:
    right = [k % 3 for k in range(9)]
    says = {"a": right, "b": [*right[:8], 0], "c": [*right[:7], 0, 0]}
    pool = table_pool(says)
    points = agreement_points(pool, samples(9), right, count=4)
    engine = Recorder(by_radius({(("a", "b"), 0): 0.25}, 9))
    analysis = Analysis(pool, points, epsilons=0.25, engine=engine)
    (swap,) = analysis.suggest(["a", "b"], epsilon=0.25)
    assert (swap.out, swap.into) == ("a", "c")
    # scores are 1 times a's, 2 times b's, 3 times c's: the last of them decides
    assert (swap.accuracy_before, swap.accuracy_after) == (8 / 9, 7 / 9)


# --- what is known at other epsilons --------------------------------------------------------------


def test_proof_serves_smaller_and_witness_larger_epsilons(setting: Setting) -> None:
    engine = Recorder(by_radius({(("a", "b"), 0): 8 / 64}, COUNT))
    analysis = analyse(setting, engine)
    first = analysis.answer(("a", "b"), 0, 16 / 64)  # its witness is nearer than it had to be
    assert first.outcome is Outcome.SAT
    assert analysis.bracket(("a", "b"), 0).witnessed == 8 / 64
    for epsilon in (8 / 64, 9 / 64, 1.0):
        again = analysis.answer(("a", "b"), 0, epsilon)
        assert again.outcome is Outcome.SAT
        np.testing.assert_array_equal(again.witness, first.witness)
    assert len(engine.asked) == 1
    assert analysis.answer(("a", "b"), 0, 4 / 64).outcome is Outcome.UNSAT
    for epsilon in (0.0, 1 / 64, 4 / 64):
        assert analysis.answer(("b", "a"), 0, epsilon).outcome is Outcome.UNSAT
    assert len(engine.asked) == 2
    assert analysis.answer(("a", "b"), 0, 6 / 64).outcome is Outcome.UNSAT  # between the two
    assert len(engine.asked) == 3
    assert analysis.bracket(("a", "b"), 0).proven == 6 / 64


def test_witness_has_the_shape_of_the_data() -> None:
    labels = [k % 3 for k in range(4)]
    pool = table_pool({"a": labels, "b": labels})
    points = agreement_points(pool, samples(4).reshape(4, 2, 2), labels, count="all")
    analysis = analyse((pool, points), Recorder(by_radius({(("a", "b"), 1): 8 / 64}, 4)))
    for epsilon in (16 / 64, 8 / 64):  # as answered, and from the bracket
        found = analysis.answer(("a", "b"), 1, epsilon).witness
        assert found is not None
        np.testing.assert_array_equal(found, witness(1, 8 / 64, 4).reshape(2, 2))


# --- unknown --------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.sets(st.integers(0, COUNT - 1)), st.sets(st.integers(0, COUNT - 1)))
def test_unknown_widens_intervals(open_: set[int], sat: set[int]) -> None:
    radii = by_radius({(("a", "b"), k): 1 / 64 for k in sat}, COUNT)
    engine = Recorder(lambda pair, k, epsilon: unknown() if k in open_ else radii(pair, k, epsilon))
    analysis = analyse(_SETTING, engine)
    low = len(sat - open_)
    expected = Interval(low / COUNT, (low + len(open_)) / COUNT)
    assert analysis.mutual_error(epsilon=0.25, members=["a", "b"])["a", "b"] == expected
    members = analysis.uniqueness(epsilon=0.25, members=["a", "b"])
    assert members["a"] == Interval(
        (COUNT - low - len(open_)) / COUNT,
        (COUNT - low) / COUNT,
    )
    assert analysis.stats.unknown["timeout"] == len(open_)


def test_unknown_is_not_asked_again(setting: Setting) -> None:
    engine = Recorder(lambda *_: unknown("boundary"))
    analysis = analyse(setting, engine)
    for _ in range(2):
        analysis.mutual_error(epsilon=0.25)
        analysis.uniqueness(epsilon=0.25)
        assert analysis.answer(("a", "b"), 0, 0.25).reason == "boundary"
    assert len(engine.asked) == 6 * COUNT
    analysis.mutual_error(epsilon=0.125, members=["a", "b"])  # another epsilon is another question
    assert len(engine.asked) == 7 * COUNT


def test_unknown_is_settled_by_what_is_learnt_later(setting: Setting) -> None:
    def says(pair: Any, point: int, epsilon: float) -> Answer:
        if epsilon == 16 / 64:
            return unknown()
        return by_radius({(("a", "b"), 0): 4 / 64}, COUNT)(pair, point, epsilon)

    analysis = analyse(setting, Recorder(says))
    assert analysis.answer(("a", "b"), 0, 16 / 64).outcome is Outcome.UNKNOWN
    assert analysis.answer(("a", "b"), 0, 4 / 64).outcome is Outcome.SAT
    later = analysis.answer(("a", "b"), 0, 16 / 64)
    assert later.outcome is Outcome.SAT
    assert later.witness is not None


def test_contradiction_is_unknown_and_asked_no_more(setting: Setting) -> None:
    def says(pair: Any, point: int, epsilon: float) -> Answer:
        if epsilon == 16 / 64:
            return no(pair, point, epsilon)
        return Answer(Outcome.SAT, witness(point, epsilon, COUNT))

    engine = Recorder(says)
    analysis = analyse(setting, engine)
    analysis.solve(["a", "b"], [16 / 64])
    assert analysis.mutual_error(epsilon=16 / 64, members=["a", "b"])["a", "b"] == Interval(0, 0)
    # answered at another epsilon although it was settled: as other engines, or other runs, may do
    analysis._record(("a", "b"), 0, analysis.query(("a", "b"), 0, 4 / 64), says(("a", "b"), 0, 4 / 64))
    asked = len(engine.asked)
    for epsilon in (1 / 64, 4 / 64, 16 / 64, 1.0):
        answer = analysis.answer(("a", "b"), 0, epsilon)
        assert (answer.outcome, answer.reason, answer.witness) == (Outcome.UNKNOWN, "disagreement", None)
    assert len(engine.asked) == asked
    assert analysis.mutual_error(epsilon=16 / 64, members=["a", "b"])["a", "b"] == Interval(0, 1 / COUNT)
    assert analysis.stats.unknown["disagreement"] == 1


# --- budgets, interruptions, counts ---------------------------------------------------------------


def test_budget_is_passed_on(setting: Setting) -> None:
    engine = Recorder(no)
    analysis = analyse(setting, engine, timeout=7.5)
    analysis.deadline = math.inf
    analysis.solve()
    assert engine.budgets == [Budget(7.5, math.inf)]
    analysis.solve()
    assert len(engine.budgets) == 1  # nothing was left to ask


def test_what_was_answered_before_an_interruption_is_kept(setting: Setting) -> None:
    class Interrupted(Recorder):
        def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
            for number, pair in enumerate(super().solve(queries, budget)):
                yield pair
                if number == 2 and len(self.budgets) == 1:
                    raise KeyboardInterrupt

    engine = Interrupted(no)
    analysis = analyse(setting, engine)
    with pytest.raises(KeyboardInterrupt):
        analysis.mutual_error(epsilon=0.25)
    assert len(engine.asked) == 3
    analysis.mutual_error(epsilon=0.25)
    assert len(engine.asked) == 6 * COUNT
    assert engine.repeated() == []


def test_stats_count_by_engine_and_stage(setting: Setting) -> None:
    def says(pair: Any, point: int, epsilon: float) -> Answer:
        if point == 0:
            return unknown()
        return Answer(Outcome.UNSAT, engine="other", stage="bounds", seconds=0.5)

    analysis = analyse(setting, Recorder(says))
    analysis.mutual_error(epsilon=0.25, members=["a", "b"])
    assert analysis.stats.solved == Counter({("other", "bounds"): 3, ("recorder", "table"): 1})
    assert analysis.stats.seconds["other", "bounds"] == 1.5
    assert analysis.stats.unknown == Counter({"timeout": 1})
    assert analysis.stats.total == 4


def test_close_closes_the_engine(setting: Setting) -> None:
    engine = Recorder(no)
    analyse(setting, engine).close()
    assert engine.closed


def test_brackets_are_read_without_asking(setting: Setting) -> None:
    engine = Recorder(no)
    analysis = analyse(setting, engine)
    assert analysis.bracket(("b", "a"), 0).outcome(0.25) is Outcome.UNKNOWN
    assert engine.asked == []
    analysis.answer(("a", "b"), 0, 0.25)
    assert isinstance(found := analysis.bracket(("b", "a"), 0), Bracket)
    assert found.proven == 0.25


# --- bad questions --------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilons", [[], -0.1, [0.1, math.nan], math.inf, True, "0.1", [None]])
def test_bad_epsilons(setting: Setting, epsilons: Any) -> None:
    with pytest.raises(QueryError, match="epsilon"):
        analyse(setting, Recorder(no), epsilons=epsilons)


@pytest.mark.parametrize("epsilons", [0.1, [0.1], (0.1, 0.1), np.array([0.1]), np.float64(0.1)])
def test_epsilons_in_any_form(setting: Setting, epsilons: Any) -> None:
    assert analyse(setting, Recorder(no), epsilons=epsilons).epsilons == (0.1,)


def test_bad_bounds_and_points(setting: Setting) -> None:
    with pytest.raises(QueryError, match="low <= high"):
        analyse(setting, Recorder(no), bounds=(1, 0))
    with pytest.raises(QueryError, match="outside the bounds"):
        analyse(setting, Recorder(no), bounds=(0, 0.5))
    other = agreeing(["x"], COUNT + 1)[1]
    with pytest.raises(QueryError, match="points have 5 numbers each; the models take 4"):
        analyse((setting[0], other), Recorder(no))


def test_bad_members_pairs_and_points(setting: Setting) -> None:
    analysis = analyse(setting, Recorder(no))
    questions: list[tuple[str, Any]] = [
        ("'x' is not in the pool", lambda: analysis.mutual_error(epsilon=0.1, members=["a", "x"])),
        ("'a' is given twice", lambda: analysis.uniqueness(epsilon=0.1, members=["a", "a"])),
        ("at least two members; got 1", lambda: analysis.uniqueness(epsilon=0.1, members=["a"])),
        ("at least two members; got 1", lambda: analysis.suggest(["a"], epsilon=0.1)),
        ("pair needs two members; got 3", lambda: analysis.answer(("a", "b", "c"), 0, 0.1)),  # type: ignore[arg-type]
        (r"points 0\.\.3; got 4", lambda: analysis.answer(("a", "b"), 4, 0.1)),
        (r"points 0\.\.3; got -1", lambda: analysis.answer(("a", "b"), -1, 0.1)),
        ("epsilon", lambda: analysis.mutual_error(epsilon=-1)),
    ]
    for message, ask in questions:
        with pytest.raises(QueryError, match=message):
            ask()
    assert make_pair("b", "a") == ("a", "b")


def test_unknown_engine(setting: Setting) -> None:
    with pytest.raises(EngineError, match=r"There is no engine 'marabu'\. Did you mean 'marabou'"):
        Analysis(*setting, epsilons=0.1, engine="marabu")


def test_asked_is_what_the_recorder_says() -> None:
    """The fake is faithful: it answers each query once, in another order, and tells them apart."""
    engine = Recorder(no)
    analysis = analyse(_SETTING, engine)
    analysis.solve(["a", "c"], [0.25, 0.5])
    expected: set[Asked] = {(("a", "c"), k, epsilon) for k in range(COUNT) for epsilon in (0.25, 0.5)}
    assert set(engine.asked) == expected
    assert len(engine.asked) == len(expected)
