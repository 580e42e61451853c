"""Inputs of a ball that make all networks of a team err: by trying many, without any engine."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.rounding import margin_rounding
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import errs, margins

__all__ = ["Tried", "beyond_rounding", "climbs", "every_input", "some_inputs"]

Inputs = NDArray[np.float32]
Rng = np.random.Generator

_MOST = 4096  # inputs of a ball that are all tried


class Tried:
    """What networks say of some inputs, (m, n), as executed and in real numbers."""

    def __init__(self, x: Inputs, label: int) -> None:
        self.x, self.label = x, label
        self._errs: dict[str, NDArray[np.bool_]] = {}
        self._margins: dict[str, NDArray[np.float64]] = {}

    def all_err(self, models: Iterable[Model]) -> NDArray[np.bool_]:
        """(m,): where all of them err as executed."""
        for model in models:
            if model.sha256 not in self._errs:
                self._errs[model.sha256] = errs(model, self.x, self.label)
        return np.asarray(np.all([self._errs[model.sha256] for model in models], axis=0))

    def least_margin(self, models: Iterable[Model]) -> NDArray[np.float64]:
        """(m,): in real numbers."""
        for model in models:
            if model.sha256 not in self._margins:
                values = model.network.margins(self.label).evaluate(self.x)
                self._margins[model.sha256] = values.max(axis=1)
        return np.asarray(np.min([self._margins[model.sha256] for model in models], axis=0))


def beyond_rounding(model: Model, ball: Ball, x: Inputs, label: int) -> float:
    """By how much onnxruntime raises a margin more than rounding may, at inputs (m, n); 0 for never."""
    executed, real = model.logits(x), model.network.evaluate(x)
    gained = (executed - executed[:, [label]]) - (real - real[:, [label]])
    (low, high), exact = ball.box, x.astype(np.float64)
    bounds = (
        margin_rounding(model.network, low[None], high[None], np.array([label])),
        margin_rounding(model.network, exact, exact, np.full(len(x), label)),
    )
    return max(0.0, *(float((gained - bound).max()) for bound in bounds))


def some_inputs(rng: Rng, ball: Ball, count: int, others: Inputs | None) -> Inputs:
    """Random ones, corners, faces, neighbours of the center, and others that are moved into the ball."""
    low, high = ball.float32_box
    shape = (count, len(low))
    inside = rng.uniform(low.astype(np.float64), high, size=shape)
    corners = np.where(rng.random(shape) < 0.5, low, high)
    faces = np.where(rng.random(shape) < 0.5, corners, inside)
    near = ball.center + np.spacing(np.abs(ball.center)) * rng.integers(-3, 4, size=shape)
    parts = [ball.center[None], inside, corners, faces, near[: count // 4]]
    return ball.project(np.concatenate(parts if others is None else [*parts, others]))


def every_input(ball: Ball) -> Inputs | None:
    """All float32 inputs of a ball; None if there are too many."""
    axes = []
    for low, high in zip(*ball.float32_box, strict=True):
        axis = [low + np.float32(0)]
        while axis[-1] < high:
            axis.append(np.nextafter(axis[-1], high))
            if len(axis) > _MOST:
                return None
        axes.append(np.array(axis))
    if np.prod([float(len(axis)) for axis in axes]) > _MOST:
        return None
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes)).astype(np.float32)


def climbs(rng: Rng, query: Query, start: Inputs, rounds: int = 12) -> Inputs:
    """From the best of some inputs, random steps of all sizes as long as they raise the least margin."""
    ball, best = query.ball, start[:1]
    low, high = ball.float32_box

    def least(x: Inputs) -> NDArray[np.float64]:
        return np.asarray(np.min([margins(model, x, query.label) for model in query.models], axis=0))

    pool = start
    for _ in range(rounds):
        order = np.argsort(-least(pool), kind="stable")
        best = pool[order[:4]]
        parents = np.repeat(best, 24, axis=0)
        moved = rng.random(parents.shape) < rng.uniform(0.1, 1, size=(len(parents), 1))
        wide = (high.astype(np.float64) - low) * 10.0 ** rng.uniform(-7, 0, size=(len(parents), 1))
        steps = np.where(moved, rng.normal(size=parents.shape) * wide, 0.0)
        pool = np.concatenate([best, ball.project(parents + steps)])
    return best
