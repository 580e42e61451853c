"""The child process under solvers that crash, hang, chatter, lie, or are not there.

A module of the same name stands in for maraboupy, so that this runs on every Python. What the real one
answers is in test_marabou.py.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from pytest_ensemble.engines import child
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.decide import decide
from pytest_ensemble.engines.marabou import MarabouEngine
from pytest_ensemble.engines.marabou_encoding import Problem
from pytest_ensemble.engines.marabou_process import Child
from pytest_ensemble.errors import EngineError
from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.answer import Answer, Outcome
from tests.networks.graphs import Graph

CORE = """
import os, signal, sys, time
class Options: pass
class Equation:
    GE = 1
    def __init__(self, kind=0): pass
    def addAddend(self, *args): pass
    def setScalar(self, *args): pass
class InputQuery:
    def __getattr__(self, name): return lambda *args: None
def addReluConstraint(*args): pass
def addDisjunctionConstraint(*args): pass
def solve(query, options, redirect):
"""


@pytest.fixture
def solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call with the body of `solve(query, options, redirect)`, and code that runs at import."""

    class Bare(subprocess.Popen):  # type: ignore[type-arg]
        """Without site-packages: a maraboupy that is installed there comes first."""

        def __init__(self, arguments: list[str], **options: Any) -> None:
            super().__init__([arguments[0], "-S", *arguments[1:]], **options)

    def install(body: str, at_import: str = "") -> None:
        package = tmp_path / "maraboupy"
        package.mkdir()
        (package / "__init__.py").write_text("")
        body = "".join(f"    {line}\n" for line in dedent(body).strip().splitlines())
        (package / "MarabouCore.py").write_text(f"{at_import}\n{CORE}{body}")
        monkeypatch.delitem(sys.modules, "maraboupy", raising=False)
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        monkeypatch.setattr(subprocess, "Popen", Bare)

    return install


def problem() -> Problem:
    return Problem(inputs=2, lower=[-1.0, -1.0], upper=[1.0, 1.0], disjunctions=[[(0, 0.5)]])


def pair() -> tuple[Model, Model]:
    """Networks that both err for x0 - x1 < 0, which bounds alone can't tell."""
    models = []
    for name, scale in (("a", 1.0), ("b", 2.0)):
        graph = Graph(("n", 2))
        hidden = graph("Relu", graph("MatMul", graph.x, scale * np.eye(2)))
        models.append(graph.model(graph("MatMul", hidden, np.eye(2)), name=name))
    return models[0], models[1]


def ask(timeout: float | None = None) -> Answer:
    return decide(pair(), np.array([0.5, 0.3]), 0, 0.25, engine="marabou", timeout=timeout)


def test_answers_pass_through(solver: Any) -> None:
    solver("return 'sat', {0: 0.25, 1: -0.5, 7: 9.0}, None")
    child = Child()
    assert child.solve(problem(), None) == ("sat", [0.25, -0.5])
    assert child.solve(problem(), 5) == ("sat", [0.25, -0.5])
    assert child.alive()
    child.close()
    assert not child.alive()


@pytest.mark.parametrize(
    "death", ["os.kill(os.getpid(), signal.SIGSEGV)", "os.abort()", "os._exit(0)", "sys.exit(3)"]
)
def test_crash_is_an_unknown(solver: Any, death: str) -> None:
    solver(death)
    child = Child()
    assert child.solve(problem(), 60) == ("crashed", None)
    assert not child.alive()
    answer = ask()
    assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, "crashed")


@pytest.mark.parametrize("body", ["raise ValueError('no')", "return 'ERROR', {}, None", "return None"])
def test_error_is_an_unknown_and_the_process_goes_on(solver: Any, body: str) -> None:
    solver(body)
    child = Child()
    assert child.solve(problem(), 60) == ("crashed", None)
    assert child.alive()
    child.close()


@pytest.mark.parametrize("code", ["TIMEOUT", "timeout"])
def test_its_own_timeout(solver: Any, code: str) -> None:
    solver(f"return {code!r}, {{}}, None")
    assert ask().reason == "timeout"


def test_hang_ends_at_the_deadline(solver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "GRACE", 0.05)
    solver("while True: time.sleep(1)")
    answer = ask(timeout=0.05)
    assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, "timeout")


def test_chatter_is_swallowed(solver: Any, capfd: pytest.CaptureFixture[str]) -> None:
    chatter = """
    print("stray line", flush=True)
    os.write(1, b"stray bytes")
    os.write(2, b"stray error")
    return "unsat", {}, None
    """
    solver(chatter, "print('at import', flush=True)")
    assert ask().outcome is Outcome.UNSAT
    assert capfd.readouterr() == ("", "")


def test_files_are_left_nowhere(solver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    solver(
        """
        try:
            open("failedMarabouQuery.ipq", "w").close()
        except OSError:
            pass
        return "unsat", {}, None
        """
    )
    assert ask().outcome is Outcome.UNSAT
    assert [path.name for path in tmp_path.iterdir()] == ["maraboupy"]


@pytest.mark.parametrize("value", ["0.0", "1e30", "float('nan')", "float('inf')", "-1.0"])
def test_sat_is_never_believed_without_replay(solver: Any, value: str) -> None:
    """Whatever input the solver names, an answer of sat has a witness that replays."""
    solver(f"return 'sat', {{0: {value}, 1: {value}}}, None")
    answer = ask()
    if answer.outcome is Outcome.SAT:
        assert answer.witness is not None
        assert answer.witness[1] > answer.witness[0]
    else:
        assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, "boundary")


def test_lie_about_a_robust_pair_is_not_believed(solver: Any) -> None:
    solver("return 'sat', {0: 0.0, 1: 0.0}, None")
    # x0 - x1 stays above zero, but by less than the margin of a proof: so the solver is asked
    answer = decide(pair(), np.array([0.5, 0.0]), 0, 0.2499999, engine="marabou")
    assert answer.outcome is not Outcome.SAT


# --- not there ------------------------------------------------------------------------------------


def test_engine_without_maraboupy_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "maraboupy" else find(name, *rest)
    )
    for ask_for_it in (MarabouEngine, Child, ask):
        with pytest.raises(EngineError) as caught:
            ask_for_it()
        message = str(caught.value)
        assert "needs maraboupy: it is not installed" in message
        assert "CPython 3.8-3.11 on Linux and macOS" in message
        assert 'pip install "pytest-ensemble[marabou]"' in message
        assert "the 'auto' engine works without" in message


@pytest.mark.parametrize(
    ("at_import", "detail"),
    [
        ("raise ImportError('libfoo.so is missing')", "ImportError: libfoo.so is missing"),
        ("import sys; sys.exit('no')", "SystemExit: no"),
        ("import os; os._exit(1)", "its process died at start-up"),
    ],
)
def test_maraboupy_that_can_not_be_loaded(solver: Any, at_import: str, detail: str) -> None:
    solver("pass", at_import)
    engine = MarabouEngine()
    with pytest.raises(EngineError, match=f"needs maraboupy: {detail}"):
        ask()
    engine.close()


def test_nothing_is_started_before_it_is_needed(solver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    solver("return 'unsat', {}, None")

    def fail(*_: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", fail)
    engine = MarabouEngine()
    assert list(engine.solve([], Budget())) == []
    engine.close()
