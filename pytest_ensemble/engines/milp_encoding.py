"""A query as a mixed-integer linear program (MIPVerify, Tjeng et al. 2019), with all numbers of order one.

Inputs are `center + radius * u` with u in [-1, 1]. ReLUs that CROWN's bounds [l, u] show to be stable are
folded into affine expressions. An unstable one, h = max(z, 0), has a variable and a binary a:
`h >= z`, `h >= 0`, `h <= z - l * (1 - a)`, `h <= u * a`. Each network has a binary for every class p that can
beat the label, of which one must be chosen; the margin of the chosen one must be at least t.

Scaled, t = 0 stands for margins of `-slack` and t = 1 for margins that replay. The slack of a margin is what
rounding and the solver's tolerances may move it, so "no solution with t in [0, 1]" implies that no input
makes all networks err, neither in real numbers nor in the float32 of the user's runtime. The part of it that
is due to tolerances starts as a share of each row's width and is carried on through |weights|, since ReLUs
never widen a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pytest_ensemble.engines.chains import Chains
from pytest_ensemble.engines.preactivations import hidden_bounds
from pytest_ensemble.networks.network import Float, Layer, Network, Weight, compact
from pytest_ensemble.networks.rounding import margin_rounding
from pytest_ensemble.queries.query import Query

__all__ = ["Program", "encode"]

# HiGHS lets rows and binaries be wrong by 1e-6; this much of the width of every row is slack.
TOLERANCE = 2e-6
# HiGHS takes coefficients below 1e-9 for zero.
SMALLEST = 1e-9
# Margins that a solution should have, as shares of their widths and of their summands, so that it replays.
GOAL, GOAL_OF_SUMMANDS = 1e-3, 1e-5


@dataclass(frozen=True)
class Program:
    """Maximise the last variable: `matrix @ v <= limits`, `lower <= v <= upper`, some v being binary.

    The first variables are the inputs, as shares of the radius.
    """

    matrix: Any
    limits: Float
    lower: Float
    upper: Float
    binary: NDArray[np.bool_]

    def is_finite(self) -> bool:
        """Whether all numbers are."""
        return bool(np.isfinite(self.matrix.data).all() and np.isfinite(self.limits).all())


@dataclass(frozen=True)
class _Values:
    """The outputs of a layer, `matrix @ v + constant`, give or take `slack`; v: inputs, then own ReLUs."""

    matrix: Weight
    constant: Float
    slack: Float


@dataclass(frozen=True)
class _Bounded:
    """A network of margins with bounds of all pre-activations, per layer: (size,) each.

    `unstable` are ReLUs that get variables; `rounding` is what float64 may move a pre-activation. Margins
    above `-slack` may be errors in float32, those above `goal` should replay.
    """

    network: Network
    lower: list[Float]
    upper: list[Float]
    rounding: list[Float]
    unstable: list[NDArray[np.intp]]
    slack: Float
    goal: Float

    @property
    def relus(self) -> int:
        return sum(map(len, self.unstable))

    @property
    def choices(self) -> NDArray[np.intp]:
        """Classes that can beat the label."""
        return np.flatnonzero(self.upper[-1] >= -self.slack)


def encode(query: Query) -> Program | None:
    """The program of a query with any number of networks; None if some network surely can't err.

    Networks that surely err everywhere in the ball are left out; the program may be empty.
    """
    low, high = query.ball.box
    bounded = []
    for model in query.models:
        rounding = margin_rounding(model.network, low[None], high[None], np.array([query.label]))[0]
        one = _bound(model.network.margins(query.label), low, high, np.delete(rounding, query.label))
        if not len(one.choices):
            return None
        if not ((one.lower[-1] >= one.goal) & (one.lower[-1] > 0)).any():
            bounded.append(one)
    rows = _Rows(len(low), sum(one.relus for one in bounded), sum(len(one.choices) for one in bounded))
    for one in bounded:
        _add_network(rows, one, (low + high) / 2, (high - low) / 2)
    return rows.program()


def _bound(network: Network, low: Float, high: Float, slack: Float) -> _Bounded:
    size = network.output_size
    # the margins as a hidden layer without ReLUs, so that CROWN bounds them too
    identity = Layer(np.eye(size), np.zeros(size), np.zeros(size, np.bool_))
    whole = Network((*network.layers, identity))
    chains = Chains([[whole]])
    boxes = chains.boxes(low[None], high[None])
    lower, upper = (sides[0] for sides in hidden_bounds(whole, boxes))
    # a fold sums the same terms as a bound, per layer; see `bounds.certify`
    rounding = 8 * chains.gamma * boxes.size[0]
    ends = np.cumsum([layer.size for layer in network.layers])[:-1]
    parts = [np.split(values, ends) for values in (lower, upper, rounding)]
    unstable = []
    for layer, l_k, u_k, error in zip(network.layers, *parts, strict=True):
        # barely unstable ones are taken for zero or for linear, which slack covers
        clear = np.minimum(-l_k, u_k) > TOLERANCE * np.maximum(-l_k, u_k) + error
        unstable.append(np.flatnonzero(layer.relu & clear))
    lowers, uppers, errors = parts
    summands = _summands(network, lowers, uppers, np.maximum(np.abs(low), np.abs(high)))
    goal = np.maximum(GOAL * (uppers[-1] - lowers[-1]), GOAL_OF_SUMMANDS * summands)
    return _Bounded(network, lowers, uppers, errors, unstable, slack, goal)


def _summands(network: Network, lower: list[Float], upper: list[Float], largest: Float) -> float:
    """The largest sum of absolute terms in a margin anywhere in the box: what float32 is relative to."""
    if len(network.layers) > 1:
        relu = network.layers[-2].relu
        largest = np.maximum(np.where(relu, 0.0, -lower[-2]), np.maximum(upper[-2], 0.0))
    last = network.layers[-1]
    return float((abs(last.weight) @ largest + abs(last.bias)).max())


def _add_network(rows: _Rows, one: _Bounded, center: Float, radius: Float) -> None:
    """All rows of one network."""
    own = rows.take_relus(one.relus)
    columns = np.concatenate([np.arange(len(center)), own])
    start = sp.csr_array((radius, (np.arange(len(radius)),) * 2), shape=(len(radius), len(columns)))
    values = _Values(start, center, np.zeros(len(center)))
    used = 0
    for k, layer in enumerate(one.network.layers):
        sums = _Values(
            compact(layer.weight @ values.matrix),
            layer.weight @ values.constant + layer.bias,
            abs(layer.weight) @ values.slack + one.rounding[k],
        )
        if k == len(one.network.layers) - 1:
            _add_choice(rows, columns, sums, one)
            return
        place = np.arange(used, used + len(one.unstable[k]))
        used += len(place)
        values = _activate(rows, columns, layer, sums, one, k, place)


def _activate(
    rows: _Rows, columns: NDArray[np.intp], layer: Layer, sums: _Values, one: _Bounded, k: int, place: Any
) -> _Values:
    """The outputs of a hidden layer; its unstable ReLUs are the network's own ones at `place`."""
    low, high, unstable = one.lower[k], one.upper[k], one.unstable[k]
    span = np.maximum(-low, high)[unstable]
    scaled, dropped = _rows_of(sums.matrix, unstable, span)
    offset = sums.constant[unstable] / span
    error = sums.slack[unstable] / span + TOLERANCE + dropped
    top, depth = high[unstable] / span + error, error - low[unstable] / span
    active = columns[rows.inputs + place]
    own, binary = _placed(top, active, rows.size), active + rows.relus
    expression = rows.spread(scaled, columns)
    rows.add(expression - own, -offset)
    rows.add(own - expression + _placed(depth, binary, rows.size), depth + offset)
    ones = np.ones(len(unstable))
    rows.add(_placed(ones, active, rows.size) - _placed(ones, binary, rows.size), 0 * ones)

    on = np.where(layer.relu, low + high > 0, True).astype(float)
    on[unstable] = 0.0
    # a stable ReLU is bent by no more than the smaller side of its bounds
    bent = np.where(layer.relu, np.maximum(np.minimum(-low, high), 0.0), 0.0)
    bent[unstable] = span * (TOLERANCE + dropped)
    shape = sums.matrix.shape
    outputs = sp.csr_array((span * top, (unstable, rows.inputs + place)), shape=shape)
    kept = sp.diags_array(on) @ sums.matrix
    return _Values(compact(kept + outputs), on * sums.constant, sums.slack + bent)


