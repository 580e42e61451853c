"""Tighter pre-activation bounds for the inputs that could still err.

Every relaxation gives an affine L with `L(x) >= weighted margins`, so inputs that err satisfy L(x) >= 0. Over
the box cut by that half-space, a first pre-activation z_k has the maximum (Lagrangian duality; a knapsack)

    min over lambda >= 0 of   max over the box of   z_k(x) + lambda * L(x)

of which any lambda gives a valid bound. This is bound tightening by the output constraint (OBBT with one
row; INVPROP, Kotha et al. 2023; reduced-cost fixing in MILP). Near the decision, where L(x) >= 0 leaves a
corner of the box, it fixes most ReLUs at once.
"""

from __future__ import annotations

import numpy as np

from pytest_ensemble.engines.bounds import Linear, Rows, magnitude
from pytest_ensemble.engines.chains import Array, Boxes, Chains, groups_of

__all__ = ["tighten"]

_NEURONS = 10  # tightened a row: those whose chords cost most
_LAMBDAS = 3
_ROWS = 8  # at a time, so that arrays of shape (rows, neurons, inputs) stay in the cache


def tighten(chains: Chains, boxes: Boxes, rows: Rows, linear: Linear) -> Array:
    """Narrow `rows.lower` and `rows.upper` of first-layer neurons in place.

    Args:
        chains, boxes: the float32 ones, with dense first weights.
        linear: the affine bounds of the rows, at any multipliers.

    Returns:
        (B,) bool: rows in which a neuron has no value left, so that nothing can err.
    """
    n1 = chains.width
    lower, upper = rows.lower[:, :n1], rows.upper[:, :n1]
    unstable = chains.relu[rows.team, :n1] & (lower < 0) & (upper > 0)
    count = min(_NEURONS, int(unstable.sum(axis=1).max(initial=0)))
    if not count or not isinstance(chains.first[0], np.ndarray):
        return np.zeros(len(rows), np.bool_)
    height = -lower * upper / np.where(unstable, upper - lower, 1)
    above = linear.activation[:, :n1]
    cost = np.where(unstable, np.where(above > 0, above, -0.05 * above) * height, -1)
    chosen = np.argpartition(-cost, count - 1, axis=1)[:, :count]
    for team, group in groups_of(rows.team):
        for start in range(group.start, group.stop, _ROWS):
            place = np.arange(start, min(start + _ROWS, group.stop))
            _tighten_slab(chains, boxes, rows, linear, place, chosen, chains.first[team])
    return np.asarray((rows.lower > rows.upper).any(axis=1))


def _tighten_slab(
    chains: Chains, boxes: Boxes, rows: Rows, linear: Linear, place: Array, chosen: Array, first: Array
) -> None:
    neurons = chosen[place]
    row, count = place[:, None], neurons.shape[1]
    box = rows.box[place]
    radius, center = boxes.radius[box], chains.at_center(boxes, box, rows.team[place])
    coefficient = linear.preactivation[place, : chains.width]
    cut = (coefficient @ first) * radius  # L = level + cut . u, for u in [-1, 1]^n
    level = linear.constant[place] + np.einsum("bn,bn->b", coefficient, center)
    # float32 rounding, as in `certify`: of L, and below of the sums over inputs
    rounding = 4 * (chains.inputs + chains.neurons + 64) * 2.0**-24
    level += (rounding * magnitude(chains, boxes, rows.take(place))).astype(level.dtype)
    weight = first[neurons] * radius[:, None]
    weight = np.concatenate([weight, -weight], axis=1)  # upper bounds of z_k, then of -z_k
    middle = np.take_along_axis(center, neurons, axis=1)
    middle = np.concatenate([middle, -middle], axis=1)
    ratio = np.abs(weight[:, :count]).sum(axis=2)
    ratio /= np.maximum(np.abs(cut).sum(axis=1, keepdims=True), np.finfo(cut.dtype).tiny ** 0.5)
    multiplier = np.concatenate([ratio, ratio], axis=1)
    least, most = np.zeros_like(multiplier), np.full_like(multiplier, np.inf)
    best = np.concatenate([rows.upper[row, neurons], -rows.lower[row, neurons]], axis=1)
    sum_up = np.ones(weight.shape[2], weight.dtype)
    size = np.take_along_axis(chains.sizes(boxes, box, rows.team[place]), neurons, axis=1)
    size = np.concatenate([size, size], axis=1).astype(weight.dtype)
    for attempt in range(_LAMBDAS):
        joined = multiplier[:, :, None] * cut[:, None]
        joined += weight
        if attempt < _LAMBDAS - 1:
            # the derivative in lambda is L at the maximiser; bisect on a logarithmic scale
            slope = level[:, None] + (np.copysign(sum_up, joined) @ cut[:, :, None])[:, :, 0]
        np.abs(joined, out=joined)
        value = joined @ sum_up + middle + multiplier * level[:, None]
        value += rounding * (size + multiplier * np.abs(level)[:, None] + np.abs(value))
        np.minimum(best, value, out=best)
        if attempt < _LAMBDAS - 1:
            least = np.where(slope < 0, multiplier, least)
            most = np.where(slope >= 0, multiplier, most)
            between = np.sqrt(np.maximum(least, 1e-9) * np.where(np.isinf(most), 1, most))
            multiplier = np.where(
                np.isinf(most), 3 * multiplier, np.where(least == 0, multiplier / 3, between)
            )
    rows.upper[row, neurons] = best[:, :count]
    rows.lower[row, neurons] = -best[:, count:]
