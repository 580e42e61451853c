"""Means, sums, maxima and minima: of windows (pools) and over constant axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pytest_ensemble.networks.expression import Expression
from pytest_ensemble.networks.operators.node import Node, NotPiecewiseLinear, operator
from pytest_ensemble.networks.windows import windows


@operator("AveragePool", "GlobalAveragePool")
def _average_pool(node: Node) -> Expression:
    x = node.tensor()
    table = _pool_windows(node)
    counted = np.full(table.shape, True) if node.attributes.get("count_include_pad") else table >= 0
    counted = counted & (table != -2)  # -2: beyond the padding, from ceil_mode
    return _weighted(x, table, 1.0 / counted.sum(axis=-1))


def _pool_windows(node: Node) -> NDArray[np.intp]:
    """Flat positions of each window's elements, shape (*output shape, window)."""
    x = node.tensor()
    if "kernel_shape" not in node.attributes:
        return x.indices.reshape(*x.shape[:2], *(1,) * (len(x.shape) - 2), -1)
    return windows(x.shape, node.attributes["kernel_shape"], node.attributes)


def _weighted(x: Expression, table: NDArray[np.intp], factor: NDArray[Any]) -> Expression:
    """Sums of the elements of each window, times its factor."""
    shape = table.shape[:-1]
    flat = table.reshape(-1, table.shape[-1])
    rows, places = np.nonzero(flat >= 0)
    values = np.broadcast_to(factor, shape).reshape(-1)[rows]
    matrix = sp.csr_array((values, (rows, flat[rows, places])), shape=(len(flat), x.size))
    return x.linear(matrix, shape)


@operator("MaxPool", "GlobalMaxPool")
def _max_pool(node: Node) -> Expression:
    if node.outputs > 1:
        raise NotPiecewiseLinear("its Indices output is used")
    x = node.tensor()
    table = _pool_windows(node)
    inside = np.take_along_axis(table, (table >= 0).argmax(axis=-1)[..., None], axis=-1)
    table = np.where(table >= 0, table, inside)  # padding never wins: repeat an element instead
    return node.trace.tournament(x.take(np.moveaxis(table, -1, 0)))


@operator("ReduceMean")
def _reduce_mean(node: Node) -> Expression:
    table = _reduced(node)
    return _weighted(node.tensor(), table, np.array(1.0 / table.shape[-1]))


@operator("ReduceSum")
def _reduce_sum(node: Node) -> Expression:
    return _weighted(node.tensor(), _reduced(node), np.array(1.0))


@operator("ReduceMax")
def _reduce_max(node: Node) -> Expression:
    table = _reduced(node)
    x = node.tensor()
    return node.trace.tournament(x.take(np.moveaxis(table, -1, 0)))


@operator("ReduceMin")
def _reduce_min(node: Node) -> Expression:
    negated = Node((-node.tensor(), *node.inputs[1:]), node.attributes, node.opset, 1, node.trace)
    return -_reduce_max(negated)


def _reduced(node: Node) -> NDArray[np.intp]:
    """Flat positions of what each output element reduces, shape (*output shape, count)."""
    x = node.tensor()
    axes = node.axes(1)
    if not axes:
        if axes == () and node.attributes.get("noop_with_empty_axes"):
            return x.indices[..., None]
        axes = tuple(range(len(x.shape)))
    kept = tuple(axis for axis in range(len(x.shape)) if axis not in axes)
    table = x.indices.transpose(*kept, *axes).reshape(*(x.shape[axis] for axis in kept), -1)
    if node.attributes.get("keepdims", 1):
        shape = [1 if axis in axes else n for axis, n in enumerate(x.shape)]
        table = table.reshape(*shape, -1)
    return table
