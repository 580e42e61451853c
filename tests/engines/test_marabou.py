"""Marabou against the exact oracle, and its processes under kills, deadlines and early ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_ensemble.engines import attack, child, marabou
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.decide import decide
from pytest_ensemble.engines.marabou import MarabouEngine
from pytest_ensemble.engines.marabou_process import Child
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import replays
from tests.engines import random_networks
from tests.engines.exact import optimum
from tests.engines.random_networks import KINDS, shifted, tiny_model, tiny_query

pytest.importorskip("maraboupy", reason="maraboupy has wheels for CPython 3.8 to 3.11 only")

UNLIMITED = Budget(600.0)


@pytest.fixture(scope="module")
def engine() -> Iterator[MarabouEngine]:
    shared = MarabouEngine()
    yield shared
    shared.close()


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    """All processes that are started during the test."""
    made: list[Child] = []

    class Recorded(Child):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr(marabou, "Child", Recorded)
    return made


def ask(engine: MarabouEngine, query: Query, budget: Budget = UNLIMITED) -> Answer:
    ((asked, answer),) = engine.solve([query], budget)
    assert asked is query
    assert answer.engine == "marabou"
    return answer


def size(query: Query) -> float:
    """What rounding and tolerances are relative to: the largest logit in the corners of the ball."""
    corners = np.stack(query.ball.box)
    return max(1.0, *(float(abs(model.network.evaluate(corners)).max()) for model in query.models))


def judge(query: Query, answer: Answer, best: float) -> None:
    """Compare an answer with the exact optimum: no tolerance but that of arithmetic."""
    if answer.outcome is Outcome.SAT:
        assert answer.witness is not None
        assert answer.witness.dtype == np.float32
        assert replays(query, answer.witness[None]).all()
        assert best > -1e-5 * size(query)
    elif answer.outcome is Outcome.UNSAT:
        assert best < 1e-6 * size(query)
    else:  # only where a tie is near
        assert answer.reason == "boundary"
        assert abs(best) < 1e-3 * size(query)


# --- against the oracle ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_the_oracle(engine: MarabouEngine, seed: int) -> None:
    query = tiny_query(np.random.default_rng(seed))
    judge(query, ask(engine, query), optimum(query))


@pytest.mark.parametrize("kind", ["near_constant", "integer", "scaled", "residual"])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_on_degenerate_pairs(engine: MarabouEngine, kind: str, seed: int) -> None:
    assert kind in KINDS
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    models = tuple(tiny_model(rng, hidden=(3, 3), kind=kind, name=f"m{k}") for k in range(2))
    query = Query(models, Ball(rng.uniform(-1, 1, 2).astype(np.float32), 0.5), int(rng.integers(3)))
    judge(query, ask(engine, query), optimum(query))


@pytest.mark.parametrize("seed", range(6))
def test_ties_are_never_decided_wrongly(engine: MarabouEngine, seed: int) -> None:
    """Networks shifted so that the optimum is zero, or as little beside it as float32 allows."""
    query = tiny_query(np.random.default_rng(seed), members=1 + seed % 2)
    best = optimum(query)
    for beside in (0.0, 1e-6, -1e-6, 1e-3, -1e-3):
        by = beside * size(query) - best
        models = tuple(shifted(model, query.label, by) for model in query.models)
        tie = Query(models, query.ball, query.label)
        answer = ask(engine, tie)
        judge(tie, answer, optimum(tie))
        if abs(beside) == 1e-3:
            assert answer.outcome is (Outcome.SAT if beside > 0 else Outcome.UNSAT)


def test_witness_beside_a_kink_is_found(engine: MarabouEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marabou lets a ReLU be a little wrong: its first solutions sit where that one is off."""
    monkeypatch.setattr(random_networks, "KINDS", ("integer",))
    monkeypatch.setattr(attack, "polish", lambda *_: None)
    query = tiny_query(np.random.default_rng(50045))
    assert optimum(query) > 0.1
    for _ in range(5):  # which solutions Marabou names differs from time to time
        judge(query, answer := ask(engine, query), 0.1)
        assert answer.outcome is Outcome.SAT


