"""The order of work of the native engine, with its real stages: who waits for whom, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from pytest_ensemble.engines import (
    cascade,
    geometry,
    joint_search,
    preactivations,
    single_search,
    work,
    workers,
)
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.branch_and_bound import BranchAndBound
from pytest_ensemble.engines.cascade import Cascade
from pytest_ensemble.engines.stages import Limits
from pytest_ensemble.engines.work import MOVED, Batch, Works
from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.network import Network
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from tests.engines.random_networks import shifted, tiny_model

EPSILONS = (0.05, 0.3, 0.8)


class Ticks:
    """A clock on which everything takes one second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def asked(models: list[Model], points: int, epsilons: tuple[float, ...] = EPSILONS) -> list[Query]:
    rng = np.random.default_rng(31)
    centers = rng.normal(size=(points, models[0].input_size)).astype(np.float32)
    return [
        Query(pair, Ball(center, epsilon), int(models[0].predict(center[None])[0]))
        for center in centers
        for pair in combinations(models, 2)
        for epsilon in epsilons
    ]


@pytest.fixture(scope="module")
def models() -> list[Model]:
    rng = np.random.default_rng(30)
    return [tiny_model(rng, inputs=4, hidden=(6, 4), name=f"m{k}") for k in range(3)]


@pytest.fixture(scope="module")
def queries(models: list[Model]) -> list[Query]:
    return asked(models, 6)


def outcomes(queries: list[Query], engine: Cascade) -> list[Outcome]:
    answers = {id(query): answer.outcome for query, answer in engine.solve(queries, Budget())}
    return [answers[id(query)] for query in queries]


def watch_bounds(monkeypatch: pytest.MonkeyPatch, called: Callable[[Network], None]) -> None:
    """Have a function called whenever a network's hidden neurons are bounded."""
    bound = geometry.hidden_bounds

    def watched(network: Network, *given: Any, **options: Any) -> Any:
        called(network)
        return bound(network, *given, **options)

    monkeypatch.setattr(geometry, "hidden_bounds", watched)


