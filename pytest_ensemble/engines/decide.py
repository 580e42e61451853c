"""`decide`: one query, one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines import make_engine
from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.answer import Answer
from pytest_ensemble.queries.query import make_query

__all__ = ["decide"]

ModelLike = Model | str | Path


def decide(
    models: ModelLike | Sequence[ModelLike],
    x: NDArray[Any],
    label: int,
    epsilon: float,
    *,
    bounds: Any = None,
    engine: str | Engine = "auto",
    timeout: float | None = None,
) -> Answer:
    """Can one input within `epsilon` of `x` make all of these networks misclassify?

    Args:
        models: one network (local robustness), two (a mutual error), or more (an error common to all:
            the paper's footnote on larger subsets); Models or paths of ONNX files.
        x: the point, any shape with as many numbers as the models take; cast to float32.
        label: its class.
        epsilon: radius of the L-infinity ball, in the units of `x`.
        bounds: (low, high) that inputs keep to, numbers or arrays; None for an unclipped ball.
        engine: name of an engine, or an Engine.
        timeout: seconds, or None.

    Returns:
        The answer; its witness has the shape of `x`.

    Raises:
        ModelError: a model that can't be used.
        QueryError: a bad point, label, epsilon or bounds.
        EngineError: no such engine here.
    """
    several = [models] if isinstance(models, (Model, str, Path)) else list(models)
    loaded = tuple(m if isinstance(m, Model) else Model.load(m) for m in several)
    query = make_query(loaded, x, label, epsilon, bounds)
    solver = make_engine(engine) if isinstance(engine, str) else engine
    try:
        ((_, answer),) = solver.solve([query], Budget(timeout))
    finally:
        if isinstance(engine, str):
            solver.close()
    if answer.witness is None:
        return answer
    return replace(answer, witness=answer.witness.reshape(np.shape(x)))
