"""Elementwise functions with kinks, each written with ReLUs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.networks.expression import Expression, concatenate
from pytest_ensemble.networks.operators.node import Node, NotPiecewiseLinear, operator

_LARGEST = float(np.finfo(np.float32).max)


@operator("Relu")
def _relu(node: Node) -> Expression:
    return node.trace.relu(node.tensor())


@operator("LeakyRelu")
def _leaky_relu(node: Node) -> Expression:
    return _slope(node, np.array(node.attributes.get("alpha", 0.01)))


@operator("PRelu")
def _prelu(node: Node) -> Expression:
    return _slope(node, np.asarray(node.constant(1, "slope"), dtype=np.float64))


def _slope(node: Node, slope: NDArray[Any]) -> Expression:
    """x where x >= 0, slope * x below: slope * x + (1 - slope) * relu(x)."""
    x = node.tensor()
    return x.scale(slope) + node.trace.relu(x).scale(1.0 - slope)


@operator("Abs")
def _abs(node: Node) -> Expression:
    x = node.tensor()
    return node.trace.relu(x) + node.trace.relu(-x)


@operator("Clip")
def _clip(node: Node) -> Expression:
    x = node.tensor()
    low, high = node.option("min", 1), node.option("max", 2)
    if any(limit is not None and np.isnan(limit).any() for limit in (low, high)):
        raise NotPiecewiseLinear("a limit is not a number")
    # some exporters write the ends of float32 for "no limit": added to those, a number is lost
    if low is not None and np.any(low > -_LARGEST):
        x = node.trace.relu(x - low) + low
    if high is not None and np.any(high < _LARGEST):
        x = -node.trace.relu(-(x - high)) + high
    return x


@operator("Max")
def _max(node: Node) -> Expression:
    return _largest(node, [node.tensor(k) for k in range(len(node.inputs))])


@operator("Min")
def _min(node: Node) -> Expression:
    return -_largest(node, [-node.tensor(k) for k in range(len(node.inputs))])


def _largest(node: Node, tensors: list[Expression]) -> Expression:
    """The elementwise maximum, with broadcasting."""
    shape = np.broadcast_shapes(*(x.shape for x in tensors))
    wide = [x.broadcast(shape).reshape((1, *shape)) for x in tensors]
    return node.trace.tournament(concatenate(wide, axis=0))
