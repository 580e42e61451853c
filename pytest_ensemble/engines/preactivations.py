"""Bounds of hidden pre-activations over boxes: exact in the first layer, alpha-CROWN in deeper ones.

CROWN (Zhang et al. 2018): each neuron is bounded by an affine function of the input, found backwards through
the linear bounds of the layers below it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.bounds import exact_values, optimise, root_rows
from pytest_ensemble.engines.chains import Boxes, Chains, Index, Part
from pytest_ensemble.engines.checkpoint import checkpoint
from pytest_ensemble.networks.network import Float, Layer, Network, dense, stored

__all__ = ["bounding_cost", "first_layer_bounds", "hidden_bounds", "rounded_outwards"]

_NUMBERS = 1 << 22  # of an array of coefficients, at a time
_STEPS = 12  # of the optimiser for a neuron's bound


def first_layer_bounds(chains: Chains, boxes: Boxes) -> tuple[Float, Float]:
    """Exact bounds of first pre-activations over the boxes, rounded outwards: shapes (P, N1), float64."""
    reach = boxes.reach + 2 * chains.gamma * boxes.size[:, : chains.width]
    return boxes.at_center - reach, boxes.at_center + reach


@np.errstate(over="ignore", invalid="ignore")
def hidden_bounds(
    network: Network, boxes: Boxes, *, refine: bool = False, slab: int = 4096
) -> tuple[Float, Float]:
    """Bounds of all hidden pre-activations of one network over P boxes, shapes (P, N), rounded outwards.

    By intervals; those that leave a ReLU of a deeper layer unstable are tightened by CROWN. They are float32
    numbers, layer by layer: each layer's follow from what is kept of those below it.

    Args:
        network: the network.
        boxes: float64 ones, on the axis of its neurons.
        refine: whether to optimise the slopes of every deeper neuron; takes ten times as long.
        slab: rows of a batch.
    """
    chains = _alone(network)
    lower = np.zeros((len(boxes.center), chains.neurons))
    upper = np.zeros_like(lower)
    first = slice(0, chains.width)
    widest = max(
        chains.inputs, chains.width, *(part.outputs.stop - part.outputs.start for part in chains.parts)
    )
    lower[:, first], upper[:, first] = rounded_outwards(*first_layer_bounds(chains, boxes))
    for position, part in enumerate(chains.parts):
        _interval(chains, boxes, part, lower, upper)
        count = part.outputs.stop - part.outputs.start
        each = max(1, slab // (2 * count))
        most = max(1, _NUMBERS // (2 * min(each, len(lower)) * widest))
        for start in range(0, len(lower), each):
            chosen = slice(start, start + each)
            box = np.arange(len(lower))[chosen]
            low, high = lower[chosen, part.outputs], upper[chosen, part.outputs]
            # a ReLU that intervals show to be stable is exact, however wide they are
            unstable = np.flatnonzero((chains.relu[0, part.outputs] & (low < 0) & (high > 0)).any(axis=0))
            for neuron in range(0, len(unstable), most):
                neurons = unstable[neuron : neuron + most]
                _crown(chains, boxes, position, lower[chosen], upper[chosen], box, neurons)
        if refine and isinstance(part.weight[0], np.ndarray):
            _refine(network, boxes, position, part, lower, upper)
        place = part.outputs
        lower[:, place], upper[:, place] = rounded_outwards(lower[:, place], upper[:, place])
    return lower, upper


def bounding_cost(network: Network) -> float:
    """Multiplications of `hidden_bounds` for one box."""
    cost, below = 0.0, 0
    for layer in network.layers[:-1]:
        cost += stored(layer.weight) + 2.0 * layer.size * below
        below += stored(layer.weight)
    return cost


def rounded_outwards(low: Float, high: Float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Bounds in float32 that enclose these."""
    infinity = np.float32(np.inf)
    return np.nextafter(low.astype(np.float32), -infinity), np.nextafter(high.astype(np.float32), infinity)


@lru_cache(maxsize=64)
def _alone(network: Network) -> Chains:
    return Chains([[network]])


