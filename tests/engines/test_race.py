"""What stays open is asked of others side by side; two that contradict each other decide nothing."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from pytest_ensemble.engines import make_engine, race
from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.engines.cascade import Cascade
from pytest_ensemble.engines.marabou_process import available
from pytest_ensemble.engines.race import Race
from pytest_ensemble.queries.answer import Answer, Outcome, Reason
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from tests.engines.random_networks import tiny_model


class Fake:
    """Says the same to everything; or nothing until nobody waits any more."""

    def __init__(self, name: str, outcome: Outcome | None, reason: Reason = "") -> None:
        self.name = name
        self.outcome, self.reason = outcome, reason
        self.budgets: list[Budget] = []
        self.left = threading.Event()
        self.closed = False

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
        self.budgets.append(budget)
        if self.outcome is None:
            assert budget.cancelled is not None
            budget.cancelled.wait()
            self.left.set()
            return
        for query in queries:
            witness = query.ball.center if self.outcome is Outcome.SAT else None
            yield query, Answer(self.outcome, witness, self.reason, self.name, "fake")

    def close(self) -> None:
        self.closed = True


def say(outcome: Outcome | None, name: str = "a", reason: Reason = "") -> Fake:
    return Fake(name, outcome, reason)


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that never answer are not waited for; those that answer at once are heard all the same."""
    monkeypatch.setattr(race, "_GRACE", 0.3)


@pytest.fixture
def query() -> Query:
    model = tiny_model(np.random.default_rng(0))
    return Query((model,), Ball(np.zeros(2, np.float32), 0.5), 0)


def run(query: Query, *engines: Engine, budget: Budget | None = None) -> Answer:
    makers: list[Any] = [lambda jobs, engine=engine: engine for engine in engines]
    asked = Race(makers)
    ((_, answer),) = asked.solve([query], budget or Budget())
    asked.close()
    return answer


def test_the_first_decisive_answer_counts_and_the_other_is_told(query: Query) -> None:
    slow = say(None, "slow")
    answer = run(query, slow, say(Outcome.UNSAT, "fast"))
    assert (answer.outcome, answer.engine) == (Outcome.UNSAT, "fast")
    assert slow.left.wait(10)
    assert slow.closed


@pytest.mark.parametrize("reason", ["timeout", "boundary", "crashed", "unsupported"])
def test_one_that_does_not_know_is_no_hindrance(query: Query, reason: Reason) -> None:
    answer = run(query, say(Outcome.UNKNOWN, "a", reason), say(Outcome.SAT, "b"))
    assert (answer.outcome, answer.engine) == (Outcome.SAT, "b")


@pytest.mark.parametrize("order", [(Outcome.SAT, Outcome.UNSAT), (Outcome.UNSAT, Outcome.SAT)])
def test_contradictions_decide_nothing_and_are_warned_of(
    query: Query, order: tuple[Outcome, Outcome]
) -> None:
    first, second = order
    with pytest.warns(RuntimeWarning, match="Two engines contradict each other: .* says .* but .* says"):
        answer = run(query, say(first, "a"), say(second, "b"))
    assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, "disagreement")
    assert sorted(answer.engine.split("+")) == ["a", "b"]


def test_agreement_is_not_warned_of(query: Query) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(query, say(Outcome.SAT), say(Outcome.SAT, "b")).outcome is Outcome.SAT


def test_where_nobody_knows_more_time_may_help(query: Query) -> None:
    answer = run(query, say(Outcome.UNKNOWN, "a", "unsupported"), say(Outcome.UNKNOWN, "b", "timeout"))
    assert (answer.outcome, answer.reason, answer.engine) == (Outcome.UNKNOWN, "timeout", "b")


def test_errors_are_raised(query: Query) -> None:
    class Broken(Fake):
        def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(query, Broken("a", None), say(None, "b"))


def test_all_queries_are_answered_once(query: Query) -> None:
    queries = [query, Query(query.models, Ball(query.ball.center, 0.1), 1)]
    engine = say(Outcome.UNSAT)
    several = Race([lambda jobs: engine, lambda jobs: say(Outcome.UNSAT, "b")], jobs=4)
    assert {id(asked) for asked, _ in several.solve(queries, Budget())} == set(map(id, queries))


def test_closing_early_cancels(query: Query) -> None:
    slow = say(None)
    fast = say(Outcome.UNSAT, "b")
    answers = Race([lambda jobs: slow, lambda jobs: fast]).solve([query, query], Budget())
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert slow.left.wait(10)


