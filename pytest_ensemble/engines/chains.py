"""`Chains`: teams of networks that share their input, laid out for batched bounds in float32 or float64.

A team is k networks: one, a pair, or more. All hidden neurons of a team stand on one axis of length N: the
first layers of its networks, one after the other, so that one matrix product serves them all; then their
deeper layers. Batches are rows: each has its own team, its own box, its own label l and one target class p
per network, and asks about the margins `f_p - f_l`. Teams of equal layer widths share a batch: what is not
a matrix product is computed for all of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pytest_ensemble.networks.network import Float, Layer, Network, Weight, dense

__all__ = [
    "Array",
    "Axis",
    "Boxes",
    "Chains",
    "Frame",
    "Groups",
    "Index",
    "Part",
    "axis_of",
    "box_centers",
    "groups_of",
    "slab_size",
]

Array = NDArray[Any]  # float32 in the search, float64 in proofs
Index = NDArray[np.intp]
Groups = list[tuple[int, slice]]  # (team, its rows), of rows sorted by team


def groups_of(team: Index) -> Groups:
    """Runs of equal teams, of rows sorted by team."""
    ends = [*(np.flatnonzero(np.diff(team)) + 1).tolist(), len(team)]
    starts = [0, *ends[:-1]]
    return [(int(team[start]), slice(start, end)) for start, end in zip(starts, ends, strict=True) if end]


def slab_size(team: Index) -> int:
    """How many of these rows to work on at a time.

    Their inputs should stay in the cache, but each team's weights must serve some rows when they are there.
    """
    return min(4096, max(512, 16 * len(groups_of(team))))


@dataclass(frozen=True)
class Part:
    """A deeper hidden layer of one network of each team, and where it stands on the axis.

    Attributes:
        weight: per team, shape (out, in).
        bias: (T, out).
        inputs, outputs: places of its inputs and of its neurons.
    """

    weight: list[Weight]
    bias: Array
    inputs: slice
    outputs: slice


@dataclass(frozen=True)
class Boxes:
    """P boxes: center and radius, shape (P, n); first pre-activations at the centers, shape (P, N1).

    `reach`, shape (P, N1), float64: how far they move within the box, not rounded outwards yet.
    `size`, shape (P, N), float64: bounds the absolute values of all terms that a neuron's pre-activation
    sums up anywhere in the box, relaxed or not; what rounding errors are relative to.
    `rounding`, shape (P, M, classes), float64: what the float32 of the users' runtime may add to the margins
    of M networks over the box's label; see `networks.rounding`. None asks about real numbers.
    """

    center: Array
    radius: Array
    at_center: Array
    reach: Float
    size: Float
    rounding: Float | None = None

    def corners(self, box: Index) -> tuple[Array, Array]:
        """The lowest and the highest corner of some boxes, shape (B, n)."""
        center, radius = self.center[box], self.radius[box]
        return center - radius, center + radius


class Chains:
    """T teams of k networks each, over one input.

    Attributes:
        dtype: of all arrays.
        k, inputs, neurons, width: number of networks, of inputs n, of hidden neurons N, and of those in the
            first layers, N1.
        first: per team, shape (N1, n): the first layers, stacked; first_bias: (T, N1).
        parts: deeper layers, in an order in which inputs come before outputs.
        last: per network, (weight (T, classes, m), bias (T, classes), slice of its m neurons).
        relu: (T, N), which neurons have a ReLU.
        numbers: (T, k), which of the boxes' networks those of a team are.
        columns: (T, N), where the neurons stand on the axis of the boxes; None where that is their own axis.
        gamma: float64 rounding of one bound, relative to the sizes of its terms.
    """

    def __init__(
        self,
        teams: Sequence[Sequence[Network]],
        dtype: Any = np.float64,
        columns: Index | None = None,
        numbers: Index | None = None,
    ) -> None:
        """Lay out teams of equal layer widths."""
        self._teams = teams
        self.numbers = np.arange(len(teams[0]))[None] if numbers is None else numbers
        self.dtype = np.dtype(dtype)
        self.columns = columns
        layers = [[_hidden_and_last(network) for network in team] for team in teams]
        self.k = len(teams[0])
        self.inputs = teams[0][0].input_size
        self.first = [self._cast(_stack([hidden[0].weight for hidden, _ in team])) for team in layers]
        self.first_bias = self._biases([[hidden[0].bias for hidden, _ in team] for team in layers])
        self.width = self.first_bias.shape[1]
        relus = [[hidden[0].relu for hidden, _ in team] for team in layers]
        self.places: list[list[slice]] = []
        end = 0
        for hidden, _ in layers[0]:
            self.places.append([slice(end, end + hidden[0].size)])
            end += hidden[0].size
        self.parts: list[Part] = []
        for index, (hidden, _) in enumerate(layers[0]):
            for depth in range(1, len(hidden)):
                own = [team[index][0][depth] for team in layers]
                outputs = slice(end, end + own[0].size)
                weights = [self._cast(layer.weight) for layer in own]
                biases = self._biases([[layer.bias] for layer in own])
                self.parts.append(Part(weights, biases, self.places[index][-1], outputs))
                self.places[index].append(outputs)
                for team, layer in zip(relus, own, strict=True):
                    team.append(layer.relu)
                end += own[0].size
        self.neurons = end
        self.relu = np.stack([np.concatenate(team) for team in relus])
        self.last = [
            (
                self._cast(np.stack([dense(team[index][1].weight) for team in layers])),
                self._cast(np.stack([team[index][1].bias for team in layers])),
                places[-1],
            )
            for index, places in enumerate(self.places)
        ]
        # A bound is a chain of inner products; see `certify`.
        terms = self.inputs + self.neurons + 64
        self.gamma = terms * 2.0**-53 / (1 - terms * 2.0**-53)

    def cast(self, dtype: Any) -> Chains:
        """The same in another dtype."""
        return Chains(self._teams, dtype, self.columns, self.numbers)

    def _cast(self, values: Any) -> Any:
        return values.astype(self.dtype)

    def _biases(self, teams: list[list[Float]]) -> Array:
        return np.stack([np.concatenate(team) for team in teams]).astype(self.dtype)

    # --- boxes ------------------------------------------------------------------------------------

    def boxes(self, low: Float, high: Float) -> Boxes:
        """Boxes with corners of shape (P, n), float64, rounded outwards to this dtype; of a single team."""
        center, radius = box_centers(low, high, self.dtype)
        reach = _into(radius.astype(np.float64), self._absolute[0])
        size = self._size(np.abs(center.astype(np.float64)) + radius)
        return Boxes(center, radius, self.at_centers(center), reach, size)

    def at_centers(self, center: Array) -> Array:
        """First pre-activations of a single team at centers of boxes, (P, n): shape (P, N1)."""
        return np.asarray(_into(center, self.first[0]) + self.first_bias[0])

    def _size(self, x: Float) -> Float:
        size = np.empty((len(x), self.neurons))
        first, *deeper = self._absolute
        size[:, : self.width] = _into(x, first) + np.abs(self.first_bias[0])
        for part, weight in zip(self.parts, deeper, strict=True):
            # a chord's value and its intercept are both at most the size of what it bounds
            size[:, part.outputs] = _into(2 * size[:, part.inputs], weight)
            size[:, part.outputs] += np.abs(part.bias[0])
        return size

    @cached_property
    def _absolute(self) -> list[Weight]:
        """Absolute values, float64, of the single team's weights: of its first layer, and of its parts."""
        return [
            abs(weight).astype(np.float64) for weight in (self.first[0], *(p.weight[0] for p in self.parts))
        ]

    def at_center(self, boxes: Boxes, box: Index, team: Index) -> Array:
        """First pre-activations at the centers of the rows' boxes, shape (B, N1)."""
        if self.columns is None:
            return np.asarray(boxes.at_center[box])
        return np.asarray(boxes.at_center[box[:, None], self.columns[team, : self.width]])

    def reach(self, boxes: Boxes, box: Index, team: Index) -> Float:
        """`Boxes.reach` of the rows, shape (B, N1)."""
        if self.columns is None:
            return np.asarray(boxes.reach[box])
        return np.asarray(boxes.reach[box[:, None], self.columns[team, : self.width]])

    def sizes(self, boxes: Boxes, box: Index, team: Index) -> Float:
        """`Boxes.size` of the rows, shape (B, N)."""
        if self.columns is None:
            return np.asarray(boxes.size[box])
        return np.asarray(boxes.size[box[:, None], self.columns[team]])

    def rounding(self, boxes: Boxes, box: Index, team: Index, target: Index) -> Array | None:
        """`Boxes.rounding` of the rows' margins over their targets, (B, k): shape (B, k)."""
        if boxes.rounding is None:
            return None
        return np.asarray(boxes.rounding[box[:, None], self.numbers[team], target], self.dtype)

    # --- products: rows are sorted by team ----------------------------------------------------------

    def to_input(self, coefficient: Array, groups: Groups) -> Array:
        """Coefficients of the inputs, (B, n), from those of first pre-activations, (B, N1)."""
        out = np.empty((len(coefficient), self.inputs), coefficient.dtype)
        for team, rows in groups:
            _back(coefficient[rows], self.first[team], out[rows])
        return out

    def from_input(self, x: Array, groups: Groups) -> Array:
        """First pre-activations without bias, (B, N1), of inputs, (B, n)."""
        out = np.empty((len(x), self.width), x.dtype)
        for team, rows in groups:
            out[rows] = _into(x[rows], self.first[team])
        return out

    def through(self, part: Part, values: Array, groups: Groups) -> Array:
        """Pre-activations of a deeper layer, (B, out), from the activations it takes, (B, in)."""
        out = np.empty((len(values), part.bias.shape[1]), values.dtype)
        for team, rows in groups:
            out[rows] = _into(values[rows], part.weight[team])
            out[rows] += part.bias[team]
        return out

    def back(self, part: Part, coefficient: Array, groups: Groups) -> tuple[Array, Array]:
        """Coefficients of what a deeper layer takes, (B, in), and their constant, (B,)."""
        out = np.empty((len(coefficient), part.inputs.stop - part.inputs.start), coefficient.dtype)
        constant = np.empty(len(coefficient), coefficient.dtype)
        for team, rows in groups:
            _back(coefficient[rows], part.weight[team], out[rows])
            constant[rows] = coefficient[rows] @ part.bias[team]
        return out, constant

    # --- true values ------------------------------------------------------------------------------

    def hidden(self, first: Array, team: Index, groups: Groups) -> Array:
        """True activations, shape (B, N), of first pre-activations, shape (B, N1)."""
        relu = self.relu[team]
        if not self.parts:
            return np.where(relu, np.maximum(first, 0), first)
        out = np.empty((len(first), self.neurons), dtype=first.dtype)
        out[:, : self.width] = first
        np.maximum(out, 0, out=out, where=relu & (np.arange(self.neurons) < self.width))
        for part in self.parts:
            z = self.through(part, out[:, part.inputs], groups)
            out[:, part.outputs] = np.where(relu[:, part.outputs], np.maximum(z, 0), z)
        return out

    def logits(self, hidden: Array, groups: Groups) -> list[Array]:
        """Per network, logits of shape (B, classes), of activations, shape (B, N)."""
        result = []
        for weight, bias, place in self.last:
            out = np.empty((len(hidden), bias.shape[1]), hidden.dtype)
            for team, rows in groups:
                out[rows] = hidden[rows, place] @ weight[team].T + bias[team]
            result.append(out)
        return result

    def errors(
        self, first: Array, team: Index, groups: Groups, label: Index, target: Index | None = None
    ) -> Array:
        """By how much each network errs, shape (B, k), at first pre-activations of shape (B, N1).

        The margin over `label`, shape (B,), of `target`, shape (B, k), or else of the best other class.
        """
        out = np.empty((len(first), self.k), dtype=first.dtype)
        rows = np.arange(len(first))
        for index, logits in enumerate(self.logits(self.hidden(first, team, groups), groups)):
            right = logits[rows, label]
            if target is None:
                logits[rows, label] = -np.inf
                out[:, index] = logits.max(axis=1) - right
            else:
                out[:, index] = logits[rows, target[:, index]] - right
        return out


