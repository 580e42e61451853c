"""Witnesses by gradients: joint projected gradient ascent on the smallest of the margins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.chains import Array, Chains, Groups, Index, groups_of, slab_size
from pytest_ensemble.engines.checkpoint import checkpoint
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import replays

__all__ = ["ascend", "climb", "polish"]

_STEPS = 24
_GENERATIONS, _PARENTS, _CHILDREN = 24, 16, 4096  # of `climb`


@np.errstate(over="ignore", invalid="ignore")  # what overflows is no witness
def ascend(
    chains: Chains,
    team: Index,
    start: Array,
    low: Array,
    high: Array,
    label: Index,
    *,
    steps: int = _STEPS,
    reach: float = 1.0,
) -> tuple[Array, Array]:
    """Projected gradient ascent (Madry et al. 2018) on the least error of k networks.

    Args:
        chains: the networks.
        team: the rows' teams, shape (B,), sorted.
        start, low, high: starting points and corners of the boxes, shape (B, n).
        label: the labels, shape (B,).
        steps: how many; their size falls from `reach` half widths of the box to a twentieth of that.

    Returns:
        (x, error): the best inputs, (B, n), and the least error of all networks there, (B,). Rows that err by
        more than rounding stop at once.
    """
    size = slab_size(team)
    slabs = [slice(first, first + size) for first in range(0, max(1, len(start)), size)]
    parts = [
        _ascend_slab(chains, team[rows], start[rows], low[rows], high[rows], label[rows], steps, reach)
        for rows in slabs
    ]
    best, score = zip(*parts, strict=True)
    return np.concatenate(best), np.concatenate(score)


def _ascend_slab(
    chains: Chains,
    team: Index,
    start: Array,
    low: Array,
    high: Array,
    label: Index,
    steps: int,
    reach: float,
) -> tuple[Array, Array]:
    half = (high - low) / 2
    best, score = start.copy(), np.full(len(start), -np.inf, start.dtype)
    active, x = np.arange(len(start)), start.copy()
    for step in range(steps + 1 if len(start) else 0):
        checkpoint()
        progress = step / max(steps, 1)
        errors, direction = _ascent(chains, team[active], x, label[active], 2.0 + 30.0 * progress)
        least = errors.min(axis=1)
        better = least > score[active]
        best[active[better]], score[active[better]] = x[better], least[better]
        go = least <= 1e-5 * (1 + np.abs(errors).max(axis=1))
        if step == steps or not go.any():
            break
        if go.mean() < 0.9:
            active, x, direction = active[go], x[go], direction[go]
            half, low, high = half[go], low[go], high[go]
        np.copysign(half, direction, out=direction)
        direction *= reach * 20.0**-progress
        x += direction
        np.clip(x, low, high, out=x)
    return best, score


def _ascent(chains: Chains, team: Index, x: Array, label: Index, sharpness: float) -> tuple[Array, Array]:
    """Errors, shape (B, k), at inputs of shape (B, n), and a direction, (B, n), that raises the smallest.

    The gradient of the errors' soft minimum; `sharpness` in units of 1 / error.
    """
    groups: Groups = groups_of(team)
    hidden = chains.hidden(chains.from_input(x, groups) + chains.first_bias[team], team, groups)
    rows = np.arange(len(x))
    errors = np.empty((len(x), chains.k), x.dtype)
    directions = []
    for index, logits in enumerate(chains.logits(hidden, groups)):
        weight = chains.last[index][0]
        right = logits[rows, label]
        logits[rows, label] = -np.inf
        best = logits.argmax(axis=1)
        errors[:, index] = logits[rows, best] - right
        directions.append(weight[team, best] - weight[team, label])
    share = np.exp(-sharpness * (errors - errors.min(axis=1, keepdims=True)))
    share /= share.sum(axis=1, keepdims=True)
    gradient = np.zeros_like(hidden)
    for index, (_, _, place) in enumerate(chains.last):
        gradient[:, place] = share[:, index, None] * directions[index]
    passes = ~chains.relu[team] | (hidden > 0)
    for part in reversed(chains.parts):
        inner = gradient[:, part.outputs] * passes[:, part.outputs]
        gradient[:, part.inputs], _ = chains.back(part, inner, groups)
    first = slice(0, chains.width)
    return errors, chains.to_input(gradient[:, first] * passes[:, first], groups)


def climb(
    start: NDArray[np.float32],
    project: Callable[[Array], NDArray[np.float32]],
    execute: Callable[[NDArray[np.float32]], Array],
) -> NDArray[np.float32]:
    """The best of many float32 neighbours of an input, by evolution on what the models say as executed.

    Where the best margins are positive by less than float32 rounding can move them, whether an input errs is
    a matter of which numbers are rounded how. Mutations are a few float32 steps in a few coordinates.

    Args:
        start: shape (n,).
        project: moves inputs, (m, n), into the ball.
        execute: errors of all networks, (m, k), of inputs of shape (m, n).
    """
    rng = np.random.default_rng(0)
    parents = project(start[None])
    count = min(_CHILDREN, (1 << 23) // len(start))
    for _ in range(_GENERATIONS):
        checkpoint()
        children = np.repeat(parents, -(-count // len(parents)), axis=0)
        share = (10.0 ** rng.uniform(-3, -0.3, size=(len(children), 1))).astype(np.float32)
        moved = np.nonzero(rng.random(children.shape, dtype=np.float32) < share)
        values = children[moved]
        steps = rng.integers(-8, 9, size=len(values), dtype=np.int8)
        children[moved] += steps * np.spacing(np.maximum(np.abs(values), np.float32(1e-2)))
        children = project(children)
        everyone = np.concatenate([parents, children])
        errors = execute(everyone)
        # the least error counts; the mean tells apart those that share it
        order = np.argsort(-(errors.min(axis=1) + 0.1 * errors.mean(axis=1)), kind="stable")
        parents = everyone[order[:_PARENTS]]
        if errors[order[0]].min() > 0:
            break
    return np.asarray(parents[0])


def polish(query: Query, start: Array) -> NDArray[np.float32] | None:
    """A witness that replays, shape (n,), a few ascent steps from candidates of shape (m, n); or None."""
    chains = Chains([[model.network for model in query.models]])
    low, high = (np.tile(side, (len(start), 1)) for side in query.ball.box)
    label, team = np.full(len(start), query.label), np.zeros(len(start), np.intp)
    for reach in (0.05, 0.5, 1.0):
        inside = query.ball.project(start).astype(np.float64)
        x, _ = ascend(chains, team, inside, low, high, label, reach=reach)
        candidates = query.ball.project(x)
        good = replays(query, candidates)
        if good.any():
            return np.asarray(candidates[int(good.argmax())])
    return None
