"""Who answers queries: bounds, attack, branch and bound, MILP, Marabou, and their cascade."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_ensemble.engines.base import Engine

__all__ = ["ENGINES", "make_engine"]

ENGINES = {
    "auto": "our own engine first; Marabou, where it is installed, for what stays open at its limit",
    "native": "our own exact engine alone",
    "marabou": "every query by Marabou, paired as in the paper",
}


def make_engine(name: str, *, jobs: int = 1) -> Engine:
    """An engine by its name.

    Raises:
        EngineError: no such engine, or it is not installed here.
    """
    from pytest_ensemble.errors import EngineError, did_you_mean

    if name in ("auto", "native"):
        from pytest_ensemble.engines.cascade import Cascade
        from pytest_ensemble.engines.marabou_process import available

        if name == "native" or not available():
            return Cascade(name="native", jobs=jobs)
        return Cascade(name="native", jobs=jobs, others=[lambda: make_engine("marabou", jobs=jobs)])
    if name == "marabou":
        from pytest_ensemble.engines.marabou import MarabouEngine

        return MarabouEngine(jobs=jobs)
    raise EngineError(f"There is no engine {name!r}.{did_you_mean(name, ENGINES)}")
