"""How far what a file computes in float32 may be from its `Network` in real numbers.

Running error analysis (Wilkinson 1963; Higham, "Accuracy and Stability of Numerical Algorithms", 2002,
sections 3.1 and 3.3). A summand that goes through at most r roundings, in whatever order the runtime adds and
with or without fused products, ends up off by a factor within 1 +- gamma_r, gamma_r = r u / (1 - r u) with
u = 2^-24. So a sum is off by at most gamma_r times the sum of the absolute values of its terms. Where a row
is a single sum, each addition is off by at most u times a partial sum, and those are no larger than all
positive or all negative terms together. Errors of what is summed are passed on by |weights|. ReLUs never
widen a difference, and one that is surely off has no error.

What that takes for granted: the runtime adds and multiplies in float32 or better, rounds to nearest, and does
nothing to numbers but what the file says, with weights folded into each other at most (a normalisation into
a convolution). Underflow to zero is allowed for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.networks.network import Float, Layer, Network, Sums, dense

__all__ = ["SOFTMAX", "margin_rounding", "output_rounding"]

# Of a Softmax or Sigmoid: exp is off by a few ulps in any runtime, so scores may be ordered differently
# from logits that differ by less than this.
SOFTMAX = 2.0**-19

_U = 2.0**-24
_TINY = float(np.finfo(np.float32).tiny) / _U  # of what underflow, even to zero, takes, times u
_LARGEST = float(np.finfo(np.float32).max) / 2  # beyond that, numbers may overflow
_SAFETY = 1 + 2.0**-10  # for the float64 arithmetic of this file, which errs 2^29 times less than float32


@np.errstate(all="ignore")
def output_rounding(network: Network, low: Float, high: Float) -> Float:
    """What rounding may move each output anywhere in some boxes: shape (P, outputs).

    Args:
        network: as it was lowered from a file.
        low, high: float64 corners of the boxes, shape (P, n).
    """
    low, high, error = _below_outputs(network, low, high)
    last = network.layers[-1]
    return _finite(_product(error, abs(last.weight)) + _own(last, low, high))


@np.errstate(all="ignore")
def margin_rounding(network: Network, low: Float, high: Float, label: NDArray[np.intp]) -> Float:
    """What rounding may add to the margins `f_p - f_label` anywhere in some boxes: shape (P, classes).

    A file that gives class p more than the label somewhere in box b has there, in real numbers, a margin
    above minus this.

    Args:
        network: as it was lowered from a file.
        low, high: float64 corners of the boxes, shape (P, n).
        label: (P,), of each box.
    """
    low, high, error = _below_outputs(network, low, high)
    last = network.layers[-1]
    weight, own = dense(last.weight), _own(last, low, high)
    margins = np.empty_like(own)
    for one in np.unique(label):
        rows = label == one
        # what moves both outputs alike does not count
        margins[rows] = (
            _product(error[rows], np.abs(weight - weight[one])) + own[rows] + own[rows, one][:, None]
        )
        margins[rows, one] = 0.0
    return _finite(margins + network.score_rounding)


def _below_outputs(network: Network, low: Float, high: Float) -> tuple[Float, Float, Float]:
    """The corners, (P, m), of what the last layer takes as executed, and their errors."""
    error = np.zeros_like(low)
    for layer in network.layers[:-1]:
        weight = abs(layer.weight)
        moved = _product(error, weight) + _own(layer, low - error, high + error)
        center, reach = layer.affine((low + high) / 2), _product((high - low) / 2, weight)
        error = moved * _SAFETY
        low, high = center - reach, center + reach
        error = np.where(layer.relu & (high + error <= 0), 0.0, error)
        low, high = layer.activate(low), layer.activate(high)
    return low - error, high + error, error


def _own(layer: Layer, low: Float, high: Float) -> Float:
    """What a layer's own roundings may move its pre-activations, (P, out), between corners of its inputs."""
    sums = layer.sums
    above, below = np.maximum(high, 0), np.maximum(-low, 0)
    weight = abs(layer.weight)
    terms = np.asarray((layer.weight != 0).sum(axis=1), np.intp)
    if sums is None:
        sums = Sums(None, np.abs(layer.bias), terms + 1)
    roundings = sums.roundings.astype(np.float64)
    unit = _U / np.maximum(1 - 2 * roundings * _U, _U)
    if sums.weight is not None:
        size = _product(np.maximum(above, below), sums.weight) + sums.bias + _TINY
        return np.asarray(np.where(size < _LARGEST, roundings * unit * size * _SAFETY, np.inf))
    size = _product(np.maximum(above, below), weight) + sums.bias
    # no partial sum of a single sum is larger than its positive or its negative terms together
    sides = _product(above + below, weight), _product(above - below, layer.weight)
    partial = np.minimum((sides[0] + np.abs(sides[1])) / 2 + sums.bias, size)
    others = np.maximum(roundings - terms, 0) + 1
    own = unit * (terms * partial + others * size + roundings * _TINY) * _SAFETY
    return np.asarray(np.where(size < _LARGEST, own, np.inf))


def _product(values: Float, weight: object) -> Float:
    """`values @ weight.T`, (P, in) -> (P, out)."""
    return np.asarray((weight @ values.T).T)  # type: ignore[operator]


def _finite(rounding: Float) -> Float:
    """Numbers that overflow are unknown altogether."""
    return np.nan_to_num(rounding * _SAFETY, nan=np.inf, posinf=np.inf)
