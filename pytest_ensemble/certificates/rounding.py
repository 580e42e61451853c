"""What float32 evaluation may add to margins, computed apart from `networks.rounding`, which explains it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.certificates.intervals import Float, affine, exact, middle_of
from pytest_ensemble.networks.network import Layer, Network, dense

__all__ = ["rounding_of"]

_U = 2.0**-24


def rounding_of(network: Network, low: Float, high: Float, label: NDArray[np.intp]) -> Float:
    """What float32 may add to margins over the labels, (Q, classes)."""
    error = np.zeros_like(low)
    for layer in network.layers[:-1]:
        weight = abs(layer.weight).T
        error = (error @ weight + _sum_error(layer, low - error, high + error)) * (1 + 1e-9)
        middle, half = middle_of(low, high)
        z, reach = affine(exact(middle), layer), exact(half).product(weight).high
        low, high = -((-z).widened(reach).high), z.widened(reach).high
        error = np.where(layer.relu & (high + error <= 0), 0.0, error)
        low, high = (np.where(layer.relu, np.maximum(side, 0), side) for side in (low, high))
    last, rows = network.layers[-1], np.arange(len(low))
    own = _sum_error(last, low - error, high + error)
    weight = dense(last.weight)
    out = np.empty_like(own)
    for one in np.unique(label):
        chosen = label == one
        out[chosen] = error[chosen] @ np.abs(weight - weight[one]).T
    return np.asarray((out + own + own[rows, label][:, None] + network.score_rounding) * (1 + 1e-9))


def _sum_error(layer: Layer, low: Float, high: Float) -> Float:
    """What the roundings of one layer may move its pre-activations, (Q, out)."""
    positive, negative = np.maximum(high, 0), np.maximum(-low, 0)
    largest, tiny = np.maximum(positive, negative), float(np.finfo(np.float32).tiny)
    terms = np.asarray((layer.weight != 0).sum(axis=1), np.float64)
    sums = layer.sums
    count = terms + 1 if sums is None else sums.roundings.astype(np.float64)
    bias = np.abs(layer.bias) if sums is None else sums.bias
    unit = _U / (1 - 2 * count * _U) if (4 * count * _U < 1).all() else np.full_like(count, np.inf)
    if sums is not None and sums.weight is not None:
        size = largest @ abs(sums.weight).T + bias
        own = count * (unit * size + tiny)
    else:
        size = largest @ abs(layer.weight).T + bias
        plus = np.maximum(dense(layer.weight), 0).T
        minus = np.maximum(-dense(layer.weight), 0).T
        partial = np.maximum(positive @ plus + negative @ minus, positive @ minus + negative @ plus) + bias
        partial = np.minimum(partial, size)
        own = unit * (terms * partial + (np.maximum(count - terms, 0) + 1) * size) + count * tiny
    return np.asarray(np.where(size < 1.7e38, own, np.inf) * (1 + 1e-9))
