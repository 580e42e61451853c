"""Who answers queries: bounds, attack, branch and bound, MILP, Marabou, and their cascade."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_ensemble.engines.base import Engine

__all__ = ["ENGINES", "make_engine"]

ENGINES = ("auto", "native", "milp", "marabou")

_HAND_ON = 100_000  # nodes after which "auto" asks others


def make_engine(
    name: str, *, jobs: int = 1, certificates: Path | None = None, memory: int | None = None
) -> Engine:
    """An engine by its name.

    Args:
        name: one of `ENGINES`.
        jobs: processes.
        certificates: folder for what our own engine proves; the others give no certificates.
        memory: bytes that each solver process may allocate, or None. With a limit our own engine solves in
            processes too where it would not otherwise.

    Raises:
        EngineError: no such engine, or it is not installed here.
    """
    from pytest_ensemble.errors import EngineError, did_you_mean

    if name == "native":
        from pytest_ensemble.engines.cascade import Cascade

        return Cascade(jobs=jobs, certificates=certificates, memory=memory)
    if name == "auto":
        from pytest_ensemble.engines.cascade import Cascade
        from pytest_ensemble.engines.marabou_process import available
        from pytest_ensemble.engines.race import Race

        others = ["milp", "marabou"] if available() else ["milp"]
        makers = [partial(_make_with_jobs, other, memory) for other in others]
        race = Race(makers, jobs=jobs)
        return Cascade(
            name="auto", jobs=jobs, limit=_HAND_ON, after=race, certificates=certificates, memory=memory
        )
    if name == "milp":
        from pytest_ensemble.engines.milp import MilpEngine

        return MilpEngine(jobs=jobs, memory=memory)
    if name == "marabou":
        from pytest_ensemble.engines.marabou import MarabouEngine

        return MarabouEngine(jobs=jobs, memory=memory)
    raise EngineError(f"There is no engine {name!r}.{did_you_mean(name, ENGINES)}")


def _make_with_jobs(name: str, memory: int | None, jobs: int) -> Engine:
    return make_engine(name, jobs=jobs, memory=memory)
