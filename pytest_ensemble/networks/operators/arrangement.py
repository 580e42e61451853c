"""What moves, drops, repeats or pads elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pytest_ensemble.networks.expression import Expression, concatenate
from pytest_ensemble.networks.limits import check_size
from pytest_ensemble.networks.operators.node import Node, NotPiecewiseLinear, operator


@operator("Flatten")
def _flatten(node: Node) -> Expression:
    x = node.tensor()
    axis = node.attributes.get("axis", 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    first = int(np.prod(x.shape[:axis], dtype=np.int64))
    return x.reshape((first, x.size // first if first else 0))


@operator("Reshape")
def _reshape(node: Node) -> Expression:
    x = node.tensor()
    wanted = [int(n) for n in node.constant(1, "shape")]
    if not node.attributes.get("allowzero"):
        wanted = [x.shape[k] if n == 0 else n for k, n in enumerate(wanted)]
    return x.reshape(x.indices.reshape(wanted).shape)


@operator("Squeeze")
def _squeeze(node: Node) -> Expression:
    x = node.tensor()
    return x.reshape(x.indices.squeeze(node.axes(1)).shape)


@operator("Unsqueeze")
def _unsqueeze(node: Node) -> Expression:
    x = node.tensor()
    axes = node.option("axes", 1)
    assert axes is not None
    return x.reshape(np.expand_dims(x.indices, tuple(int(axis) for axis in axes)).shape)


@operator("Transpose")
def _transpose(node: Node) -> Expression:
    x = node.tensor()
    return x.take(x.indices.transpose(node.attributes.get("perm")))


@operator("Expand")
def _expand(node: Node) -> Expression:
    x = node.tensor()
    wanted = tuple(int(n) for n in node.constant(1, "shape"))
    return x.broadcast(np.broadcast_shapes(x.shape, wanted))


@operator("Concat")
def _concat(node: Node) -> Expression:
    parts = [node.tensor(k) for k in range(len(node.inputs))]
    return concatenate(parts, int(node.attributes["axis"]))


@operator("Slice")
def _slice(node: Node) -> Expression:
    x = node.tensor()
    starts, ends = node.option("starts", 1), node.option("ends", 2)
    assert starts is not None
    assert ends is not None
    axes, steps = node.option("axes", 3), node.option("steps", 4)
    where = range(len(starts)) if axes is None else axes
    stride = np.ones(len(starts), dtype=int) if steps is None else steps
    if len(starts) > len(x.shape):
        raise NotPiecewiseLinear("it slices more axes than there are")
    table = x.indices
    for axis, start, end, step in zip(where, starts, ends, stride, strict=True):
        kept = _cut(x.shape[int(axis)], int(start), int(end), int(step))
        table = np.take(table, kept, axis=int(axis))
    return x.take(table)


def _cut(size: int, start: int, end: int, step: int) -> list[int]:
    """What a slice keeps of `size` elements, as onnxruntime reads it; Python differs for steps < 0."""
    lowest, highest = (0, size) if step > 0 else (-1, size - 1)
    first = min(max(start + size if start < 0 else start, 0), highest)
    if end in (2**31 - 1, 2**63 - 1):  # "to the end", in either direction
        return list(range(first, size if step > 0 else -1, step))
    last = min(max(end + size if end < 0 else end, lowest), size)
    return list(range(first, last, step))


@operator("Split")
def _split(node: Node) -> list[Expression]:
    x = node.tensor()
    axis = int(node.attributes.get("axis", 0))
    sizes = node.option("split", 1)
    if sizes is None:
        count = int(node.attributes.get("num_outputs", node.outputs))
        chunk = -(-x.shape[axis] // count)
        sizes = np.minimum(chunk, x.shape[axis] - chunk * np.arange(count))
    pieces = np.split(x.indices, np.cumsum(sizes)[:-1].astype(int), axis=axis)
    return [x.take(piece) for piece in pieces]


@operator("Gather")
def _gather(node: Node) -> Expression:
    x = node.tensor()
    axis = int(node.attributes.get("axis", 0))
    places = node.constant(1, "indices").astype(int)
    check_size(places.size * (x.size // max(1, x.shape[axis])))
    return x.take(np.take(x.indices, places, axis=axis))


@operator("GatherND")
def _gather_nd(node: Node) -> Expression:
    x = node.tensor()
    if node.attributes.get("batch_dims"):
        raise NotPiecewiseLinear("it has batch_dims")
    places = node.constant(1, "indices").astype(int)
    check_size(math.prod(places.shape[:-1]) * math.prod(x.shape[places.shape[-1] :]))
    return x.take(x.indices[tuple(np.moveaxis(places, -1, 0))])


@operator("Pad")
def _pad(node: Node) -> Expression:
    x = node.tensor()
    pads = node.option("pads", 1)
    assert pads is not None
    mode = node.attributes.get("mode", b"constant").decode()
    rank = len(x.shape)
    where = node.axes(3) if node.has(3) else tuple(range(rank))
    assert where is not None
    widths = [(0, 0)] * rank
    for k, axis in enumerate(where):
        widths[axis] = (int(pads[k]), int(pads[k + len(where)]))
    if min(min(pair) for pair in widths) < 0:
        raise NotPiecewiseLinear("it has negative pads")
    check_size(math.prod(size + low + high for size, (low, high) in zip(x.shape, widths, strict=True)))
    if mode == "constant":
        fill = node.option("value", 2)
        table = np.pad(x.indices, widths, constant_values=-1)
        return x.take(table, fill=0.0 if fill is None else float(fill.reshape(-1)[0]))
    modes: dict[str, Any] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    return x.take(np.pad(x.indices, widths, mode=modes[mode]))


@operator("Where")
def _where(node: Node) -> Expression:
    kept = node.constant(0, "condition").astype(bool).astype(float)
    return node.tensor(1).scale(kept) + node.tensor(2).scale(1.0 - kept)
