"""Elementwise functions with kinks, each written with ReLUs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.networks.expression import Expression
from pytest_ensemble.networks.operators.node import Node, operator

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
    # some exporters write the ends of float32 for "no limit": added to those, a number is lost
    if low is not None and np.any(low > -_LARGEST):
        x = node.trace.relu(x - low) + low
    if high is not None and np.any(high < _LARGEST):
        x = -node.trace.relu(-(x - high)) + high
    return x


@operator("Max")
def _max(node: Node) -> Expression:
    return node.trace.tournament([node.tensor(k) for k in range(len(node.inputs))])


@operator("Min")
def _min(node: Node) -> Expression:
    return -node.trace.tournament([-node.tensor(k) for k in range(len(node.inputs))])
