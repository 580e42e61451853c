"""`Network`: a chain of affine layers, each followed by a ReLU on some of its neurons.

Every piecewise-linear ONNX graph is one of these: what skips a layer is carried through it by neurons
without a ReLU. All arithmetic is float64; weights are dense arrays, or `scipy.sparse.csr_array` where
that is smaller (convolutions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Float = NDArray[np.float64]
Weight = Any  # Float of shape (out, in), or a csr_array of that shape: scipy's types differ by version

__all__ = [
    "Float",
    "Layer",
    "Network",
    "Sums",
    "Weight",
    "compact",
    "dense",
    "is_dense",
    "multiplications",
    "side_by_side",
    "stored",
]


@dataclass(frozen=True, eq=False)
class Sums:
    """How a file computes the sums of a layer, for bounds of what rounding does to them.

    Attributes:
        weight: (out, in), what absolute values add up to where several steps of the file were made one and
            may have cancelled; None where that is |weight| of the layer: each row is a single sum.
        bias: (out,), the same for the bias.
        roundings: (out,), that a summand goes through at most; of all sums together where `weight` is None.
    """

    weight: Weight | None
    bias: Float
    roundings: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Layer:
    """`y = z where relu is False, max(z, 0) where it is True`, with `z = weight @ x + bias`.

    Attributes:
        weight: (out, in).
        bias: (out,).
        relu: (out,).
        sums: how the file computes z; None if as one sum a row.
    """

    weight: Weight
    bias: Float
    relu: NDArray[np.bool_]
    sums: Sums | None = None

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(self.bias.shape[0])

    @np.errstate(all="ignore")  # on some CPUs matrix products set such flags without cause
    def affine(self, x: Float) -> Float:
        """Pre-activations, shape (m, out), of a batch of inputs, shape (m, in)."""
        return np.asarray((self.weight @ x.T).T) + self.bias

    def activate(self, z: Float) -> Float:
        """Outputs, shape (m, out), of pre-activations of that shape."""
        return np.where(self.relu, np.maximum(z, 0.0), z)


@dataclass(frozen=True, eq=False)
class Network:
    """A chain of layers; the last one has no ReLU. Shapes: (m, input_size) -> (m, output_size).

    Attributes:
        layers: at least one.
        score_rounding: how close two outputs may be while the file's scores, which are computed from them,
            name the other one; 0 where the outputs are the scores.
    """

    layers: tuple[Layer, ...]
    score_rounding: float = 0.0

    def __post_init__(self) -> None:
        if self.layers[-1].relu.any():
            raise ValueError("the last layer of a Network must not have ReLUs")

    @property
    def input_size(self) -> int:
        """Number of inputs, flat."""
        return int(self.layers[0].weight.shape[1])

    @property
    def output_size(self) -> int:
        """Number of outputs: one per class, unless the label was folded in."""
        return self.layers[-1].size

    @cached_property
    def relu_count(self) -> int:
        """Number of ReLU neurons."""
        return int(sum(layer.relu.sum() for layer in self.layers))

    def evaluate(self, x: NDArray[Any]) -> Float:
        """Outputs, float64 of shape (m, output_size), of inputs of shape (m, input_size)."""
        value = np.asarray(x, dtype=np.float64)
        for layer in self.layers:
            value = layer.activate(layer.affine(value))
        return value

    def margins(self, label: int) -> Network:
        """The network with outputs `f_p - f_label`, one per class p other than `label`, in order.

        An input is misclassified when one of them is positive.
        """
        last = self.layers[-1]
        others = [p for p in range(last.size) if p != label]
        rows = np.arange(len(others))
        ones, columns = np.ones(len(rows)), np.full(len(rows), label)
        places = np.concatenate([rows, rows]), np.concatenate([others, columns])
        difference = sp.csr_array((np.concatenate([ones, -ones]), places), shape=(len(others), last.size))
        weight = difference @ last.weight
        bias = np.asarray(difference @ last.bias)
        relu = np.zeros(len(others), dtype=bool)
        return Network((*self.layers[:-1], Layer(compact(weight), bias, relu)))


def dense(weight: Any) -> Float:
    """A weight as a dense array of shape (out, in)."""
    sparse = bool(sp.issparse(weight))
    return np.asarray(weight.toarray() if sparse else weight, dtype=np.float64)


def stored(weight: Any) -> int:
    """How many numbers a weight keeps: all, or those of a csr_array that are not zero."""
    return int(weight.size if isinstance(weight, np.ndarray) else weight.nnz)


def multiplications(network: Network) -> int:
    """How many multiplications evaluate a network on one input."""
    return sum(stored(layer.weight) for layer in network.layers)


def is_dense(network: Network) -> bool:
    """Whether all weights are dense arrays."""
    return not any(sp.issparse(layer.weight) for layer in network.layers)


def compact(weight: Any) -> Weight:
    """The weight stored dense or as csr_array, whichever makes products cheaper."""
    size = int(weight.shape[0]) * int(weight.shape[1])
    sparse = bool(sp.issparse(weight))
    nonzero = int(weight.nnz if sparse else np.count_nonzero(weight))
    if size <= 1 << 16 or nonzero > 0.1 * size:
        return dense(weight)
    return sp.csr_array(weight)


def side_by_side(networks: Sequence[Network]) -> Network:
    """One network over the shared input whose outputs are those of `networks`, one after the other.

    Shorter chains are padded with layers that carry their outputs on. This is the paper's paired
    query: two networks side by side over one input (Amir et al. 2022, section IV).
    """
    depth = max(len(network.layers) for network in networks)
    layers = []
    for k in range(depth):
        rows = [_layer_or_carry(network, k) for network in networks]
        stack = sp.vstack if k == 0 else sp.block_diag
        weight = stack([sp.csr_array(layer.weight) for layer in rows], format="csr")
        bias = np.concatenate([layer.bias for layer in rows])
        relu = np.concatenate([layer.relu for layer in rows])
        layers.append(Layer(compact(weight), bias, relu))
    return Network(tuple(layers))


def _layer_or_carry(network: Network, k: int) -> Layer:
    if k < len(network.layers):
        return network.layers[k]
    size = network.output_size
    return Layer(sp.eye_array(size, format="csr"), np.zeros(size), np.zeros(size, dtype=bool))
