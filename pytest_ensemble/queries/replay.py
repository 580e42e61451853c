"""Confirm witnesses: a solver's word is not enough, onnxruntime on the user's own files decides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.query import Query

__all__ = ["errs", "margins", "replays"]


def margins(model: Model, x: NDArray[np.float32], label: int | NDArray[np.intp]) -> NDArray[np.float64]:
    """Score of the best other class minus that of the label, as the file computes it: (m, n) -> (m,)."""
    return _judge(model, x, label)[0]


def errs(model: Model, x: NDArray[np.float32], label: int | NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which inputs, shape (m, n), the model's file labels otherwise by a strict margin: shape (m,).

    `label`: one for all inputs, or shape (m,).
    """
    margin, predicted = _judge(model, x, label)
    return np.asarray((margin > 0) & (predicted != label))


def _judge(
    model: Model, x: NDArray[np.float32], label: int | NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    scores, predicted = model.classify(x)
    rows = np.arange(len(x))
    right = scores[rows, label]
    scores[rows, label] = -np.inf
    return scores.max(axis=1) - right, predicted


def replays(query: Query, x: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of the candidates, float32 of shape (m, n), are witnesses of the query: shape (m,).

    Membership in the ball is exact; every network must err in onnxruntime by a strict margin.
    """
    good = query.ball.contains(x)
    for model in query.models:
        if not good.any():
            break
        good[good] = errs(model, x[good], query.label)
    return good
