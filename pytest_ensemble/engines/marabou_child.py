"""The process in which Marabou runs: takes problems, says what Marabou does; see `child_main`.

Imports nothing that takes time. maraboupy holds the GIL while it solves, prints to stdout, leaves files in
the working directory and may crash, so it gets a process with none of these to spoil, which its parent kills
at the deadline.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["serve"]


def serve(receive: Callable[[], Any], send: Callable[[Any], None]) -> None:
    """Answer (problem, seconds) by (Marabou's exit code, values of the inputs or None), for ever."""
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    Path(folder).rmdir()  # where it writes, nothing is left
    try:
        from maraboupy import MarabouCore
    except BaseException as error:
        send(("unusable", f"{type(error).__name__}: {error}"))
        return
    send(("ready", None))
    while True:
        problem, seconds = receive()
        send(_solve(MarabouCore, problem, seconds))


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
    except MemoryError:
        raise
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