def _refine(network: Network, boxes: Boxes, position: int, part: Part, lower: Float, upper: Float) -> None:
    """Optimise the slopes below each unstable neuron of a deeper layer, for its own bounds (alpha-CROWN).

    The layer's pre-activations and their negatives stand for classes, beside one that is always zero.
    """
    layer = network.layers[position + 1]
    weight, size = dense(layer.weight), layer.size
    outputs = Layer(
        np.concatenate([weight, -weight, np.zeros((1, weight.shape[1]))]),
        np.concatenate([layer.bias, -layer.bias, [0.0]]),
        np.zeros(2 * size + 1, np.bool_),
    )
    exact = Chains([[Network((*network.layers[: position + 1], outputs))]])
    fast, below = exact.cast(np.float32), slice(0, exact.neurons)
    own = Boxes(boxes.center, boxes.radius, boxes.at_center, boxes.reach, boxes.size[:, below])
    center, radius, at_center = (
        values.astype(np.float32) for values in (boxes.center, boxes.radius, boxes.at_center)
    )
    fast_boxes = Boxes(center, radius, at_center, own.reach, own.size)
    low, high = lower[:, part.outputs], upper[:, part.outputs]
    box, neuron = np.nonzero(layer.relu & (low < 0) & (high > 0))
    if not len(box):
        return
    target, box = np.concatenate([neuron, size + neuron]), np.concatenate([box, box])
    down, up = lower[:, below].astype(np.float32), upper[:, below].astype(np.float32)
    team, label = np.zeros_like(box), np.full_like(box, 2 * size)
    rows = root_rows(team, box, label, target[:, None], down[box], up[box])
    optimise(fast, fast_boxes, rows, steps=_STEPS, look=_STEPS + 1, any_label=False)
    value = exact_values(exact, own, rows)
    above = target < size
    place = box[above], neuron
    high[place] = np.minimum(high[place], value[above])
    low[place] = np.maximum(low[place], -value[~above])


def _interval(chains: Chains, boxes: Boxes, part: Part, lower: Float, upper: Float) -> None:
    relu = chains.relu[0, part.inputs]
    low = np.where(relu, np.maximum(lower[:, part.inputs], 0), lower[:, part.inputs])
    high = np.where(relu, np.maximum(upper[:, part.inputs], 0), upper[:, part.inputs])
    weight = part.weight[0]
    middle = np.asarray((weight @ ((low + high) / 2).T).T) + part.bias[0]
    reach = np.asarray((abs(weight) @ ((high - low) / 2).T).T)
    reach += 4 * chains.gamma * boxes.size[:, part.outputs]
    lower[:, part.outputs], upper[:, part.outputs] = middle - reach, middle + reach


def _crown(
    chains: Chains, boxes: Boxes, position: int, lower: Float, upper: Float, box: Index, neurons: Index
) -> None:
    """Tighten the bounds, (P', N), of neurons of a deeper layer in place, by backward bounds from each."""
    checkpoint()
    part = chains.parts[position]
    count = len(neurons)
    weight, bias = dense(part.weight[0][neurons]), part.bias[0, neurons]
    bias = np.concatenate([bias, -bias])
    coefficient = np.concatenate([weight, -weight])[None] * np.ones((len(box), 1, 1))
    constant = bias * np.ones((len(box), 1))
    for below in [*range(position - 1, -1, -1), -1]:
        place = chains.parts[below].outputs if below >= 0 else slice(0, chains.width)
        low, high = lower[:, None, place], upper[:, None, place]
        relu = chains.relu[0, place]
        unstable = relu & (low < 0) & (high > 0)
        slope = np.where(unstable, high / np.where(unstable, high - low, 1) * (1 + 2.0**-50), 0)
        offset = np.where(unstable, -slope * low, 0)
        passes = ~relu | ((high > 0) & ~unstable)
        constant += np.einsum("pcn,pn->pc", np.maximum(coefficient, 0), offset[:, 0])
        under = np.where(unstable, high > -low, passes)
        coefficient = coefficient * np.where(coefficient > 0, np.where(unstable, slope, passes), under)
        if below >= 0:
            constant += coefficient @ chains.parts[below].bias[0]
            flat = coefficient.reshape(-1, coefficient.shape[2]) @ chains.parts[below].weight[0]
            coefficient = np.asarray(flat).reshape(len(box), 2 * count, -1)
    value = np.einsum("pcn,pn->pc", coefficient, boxes.at_center[box]) + constant
    flat = coefficient.reshape(-1, coefficient.shape[2]) @ chains.first[0]
    reach = np.abs(np.asarray(flat).reshape(len(box), 2 * count, -1))
    value += np.einsum("pcn,pn->pc", reach, boxes.radius[box])
    columns = part.outputs.start + neurons
    size = boxes.size[box][:, columns]
    value += 4 * chains.gamma * np.concatenate([size, size], axis=1)
    upper[:, columns] = np.minimum(upper[:, columns], value[:, :count])
    lower[:, columns] = np.maximum(lower[:, columns], -value[:, count:])
