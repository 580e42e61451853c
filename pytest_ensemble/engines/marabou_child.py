"""The process in which Marabou runs: takes pickled problems on stdin, answers on what was stdout.

Run as a script by `python -I`; imports nothing of this package. maraboupy holds the GIL while it
solves, prints to stdout, leaves files in the working directory and may crash, so it gets a process
with none of these to spoil, which its parent kills at the deadline.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until stdin ends. Arguments: the parent's process id, the folder that holds maraboupy."""
    die_with_parent(int(sys.argv[1]))
    answers = _silence()
    sys.path.append(sys.argv[2])  # last: nothing in it may shadow the standard library
    try:
        from maraboupy import MarabouCore
    except BaseException as error:
        _send(answers, ("unusable", f"{type(error).__name__}: {error}"))
        return
    _send(answers, ("ready", None))
    with contextlib.suppress(EOFError):
        while True:
            problem, seconds = pickle.load(sys.stdin.buffer)
            _send(answers, _solve(MarabouCore, problem, seconds))


def die_with_parent(parent: int) -> None:
    """On Linux, die when the thread that started this process does; elsewhere, at the end of stdin."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we could ask for that
        os._exit(1)


def _silence() -> BinaryIO:
    """Point stdout and stderr nowhere, work in a folder that is gone; return the old stdout."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    Path(folder).rmdir()
    return answers


def _send(answers: BinaryIO, answer: tuple[str, Any]) -> None:
    pickle.dump(answer, answers)
    answers.flush()


def _solve(core: Any, problem: dict[str, Any], seconds: int) -> tuple[str, list[float] | None]:
    """(Marabou's exit code, values of the input variables if it is "sat")."""
    options = core.Options()
    options._verbosity = 0
    options._timeoutInSeconds = seconds
    if seconds and sys.platform != "win32":
        signal.alarm(seconds + 10)  # it may overrun its limit, and the parent may be gone
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).srand(1)  # Marabou draws from it: less depends on earlier problems
    try:
        code, values, _ = core.solve(_query(core, problem), options, "")
    except Exception as error:
        return f"error: {error}", None
    finally:
        signal.alarm(0)
    return code, [values[k] for k in range(problem["inputs"])] if code == "sat" else None


def _query(core: Any, problem: dict[str, Any]) -> Any:
    query = core.InputQuery()
    query.setNumberOfVariables(len(problem["lower"]))
    for variable, (low, high) in enumerate(zip(problem["lower"], problem["upper"], strict=True)):
        query.setLowerBound(variable, low)
        query.setUpperBound(variable, high)
    for variable in range(problem["inputs"]):
        query.markInputVariable(variable, variable)
    for variables, coefficients, scalar in problem["equations"]:
        equation = core.Equation()
        for variable, coefficient in zip(variables, coefficients, strict=True):
            equation.addAddend(coefficient, variable)
        equation.setScalar(scalar)
        query.addEquation(equation)
    for before, after in problem["relus"]:
        core.addReluConstraint(query, before, after)
    for options in problem["disjunctions"]:
        core.addDisjunctionConstraint(query, [[_at_least(core, *option)] for option in options])
    return query


def _at_least(core: Any, variable: int, bound: float) -> Any:
    equation = core.Equation(core.Equation.GE)
    equation.addAddend(1.0, variable)
    equation.setScalar(bound)
    return equation


if __name__ == "__main__":
    main()