# --- after the native engine ------------------------------------------------------------------------


def open_query() -> Query:
    """One that takes the native engine some branching."""
    rng = np.random.default_rng(3)
    models = tuple(tiny_model(rng, inputs=8, hidden=(16, 16), name=f"m{k}") for k in range(2))
    return Query(models, Ball(np.zeros(8, np.float32), 0.35), int(models[0].predict(np.zeros((1, 8)))[0]))


def leave_open(self: Cascade, queries: list[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
    for query in queries:
        yield query, Answer(Outcome.UNKNOWN, reason="timeout", engine="native")


def test_what_native_leaves_open_is_handed_on_with_the_rest_of_the_time(
    query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Budget] = []

    def record(self: Cascade, queries: list[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
        seen.append(budget)
        yield from leave_open(self, queries, budget)

    monkeypatch.setattr(Cascade, "_deal", record)
    other = say(Outcome.UNSAT, "other")
    engine = Cascade(name="auto", after=other)
    ((_, answer),) = engine.solve([query], Budget(timeout=8.0))
    engine.close()
    assert (answer.outcome, answer.engine) == (Outcome.UNSAT, "other")
    assert seen[0].timeout == other.budgets[0].timeout == 4.0
    assert other.closed


def test_without_others_native_has_all_the_time(query: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Budget] = []

    def record(self: Cascade, queries: list[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
        seen.append(budget)
        yield from leave_open(self, queries, budget)

    monkeypatch.setattr(Cascade, "_deal", record)
    ((_, answer),) = Cascade().solve([query], Budget(timeout=8.0))
    assert answer.reason == "timeout"
    assert seen[0].timeout == 8.0


def test_nothing_is_handed_on_when_the_deadline_has_passed(query: Query) -> None:
    other = say(Outcome.UNSAT)
    ((_, answer),) = Cascade(after=other).solve([query], Budget(deadline=0.0))
    assert answer.outcome is Outcome.UNKNOWN or answer.engine == "native"
    assert other.budgets == []


def test_what_native_decides_is_not_handed_on(query: Query) -> None:
    other = say(Outcome.SAT)
    ((_, answer),) = Cascade(name="auto", after=other).solve([query], Budget())
    assert answer.engine == "native"
    assert other.budgets == []


def test_auto_hands_on_to_milp_and_marabou(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real ones, on queries that native is made to leave open."""
    monkeypatch.setattr(Cascade, "_deal", leave_open)
    asked = [open_query(), Query(open_query().models, Ball(np.zeros(8, np.float32), 1e-6), 0)]
    engine = make_engine("auto")
    answers = {id(query): answer for query, answer in engine.solve(asked, Budget(60.0))}
    engine.close()
    monkeypatch.undo()
    native = {id(query): answer for query, answer in make_engine("native").solve(asked, Budget())}
    for query in asked:
        assert answers[id(query)].outcome is native[id(query)].outcome
        assert answers[id(query)].engine in ("milp", "marabou")


def test_auto_without_marabou(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_ensemble.engines.marabou_process.available", lambda: False)
    monkeypatch.setattr(Cascade, "_deal", leave_open)
    engine = make_engine("auto")
    ((_, answer),) = engine.solve([open_query()], Budget(60.0))
    assert answer.engine == "milp"


@pytest.mark.skipif(not available(), reason="maraboupy is not installed")
def test_marabou_goes_when_nobody_waits() -> None:
    from tests.engines.test_milp import hard

    engine = make_engine("marabou")
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    assert list(engine.solve([hard()], Budget(cancelled=cancelled))) == []
    engine.close()


def test_native_stops_when_nobody_waits(query: Query) -> None:
    cancelled = threading.Event()
    cancelled.set()
    ((_, answer),) = Cascade().solve([query], Budget(cancelled=cancelled))
    assert answer.outcome is Outcome.UNKNOWN or answer.engine == "native"


def test_nodes_are_limited_where_others_are_asked_afterwards() -> None:
    other = say(Outcome.UNSAT, "other")
    rng = np.random.default_rng(4)
    for _ in range(20):
        models = tuple(tiny_model(rng, inputs=6, hidden=(8, 8), name=f"m{k}") for k in range(2))
        label = int(models[0].predict(np.zeros((1, 6)))[0])
        asked = Query(models, Ball(np.zeros(6, np.float32), 0.25), label)
        list(Cascade(name="auto", limit=0, after=other).solve([asked], Budget()))
    assert other.budgets
