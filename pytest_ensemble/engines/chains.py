"""`Chains`: k networks that share their input, laid out for batched bounds in float32 or float64.

All hidden neurons of all networks stand on one axis of length N: the first layers of the networks, one
after the other, so that one matrix product serves them all; then their deeper layers. Batches are rows:
each row has its own box, its own label l and one target class p per network, and asks about the margins
`f_p - f_l`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pytest_ensemble.networks.network import Float, Layer, Network, Weight, dense

__all__ = ["Array", "Boxes", "Chains", "Frame", "Part", "times", "times_transposed"]

Array = NDArray[Any]  # float32 in the search, float64 in proofs


def times(x: Array, weight: Weight) -> Array:
    """`x @ weight`: (B, out) -> (B, in)."""
    return np.asarray(x @ weight) if isinstance(weight, np.ndarray) else np.asarray((weight.T @ x.T).T)


def times_transposed(x: Array, weight: Weight) -> Array:
    """`x @ weight.T`: (B, in) -> (B, out)."""
    return np.asarray(x @ weight.T) if isinstance(weight, np.ndarray) else np.asarray((weight @ x.T).T)


@dataclass(frozen=True)
class Part:
    """A deeper hidden layer of one network, and where its inputs and outputs stand on the axis."""

    weight: Weight
    bias: Array
    inputs: slice
    outputs: slice


@dataclass(frozen=True)
class Boxes:
    """P boxes: center and radius, shape (P, n); first pre-activations at the centers, shape (P, N1).

    `size`, shape (P, N), float64: bounds the absolute values of all terms that a neuron's pre-activation
    sums up anywhere in the box, relaxed or not; what rounding errors are relative to.
    """

    center: Array
    radius: Array
    at_center: Array
    size: Float

    def take(self, which: NDArray[np.intp]) -> Boxes:
        """Some of the boxes."""
        return Boxes(self.center[which], self.radius[which], self.at_center[which], self.size[which])


class Chains:
    """k networks over one input.

    Attributes:
        dtype: of all arrays.
        k, inputs, neurons: number of networks, of inputs n, of hidden neurons N.
        first, first_bias: shape (N1, n) and (N1,): the first layers, stacked.
        parts: deeper layers, in an order in which inputs come before outputs.
        last: per network, (weight (classes, m), bias (classes,), slice of its m neurons).
        columns: per network, the places of its neurons on the axis, in the order of its layers.
        relu: shape (N,): which neurons have a ReLU.
        gamma: float64 rounding of one bound, relative to the sizes of its terms.
    """

    def __init__(self, networks: Sequence[Network], dtype: Any = np.float64) -> None:
        self.dtype = np.dtype(dtype)
        layers = [_hidden_and_last(network) for network in networks]
        self.k = len(networks)
        self.inputs = networks[0].input_size
        self.first = self._cast(_stack([hidden[0].weight for hidden, _ in layers]))
        self.first_bias = self._cast(np.concatenate([hidden[0].bias for hidden, _ in layers]))
        relus = [hidden[0].relu for hidden, _ in layers]
        places: list[list[slice]] = []
        end = 0
        for hidden, _ in layers:
            places.append([slice(end, end + hidden[0].size)])
            end += hidden[0].size
        self.parts: list[Part] = []
        for index, (hidden, _) in enumerate(layers):
            for layer in hidden[1:]:
                outputs = slice(end, end + layer.size)
                self.parts.append(
                    Part(self._cast(layer.weight), self._cast(layer.bias), places[index][-1], outputs)
                )
                places[index].append(outputs)
                relus.append(layer.relu)
                end += layer.size
        self.neurons = end
        self.relu = np.concatenate(relus)
        self.last = [
            (self._cast(dense(last.weight)), self._cast(last.bias), places[index][-1])
            for index, (_, last) in enumerate(layers)
        ]
        self.columns = [np.concatenate([np.arange(end)[place] for place in own]) for own in places]
        # A bound is a chain of inner products; see `certify`.
        terms = self.inputs + self.neurons + 64
        self.gamma = terms * 2.0**-53 / (1 - terms * 2.0**-53)
        self._networks = networks

    def cast(self, dtype: Any) -> Chains:
        """The same in another dtype."""
        return Chains(self._networks, dtype)

    def columns_of(self, team: Sequence[int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Where the neurons of the Chains of some of these networks stand here: the first layers, and all."""
        own = [self.columns[index] for index in team]
        first = np.concatenate([columns[columns < self.width] for columns in own])
        return first, np.concatenate([first, *(columns[columns >= self.width] for columns in own)])

    @property
    def width(self) -> int:
        """N1: number of neurons of the first layers."""
        return len(self.first_bias)

    def _cast(self, values: Any) -> Any:
        return values.astype(self.dtype)

    def boxes(self, low: Float, high: Float) -> Boxes:
        """Boxes with corners of shape (P, n), float64, rounded outwards to this dtype."""
        center = ((low + high) / 2).astype(self.dtype)
        exact = center.astype(np.float64)
        radius = np.maximum(high - exact, exact - low)
        upwards = np.nextafter(radius.astype(self.dtype), self.dtype.type(np.inf))
        radius = np.where(radius > 0, upwards, self.dtype.type(0))
        at_center = times_transposed(center, self.first) + self.first_bias
        return Boxes(center, radius, at_center, self._size(np.abs(exact) + radius))

    def _size(self, x: Float) -> Float:
        size = np.empty((len(x), self.neurons))
        size[:, : self.width] = times_transposed(x, abs(self.first)) + np.abs(self.first_bias)
        for part in self.parts:
            # a chord's value and its intercept are both at most the size of what it bounds
            size[:, part.outputs] = times_transposed(2 * size[:, part.inputs], abs(part.weight))
            size[:, part.outputs] += np.abs(part.bias)
        return size

    def hidden(self, first: Array) -> Array:
        """True activations, shape (B, N), of first pre-activations, shape (B, N1)."""
        out = np.empty((len(first), self.neurons), dtype=first.dtype)
        out[:, : self.width] = first
        self._activate(out, slice(0, self.width))
        for part in self.parts:
            out[:, part.outputs] = times_transposed(out[:, part.inputs], part.weight) + part.bias
            self._activate(out, part.outputs)
        return out

    def _activate(self, values: Array, place: slice) -> None:
        view = values[:, place]
        np.maximum(view, 0, out=view, where=self.relu[place])

    def logits(self, first: Array) -> list[Array]:
        """Per network, logits of shape (B, classes), of first pre-activations, shape (B, N1)."""
        hidden = self.hidden(first)
        return [hidden[:, place] @ weight.T + bias for weight, bias, place in self.last]

    def errors(self, first: Array, label: NDArray[np.intp], target: NDArray[np.intp] | None = None) -> Array:
        """By how much each network errs, shape (B, k), at first pre-activations of shape (B, N1).

        The margin over `label`, shape (B,), of `target`, shape (B, k), or else of the best other class.
        """
        out = np.empty((len(first), self.k), dtype=first.dtype)
        rows = np.arange(len(first))
        for index, logits in enumerate(self.logits(first)):
            right = logits[rows, label]
            if target is None:
                logits[rows, label] = -np.inf
                out[:, index] = logits.max(axis=1) - right
            else:
                out[:, index] = logits[rows, target[:, index]] - right
        return out

    def ascent(self, x: Array, label: NDArray[np.intp], sharpness: float) -> tuple[Array, Array]:
        """Errors, shape (B, k), at inputs of shape (B, n), and a direction, (B, n), that raises the smallest.

        The gradient of all errors' soft minimum; `sharpness` in units of 1 / error.
        """
        first = times_transposed(x, self.first) + self.first_bias
        hidden = self.hidden(first)
        rows = np.arange(len(x))
        errors = np.empty((len(x), self.k), x.dtype)
        directions = []
        for index, (weight, bias, place) in enumerate(self.last):
            logits = hidden[:, place] @ weight.T + bias
            right = logits[rows, label]
            logits[rows, label] = -np.inf
            best = logits.argmax(axis=1)
            errors[:, index] = logits[rows, best] - right
            directions.append(weight[best] - weight[label])
        share = np.exp(-sharpness * (errors - errors.min(axis=1, keepdims=True)))
        share /= share.sum(axis=1, keepdims=True)
        gradient = np.zeros_like(hidden)
        for index, (_, _, place) in enumerate(self.last):
            gradient[:, place] = share[:, index, None] * directions[index]
        passes = ~self.relu | (hidden > 0)
        for part in reversed(self.parts):
            inner = gradient[:, part.outputs] * passes[:, part.outputs]
            gradient[:, part.inputs] = times(inner, part.weight)
        place = slice(0, self.width)
        return errors, times(gradient[:, place] * passes[:, place], self.first)


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


@dataclass(frozen=True)
class Frame:
    """Networks and boxes of a batch, in float32 for the search and in float64 for proofs."""

    fast: Chains
    fast_boxes: Boxes
    exact: Chains
    exact_boxes: Boxes