@dataclass(frozen=True)
class Axis:
    """Where the hidden neurons of networks stand: first layers first, as in `Chains` of them as one team.

    Attributes:
        places: per network, of each of its hidden layers.
        width, neurons: how many are in first layers, and in all.
    """

    places: tuple[tuple[slice, ...], ...]
    width: int
    neurons: int

    def columns_of(self, team: Sequence[int]) -> Index:
        """Where the neurons of the `Chains` of some of the networks stand."""
        own = [self.places[index] for index in team]
        order = [places[0] for places in own] + [place for places in own for place in places[1:]]
        return np.concatenate([np.arange(place.start, place.stop) for place in order])


@lru_cache(maxsize=32)
def axis_of(networks: tuple[Network, ...]) -> Axis:
    """The axis of some networks."""
    sizes = [[layer.size for layer in _hidden_and_last(network)[0]] for network in networks]
    width = sum(own[0] for own in sizes)
    places, start, end = [], 0, width
    for own in sizes:
        layers = [slice(start, start + own[0])]
        start += own[0]
        for size in own[1:]:
            layers.append(slice(end, end + size))
            end += size
        places.append(tuple(layers))
    return Axis(tuple(places), width, end)


def box_centers(low: Float, high: Float, dtype: Any) -> tuple[Array, Array]:
    """Centers and radii, (P, n), of boxes with corners of shape (P, n), rounded outwards to a dtype."""
    kind = np.dtype(dtype).type
    center = ((low + high) / 2).astype(dtype)
    exact = center.astype(np.float64)
    radius = np.maximum(high - exact, exact - low)
    upwards = np.nextafter(radius.astype(dtype), kind(np.inf))
    return center, np.where(radius > 0, upwards, kind(0))


