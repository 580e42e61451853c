"""Tiny random ONNX classifiers, ordinary and degenerate, as `Model` objects."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from tests.networks.graphs import Graph

KINDS = ("gaussian", "integer", "dead", "near_constant", "residual", "linear", "scaled")


def tiny_model(
    rng: np.random.Generator,
    *,
    inputs: int = 2,
    hidden: Sequence[int] = (4,),
    classes: int = 3,
    kind: str = "gaussian",
    name: str = "tiny",
) -> Model:
    """A chain of Gemm and Relu with random weights.

    Kinds: "gaussian"; "integer": small whole weights, so exact ties are common; "dead": some units
    never or always active; "near_constant": some units with tiny weights, or tiny outputs;
    "residual": every hidden layer has a linear skip connection beside it; "linear": the last Relu is
    left out; "scaled": layers of very different sizes, as training without regularisation gives.
    """
    nodes, tensors, value = [], [], "x"
    sizes = [inputs, *hidden, classes]
    for k, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        weight, bias = _weights(rng, fan_in, fan_out, kind, last=k == len(hidden))
        tensors += [_tensor(weight, f"w{k}"), _tensor(bias, f"b{k}")]
        nodes.append(helper.make_node("Gemm", [value, f"w{k}", f"b{k}"], [f"z{k}"], transB=1))
        if k == len(hidden):
            break
        after = f"z{k}"
        if not (kind == "linear" and k == len(hidden) - 1):
            nodes.append(helper.make_node("Relu", [after], [f"a{k}"]))
            after = f"a{k}"
        if kind == "residual":
            tensors.append(_tensor(rng.normal(size=(fan_in, fan_out)), f"s{k}"))
            nodes.append(helper.make_node("MatMul", [value, f"s{k}"], [f"m{k}"]))
            nodes.append(helper.make_node("Add", [after, f"m{k}"], [f"r{k}"]))
            after = f"r{k}"
        value = after
    return Model(_serialise(nodes, tensors, inputs, f"z{len(hidden)}", classes), name)


def shifted(model: Model, label: int, by: float) -> Model:
    """The same classifier with `by` (in float32) added to all margins over `label`."""
    content = onnx.load_model_from_string(model.content)
    (bias,) = (t for t in content.graph.initializer if t.name == content.graph.node[-1].input[2])
    values = numpy_helper.to_array(bias).copy()
    values[label] -= np.float32(by)
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    return Model(content.SerializeToString(), model.name)


def tiny_query(rng: np.random.Generator, *, members: int | None = None, relus: int = 8) -> Query:
    """A random query: one to three networks with at most `relus` ReLUs each, some of them twice."""
    inputs, classes = int(rng.integers(2, 4)), int(rng.integers(2, 4))
    members = members or int(rng.choice([1, 2, 2, 2, 3]))
    relus = min(relus, 8 if members == 1 else 6 if members == 2 else 4)
    models: list[Model] = []
    for k in range(members):
        if models and rng.random() < 0.1:
            models.append(models[0])
            continue
        first = int(rng.integers(1, relus + 1))
        second = int(rng.integers(0, relus + 1 - first))
        hidden = [size for size in (first, second) if size]
        kind = str(rng.choice(KINDS))
        models.append(tiny_model(rng, inputs=inputs, hidden=hidden, classes=classes, kind=kind, name=f"m{k}"))
    center = rng.uniform(-1, 1, size=inputs).astype(np.float32)
    if rng.random() < 0.2:
        center = np.round(2 * center) / 2
    epsilon = float(rng.choice([0.01, 0.05, 0.25, 0.5, 1.0]))
    label = int(models[0].predict(center[None])[0]) if rng.random() < 0.8 else 0
    bounds = (np.full(inputs, -1.0), np.full(inputs, 1.0)) if rng.random() < 0.3 else None
    return Query(tuple(models), Ball(center, epsilon, bounds), label)


ARCHITECTURES = ("deep", "residual", "convolutional", "convolutional residual")


def tiny_architecture(rng: np.random.Generator, kind: str, *, classes: int = 3, name: str = "tiny") -> Model:
    """A network of 6 inputs, as one picture of 2 x 3, with at most 6 ReLUs.

    "deep": three hidden layers; "residual": `x + W relu(V x)`, a ReLU on the sum, and a dense layer;
    "convolutional": a 2 x 2 convolution with ReLUs, average pooling, dense; "convolutional residual": a
    padded convolution added to the picture before its ReLUs.
    """
    graph = Graph(("n", 1, 2, 3))

    def dense(value: str, fan_in: int, fan_out: int) -> str:
        weight = rng.normal(size=(fan_in, fan_out)) * np.sqrt(2 / fan_in)
        out: str = graph("Gemm", value, weight, rng.normal(size=fan_out) / 4)
        return out

    def convolve(channels: int, size: int, **attributes: object) -> str:
        weight = rng.normal(size=(channels, 1, size, size)) / size
        out: str = graph("Conv", graph.x, weight, rng.normal(size=channels) / 4, **attributes)
        return out

    if kind == "deep":
        value = graph("Flatten", graph.x)
        for fan_in, fan_out in pairwise((6, 2, 2, 2)):
            value = graph("Relu", dense(value, fan_in, fan_out))
        size = 2
    elif kind == "residual":
        value, size = dense(graph("Flatten", graph.x), 6, 2), 2
        value = graph("Relu", graph("Add", value, dense(graph("Relu", dense(value, 2, 2)), 2, 2)))
    elif kind == "convolutional":
        value = graph("Relu", convolve(2, 2))
        value, size = graph("Flatten", graph("AveragePool", value, kernel_shape=[1, 2])), 2
    else:
        value = graph("Add", graph.x, convolve(1, 3, pads=[1, 1, 1, 1]))
        value, size = graph("Flatten", graph("Relu", value)), 6
    return graph.model(dense(value, size, classes), name=name)


def architecture_query(rng: np.random.Generator) -> Query:
    """A pair of these, of any two kinds, moved by `shifted` so that an error is about as likely as not."""
    kinds = [str(kind) for kind in rng.choice(ARCHITECTURES, size=2)]
    models = [tiny_architecture(rng, kind, name=f"m{k}") for k, kind in enumerate(kinds)]
    center = rng.uniform(-1, 1, size=6).astype(np.float32)
    epsilon = float(rng.choice([0.02, 0.1, 0.3]))
    label = int(rng.integers(3))
    moved = []
    for model in models:
        corners = center + epsilon * rng.choice([-1, 1], size=(32, 6))
        highest = float(model.network.margins(label).evaluate(corners).max())
        moved.append(shifted(model, label, rng.normal() * epsilon / 4 - highest))
    return Query(tuple(moved), Ball(center, epsilon), label)


def _weights(
    rng: np.random.Generator, fan_in: int, fan_out: int, kind: str, *, last: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weight, bias = rng.normal(size=(fan_out, fan_in)), 0.5 * rng.normal(size=fan_out)
    if kind == "integer":
        return np.round(weight), np.round(bias)
    some = rng.random(fan_out) < 0.4
    if kind == "dead" and not last:
        bias[some] += rng.choice([-20.0, 20.0])
    if kind == "near_constant" and not last:
        weight[some] *= 10.0 ** -rng.uniform(3, 9)
        if rng.random() < 0.3:
            bias[some] *= 1e-6
    if kind == "scaled":
        scale = 10.0 ** rng.uniform(-2, 2)
        return scale * weight, scale * bias
    return weight, bias


def _tensor(values: NDArray[np.float64], name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(values.astype(np.float32), name)


def _serialise(
    nodes: list[onnx.NodeProto],
    tensors: list[onnx.TensorProto],
    inputs: int,
    output: str,
    classes: int,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", classes])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()