def _add_choice(rows: _Rows, columns: NDArray[np.intp], sums: _Values, one: _Bounded) -> None:
    """One of the margins must be from `-slack` at t = 0 to `goal` at t = 1."""
    which = one.choices
    low, high, goal = one.lower[-1][which], one.upper[-1][which], one.goal[which]
    width = np.maximum(high - low, np.maximum(goal, np.finfo(float).tiny))
    scaled, dropped = _rows_of(sums.matrix, which, width)
    slack = (sums.slack[which] + one.slack[which]) / width + TOLERANCE + dropped
    limits = sums.constant[which] / width + slack
    binary = rows.take_choices(len(which))
    t = np.full(len(which), rows.size - 1)
    matrix = _placed(slack + goal / width, t, rows.size) - rows.spread(scaled, columns)
    if len(which) > 1:
        free = np.maximum((goal - low) / width, 0.0)  # what makes the row hold for all inputs and all t
        matrix, limits = matrix + _placed(free, binary, rows.size), limits + free
        both = sp.csr_array(np.ones((1, len(which))))
        rows.add(rows.spread(both, binary), np.ones(1))
        rows.add(-rows.spread(both, binary), -np.ones(1))
    rows.add(matrix, limits)


class _Rows:
    """Columns: inputs, ReLUs, binaries of ReLUs, binaries of choices, t. Rows as they are added."""

    def __init__(self, inputs: int, relus: int, choices: int) -> None:
        self.inputs, self.relus, self.choices = inputs, relus, choices
        self.size = inputs + 2 * relus + choices + 1
        self._relus = self._choices = 0
        self._parts: list[Any] = [sp.csr_array((0, self.size))]
        self._limits: list[Float] = []

    def take_relus(self, count: int) -> NDArray[np.intp]:
        start = self.inputs + self._relus
        self._relus += count
        return np.arange(start, start + count)

    def take_choices(self, count: int) -> NDArray[np.intp]:
        start = self.inputs + 2 * self.relus + self._choices
        self._choices += count
        return np.arange(start, start + count)

    def spread(self, part: Any, columns: NDArray[np.intp]) -> Any:
        """A csr_array over some columns as one over all."""
        return sp.csr_array((part.data, columns[part.indices], part.indptr), (part.shape[0], self.size))

    def add(self, matrix: Any, limits: Float) -> None:
        self._parts.append(matrix)
        self._limits.append(limits)

    def program(self) -> Program:
        matrix = sp.vstack(self._parts, format="csr")
        lower, upper = np.zeros(self.size), np.ones(self.size)
        lower[: self.inputs] = -1.0
        binary = np.zeros(self.size, np.bool_)
        binary[self.inputs + self.relus : -1] = True
        return Program(matrix, np.concatenate([*self._limits, np.zeros(0)]), lower, upper, binary)


def _rows_of(matrix: Weight, which: NDArray[np.intp], scale: Float) -> tuple[Any, Float]:
    """Some rows, divided by `scale`, as a csr_array without tiny entries; and what those add up to."""
    part = sp.csr_array(sp.diags_array(1 / scale) @ sp.csr_array(matrix[which]))
    tiny = abs(part.data) < SMALLEST
    size = sp.csr_array((np.where(tiny, abs(part.data), 0.0), part.indices, part.indptr), part.shape)
    dropped: Float = np.asarray(size.sum(axis=1), dtype=np.float64).reshape(-1)
    part.data[tiny] = 0.0
    part.eliminate_zeros()
    return part, dropped


def _placed(values: Float, columns: NDArray[np.intp], size: int) -> Any:
    """Row k has `values[k]` in column `columns[k]`."""
    return sp.csr_array((values, (np.arange(len(values)), columns)), shape=(len(values), size))
