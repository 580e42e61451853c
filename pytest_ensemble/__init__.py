"""Gate deep ensembles by formal verification: members must not fail together.

    from pytest_ensemble import Analysis, Pool, agreement_points

    pool = Pool.load("models")
    points = agreement_points(pool, x, y, count=200)
    analysis = Analysis(pool, points, epsilons=[0.01, 0.02], bounds=(0, 1))
    analysis.uniqueness(epsilon=0.02)

Names are imported when they are first used, so that loading the plugin costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_ensemble.analysis.analysis import Analysis as Analysis
    from pytest_ensemble.analysis.points import agreement_points as agreement_points
    from pytest_ensemble.analysis.scores import Interval as Interval
    from pytest_ensemble.engines.decide import decide as decide
    from pytest_ensemble.networks.model import Model as Model
    from pytest_ensemble.networks.pool import Pool as Pool
    from pytest_ensemble.queries.answer import Answer as Answer
    from pytest_ensemble.queries.answer import Outcome as Outcome

_HOMES = {
    "Analysis": "analysis.analysis",
    "Answer": "queries.answer",
    "Interval": "analysis.scores",
    "Model": "networks.model",
    "Outcome": "queries.answer",
    "Pool": "networks.pool",
    "agreement_points": "analysis.points",
    "decide": "engines.decide",
}

__all__ = [
    "Analysis",
    "Answer",
    "Interval",
    "Model",
    "Outcome",
    "Pool",
    "agreement_points",
    "decide",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pytest_ensemble' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"pytest_ensemble.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
