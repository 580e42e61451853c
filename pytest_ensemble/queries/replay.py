"""Confirm witnesses: a solver's word is not enough, onnxruntime on the user's own files decides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.query import Query

__all__ = ["errs", "margins", "replays", "replays_somewhere"]

_RUN = 1024  # inputs of one run of a model


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


def replays_somewhere(queries: Sequence[Query], x: Sequence[NDArray[np.float32]]) -> NDArray[np.bool_]:
    """Which inputs, each of shape (n,), are witnesses of their own query at some epsilon: shape (m,).

    As `replays`, but for many queries at once and at any distance.
    """
    good = np.array([bool(query.ball.bounded(one)[0]) for query, one in zip(queries, x, strict=True)], bool)
    rows: dict[str, list[int]] = {}
    models = {model.sha256: model for query in queries for model in query.models}
    for row, query in enumerate(queries):
        for digest in {model.sha256 for model in query.models}:
            rows.setdefault(digest, []).append(row)
    for digest, own in rows.items():
        for start in range(0, len(own), _RUN):
            part = [row for row in own[start : start + _RUN] if good[row]]
            if part:
                labels = np.array([queries[row].label for row in part], np.intp)
                good[part] = errs(models[digest], np.stack([x[row] for row in part]), labels)
    return good
