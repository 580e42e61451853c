"""The cascade over many queries: the same answers as one at a time, used wherever they hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
import pytest

from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.cascade import Cascade
from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import replays
from tests.engines.random_networks import tiny_model

EPSILONS = (0.05, 0.2, 0.5, 1.0)


@pytest.fixture(scope="module")
def models() -> list[Model]:
    rng = np.random.default_rng(20)
    return [tiny_model(rng, inputs=3, hidden=(5, 3), name=f"m{k}") for k in range(4)]


@pytest.fixture(scope="module")
def queries(models: list[Model]) -> list[Query]:
    rng = np.random.default_rng(21)
    asked = []
    for center in rng.normal(size=(8, 3)).astype(np.float32):
        label = int(models[0].predict(center[None])[0])
        for pair in combinations(models, 2):
            asked += [Query(pair, Ball(center, epsilon), label) for epsilon in EPSILONS]
        asked += [Query((models[0],), Ball(center, epsilon), label) for epsilon in EPSILONS]
        asked += [Query(tuple(models[:3]), Ball(center, 0.5), label)]
    return asked


def solve(queries: list[Query], budget: Budget | None = None, **options: int) -> list[Answer]:
    """Answers in the order of the queries; each must come exactly once."""
    engine = Cascade(**options)
    answers: dict[int, Answer] = {}
    for query, answer in engine.solve(queries, budget or Budget()):
        assert id(query) not in answers
        answers[id(query)] = answer
    engine.close()
    return [answers[id(query)] for query in queries]


def outcomes(answers: list[Answer]) -> list[Outcome]:
    return [answer.outcome for answer in answers]


def test_together_as_one_at_a_time(queries: list[Query]) -> None:
    together = outcomes(solve(queries))
    assert together == [outcomes(solve([query]))[0] for query in queries]
    assert Outcome.UNKNOWN not in together
    assert {Outcome.SAT, Outcome.UNSAT} == set(together)


def test_every_witness_replays(queries: list[Query]) -> None:
    for query, answer in zip(queries, solve(queries), strict=True):
        if answer.outcome is Outcome.SAT:
            assert answer.witness is not None
            assert replays(query, answer.witness[None]).all()


def test_monotone_in_epsilon(queries: list[Query]) -> None:
    answers = solve(queries)
    first_sat: dict[str, float] = {}
    for query, answer in zip(queries, answers, strict=True):
        if answer.outcome is Outcome.SAT:
            first_sat[query.key] = min(query.ball.epsilon, first_sat.get(query.key, np.inf))
    for query, answer in zip(queries, answers, strict=True):
        if query.ball.epsilon >= first_sat.get(query.key, np.inf):
            assert answer.outcome is Outcome.SAT


def test_symmetric_in_the_pair(queries: list[Query]) -> None:
    mirrored = [Query(query.models[::-1], query.ball, query.label) for query in queries]
    assert outcomes(solve(mirrored)) == outcomes(solve(queries))


def test_the_order_of_queries_does_not_matter(queries: list[Query]) -> None:
    order = np.random.default_rng(22).permutation(len(queries))
    ordered = outcomes(solve(queries))
    assert outcomes(solve([queries[k] for k in order])) == [ordered[k] for k in order]


def test_processes_give_the_same_answers(queries: list[Query], monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_ensemble.engines import cascade

    monkeypatch.setattr(cascade, "_POINTS", 1)
    monkeypatch.setattr(cascade, "_PAIRS", 1)
    assert outcomes(solve(queries, jobs=3)) == outcomes(solve(queries))


def test_the_same_query_twice_is_answered_twice(queries: list[Query]) -> None:
    twice = [queries[0], Query(queries[0].models, queries[0].ball, queries[0].label)]
    assert len(set(outcomes(solve(twice)))) == 1


def test_bounds_of_queries_are_kept_apart(models: list[Model]) -> None:
    """The same point, once in a box that leaves no room."""
    center = np.zeros(3, np.float32)
    label = int(models[0].predict(center[None])[0])
    nowhere = np.zeros(3), np.zeros(3)
    asked = [Query((models[0],), Ball(center, 5.0, bounds), label) for bounds in (None, nowhere)]
    assert outcomes(solve(asked)) == [Outcome.SAT, Outcome.UNSAT]


def test_what_a_spent_budget_never_reached_is_no_timeout(queries: list[Query]) -> None:
    answers = solve(queries, Budget(deadline=time.monotonic() - 1))
    reasons = {answer.reason for answer in answers if answer.outcome is Outcome.UNKNOWN}
    assert reasons == {"unasked"}


def test_closing_the_answers_ends_the_processes(
    queries: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_ensemble.engines import cascade, workers

    started = []

    class Recorded(workers._Worker):
        def __init__(self, child, inbox) -> None:
            super().__init__(child, inbox)
            started.append(child.process)

    monkeypatch.setattr(workers, "_Worker", Recorded)
    monkeypatch.setattr(cascade, "_POINTS", 1)
    monkeypatch.setattr(cascade, "_PAIRS", 1)
    engine = Cascade(jobs=2)
    answers = engine.solve(queries, Budget())
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert [process.poll() for process in started] == [-9]


def test_a_killed_process_loses_no_answers(queries: list[Query], monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_ensemble.engines import workers

    killed = []

    class Killed(workers.Child):
        """Dies when it gets its first batch."""

        def send(self, message) -> None:
            super().send(message)
            if isinstance(message[0], list) and isinstance(message[0][0], Query) and not killed:
                self.process.kill()
                killed.append(message)

    def slowly(batch: list[Query], wanted: Callable[[], bool]) -> Iterator[list[tuple[Query, Answer]]]:
        """Leaves the process time to start, if it has not got its batch yet."""
        for solved in Cascade().steps(Budget(), batch, wanted):
            for _ in range(0 if killed else 2):
                time.sleep(0.05)
            yield solved

    monkeypatch.setattr(workers, "Child", Killed)
    team = workers.Workers(2)
    halves = [queries[:150], queries[150:]]
    answers = list(team.solve(halves, Budget(), slowly))
    team.close()
    assert len(killed) == 1
    assert sorted(id(query) for query, _ in answers) == sorted(map(id, queries))
    assert {answer.reason for _, answer in answers} == {""}


def test_too_many_choices_of_labels_are_given_up(
    queries: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of a thousand classes has a million pairs of labels: undecided, not out of memory."""
    from pytest_ensemble.engines import joint_search

    before = solve(queries)
    monkeypatch.setattr(joint_search, "_CHOICES", 0)
    after = solve(queries)
    assert {answer.reason for answer in after if answer.outcome is Outcome.UNKNOWN} == {"timeout"}
    for old, new in zip(before, after, strict=True):
        assert new.outcome in (old.outcome, Outcome.UNKNOWN)
