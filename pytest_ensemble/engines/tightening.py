"""Tighter pre-activation bounds for the inputs that could still err.

Every relaxation gives an affine L with `L(x) >= weighted margins`, so inputs that err satisfy L(x) >= 0. Over
the box cut by that half-space, an affine upper bound z(x) of a pre-activation has the maximum (Lagrangian
duality; a knapsack)

    min over lambda >= 0 of   max over the box of   z(x) + lambda * L(x)

of which any lambda gives a valid bound. This is bound tightening by the output constraint (OBBT with one
row; INVPROP, Kotha et al. 2023; reduced-cost fixing in MILP). Near the decision, where L(x) >= 0 leaves a
corner of the box, it fixes most ReLUs at once. In the first layer z(x) is the pre-activation itself, in
deeper ones its CROWN bound under the row's present bounds, which branching below it has narrowed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.bounds import Rows, linearise, magnitude
from pytest_ensemble.engines.chains import Array, Frame, Index, Part, groups_of
from pytest_ensemble.engines.checkpoint import checkpoint
from pytest_ensemble.networks.network import Float

__all__ = ["bound_deeper", "tighten"]

NEURONS = 10  # of a layer that are tightened in a row: those whose relaxations cost most
_LAMBDAS = 2
_HUGE = 1e30  # multipliers at most: float32 must hold them
_NUMBERS = 1 << 18  # at a time: arrays of shape (rows, neurons, inputs) should stay in the cache


@np.errstate(over="ignore", invalid="ignore")  # a bound that overflows is none
def tighten(frame: Frame, rows: Rows, *, neurons: int = NEURONS) -> NDArray[np.bool_]:
    """Narrow `rows.lower` and `rows.upper` in place.

    Args:
        frame: teams with dense weights; for others nothing is done.
        rows: float32, sorted by team; L is taken at their multipliers.
        neurons: how many of each layer, in each row.

    Returns:
        (B,) bool: rows in which a neuron has no value left, so that nothing can err.
    """
    if len(rows) and _is_dense(frame):
        cut = _cut(frame, rows)
        for part in (None, *frame.exact.parts):
            _tighten_layer(frame, rows, cut, part, neurons)
    return np.asarray((rows.lower > rows.upper).any(axis=1))


@np.errstate(over="ignore", invalid="ignore")
def bound_deeper(frame: Frame, rows: Rows) -> NDArray[np.bool_]:
    """The same without the half-space, for all neurons of deeper layers: what branching below them leaves.

    Bounds follow from the signs that branching has fixed and the bounds given, so they can be checked alone.
    """
    if len(rows) and _is_dense(frame):
        for part in frame.exact.parts:
            _tighten_layer(frame, rows, None, part, frame.exact.neurons)
    return np.asarray((rows.lower > rows.upper).any(axis=1))


def _is_dense(frame: Frame) -> bool:
    layers = [frame.exact.first, *(part.weight for part in frame.exact.parts)]
    return all(isinstance(weights[0], np.ndarray) for weights in layers)


class _Cut(NamedTuple):
    """L over the box: `level + slope . u` for u in [-1, 1]^n; slope float32 (B, n), level float64 (B,).

    `rounding`, (B,): the absolute values that were rounded to float32 on the way to the slope, added up.

    `activation`, (B, N): L's coefficients of activations, which tell whose relaxation costs it most.
    """

    slope: Array
    level: Float
    rounding: Float
    activation: Array


def _cut(frame: Frame, rows: Rows) -> _Cut:
    chains, boxes = frame.exact, frame.exact_boxes
    exact = rows.cast(np.float64)
    linear = linearise(chains, boxes, exact)
    coefficient = linear.preactivation[:, : chains.width]
    level = linear.constant + np.einsum("bn,bn->b", coefficient, chains.at_center(boxes, rows.box, rows.team))
    level += 4 * chains.gamma * magnitude(chains, boxes, exact)
    fast = coefficient.astype(np.float32)
    rounding = np.einsum("bn,bn->b", np.abs(coefficient), chains.reach(boxes, rows.box, rows.team))
    slope = frame.fast.to_input(fast, groups_of(rows.team)) * frame.fast_boxes.radius[rows.box]
    return _Cut(slope, level, rounding, linear.activation)


def _tighten_layer(frame: Frame, rows: Rows, cut: _Cut | None, part: Part | None, neurons: int) -> None:
    chains = frame.fast
    place = slice(0, chains.width) if part is None else part.outputs
    lower, upper = rows.lower[:, place], rows.upper[:, place]
    unstable = chains.relu[rows.team, place] & (lower < 0) & (upper > 0)
    count = min(neurons, int(unstable.sum(axis=1).max()))
    if not count:
        return
    cost = np.where(unstable, -lower * upper / np.where(unstable, upper - lower, 1), -1)
    if cut is not None:
        above = cut.activation[:, place]
        cost = np.where(unstable, np.where(above > 0, above, -0.05 * above) * cost, -1)
    chosen = place.start + np.argpartition(-cost, count - 1, axis=1)[:, :count]
    slab = max(1, _NUMBERS // (2 * count * chains.inputs))
    for team, group in groups_of(rows.team):
        for start in range(group.start, group.stop, slab):
            checkpoint()
            which = np.arange(start, min(start + slab, group.stop))
            _slab(frame, rows, cut, which, chosen[which], team, part)


def _slab(
    frame: Frame, rows: Rows, cut: _Cut | None, place: Index, neurons: Index, team: int, part: Part | None
) -> None:
    """Tighten chosen neurons, (R, C), of one layer in some rows, (R,), of one team."""
    row, count = place[:, None], neurons.shape[1]
    z = _first_layer if part is None else _deeper_layer
    bound = z(frame, rows, place, neurons, team, part)
    # float32 sums of n products, each with factors rounded once or twice: as in `certify`
    unit = 2 * (frame.exact.inputs + frame.exact.neurons + 64) * 2.0**-24
    best = np.concatenate([rows.upper[row, neurons], -rows.lower[row, neurons]], axis=1).astype(np.float64)
    reach = np.abs(bound.slope).sum(axis=2, dtype=np.float64)
    if part is not None:  # what branching has fixed below may be enough
        np.fmin(best, bound.level + unit * bound.rounding + (1 + unit) * reach, out=best)
    if cut is not None:
        _minimise(cut, place, bound, reach, unit, best)
    upper, lower = best[:, :count], -best[:, count:]
    rows.upper[row, neurons] = np.minimum(rows.upper[row, neurons], _up(upper))
    rows.lower[row, neurons] = np.maximum(rows.lower[row, neurons], -_up(-lower))


def _minimise(cut: _Cut, place: Index, bound: _Affine, reach: Float, unit: float, best: Float) -> None:
    """Over lambda, in place: `best`, (R, 2C), and `reach`, what slopes can add over the box."""
    slope, size = cut.slope[place], np.abs(cut.slope[place]).sum(axis=1, dtype=np.float64)
    middle, level = bound.level + unit * bound.rounding, cut.level[place] + unit * cut.rounding[place]
    multiplier = np.minimum(reach / np.maximum(size, 1e-30)[:, None], _HUGE)
    least, most = np.zeros_like(multiplier), np.full_like(multiplier, np.inf)
    ones = np.ones(slope.shape[1], np.float32)
    for attempt in range(_LAMBDAS):
        joined = multiplier.astype(np.float32)[:, :, None] * slope[:, None]
        joined += bound.slope
        if attempt < _LAMBDAS - 1:
            # the derivative in lambda is L at the maximiser; bisect on a logarithmic scale
            descent = level[:, None] + (np.copysign(ones, joined) @ slope[:, :, None])[:, :, 0]
        np.abs(joined, out=joined)
        value = middle + (1 + unit) * (joined @ ones)
        value += multiplier * level[:, None]
        np.fmin(best, value, out=best)
        if attempt < _LAMBDAS - 1:
            least = np.where(descent < 0, multiplier, least)
            most = np.where(descent >= 0, multiplier, most)
            between = np.sqrt(np.maximum(least, 1e-9) * np.where(np.isinf(most), 1, most))
            smaller = np.where(least == 0, multiplier / 3, between)
            multiplier = np.where(np.isinf(most), np.minimum(3 * multiplier, _HUGE), smaller)


def _up(values: Float) -> NDArray[np.float32]:
    return np.nextafter(values.astype(np.float32), np.float32(np.inf))


class _Affine(NamedTuple):
    """Upper bounds of z, then of -z, of C neurons over the box: `level + slope . u`, u in [-1, 1]^n.

    slope: float32 (R, 2C, n); level: float64 (R, 2C); rounding: (R, 2C), the absolute values that were
    rounded to float32 on the way to the slope, added up.
    """

    slope: Array
    level: Float
    rounding: Float


def _first_layer(
    frame: Frame, rows: Rows, place: Index, neurons: Index, team: int, part: Part | None
) -> _Affine:
    """The pre-activations themselves."""
    box = rows.box[place]
    slope = frame.fast.first[team][neurons] * frame.fast_boxes.radius[box][:, None]
    center = frame.exact.at_center(frame.exact_boxes, box, rows.team[place])
    level = np.take_along_axis(center, neurons, axis=1)
    size = np.abs(slope).sum(axis=2, dtype=np.float64)
    # gamma covers the rounding of the centers' values
    exact = np.take_along_axis(frame.exact.sizes(frame.exact_boxes, box, rows.team[place]), neurons, axis=1)
    level, more = np.concatenate([level, -level], axis=1), 4 * frame.exact.gamma * exact
    return _Affine(
        np.concatenate([slope, -slope], axis=1),
        level + np.concatenate([more, more], axis=1),
        np.concatenate([size, size], axis=1),
    )


def _deeper_layer(
    frame: Frame, rows: Rows, place: Index, neurons: Index, team: int, part: Part | None
) -> _Affine:
    """CROWN's bounds, backwards through the rows' present bounds."""
    assert part is not None
    chains, box = frame.exact, rows.box[place]
    local = neurons - part.outputs.start
    weight, bias = part.weight[team][local], part.bias[team][local]
    coefficient = np.concatenate([weight, -weight], axis=1)
    level = np.concatenate([bias, -bias], axis=1)
    inputs = part.inputs
    while True:
        lower = rows.lower[place, None, inputs].astype(np.float64)
        upper = rows.upper[place, None, inputs].astype(np.float64)
        relu = chains.relu[team, inputs]
        unstable = relu & (lower < 0) & (upper > 0)
        passes = ~relu | (upper > 0)
        chord = upper / np.where(unstable, upper - lower, 1) * (1 + 2.0**-50)
        line = np.where(unstable, chord, passes)
        offset = np.where(unstable, -line * lower, 0)
        under = np.where(unstable, upper > -lower, passes)
        level = level + np.einsum("bcn,bn->bc", np.maximum(coefficient, 0), offset[:, 0])
        coefficient = coefficient * np.where(coefficient > 0, line, under)
        below = next((p for p in chains.parts if p.outputs == inputs), None)
        if below is None:
            break
        level += coefficient @ below.bias[team]
        coefficient = coefficient @ below.weight[team]
        inputs = below.inputs
    center = chains.at_center(frame.exact_boxes, box, rows.team[place])[:, inputs]
    sizes = chains.sizes(frame.exact_boxes, box, rows.team[place])
    level += np.einsum("bcn,bn->bc", coefficient, center)
    own = np.take_along_axis(sizes, neurons, axis=1)
    level += 4 * chains.gamma * np.concatenate([own, own], axis=1)
    fast = coefficient.astype(np.float32)
    slope = fast @ frame.fast.first[team][inputs]
    slope *= frame.fast_boxes.radius[box][:, None]
    # of the coefficients once, of their products with weights often
    reach = chains.reach(frame.exact_boxes, box, rows.team[place])[:, inputs]
    often = np.einsum("bcn,bn->bc", np.abs(coefficient), reach)
    once = np.einsum("bcn,bn->bc", np.abs(coefficient), sizes[:, inputs]) / chains.inputs
    return _Affine(slope, level, often + once)
