"""`Child`: a Marabou process as its parent sees it. See `marabou_child` for the other side."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import pickle
import platform
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Literal, get_args

from pytest_ensemble.engines.marabou_encoding import Problem
from pytest_ensemble.errors import EngineError

__all__ = ["Child", "available", "missing"]

Status = Literal["sat", "unsat", "timeout", "crashed"]

# Marabou looks at its clock now and then only; after this many more seconds it is killed.
GRACE = 2.0


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


class Child:
    """A persistent Marabou process. One problem at a time; `kill` may come from any thread.

    On Linux the process dies with the thread that made it: make it in one that lives long enough.
    """

    def __init__(self) -> None:
        spec = importlib.util.find_spec("maraboupy")
        if spec is None or spec.origin is None:
            raise missing()
        script = Path(__file__).with_name("marabou_child.py")
        # -I ignores PYTHONPATH and the user's site-packages, which may be where maraboupy is
        folder = str(Path(spec.origin).parent.parent)
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(script), str(os.getpid()), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            state, detail = pickle.load(self._process.stdout)  # type: ignore[arg-type]
        except (EOFError, pickle.UnpicklingError):
            state, detail = "unusable", "its process died at start-up"
        if state != "ready":
            self.close()
            raise missing(detail)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def solve(self, problem: Problem, seconds: float | None) -> tuple[Status, list[float] | None]:
        """("sat", values of the inputs), or ("unsat", "timeout" or "crashed", None).

        Args:
            problem: all of its numbers finite.
            seconds: when to give up; None for never. The process is killed soon after.
        """
        with _Deadline(self, None if seconds is None else seconds + GRACE) as deadline:
            try:
                limit = 0 if seconds is None else max(1, math.ceil(seconds))
                pickle.dump((vars(problem), limit), self._process.stdin)  # type: ignore[arg-type]
                self._process.stdin.flush()  # type: ignore[union-attr]
                code, values = pickle.load(self._process.stdout)  # type: ignore[arg-type]
            except (EOFError, OSError, ValueError, pickle.UnpicklingError):
                self.close()
                return ("timeout" if deadline.passed else "crashed"), None
        if code == "TIMEOUT":
            return "timeout", None
        return ("crashed", None) if code not in get_args(Status) else (code, values)

    def kill(self) -> None:
        """End the process at once; a `solve` that waits for it returns."""
        self._process.kill()

    def close(self) -> None:
        """End the process and release its pipes."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was not flushed has no reader any more
                pipe.close()  # type: ignore[union-attr]


class _Deadline:
    """While entered, kills a child once `seconds` have passed (never for None)."""

    def __init__(self, child: Child, seconds: float | None) -> None:
        self._child = child
        self._timer = None if seconds is None else threading.Timer(seconds, self._pass)
        self.passed = False

    def _pass(self) -> None:
        self.passed = True
        self._child.kill()

    def __enter__(self) -> _Deadline:
        if self._timer:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer.join()  # after this it will not kill the child in its next query