@dataclass(frozen=True)
class Frame:
    """Teams and boxes of a batch, in float32 for the search and in float64 for proofs."""

    fast: Chains
    fast_boxes: Boxes
    exact: Chains
    exact_boxes: Boxes


def _back(x: Array, weight: Weight, out: Array) -> None:
    """`x @ weight`: (B, out) -> (B, in)."""
    if isinstance(weight, np.ndarray):
        np.matmul(x, weight, out=out)
    else:
        out[:] = (weight.T @ x.T).T


def _into(x: Array, weight: Weight) -> Array:
    """`x @ weight.T`: (B, in) -> (B, out)."""
    return np.asarray(x @ weight.T) if isinstance(weight, np.ndarray) else np.asarray((weight @ x.T).T)


def _hidden_and_last(network: Network) -> tuple[Sequence[Layer], Layer]:
    """At least one hidden layer: affine networks get their outputs as one, without ReLUs."""
    *hidden, last = network.layers
    if hidden:
        return hidden, last
    identity = Layer(np.eye(last.size), np.zeros(last.size), np.zeros(last.size, dtype=bool))
    return [last], identity


def _stack(weights: Sequence[Weight]) -> Weight:
    if all(isinstance(weight, np.ndarray) for weight in weights):
        return np.concatenate(weights)
    return sp.vstack([sp.csr_array(weight) for weight in weights], format="csr")
