"""The mixed-integer program against the exact oracle: ties, kinds of networks, tiny balls, limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from pytest_ensemble.engines import make_engine, milp
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.decide import decide
from pytest_ensemble.engines.milp import MilpEngine
from pytest_ensemble.engines.milp_encoding import Program, encode
from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from tests.engines.exact import optimum
from tests.engines.judge import judge, size
from tests.engines.random_networks import (
    ARCHITECTURES,
    KINDS,
    architecture_query,
    shifted,
    tiny_architecture,
    tiny_model,
    tiny_query,
)

UNLIMITED = Budget(600.0)
ENGINE = MilpEngine()


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[MilpEngine]:
    yield ENGINE
    ENGINE.close()


def ask(query: Query, budget: Budget = UNLIMITED) -> Answer:
    ((asked, answer),) = ENGINE.solve([query], budget)
    assert asked is query
    assert answer.engine == "milp"
    return answer


def solve(query: Query) -> Answer:
    """What the process does, but here."""
    return milp._solve(query, None)


def check(query: Query) -> Outcome:
    """Compare with the exact optimum: no tolerance but that of arithmetic."""
    answer = solve(query)
    judge(query, answer, optimum(query))
    return answer.outcome


# --- against the oracle ---------------------------------------------------------------------------


def test_agrees_with_the_oracle() -> None:
    outcomes = [check(tiny_query(np.random.default_rng(seed))) for seed in range(32)]
    assert {Outcome.SAT, Outcome.UNSAT} <= set(outcomes)


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_on_all_kinds(kind: str) -> None:
    for seed in range(3):
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        models = tuple(tiny_model(rng, hidden=(3, 3), kind=kind, name=f"m{k}") for k in range(2))
        check(Query(models, Ball(rng.uniform(-1, 1, 2).astype(np.float32), 0.5), int(rng.integers(3))))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_agrees_on_deep_residual_and_convolutional_networks(kind: str) -> None:
    outcomes = set()
    for seed in range(6):
        rng = np.random.default_rng([seed, ARCHITECTURES.index(kind)])
        query = architecture_query(rng)
        models = (shifted(tiny_architecture(rng, kind), query.label, rng.normal()), query.models[0])
        outcomes.add(check(Query(models, query.ball, query.label)))
    assert {Outcome.SAT, Outcome.UNSAT} <= outcomes


@pytest.mark.parametrize("seed", range(5))
def test_ties_are_never_decided_wrongly(seed: int) -> None:
    """Networks shifted so that the optimum is zero, or as little beside it as float32 allows."""
    query = tiny_query(np.random.default_rng(seed), members=1 + seed % 2, relus=5)
    best = optimum(query)
    for beside in (0.0, 1e-6, -1e-6, 1e-4, -1e-4):
        by = beside * size(query) - best
        models = tuple(shifted(model, query.label, by) for model in query.models)
        outcome = check(Query(models, query.ball, query.label))
        if abs(beside) == 1e-4:
            assert outcome is (Outcome.SAT if beside > 0 else Outcome.UNSAT)


def test_classes_that_always_tie() -> None:
    """A margin that is zero everywhere is no error, though nothing bounds it away from one."""
    for seed in (1000152, 1000153):
        check(tiny_query(np.random.default_rng(seed)))


def test_three_networks() -> None:
    for seed in range(3):
        check(tiny_query(np.random.default_rng(seed), members=3))


# --- balls ----------------------------------------------------------------------------------------


def test_a_ball_of_one_point() -> None:
    rng = np.random.default_rng(6)
    models = (tiny_model(rng, name="a"), tiny_model(rng, name="b"))
    x = rng.normal(size=2).astype(np.float32)
    labels = {int(model.predict(x[None])[0]) for model in models}
    for label in range(3):
        expected = Outcome.UNSAT if label in labels else Outcome.SAT
        assert solve(Query(models, Ball(x, 0.0), label)).outcome is expected


@pytest.mark.parametrize("epsilon", [1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("seed", range(5))
def test_tiny_balls(seed: int, epsilon: float) -> None:
    """The best margin over the ball is put above or below zero by a part of what the ball can move it.

    A fine grid stands for the oracle, whose programs have absolute tolerances.
    """
    rng = np.random.default_rng(seed)
    models = tuple(tiny_model(rng, hidden=(4, 2), name=f"m{k}") for k in range(2))
    ball, label = Ball(rng.uniform(-0.5, 0.5, 2).astype(np.float32), epsilon), int(rng.integers(3))
    low, high = ball.box
    grid = np.stack(np.meshgrid(*np.linspace(low, high, 101).T), axis=-1).reshape(-1, 2)

    def best(*models: Model) -> float:
        margins = [model.network.margins(label).evaluate(grid).max(axis=1) for model in models]
        return float(np.min(margins, axis=0).max())

    clear = max(epsilon / 8, 2e-5)  # what float32 may err is allowed for
    beside = (seed % 3 - 1) * 2 * clear
    moved = tuple(shifted(model, label, beside - best(*models)) for model in models)
    answer = solve(Query(moved, ball, label))
    if best(*moved) > clear:
        assert answer.outcome is Outcome.SAT
    elif best(*moved) < -clear:
        assert answer.outcome is Outcome.UNSAT
    if best(*moved) > 0:
        assert answer.outcome is not Outcome.UNSAT


def test_bounds_are_kept() -> None:
    center = np.zeros(3, np.float32)
    model = tiny_model(np.random.default_rng(20), inputs=3, hidden=(5, 3))
    label = int(model.predict(center[None])[0])
    nowhere = np.zeros(3), np.zeros(3)
    assert solve(Query((model,), Ball(center, 5.0), label)).outcome is Outcome.SAT
    assert solve(Query((model,), Ball(center, 5.0, nowhere), label)).outcome is Outcome.UNSAT


def test_sparse_weights() -> None:
    """Layers that are stored sparse give the same answers."""
    import scipy.sparse as sp

    from pytest_ensemble.networks.network import Layer, Network

    for seed in range(4):
        query = architecture_query(np.random.default_rng(seed))
        expected = solve(query).outcome
        for model in query.models:
            layers = [Layer(sp.csr_array(one.weight), one.bias, one.relu) for one in model.network.layers]
            model.network = Network(tuple(layers))
        assert solve(query).outcome is expected


# --- the program ----------------------------------------------------------------------------------


def programs() -> list[Program]:
    encoded = (encode(architecture_query(np.random.default_rng(seed))) for seed in range(20))
    return [program for program in encoded if program is not None]


def test_all_numbers_are_of_order_one() -> None:
    for program in programs():
        assert program.is_finite()
        values = np.abs(program.matrix.data)
        assert values.min() > 1e-9
        assert values.max() < 3


def test_real_inputs_that_err_are_solutions() -> None:
    """Nothing that the networks can do is cut off."""
    found = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        query = architecture_query(rng)
        models = tuple(shifted(model, query.label, query.ball.epsilon) for model in query.models)
        query = Query(models, query.ball, query.label)
        program = encode(query)
        low, high = query.ball.box
        u = rng.uniform(-1, 1, size=(200, 6))
        x = (low + high) / 2 + (high - low) / 2 * u
        margins = [model.network.margins(query.label).evaluate(x).max(axis=1) for model in query.models]
        erring = np.flatnonzero(np.min(margins, axis=0) > 0)[:2]
        if len(erring):
            assert program is not None
        for k in erring if program is not None else ():
            found += 1
            program.lower[:6] = program.upper[:6] = u[k]
            assert milp._run(program, None).status == 0
    assert found > 10


# --- limits ---------------------------------------------------------------------------------------


def hard() -> Query:
    """Some minutes of work for HiGHS: wide networks with no room for an error that they can't show."""
    rng = np.random.default_rng(1)
    models = tuple(tiny_model(rng, inputs=24, hidden=(40, 40), name=f"m{k}") for k in range(2))
    center = np.zeros(24, np.float32)
    label = int(models[0].predict(center[None])[0])
    return Query(tuple(shifted(model, label, -300.0) for model in models), Ball(center, 1.0), label)


