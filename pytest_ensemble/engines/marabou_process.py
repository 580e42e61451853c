"""`Child`: a Marabou process as its parent sees it. See `marabou_child` for the other side."""

from __future__ import annotations

import importlib.util
import math
import platform
from pathlib import Path
from typing import Literal, cast, get_args

from pytest_ensemble.engines import child
from pytest_ensemble.engines.marabou_encoding import Problem
from pytest_ensemble.errors import EngineError

__all__ = ["Child", "available", "missing"]

Status = Literal["sat", "unsat", "timeout", "memory", "crashed"]


def available() -> bool:
    """Whether maraboupy is installed here; it is not imported."""
    return importlib.util.find_spec("maraboupy") is not None


def missing(detail: str = "it is not installed") -> EngineError:
    """The error for a Python in which maraboupy can't be used."""
    return EngineError(
        f"The 'marabou' engine needs maraboupy: {detail}. "
        "Its wheels exist only for CPython 3.8-3.11 on Linux and macOS x86_64; this is "
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} "
        f'{platform.machine()}. There, `pip install "pytest-ensemble[marabou]"` brings it; '
        "the 'auto' engine works without."
    )


class Child(child.Child):
    """A persistent Marabou process."""

    def __init__(self, *, memory: int | None = None) -> None:
        """`memory`: bytes that it may allocate, or None."""
        spec = importlib.util.find_spec("maraboupy")
        if spec is None or spec.origin is None:
            raise missing()
        service = "pytest_ensemble.engines.marabou_child:serve"
        super().__init__(service, memory=memory, path=str(Path(spec.origin).parent.parent))
        try:
            state, detail = self.receive()
        except child.Died:
            state, detail = "unusable", "its process died at start-up"
        if state != "ready":
            self.close()
            raise missing(detail)

    def solve(self, problem: Problem, seconds: float | None) -> tuple[Status, list[float] | None]:
        """("sat", values of the inputs), or ("unsat", "timeout", "memory" or "crashed", None).

        Args:
            problem: all of its numbers finite.
            seconds: when to give up; None for never. The process is killed soon after.
        """
        limit = 0 if seconds is None else max(1, math.ceil(seconds))
        try:
            code, values = self.ask((vars(problem), limit), seconds)
        except child.Died as death:
            return cast(Status, death.reason), None
        if code == "TIMEOUT":
            return "timeout", None
        return ("crashed", None) if code not in get_args(Status) else (code, values)
