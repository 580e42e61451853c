"""Every operator, in the forms that exporters write, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pytest_ensemble.networks.operators import OPERATORS
from tests.networks.graphs import Graph, agrees

Build = Callable[[Graph], Any]

VECTOR: dict[str, Build] = {  # of x with shape (1, 6)
    "Identity": lambda g: g("Identity", g.x),
    "Dropout": lambda g: g("Dropout", g.x),
    "Dropout, evaluation": lambda g: g("Dropout", g.x, np.array(0.5), np.array(False)),
    "Cast": lambda g: g("Cast", g("Cast", g.x, to=11), to=1),
    "CastLike": lambda g: g("CastLike", g.x, np.zeros(1)),
    "Gemm": lambda g: g("Gemm", g.x, g.random(6, 3)),
    "Gemm, bias": lambda g: g("Gemm", g.x, g.random(6, 3), g.random(3)),
    "Gemm, scalar bias": lambda g: g("Gemm", g.x, g.random(6, 3), g.random(1)),
    "Gemm, matrix bias": lambda g: g("Gemm", g.x, g.random(6, 3), g.random(1, 3), beta=-2.0),
    "Gemm, transB": lambda g: g("Gemm", g.x, g.random(3, 6), g.random(3), transB=1, alpha=0.5, beta=2.0),
    "Gemm, transA": lambda g: g("Gemm", g("Reshape", g.x, [3, 2]), g.random(3, 4), g.random(4), transA=1),
    "Gemm, constant A": lambda g: g("Gemm", g.random(2, 6), g.x, g.random(2, 1), transB=1),
    "Gemm, both transposed": lambda g: g("Gemm", g.random(6, 2), g.x, transA=1, transB=1, alpha=3.0),
    "Gemm, bias depends on x": lambda g: g("Gemm", g.x, g.random(6, 6), g.x, beta=0.5),
    "MatMul": lambda g: g("MatMul", g.x, g.random(6, 4)),
    "MatMul, vector": lambda g: g("MatMul", g("Reshape", g.x, [3, 2]), g.random(2)),
    "MatMul, constant first": lambda g: g("MatMul", g.random(4, 3), g("Reshape", g.x, [3, 2])),
    "MatMul, constant vector first": lambda g: g("MatMul", g.random(3), g("Reshape", g.x, [3, 2])),
    "MatMul, both vectors": lambda g: g(
        "Concat", *(g("Reshape", g("MatMul", g.random(6), g("Reshape", g.x, [6])), [1]) for _ in "ab"), axis=0
    ),
    "MatMul, vector by matrix": lambda g: g("MatMul", g("Reshape", g.x, [6]), g.random(6, 3)),
    "MatMul, matrix by vector": lambda g: g("MatMul", g.random(3, 6), g("Reshape", g.x, [6])),
    "MatMul, 3-d": lambda g: g("MatMul", g("Reshape", g.x, [1, 3, 2]), g.random(2, 4)),
    "MatMul, 3-d second": lambda g: g("MatMul", g.random(4, 3), g("Reshape", g.x, [1, 3, 2])),
    "MatMul, leading axis": lambda g: g(
        "Transpose", g("MatMul", g("Reshape", g.x, [3, 2]), g.random(1, 2, 4)), perm=[2, 0, 1]
    ),
    "Add": lambda g: g("Add", g.x, g.random(6)),
    "Add, constant first": lambda g: g("Add", g.random(1, 1), g.x),
    "Add, wider constant": lambda g: g("Add", g.x, g.random(2, 3, 1, 6)),
    "Add, branches": lambda g: g("Add", g("Relu", g.x), g.dense(g.x, 6, 6)),
    "Add, twice the same": lambda g: g("Add", g.x, g.x),
    "Sum": lambda g: g("Sum", g.x, g.random(6), g("Relu", g.x)),
    "Mean": lambda g: g("Mean", g.x, g.random(6), g("Relu", g.x)),
    "Sub": lambda g: g("Sub", g.x, g.random(1, 6)),
    "Sub, constant first": lambda g: g("Sub", g.random(6), g.x),
    "Sub, branches": lambda g: g("Sub", g("Relu", g.x), g.dense(g.x, 6, 6)),
    "Neg": lambda g: g("Neg", g.x),
    "Mul": lambda g: g("Mul", g.x, g.random(6)),
    "Mul, constant first": lambda g: g("Mul", g.random(2, 1, 1), g.x),
    "Mul by what is constant in fact": lambda g: g("Mul", g.x, g("Add", g("Mul", g.x, np.zeros(6)), 2.0)),
    "Div": lambda g: g("Div", g.x, 1.0 + g.random(6) ** 2),
    "Scaler": lambda g: g(
        "Scaler", g.x, domain="ai.onnx.ml", offset=[1.0, 2, 3, 4, 5, 6], scale=[1.0, 0.5, 2, -1, 0, 3]
    ),
    "Relu": lambda g: g("Relu", g.x),
    "Relu of what is never negative": lambda g: g("Relu", g("Add", g("Relu", g.x), 1.0)),
    "LeakyRelu": lambda g: g("LeakyRelu", g.x),
    "LeakyRelu, alpha": lambda g: g("LeakyRelu", g.x, alpha=0.3),
    "PRelu, one slope": lambda g: g("PRelu", g.x, np.array([0.2])),
    "PRelu, many slopes": lambda g: g("PRelu", g.x, g.random(6)),
    "Abs": lambda g: g("Abs", g.x),
    "Clip": lambda g: g("Clip", g.x, np.array(-0.5), np.array(0.7)),
    "Clip, low only": lambda g: g("Clip", g.x, np.array(-0.5)),
    "Clip, high only": lambda g: g("Clip", g.x, None, np.array(0.7)),
    "Clip, ends of float32": lambda g: g(
        "Clip", g.x, np.array(np.finfo(np.float32).min), np.array(np.finfo(np.float32).max)
    ),
    "Clip, infinite": lambda g: g("Clip", g.x, np.array(-np.inf), np.array(np.inf)),
    "Max": lambda g: g("Max", g.x, g.random(6), g.random(1)),
    "Max, branches": lambda g: g("Max", g("Relu", g.x), g.dense(g.x, 6, 6), g("Neg", g.x)),
    "Max, one": lambda g: g("Max", g.x),
    "Min": lambda g: g("Min", g.random(6), g.x),
    "Min, branches": lambda g: g("Min", g("Relu", g.x), g.dense(g.x, 6, 6), g("Neg", g.x)),
    "Where": lambda g: g(
        "Where", np.array([True, False, True, True, False, False]), g.x, g("Relu", g("Neg", g.x))
    ),
    "Gather": lambda g: g("Gather", g.x, [5, 0, 0, -1], axis=1),
    "Gather, axis 0": lambda g: g("Gather", g("Reshape", g.x, [3, 2]), np.array([[2, 0], [1, 1]])),
    "GatherND": lambda g: g("GatherND", g.x, np.array([[0, 3], [0, -1]])),
    "Flatten": lambda g: g("Flatten", g("Reshape", g.x, [1, 2, 3])),
    "Flatten, axis": lambda g: g("Relu", g("Flatten", g("Reshape", g.x, [2, 1, 3]), axis=-1)),
    "Reshape": lambda g: g("Transpose", g("Reshape", g.x, [0, -1, 2]), perm=[0, 2, 1]),
    "Squeeze": lambda g: g("Squeeze", g.x),
    "Squeeze, axes": lambda g: g("MatMul", g("Squeeze", g.x, [0]), g.random(6, 2)),
    "Unsqueeze": lambda g: g("Transpose", g("Unsqueeze", g.x, [0, -1]), perm=[2, 3, 0, 1]),
    "Expand": lambda g: g("Transpose", g("Expand", g.x, [3, 1]), perm=[1, 0]),
    "Concat": lambda g: g("Concat", g.x, g("Relu", g.x), g.random(1, 2), axis=1),
    "Concat, negative axis": lambda g: g("Concat", g("Relu", g.x), g.x, axis=-2),
    "Split, sizes": lambda g: g("Concat", *g("Split", g.x, [1, 2, 3], outputs=3, axis=1)[::-1], axis=1),
    "Split, parts": lambda g: g(
        "Concat", *g("Split", g.x, outputs=4, axis=1, num_outputs=4)[:0:-1], axis=1
    ),  # the last one is smaller
    "Shape, computed": lambda g: g(
        "Reshape", g.x, g("Concat", g("Gather", g("Shape", g.x), [0]), [3, 2], axis=0)
    ),
    "ConstantOfShape": lambda g: g("Add", g.x, g("ConstantOfShape", g("Shape", g.x))),
}

IMAGE: dict[str, Build] = {  # of x with shape (1, 2, 5, 4)
    "Conv": lambda g: g("Conv", g.x, g.random(3, 2, 3, 3)),
    "Conv, bias": lambda g: g("Conv", g.x, g.random(3, 2, 3, 2), g.random(3), kernel_shape=[3, 2]),
    "Conv, uneven pads": lambda g: g("Conv", g.x, g.random(3, 2, 3, 3), pads=[1, 0, 2, 1]),
    "Conv, strides": lambda g: g("Conv", g.x, g.random(3, 2, 2, 2), strides=[2, 1]),
    "Conv, dilations": lambda g: g("Conv", g.x, g.random(3, 2, 2, 2), dilations=[3, 2]),
    "Conv, groups": lambda g: g("Conv", g.x, g.random(4, 1, 2, 2), g.random(4), group=2),
    "Conv, same upper": lambda g: g("Conv", g.x, g.random(1, 2, 2, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    "Conv, same lower": lambda g: g("Conv", g.x, g.random(1, 2, 2, 4), auto_pad="SAME_LOWER"),
    "Conv, valid": lambda g: g("Conv", g.x, g.random(1, 2, 2, 2), auto_pad="VALID"),
    "Conv, 1-d": lambda g: g("Conv", g("Reshape", g.x, [1, 4, 10]), g.random(2, 4, 3), strides=[3]),
    "Conv, 3-d": lambda g: g("Conv", g("Reshape", g.x, [1, 1, 2, 5, 4]), g.random(2, 1, 2, 2, 3)),
    "AveragePool": lambda g: g("AveragePool", g.x, kernel_shape=[2, 2]),
    "AveragePool, pads": lambda g: g("AveragePool", g.x, kernel_shape=[3, 2], pads=[1, 0, 1, 1]),
    "AveragePool, pads count": lambda g: g(
        "AveragePool", g.x, kernel_shape=[3, 2], pads=[1, 0, 1, 1], count_include_pad=1
    ),
    "AveragePool, ceil": lambda g: g(
        "AveragePool", g.x, kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1, count_include_pad=1
    ),
    "GlobalAveragePool": lambda g: g("GlobalAveragePool", g.x),
    "MaxPool": lambda g: g("MaxPool", g.x, kernel_shape=[2, 2]),
    "MaxPool, pads": lambda g: g("MaxPool", g.x, kernel_shape=[3, 2], pads=[1, 1, 1, 0], strides=[2, 1]),
    "MaxPool, ceil": lambda g: g("MaxPool", g.x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "MaxPool, dilations": lambda g: g("MaxPool", g.x, kernel_shape=[2, 2], dilations=[2, 3]),
    "GlobalMaxPool": lambda g: g("GlobalMaxPool", g.x),
    "BatchNormalization": lambda g: g(
        "BatchNormalization", g.x, g.random(2), g.random(2), g.random(2), g.random(2) ** 2, epsilon=1e-3
    ),
    "BatchNormalization, 2-d": lambda g: g(
        "BatchNormalization", g("Reshape", g.x, [1, 40]), *(g.random(40) ** 2 for _ in range(4))
    ),
    "PRelu, channels": lambda g: g("PRelu", g.x, g.random(2, 1, 1)),
    "ReduceMean": lambda g: g("ReduceMean", g.x, [-1, 2], keepdims=0),
    "ReduceMean, kept": lambda g: g("Sub", g.x, g("ReduceMean", g.x, [2])),
    "ReduceSum": lambda g: g("ReduceSum", g.x, [1], keepdims=0),
    "ReduceSum, all": lambda g: g("Add", g("ReduceSum", g.x, keepdims=0), g.x),
    "ReduceSum, none": lambda g: g("ReduceSum", g.x, np.zeros(0, dtype=int), noop_with_empty_axes=1),
    "ReduceMax": lambda g: g("ReduceMax", g.x, [1, 3], keepdims=0),
    "ReduceMin": lambda g: g("ReduceMin", g.x, [3]),
    "Transpose": lambda g: g("Transpose", g.x, perm=[0, 2, 3, 1]),
    "Transpose, reversed": lambda g: g("Transpose", g.x),
    "Pad": lambda g: g("Pad", g.x, [0, 0, 1, 0, 0, 1, 0, 2], np.array(1.5)),
    "Pad, zeros on axes": lambda g: g("Pad", g.x, [1, 0, 2, 1], None, [-1, 1]),
    "Pad, reflect": lambda g: g("Pad", g.x, [0, 0, 2, 1, 0, 0, 1, 3], mode="reflect"),
    "Pad, edge": lambda g: g("Pad", g.x, [0, 0, 2, 1, 0, 0, 1, 3], mode="edge"),
    "Slice": lambda g: g("Slice", g.x, [1, 0], [5, 3], [2, 3], [2, 1]),
    "Slice, backwards": lambda g: g("Slice", g.x, [-1, 9], [-99, 0], [2, 3], [-2, -1]),
    "Slice, no axes": lambda g: g("Slice", g.x, [0, 1], [1, 2]),
    "residual block": lambda g: g(
        "Relu", g("Add", g.x, g("Conv", g("Relu", g.x), g.random(2, 2, 3, 3), pads=[1, 1, 1, 1]))
    ),
}

OLD: dict[str, tuple[int, Build]] = {  # attributes where newer opsets have inputs; x as in IMAGE
    "Clip": (9, lambda g: g("Clip", g.x, min=-0.5, max=0.25)),
    "Clip, low only": (9, lambda g: g("Clip", g.x, min=0.0)),
    "Dropout": (9, lambda g: g("Dropout", g.x, ratio=0.4)),
    "Slice": (9, lambda g: g("Slice", g.x, starts=[1, -3], ends=[9, -1], axes=[2, 3])),
    "Pad": (9, lambda g: g("Pad", g.x, pads=[0, 0, 1, 0, 0, 0, 0, 2], value=2.0)),
    "Split": (11, lambda g: g("Add", *g("Split", g.x, outputs=2, axis=1, split=[1, 1]))),
    "Squeeze": (11, lambda g: g("Squeeze", g("Split", g.x, outputs=2, axis=1)[0], axes=[0, 1])),
    "Unsqueeze": (11, lambda g: g("Unsqueeze", g.x, axes=[0, 5])),
    "ReduceMean": (13, lambda g: g("ReduceMean", g.x, axes=[2, 3], keepdims=0)),
    "ReduceSum": (11, lambda g: g("ReduceSum", g.x, axes=[-1])),
    "ReduceMax": (13, lambda g: g("ReduceMax", g.x, axes=[1])),
}


@pytest.mark.parametrize("name", VECTOR)
def test_on_a_vector(name: str) -> None:
    graph = Graph((1, 6))
    agrees(graph, VECTOR[name](graph))


@pytest.mark.parametrize("name", IMAGE)
def test_on_an_image(name: str) -> None:
    graph = Graph((1, 2, 5, 4))
    agrees(graph, IMAGE[name](graph))


@pytest.mark.parametrize("name", OLD)
def test_as_older_opsets_write_it(name: str) -> None:
    opset, build = OLD[name]
    graph = Graph((1, 2, 5, 4), opset=opset)
    agrees(graph, build(graph))


def test_every_operator_is_tested() -> None:
    names = [name.split(",")[0].split(" ")[0] for name in [*VECTOR, *IMAGE]]
    assert set(OPERATORS) <= set(names)


def test_needless_relus_cost_no_neurons() -> None:
    graph = Graph((1, 6))
    once = graph("Relu", graph.x)
    model = agrees(graph, graph("Relu", graph("Add", graph("Mul", once, 0.5), np.full(6, 1.0))))
    assert model.network.relu_count == 6