def test_nothing_costly_is_bounded_before_what_is_cheap_is_answered(
    models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many queries are about the costly network, and though it is no costlier than it says."""
    large = tiny_model(np.random.default_rng(32), inputs=4, hidden=(20, 15), name="large")
    label = asked(models, 1)[0].label
    large = shifted(large, label, -20.0)  # it errs where the others do not, or nowhere
    mixed = [query for query in asked([*models, large], 30) if query.label == label]
    small = {id(query) for query in mixed if large not in query.models}
    answered: set[int] = set()
    open_then: list[int] = []
    cost = preactivations.bounding_cost
    for search in (single_search, joint_search):
        monkeypatch.setattr(
            search, "bounding_cost", lambda network: 1e13 if network is large.network else cost(network)
        )

    def note(network: Network) -> None:
        if network is large.network:
            open_then.append(len(small - answered))

    watch_bounds(monkeypatch, note)
    for query, _ in Cascade().solve(mixed, Budget()):
        answered.add(id(query))
    assert len(answered) == len(mixed)
    assert open_then
    assert set(open_then) == {0}


def test_what_an_attack_settles_needs_no_bounds(models: list[Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both networks err at the points themselves."""
    wrong = []
    for query in asked(models, 20, (0.1,)):
        said = {int(model.predict(query.ball.center[None])[0]) for model in query.models}
        wrong += [Query(query.models, query.ball, label) for label in {0, 1, 2} - said]
    watch_bounds(monkeypatch, lambda network: pytest.fail("bounded"))
    answers = [answer for _, answer in Cascade().solve(wrong, Budget())]
    assert {(answer.outcome, answer.stage) for answer in answers} == {(Outcome.SAT, "attack")}


def test_answers_come_one_step_after_the_other(queries: list[Query]) -> None:
    steps = [len(solved) for solved in Cascade().steps(Budget(), queries)]
    assert sum(steps) == len(queries)
    assert sum(count > 0 for count in steps) > 2


@pytest.mark.parametrize("options", [{}, {"jobs": 2, "memory": 1 << 31}], ids=["here", "in processes"])
def test_it_tells_what_it_does(models: list[Model], options: dict[str, int]) -> None:
    told: list[str] = []
    engine = Cascade(**options)
    many = asked(models, 600 if options else 60)
    assert len(list(engine.solve(many, Budget(tell=told.append)))) == len(many)
    engine.close()
    stages = {doing.partition(" of ")[0] for doing in told}
    networks = {doing.partition(" of ")[2] for doing in told}
    assert stages <= {
        "attack",
        "bounds",
        *(f"{who} {what}" for who in ("single", "joint") for what in ("bounds", "branching")),
    }
    assert "m0, m1, m2" in networks
    if not options:
        assert {"attack", "bounds"} <= stages


def test_seconds_of_answers_add_up_to_those_of_the_work(queries: list[Query]) -> None:
    """By a clock that moves when it is looked at: twice for each step."""
    clock = Ticks()
    works = Works([Batch(queries[:27]), Batch(queries[27:])], Limits(), clock=clock)
    solved = []
    for _ in works.scheduler.run():
        solved += works.news()
    solved += works.left()
    steps = clock.now / 2
    assert len(solved) == len(queries)
    assert sum(answer.seconds for _, answer in solved) == pytest.approx(steps, rel=0.1)


def test_seconds_of_undecided_queries_count_too(queries: list[Query]) -> None:
    clock = Ticks()
    works = Works([Batch(queries)], Limits(), clock=clock)
    solved = []
    for step, _ in enumerate(works.scheduler.run()):
        solved += works.news()
        if step == 3:
            break
    left = works.left()
    assert {answer.outcome for _, answer in left} == {Outcome.UNKNOWN}
    assert {answer.reason for _, answer in left} <= {"budget", "unasked"}
    # the last step has begun, and its end is still to come
    seconds = sum(answer.seconds for _, answer in (*solved, *left))
    assert seconds == pytest.approx(4, abs=1)


def test_a_time_limit_is_of_a_querys_own_work(queries: list[Query]) -> None:
    """All of them together may take as much longer as there are."""
    alone = [next(iter(Cascade().solve([query], Budget(5.0))))[1].outcome for query in queries]
    assert Outcome.UNKNOWN not in alone
    together = [answer for _, answer in Cascade().solve(queries, Budget(5.0))]
    assert all(answer.seconds < 5.0 for answer in together)
    assert Outcome.UNKNOWN not in {answer.outcome for answer in together}


@pytest.mark.parametrize("search", [single_search, joint_search])
def test_searches_that_begin_anew_find_the_same(
    queries: list[Query], monkeypatch: pytest.MonkeyPatch, search: object
) -> None:
    """Open nodes of those that are served last are dropped where memory is short."""
    expected = outcomes(queries, Cascade())
    monkeypatch.setattr(search, "BranchAndBound", partial(BranchAndBound, memory=1))
    assert outcomes(queries, Cascade()) == expected


def test_what_is_given_back_is_worked_on_no_more(queries: list[Query]) -> None:
    answers: dict[int, list[Answer]] = {}
    orders = iter([False, True])
    for solved in Cascade().steps(Budget(), queries, lambda: next(orders, False)):
        for query, answer in solved:
            answers.setdefault(id(query), []).append(answer)
    assert len(answers) == len(queries)
    assert set(map(len, answers.values())) == {1}
    back = [answer for (answer,) in answers.values() if answer.stage == MOVED]
    assert back
    assert sum(answer.outcome is Outcome.UNKNOWN for (answer,) in answers.values()) == len(back)


def test_batches_that_wait_are_given_back_first(queries: list[Query]) -> None:
    works = Works([Batch(queries[:18]), Batch(queries[18:36]), Batch(queries[36:])], Limits())
    next(works.scheduler.run())
    back = works.give_back()
    assert [id(query) for query, _ in back] == [id(query) for query in queries[36:]]
    assert {answer.stage for _, answer in back} == {MOVED}


def test_what_has_had_its_time_is_not_given_back(queries: list[Query]) -> None:
    works = Works([Batch(queries)], Limits(timeout=0.0))
    solved = []
    for _ in works.scheduler.run():
        solved += works.news()
        solved += works.give_back()
    solved += works.left()
    assert sorted(id(query) for query, _ in solved) == sorted(map(id, queries))
    assert {answer.reason for _, answer in solved if answer.stage != MOVED} <= {"", "timeout"}


@pytest.mark.parametrize("fails", [1, 2])
def test_memory_too_small_to_begin_with_a_batch(
    queries: list[Query], monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    """It is tried again in halves; no query is lost."""
    made = work.Board
    count = iter(range(1, 100))

    def small(queries: list[Query]) -> work.Board:
        if next(count) == fails:
            raise MemoryError
        return made(queries)

    monkeypatch.setattr(cascade, "_batches", lambda queries, jobs: [queries[:27], queries[27:]])
    monkeypatch.setattr(work, "Board", small)
    assert outcomes(queries, Cascade()) == outcomes(queries, Cascade())
    assert Outcome.UNKNOWN not in outcomes(queries, Cascade())


def test_who_has_nothing_to_do_gets_half_of_what_others_have(
    models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One share is of one point, the other of many; each query is answered once, by somebody."""
    monkeypatch.setattr(workers, "_SETTLED", 0.0)
    moved: list[int] = []
    ask = workers._Here.ask

    def watched(self: workers._Here) -> None:
        moved.append(len(self.left()))
        ask(self)

    monkeypatch.setattr(workers._Here, "ask", watched)
    many = asked(models, 40)
    team = workers.Workers(2)

    def slowly(batch: list[Query], wanted: Callable[[], bool]) -> Iterator[list[tuple[Query, Answer]]]:
        for solved in Cascade().steps(Budget(), batch, wanted):
            time.sleep(0.2)
            yield solved

    per_point = len(many) // 40
    solved = list(team.solve([many[per_point:], many[:per_point]], Budget(), slowly))
    team.close()
    assert moved
    assert sorted(id(query) for query, _ in solved) == sorted(map(id, many))
    assert {answer.outcome for _, answer in solved} <= {Outcome.SAT, Outcome.UNSAT}
    assert MOVED not in {answer.stage for _, answer in solved}