@pytest.mark.parametrize("seed", range(4))
def test_network_paired_with_itself_is_that_network(engine: MarabouEngine, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = tiny_model(rng)
    ball = Ball(rng.uniform(-1, 1, 2).astype(np.float32), 0.5)
    label = int(model.predict(ball.center[None])[0])
    alone, twice = Query((model,), ball, label), Query((model, model), ball, label)
    assert ask(engine, alone).outcome is ask(engine, twice).outcome


def test_same_question_same_answer(engine: MarabouEngine) -> None:
    """Marabou draws random numbers; outcomes must not depend on what was asked before."""
    queries = [tiny_query(np.random.default_rng(seed)) for seed in range(10)]
    first = [ask(engine, query) for query in queries]
    again = [ask(engine, query) for query in reversed(queries)][::-1]
    for a, b in zip(first, again, strict=True):
        assert (a.outcome, a.reason) == (b.outcome, b.reason)


# --- small balls ----------------------------------------------------------------------------------


def line(by: float = 0.0) -> Query:
    """Margins x0 - x1 + by over label 0, around (0.5, 0.5); decided by a network with ReLUs."""
    rng = np.random.default_rng(0)
    model = tiny_model(rng, inputs=2, hidden=(1,), classes=2)
    content = shifted(model, 0, 0.0)
    best = float(content.network.margins(0).evaluate(np.full((1, 2), 0.5))[0, 0])
    return Query((shifted(model, 0, by - best),), Ball(np.full(2, 0.5, dtype=np.float32), 0.0), 0)


@pytest.mark.parametrize(("by", "outcome"), [(0.1, "sat"), (-0.1, "unsat"), (0.0, "unknown")])
def test_ball_of_one_point(engine: MarabouEngine, children: list[Child], by: float, outcome: str) -> None:
    query = line(by)
    answer = ask(engine, query)
    assert answer.outcome == outcome
    if outcome == "sat":
        np.testing.assert_array_equal(answer.witness, query.ball.center)
    if outcome == "unknown":
        assert answer.reason == "boundary"
    assert children == []  # onnxruntime is asked, not Marabou


@pytest.mark.parametrize("epsilon", [1e-12, 1e-7, 4.9e-5])
def test_tiny_ball_is_not_asked_about(engine: MarabouEngine, children: list[Child], epsilon: float) -> None:
    query = line(0.1)
    answer = ask(engine, Query(query.models, Ball(query.ball.center, epsilon), 0))
    assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, "unsupported")
    assert children == []


# --- processes ------------------------------------------------------------------------------------


def hard(seed: int = 0) -> Query:
    """A query that bounds do not settle, so that a process is asked."""
    for k in range(seed, seed + 100):
        query = tiny_query(np.random.default_rng(k), members=2)
        encoding = marabou.encode(query)
        if encoding.problem is not None and encoding.problem.disjunctions:
            return query
    raise AssertionError("none of 100 random queries needs Marabou")


def test_one_process_serves_many_queries(children: list[Child]) -> None:
    engine = MarabouEngine()
    for _ in range(3):
        assert ask(engine, hard()).reason != "crashed"
    assert len(children) == 1
    engine.close()
    assert not children[0].alive()


def test_killed_in_mid_query_is_crashed_and_the_next_gets_a_fresh_process(
    children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    query = hard()
    expected = decide(query.models, query.ball.center, query.label, query.ball.epsilon, engine="marabou")
    engine = MarabouEngine()
    ask(engine, query)
    victim = children[-1]
    _stop_and(victim, lambda: victim.kill(), monkeypatch)
    answer = ask(engine, query)
    assert (answer.outcome, answer.reason, answer.witness) == (Outcome.UNKNOWN, "crashed", None)
    assert not victim.alive()
    after = ask(engine, query)
    assert after.outcome is expected.outcome
    assert children[-1] is not victim
    assert children[-1].alive()
    engine.close()


def test_process_that_died_between_queries_is_replaced(children: list[Child]) -> None:
    engine = MarabouEngine()
    first = ask(engine, hard())
    os.kill(children[0].pid, signal.SIGKILL)
    children[0].process.wait()
    assert ask(engine, hard()).outcome is first.outcome
    assert len(children) == 2
    engine.close()


def test_process_is_killed_at_its_deadline(children: list[Child], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "GRACE", 0.05)
    engine = MarabouEngine()
    ask(engine, hard())
    stuck = children[-1]
    _stop_and(stuck, None, monkeypatch)
    answer = ask(engine, hard(), Budget(0.05))
    assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, "timeout")
    assert not stuck.alive()
    assert ask(engine, hard()).reason != "timeout"
    engine.close()


