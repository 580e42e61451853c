"""Operators with random attributes, and random compositions of them, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.networks.graphs import Graph, agrees

FEW = settings(max_examples=30)


@FEW
@given(st.data(), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_gemm(data: st.DataObject, rows: int, inner: int, columns: int) -> None:
    trans_a, trans_b = data.draw(st.booleans()), data.draw(st.booleans())
    graph = Graph((inner, rows) if trans_a else (rows, inner))
    assume(rows * columns > 1)
    weight = graph.random(columns, inner) if trans_b else graph.random(inner, columns)
    shapes: list[tuple[int, ...]] = [(), (1,), (columns,), (1, columns), (rows, 1), (rows, columns)]
    bias = data.draw(st.none() | st.sampled_from(shapes).map(lambda shape: graph.random(*shape)))
    scale = st.sampled_from([-1.5, 0.5, 1.0])
    options = {"transA": int(trans_a), "transB": int(trans_b)}
    options |= {"alpha": data.draw(scale), "beta": data.draw(scale)}
    agrees(graph, graph("Gemm", graph.x, weight, *([] if bias is None else [bias]), **options))


@FEW
@given(st.data(), st.sampled_from([1, 2]), st.integers(1, 3), st.booleans())
def test_convolutions(data: st.DataObject, groups: int, dimensions: int, biased: bool) -> None:
    kernel = data.draw(_list(dimensions, 1, 3))
    dilations = data.draw(_list(dimensions, 1, 2))
    space = [
        data.draw(st.integers((k - 1) * d + 1, (k - 1) * d + 3))
        for k, d in zip(kernel, dilations, strict=True)
    ]
    channels, filters = groups * data.draw(st.integers(1, 2)), groups * data.draw(st.integers(1, 2))
    graph = Graph((1, channels, *space))
    weight = graph.random(filters, channels // groups, *kernel)
    options: dict[str, Any] = {"dilations": dilations, "group": groups}
    options["strides"] = data.draw(_list(dimensions, 1, 3))
    mode = data.draw(st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if mode == "NOTSET":
        options["pads"] = data.draw(_list(2 * dimensions, 0, 2))
    elif dilations == [1] * dimensions:
        options["auto_pad"] = mode
    output = graph("Conv", graph.x, weight, *([graph.random(filters)] if biased else []), **options)
    agrees(graph, graph("Concat", graph("Reshape", output, [-1]), np.zeros(1), axis=0))


@FEW
@given(st.data(), st.sampled_from(["MaxPool", "AveragePool"]))
def test_pools(data: st.DataObject, kind: str) -> None:
    kernel = data.draw(_list(2, 1, 3))
    space = [data.draw(st.integers(k, k + 4)) for k in kernel]
    graph = Graph((1, 2, *space))
    pads = [data.draw(st.integers(0, k - 1)) for k in kernel * 2]
    options: dict[str, Any] = {"kernel_shape": kernel, "pads": pads, "strides": data.draw(_list(2, 1, 3))}
    options["ceil_mode"] = data.draw(st.integers(0, 1))
    if kind == "AveragePool":
        options["count_include_pad"] = data.draw(st.integers(0, 1))
    agrees(graph, graph(kind, graph.x, **options))


@FEW
@given(st.data())
def test_slices(data: st.DataObject) -> None:
    shape = data.draw(_list(2, 2, 5))
    graph = Graph(shape)
    axes = data.draw(st.permutations([0, 1]))[: data.draw(st.integers(1, 2))]
    cuts = [
        (
            data.draw(st.integers(-7, 7)),
            data.draw(st.integers(-7, 7) | st.just(-(2**31)) | st.just(2**31 - 1)),
            data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3])),
        )
        for _ in axes
    ]
    starts, ends, steps = (list(column) for column in zip(*cuts, strict=True))
    signed = [axis - 2 if data.draw(st.booleans()) else axis for axis in axes]
    cut = graph("Slice", graph.x, starts, ends, signed, steps)
    # a cut may be empty, and onnxruntime says which are: the class scores are more than that
    agrees(graph, graph("Concat", graph("Reshape", cut, [-1]), np.zeros(2), axis=0))


@FEW
@given(st.data(), st.sampled_from(["constant", "reflect", "edge"]))
def test_pads(data: st.DataObject, mode: str) -> None:
    shape = data.draw(_list(3, 2, 4))
    graph = Graph(shape)
    pads = [data.draw(st.integers(0, n - 1)) for n in shape * 2]
    value = [np.array(data.draw(st.sampled_from([0.0, -2.5])))] if mode == "constant" else []
    agrees(graph, graph("Pad", graph.x, pads, *value, mode=mode))


@FEW
@given(st.data(), st.sampled_from(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"]), st.integers(0, 1))
def test_reductions(data: st.DataObject, kind: str, keepdims: int) -> None:
    graph = Graph((2, 3, 2))
    axes = data.draw(st.lists(st.integers(-3, 2), max_size=2, unique_by=lambda axis: axis % 3))
    assume(axes)
    agrees(graph, graph(kind, graph.x, axes, keepdims=keepdims))


@FEW
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.data())
def test_broadcasting(shape: list[int], data: st.DataObject) -> None:
    other = [data.draw(st.sampled_from([1, n])) for n in shape]
    other = data.draw(st.sampled_from([other, other[1:], [2, *other]]))
    graph = Graph(shape)
    wide = graph("Concat", graph("Relu", graph.x), graph.x, axis=0)
    narrow = graph("Slice", wide, [0], [shape[0]], [0])
    kind = data.draw(st.sampled_from(["Add", "Sub", "Mul", "Max", "Min"]))
    first = data.draw(st.booleans())
    pair = (graph.random(*other), narrow) if first else (narrow, graph.random(*other))
    result = graph("Reshape", graph(kind, *pair), [-1])
    agrees(graph, graph("Concat", result, np.zeros(1), axis=0))


ELEMENTWISE = {
    "Relu": {},
    "Abs": {},
    "Neg": {},
    "LeakyRelu": {"alpha": 0.25},
    "Identity": {},
}


@settings(max_examples=60)
@given(st.data(), st.integers(1, 9))
def test_compositions(data: st.DataObject, length: int) -> None:
    """Any graph of these is affine layers and ReLUs: values skip layers, meet, and are used twice."""
    graph = Graph((1, 4))
    values = [graph.x]
    for _ in range(length):
        a = data.draw(st.sampled_from(values))
        b = data.draw(st.sampled_from(values))
        kind = data.draw(
            st.sampled_from([*ELEMENTWISE, "Gemm", "Add", "Sub", "Max", "Min", "Clip", "Concat"])
        )
        if kind in ELEMENTWISE:
            values.append(graph(kind, a, **ELEMENTWISE[kind]))
        elif kind == "Gemm":
            values.append(graph.dense(a, 4, 4))
        elif kind == "Clip":
            values.append(graph("Clip", a, np.array(-1.0), np.array(1.0)))
        elif kind == "Concat":
            values.append(graph("Slice", graph("Concat", a, b, axis=1), [1], [8], [1], [2]))
        else:
            values.append(graph(kind, a, b))
    agrees(graph, graph("Add", values[-1], data.draw(st.sampled_from(values))))


def _list(size: int, low: int, high: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(low, high), min_size=size, max_size=size)