def test_the_time_limit_is_a_fraction_of_seconds() -> None:
    answer = ask(hard(), Budget(0.4))
    assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, "timeout")
    assert answer.seconds > 0.1


def test_a_spent_budget_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milp, "_ask", None)
    answer = ask(hard(), Budget(deadline=time.monotonic() - 1))
    assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, "unasked")


def test_a_deadline_is_not_the_time_limit_of_a_query() -> None:
    answer = ask(hard(), Budget(60.0, time.monotonic() + 0.4))
    assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, "budget")


def test_processes_give_the_same_answers() -> None:
    queries = [tiny_query(np.random.default_rng(seed)) for seed in range(20)]
    alone = [solve(query).outcome for query in queries]
    engine = MilpEngine(jobs=3)
    together = {id(query): answer.outcome for query, answer in engine.solve(queries, UNLIMITED)}
    engine.close()
    assert [together[id(query)] for query in queries] == alone


def test_closing_the_answers_early_does_not_wait() -> None:
    queries = [tiny_query(np.random.default_rng(0)), hard()]
    start = time.monotonic()
    answers = ENGINE.solve(queries, Budget(60.0))
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 20


def test_who_is_cancelled_goes() -> None:
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    start = time.monotonic()
    assert list(ENGINE.solve([hard()], Budget(60.0, cancelled=cancelled))) == []
    assert time.monotonic() - start < 20


def test_memory_errors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(milp, "_run", fail)
    answer = milp._solve(hard(), None)
    assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, "memory")


def test_by_its_name() -> None:
    assert isinstance(make_engine("milp", jobs=2), MilpEngine)
    query = tiny_query(np.random.default_rng(3))
    ball = query.ball
    options = {"bounds": ball.bounds, "engine": "milp"}
    assert decide(query.models, ball.center, query.label, ball.epsilon, **options).engine == "milp"


def test_a_short_timeout_does_not_kill_processes_that_start() -> None:
    """Starting takes longer than the query may; it is not counted."""
    engine = MilpEngine()
    query = tiny_query(np.random.default_rng(3), members=2)
    ((_, answer),) = engine.solve([query], Budget(0.2))
    engine.close()
    assert answer.outcome is not Outcome.UNKNOWN