def _stop_and(child: Child, then: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the child stopped before its next problem, so that it can't answer; then do something to it."""
    solve = child.solve

    def stopped(*problem: Any) -> Any:
        os.kill(child.pid, signal.SIGSTOP)
        if then is not None:
            threading.Timer(0.05, then).start()
        return solve(*problem)

    monkeypatch.setattr(child, "solve", stopped)


@pytest.mark.parametrize("budget", [Budget(deadline=0.0), Budget(timeout=0.0)])
def test_spent_budget_asks_nothing(engine: MarabouEngine, children: list[Child], budget: Budget) -> None:
    queries = [hard(), hard(10)]
    answers = list(engine.solve(queries, budget))
    assert len(answers) == 2
    reason = "timeout" if budget.timeout == 0 else "unasked"
    assert {(answer.outcome, answer.reason) for _, answer in answers} == {(Outcome.UNKNOWN, reason)}
    assert children == []


@pytest.mark.parametrize("jobs", [2, 3])
def test_several_jobs(engine: MarabouEngine, children: list[Child], jobs: int) -> None:
    queries = [tiny_query(np.random.default_rng(seed)) for seed in range(16)]
    parallel = MarabouEngine(jobs=jobs)
    answers = {id(query): answer for query, answer in parallel.solve(queries, UNLIMITED)}
    assert len(answers) == len(queries)
    assert len(children) <= jobs
    parallel.close()
    for query in queries:
        assert answers[id(query)].outcome is ask(engine, query).outcome


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("how", ["close", "error"])
def test_early_end_leaves_no_process(children: list[Child], jobs: int, how: str) -> None:
    engine = MarabouEngine(jobs=jobs)
    answers = engine.solve([hard(seed) for seed in range(0, 60, 10)], UNLIMITED)
    if how == "close":
        next(iter(answers))
        answers.close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(KeyboardInterrupt):
            _interrupted(answers)
    engine.close()
    assert children
    assert not any(child.alive() for child in children)


def _interrupted(answers: Any) -> None:
    next(answers)
    answers.throw(KeyboardInterrupt)


def test_early_end_kills_what_is_being_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[str] = []
    begun = threading.Event()

    class StuckLater(Child):
        asked = 0

        def solve(self, *problem: Any) -> Any:
            self.asked += 1
            if self.asked > 1:
                os.kill(self.pid, signal.SIGSTOP)
                begun.set()
            result = super().solve(*problem)
            ends.append(result[0])
            return result

    monkeypatch.setattr(marabou, "Child", StuckLater)
    monkeypatch.setattr(child, "GRACE", 0.0)
    engine = MarabouEngine()
    answers = engine.solve([hard(), hard()], Budget(5.0))
    next(answers)
    assert begun.wait(60)
    answers.close()  # type: ignore[attr-defined]
    engine.close()
    assert ends[-1] == "crashed"  # and not "timeout": nobody waited for its deadline


def test_engine_that_is_forgotten_leaves_no_process(children: list[Child]) -> None:
    engine = MarabouEngine()
    ask(engine, hard())
    del engine
    assert not children[0].alive()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the child ends with its stdin")
def test_process_dies_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import os, signal\n"
        "from pytest_ensemble.engines.marabou_process import Child\n"
        "print(Child().pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(marabou.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    parent = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, env=environment)
    assert parent.returncode == -signal.SIGKILL
    status = Path(f"/proc/{int(parent.stdout)}/stat")
    for _ in range(600):
        # a zombie is dead: nobody may be left to collect it
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its parent")


def test_nothing_is_printed_or_left_behind(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = MarabouEngine()
    for seed in range(5):
        ask(engine, hard(10 * seed))
    engine.close()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_decide_closes_what_it_started(children: list[Child]) -> None:
    query = hard()
    x = query.ball.center.reshape(1, -1)
    answer = decide(query.models, x, query.label, query.ball.epsilon, engine="marabou")
    assert answer.outcome is not Outcome.UNKNOWN
    assert answer.witness is None or answer.witness.shape == x.shape
    assert len(children) == 1
    assert not children[0].alive()
