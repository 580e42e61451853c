"""How far what a file computes in float32 may be from its `Network` in real numbers.

Running error analysis (Wilkinson 1963; Higham, "Accuracy and Stability of Numerical Algorithms", 2002,
sections 3.1 and 3.3). A summand that goes through at most r roundings, in whatever order the runtime adds and
with or without fused products, ends up off by a factor within 1 +- gamma_r, gamma_r = r u / (1 - r u) with
u = 2^-24. So a sum is off by at most gamma_r times the sum of the absolute values of its terms, and passes on
the errors of those by |weights|. ReLUs never widen a difference, and one that is surely off has no error.

What that takes for granted: the runtime adds and multiplies in float32 or better, rounds to nearest, and does
nothing to numbers but what the file says, with weights folded into each other at most (a normalisation into
a convolution). Underflow to zero is allowed for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.networks.network import Float, Layer, Network, dense

__all__ = ["SOFTMAX", "margin_rounding", "output_rounding"]

# Of a Softmax or Sigmoid: exp is off by a few ulps in any runtime, so scores may be ordered differently
# from logits that differ by less than this.
SOFTMAX = 2.0**-19

_U = 2.0**-24
_TINY = float(np.finfo(np.float32).tiny)  # the most that underflow, even to zero, can take from a number
_SAFETY = 1 + 2.0**-10  # for the float64 arithmetic of this file, which errs 2^29 times less than float32


def output_rounding(network: Network, low: Float, high: Float) -> Float:
    """What rounding may move each output anywhere in some boxes: shape (P, outputs).

    Args:
        network: as it was lowered from a file.
        low, high: float64 corners of the boxes, shape (P, n).
    """
    largest, error = _below_outputs(network, low, high)
    last = network.layers[-1]
    return _finite(_product(error, abs(last.weight)) + _own(last, largest))


def margin_rounding(network: Network, low: Float, high: Float, label: NDArray[np.intp]) -> Float:
    """What rounding may add to the margins `f_p - f_label` anywhere in some boxes: shape (P, classes).

    A file that gives class p more than the label somewhere in box b has there, in real numbers, a margin
    above minus this.

    Args:
        network: as it was lowered from a file.
        low, high: float64 corners of the boxes, shape (P, n).
        label: (P,), of each box.
    """
    largest, error = _below_outputs(network, low, high)
    last = network.layers[-1]
    weight, own = dense(last.weight), _own(last, largest)
    margins = np.empty_like(own)
    for one in np.unique(label):
        rows = label == one
        # what moves both outputs alike does not count
        margins[rows] = (
            _product(error[rows], np.abs(weight - weight[one])) + own[rows] + own[rows, one][:, None]
        )
        margins[rows, one] = 0.0
    return _finite(margins + network.score_rounding)


def _below_outputs(network: Network, low: Float, high: Float) -> tuple[Float, Float]:
    """The largest absolute values of what the last layer takes, and their errors: shape (P, m)."""
    error = np.zeros_like(low)
    for layer in network.layers[:-1]:
        largest = np.maximum(np.abs(low), np.abs(high)) + error
        weight = abs(layer.weight)
        error = (_product(error, weight) + _own(layer, largest)) * _SAFETY
        center, reach = layer.affine((low + high) / 2), _product((high - low) / 2, weight)
        low, high = center - reach, center + reach
        error = np.where(layer.relu & (high + error <= 0), 0.0, error)
        low, high = layer.activate(low), layer.activate(high)
    return np.maximum(np.abs(low), np.abs(high)) + error, error


def _own(layer: Layer, largest: Float) -> Float:
    """What a layer's own roundings may move its pre-activations, given its largest inputs: (P, out)."""
    sums = layer.sums
    weight = abs(layer.weight) if sums is None or sums.weight is None else sums.weight
    bias = np.abs(layer.bias) if sums is None else sums.bias
    roundings = (layer.weight != 0).sum(axis=1) + 2 if sums is None else sums.roundings
    roundings = np.asarray(roundings, np.float64)
    gamma = roundings * _U / np.maximum(1 - roundings * _U, _U)
    return np.asarray(gamma * (_product(largest, weight) + bias + _TINY) * _SAFETY)


def _product(values: Float, weight: object) -> Float:
    """`values @ weight.T`, (P, in) -> (P, out)."""
    return np.asarray((weight @ values.T).T)  # type: ignore[operator]


def _finite(rounding: Float) -> Float:
    """Numbers that overflow are unknown altogether."""
    return np.nan_to_num(rounding * _SAFETY, nan=np.inf, posinf=np.inf)
