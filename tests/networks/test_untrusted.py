"""Model files that ask for too much, call files outside, lie, or hold numbers that are none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_ensemble.errors import ModelError, UnsupportedOperatorError
from pytest_ensemble.networks import limits
from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.pool import Pool
from tests.bounded import bounded
from tests.networks.graphs import Graph

__all__ = ["bounded"]
pytestmark = pytest.mark.usefixtures("bounded")

TOO_LARGE = r"too large|too many to verify"
ONE = np.float32(1)


def refused(content: bytes, reason: str) -> str:
    """The one line that says why; MemoryError and deadlines of `bounded` are no reasons."""
    with pytest.raises(ModelError, match=reason) as caught:
        Model(content, "m1")
    message = str(caught.value)
    assert message.startswith("model 'm1': ")
    assert message.isprintable()
    assert len(message) < 2500
    assert "allocate" not in message
    return message


# --- constants ------------------------------------------------------------------------------------

FAR = np.array([10**6, 10**6])
LONG = np.ones((1, 10**6), np.float32)
CONSTANTS: dict[str, tuple[object, ...]] = {
    "ConstantOfShape": (FAR,),
    "Expand": (np.ones(1, np.float32), FAR),
    "Tile": (np.ones(4, np.float32), np.array([10**12])),
    "Range": (np.array(0), np.array(10**12), np.array(1)),
    "Pad": (np.ones((2, 2), np.float32), np.array([0, 0, 10**6, 10**6])),
    "Gather": (LONG, np.zeros(10**6, int)),
    "GatherND": (LONG, np.zeros((10**6, 1), int)),
    "MatMul": (LONG.T, LONG),
    "Add": (LONG.T, LONG),
    "Max": (LONG.T, LONG),
    "Where": (LONG.T > 0, LONG, ONE),
    "NonZero": (np.ones((1,) * 30 + (10**5,), np.float32),),
}


@pytest.mark.parametrize("kind", CONSTANTS)
def test_constants_of_absurd_sizes(kind: str) -> None:
    graph = Graph((1, 4))
    constant = graph("Cast", graph("ReduceSum", graph(kind, *CONSTANTS[kind]), keepdims=0), to=1)
    refused(graph.content(graph("Add", graph.x, constant)), rf"\({kind}\) can't be read: .*too large")


def test_many_large_constants() -> None:
    graph = Graph((1, 4))
    for _ in range(1000):
        graph("ConstantOfShape", np.array([limits.LARGEST]))
    refused(graph.content(graph("Relu", graph.x)), "the network is too large")


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes"),
    [
        ("RegexFullMatch", (), {"pattern": "(a+)+$"}),
        ("StringSplit", (), {"delimiter": "a"}),
        ("Cast", (), {"to": 1}),
        ("OneHot", (np.zeros(10**5, int), np.array(10**8), np.float32([0, 1])), {}),
        ("Resize", (np.ones((1, 1, 2, 2), np.float32), None, np.float32([1, 1, 1e6, 1e6])), {}),
        ("Conv", (np.ones((1, 1, 999, 999), np.float32), np.ones((1, 1, 500, 500), np.float32)), {}),
        ("Einsum", (LONG, LONG), {"equation": "ab,cd->bd"}),
        ("EyeLike", (np.ones((10, 10), np.float32),), {}),
        ("BlackmanWindow", (np.array(10**12),), {}),
        ("RandomNormal", (), {"shape": [10**6, 10**6]}),
    ],
)
def test_operators_that_no_constant_may_be_computed_with(
    kind: str, inputs: tuple[object, ...], attributes: dict[str, object]
) -> None:
    graph = Graph((1, 4), opset=20)
    graph.tensors.append(helper.make_tensor("text", TensorProto.STRING, [1], [b"a" * 40 + b"b"]))
    given = inputs or (() if kind.startswith("Random") else ("text",))
    content = graph.content(graph("Add", graph.x, graph(kind, *given, **attributes)))
    refused(content, "it has constants for input|its input is text")


def test_branches_are_not_run() -> None:
    inner = helper.make_tensor_value_info("o", TensorProto.FLOAT, [4])
    value = numpy_helper.from_array(np.ones(4, np.float32))
    branch = helper.make_graph([helper.make_node("Constant", [], ["o"], value=value)], "b", [], [inner])
    graph = Graph((1, 4))
    chosen = graph("If", np.array(True), then_branch=branch, else_branch=branch)
    refused(graph.content(graph("Add", graph.x, chosen)), "operator If")


# --- tensors and networks -------------------------------------------------------------------------


def _chain(kind: str, count: int, **attributes: object) -> Callable[[], bytes]:
    def make() -> bytes:
        graph = Graph((1, 1024, 1024))
        value = graph.x
        for _ in range(count):
            value = graph(kind, value, **attributes)
        return graph.content(value)

    return make


def _over(shape: tuple[int, ...], kind: str, *inputs: object, **attributes: object) -> Callable[[], bytes]:
    def make() -> bytes:
        graph = Graph(shape)
        return graph.content(graph("Flatten", graph(kind, graph.x, *inputs, **attributes)))

    return make


def _skips(count: int) -> Callable[[], bytes]:
    def make() -> bytes:
        graph = Graph((1, 2))
        value = total = graph.x
        for _ in range(count):
            value = graph("Relu", graph("Add", value, np.array([-1.0, 1.0])))
            total = graph("Add", total, value)
        return graph.content(total)

    return make


def _spread() -> bytes:
    graph = Graph((1, 1 << 18))
    total = graph("ReduceSum", graph.x, np.array([1]))
    return graph.content(graph("Expand", total, np.array([1, 1 << 18])))


def _split() -> bytes:
    graph = Graph((1, 1 << 17))
    parts = graph("Split", graph.x, np.ones(1 << 17, int), outputs=1 << 17, axis=1)
    return graph.content(parts[0])


def _repeated(kind: str, count: int, **attributes: object) -> Callable[[], bytes]:
    def make() -> bytes:
        graph = Graph((1, 4))
        names = [graph.x, *[graph.name_of(np.ones((1, 4), np.float32))] * count]
        return graph.content(graph(kind, *names, **attributes))

    return make


WINDOW = {"kernel_shape": [512, 512]}
NETWORKS: dict[str, Callable[[], bytes]] = {
    "matrix product": _over((1, 1024, 1024), "MatMul", np.ones((1024, 1024), np.float32)),
    "large windows": _over((1, 1, 1024, 1024), "MaxPool", **WINDOW),
    "large means": _over((1, 1, 1024, 1024), "AveragePool", **WINDOW),
    "large filters": _over((1, 1, 256, 256), "Conv", np.ones((8, 1, 128, 128), np.float32)),
    "large Gather": _over((1, 1 << 20), "Gather", np.zeros(10**6, int), axis=0),
    "large GatherND": _over((1, 1 << 20), "GatherND", np.zeros((10**6, 1), int)),
    "sum of everything, everywhere": _spread,
    "many classes": _over((1, 1 << 16), "Relu"),
    "many parts": _split,
    "many operands": _repeated("Concat", 10**5, axis=1),
    "many summands": _repeated("Sum", 10**5),
    "many moves": _chain("Transpose", 1000, perm=[0, 2, 1]),
    "many shortcuts": _skips(2000),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_of_absurd_sizes(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if network.startswith("many"):
        monkeypatch.setattr(limits, "WORK", limits.WORK >> 5)  # the whole takes up to half a minute
    refused(NETWORKS[network](), TOO_LARGE)


def test_more_axes_than_there_are() -> None:
    graph = Graph((1, 4))
    many = np.zeros(10**6, int)
    refused(graph.content(graph("Slice", graph.x, many, many + 9, many)), "slices more axes than there are")


def test_a_wide_maximum_is_not_absurd() -> None:
    graph = Graph((1, 3, 24, 24))
    model = graph.model(graph("Flatten", graph("GlobalMaxPool", graph.x)))
    assert len(model.network.layers) == 11  # 576 = 2**9.2 numbers: ten rounds


def test_many_samples_are_given_to_onnxruntime_in_parts() -> None:
    graph = Graph(("n", 4))
    model = graph.model(graph.dense(graph("Relu", graph.x), 4, 3))
    x = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    alone = np.concatenate([model.scores(row[None]) for row in x])
    np.testing.assert_allclose(model.scores(x), alone, rtol=1e-5, atol=1e-6)


# --- the file itself ------------------------------------------------------------------------------


def _varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


@pytest.mark.parametrize("before", [b"", b"\x1b\x1c"])  # an unknown group hides nothing
def test_millions_of_empty_nodes(before: bytes) -> None:
    refused(before + _field(7, b"\x0a\x00" * 1_000_000), "has more than 262144 parts")


def test_graphs_in_graphs_in_graphs() -> None:
    graph = b""
    for _ in range(2000):
        graph = _field(1, _field(5, _field(6, graph)))
    refused(_field(7, graph), "not an ONNX file")


def test_many_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph((1, 2))
    value = graph.x
    monkeypatch.setattr(limits, "WORK", limits.STEP * 3000)
    for _ in range(3_000):
        graph.nodes.append(onnx.NodeProto(op_type="Identity", input=[value], output=[f"i{len(graph.nodes)}"]))
        value = graph.nodes[-1].output[0]
    refused(graph.content(value), "the network is too large")


def test_a_file_of_a_gigabyte(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ModelError, match=r"large\.onnx: is larger than 134217728 bytes"):
        Model.load(path)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "socket", "broken link"])
def test_what_is_no_regular_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        os.mknod(path, 0o140600)
    else:
        path.symlink_to("nowhere")
    with pytest.raises(ModelError, match=r"m\.onnx: can't be read: (Not a reg|Is a dir|No such (file|dev))"):
        Pool.load(tmp_path)


# --- data elsewhere -------------------------------------------------------------------------------


def _outside(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 3])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def _product(weight: str = "w") -> list[onnx.NodeProto]:
    return [helper.make_node("MatMul", ["x", weight], ["y"])]


def _constant(location: str) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["w"], value=_outside(location))


def _model(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    return helper.make_model(
        helper.make_graph(nodes, "g", [given], [made]), opset_imports=opsets, ir_version=8
    )


def _as_weights(location: str) -> onnx.ModelProto:
    model = _model(_product())
    model.graph.initializer.append(_outside(location))
    return model


def _in_a_branch(location: str) -> onnx.ModelProto:
    made = helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3])
    graph = helper.make_graph([_constant(location)], "b", [], [made])
    for _ in range(5):
        inside = helper.make_node("If", ["on"], ["w"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([inside], "b", [], [made])
    model = _model([inside, *_product()])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "on"))
    return model


def _in_a_function(location: str) -> onnx.ModelProto:
    model = _model([helper.make_node("F", ["x"], ["y"], domain="own")])
    body = [_constant(location), *_product()]
    model.functions.append(
        helper.make_function("own", "F", ["x"], ["y"], body, [helper.make_opsetid("", 18)])
    )
    return model


@pytest.mark.parametrize(
    "build",
    [_as_weights, lambda where: _model([_constant(where), *_product()]), _in_a_branch, _in_a_function],
    ids=["weights", "constant", "branch", "function"],
)
@pytest.mark.parametrize("location", ["inside.bin", "../m.bin", "/etc/hostname", "*/_ORT_MEM_ADDR_/*"])
def test_no_file_is_read_that_a_model_names(
    build: Callable[[str], onnx.ModelProto],
    location: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.ones(12, np.float32).tofile(tmp_path / "inside.bin")
    content = build(location).SerializeToString()
    if location == "inside.bin":  # otherwise this test tests nothing
        ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    message = refused(content, "are in another file")
    assert "onnx.save(onnx.load(path), path)" in message


@pytest.mark.parametrize("place", ["weights", "constant"])
def test_sparse_tensors(place: str) -> None:
    values, places = (numpy_helper.from_array(np.ones(1, dtype), "w") for dtype in (np.float32, np.int64))
    sparse = helper.make_sparse_tensor(values, places, [4, 2**50])
    nodes = _product()
    if place == "constant":
        nodes.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=sparse))
    model = _model(nodes)
    if place == "weights":
        model.graph.sparse_initializer.append(sparse)
    refused(model.SerializeToString(), "sparse tensors, which are not supported")


# --- functions ------------------------------------------------------------------------------------


def _calling(calls: dict[str, list[str]], domain: str = "own") -> bytes:
    """A model that calls the first function; each calls others one after the other."""
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    model = _model([helper.make_node(next(iter(calls)), ["x"], ["y"], domain=domain)])
    for name, called in calls.items():
        body = [
            helper.make_node(other, [f"t{k}"], [f"t{k + 1}"], domain="" if other == "Neg" else "own")
            for k, other in enumerate(called)
        ]
        model.functions.append(helper.make_function(domain, name, ["t0"], [f"t{len(called)}"], body, imports))
    return bytes(model.SerializeToString())


def test_functions_that_call_themselves() -> None:
    refused(_calling({"F": ["F"]}), "function 'F' calls itself")
    refused(_calling({"F": ["G"], "G": ["Neg", "F"]}), "function 'F' calls itself")


def test_functions_that_double() -> None:
    doubling = {f"F{k}": [f"F{k - 1}", f"F{k - 1}"] for k in range(60, 0, -1)} | {"F0": ["Neg"]}
    refused(_calling(doubling), r"has \d+ nodes, too many")


def test_functions_that_call_a_thousand_others() -> None:
    refused(_calling({f"F{k}": [f"F{k + 1}"] for k in range(1000)} | {"F1000": ["Neg"]}), "too many others")


def test_functions_that_stand_for_operators() -> None:
    """Whose Relu is meant? A proof must not depend on it."""
    refused(_calling({"Relu": ["Neg"]}, domain=""), "function 'Relu' twice, or instead of ONNX's own")


# --- names that mean two things -------------------------------------------------------------------


def _named(edit: Callable[[onnx.ModelProto], object]) -> bytes:
    graph = Graph((1, 4))
    model = graph.proto(graph("LeakyRelu", graph("MatMul", graph.x, graph.random(4, 3)), alpha=0.5))
    edit(model)
    return bytes(model.SerializeToString())


TWICE: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "output": (lambda m: m.graph.node[1].output.__setitem__(0, "t0_0"), "computes 't0_0', which is another"),
    "input": (lambda m: m.graph.node[0].output.__setitem__(0, "x"), "computes 'x', which is another"),
    "of weights": (lambda m: m.graph.node[0].output.__setitem__(0, "c0"), "computes 'c0', which is another"),
    "weights": (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "two tensors with the name"),
    "attribute": (
        lambda m: m.graph.node[1].attribute.append(helper.make_attribute("alpha", 0.1)),
        "an attribute twice",
    ),
    "within a node": (lambda m: m.graph.node[1].output.append("t1_0"), "computes 't1_0', which is another"),
}


@pytest.mark.parametrize("what", TWICE)
def test_names_that_are_given_twice(what: str) -> None:
    edit, reason = TWICE[what]
    refused(_named(edit), reason)


@pytest.mark.parametrize("dims", [[2**40, 2**40], [4, -3], [4, 2], [1] * 1000, [0, 3]])
@pytest.mark.parametrize("filled", [True, False])
def test_shapes_that_the_data_does_not_have(dims: list[int], filled: bool) -> None:
    def edit(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        del tensor.dims[:]
        tensor.dims.extend(dims)
        if not filled:
            tensor.ClearField("raw_data")

    refused(_named(edit), "can't be read")


# --- numbers that are none ------------------------------------------------------------------------

NUMBERS: dict[str, Callable[[Graph, float], str]] = {
    "bias before a ReLU": lambda g, v: g("Relu", g("Add", g.x, np.array([v, 0, 0, 0]))),
    "maximum": lambda g, v: g("Max", g.x, np.array([v, 0, 0, 0])),
    "minimum": lambda g, v: g("Min", g.x, np.array([v, 0, 0, 0])),
    "times zero": lambda g, v: g("Mul", g("Mul", g.x, np.zeros(4)), np.array([v, 1, 1, 1])),
    "slope": lambda g, v: g("LeakyRelu", g.x, alpha=v),
    "slopes": lambda g, v: g("PRelu", g.x, np.array([v, 1, 1, 1])),
    "padding": lambda g, v: g("Pad", g.x, np.array([0, 0, 0, 1]), np.float32(v)),
    "mean": lambda g, v: g("BatchNormalization", g.x, *[np.ones(4)] * 2, np.array([v, 1, 1, 1]), np.ones(4)),
}


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", NUMBERS)
def test_numbers_that_are_not_finite(place: str, number: float) -> None:
    graph = Graph((1, 4))
    refused(graph.content(NUMBERS[place](graph, float(number))), "NaN or infinite|NaN, infinite or huge")


@pytest.mark.parametrize("variance", [np.nan, -1.0, -1e-5])
def test_variances_that_are_none(variance: float) -> None:
    graph = Graph((1, 4))
    given = [np.ones(4), np.ones(4), np.ones(4), np.array([variance, 1, 1, 1])]
    refused(graph.content(graph("BatchNormalization", graph.x, *given)), "variance is negative, or not a num")


@pytest.mark.parametrize("limits_", [(np.nan, 1), (0, np.nan), (np.inf, 1), (0, -np.inf)])
def test_limits_that_are_none(limits_: tuple[float, float]) -> None:
    graph = Graph((1, 4))
    refused(graph.content(graph("Clip", graph.x, *map(np.float32, limits_))), "not a number|NaN or infinite")


@pytest.mark.parametrize("kind", [np.complex64, np.str_])
def test_weights_that_are_no_real_numbers(kind: type) -> None:
    graph = Graph((1, 4))
    if kind is np.str_:
        graph.tensors.append(helper.make_tensor("w", TensorProto.STRING, [4, 3], [b"1"] * 12))
    else:
        graph.tensors.append(numpy_helper.from_array(np.full((4, 3), 1 + 1j, kind), "w"))
    refused(graph.content(graph("MatMul", graph.x, "w")), "not real numbers")


@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16", "DOUBLE"])
def test_weights_of_other_precisions_are_what_their_cast_says(kind: str) -> None:
    graph = Graph((1, 4))
    graph.tensors.append(helper.make_tensor("w", getattr(TensorProto, kind), [4, 3], np.full(12, 0.1)))
    model = graph.model(graph("MatMul", graph.x, graph("Cast", "w", to=TensorProto.FLOAT)))
    stored = model.scores(np.eye(4))[0, 0]  # as onnxruntime reads it
    np.testing.assert_array_equal(model.network.evaluate(np.eye(4)), np.full((4, 3), stored))


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["node", "operator", "tensor", "output", "domain", "file"])
def test_names_in_messages_are_harmless(place: str) -> None:
    evil = "\x1b[31m::error::\n##[x]\u202e" + "n" * 10**6
    graph = Graph((1, 4))
    if place == "node":
        made = graph("Tanh", graph.x, name=evil)
    elif place == "operator":
        made = graph(evil, graph.x)
    elif place == "domain":
        made = graph("Relu", graph.x, domain=evil)
    elif place == "tensor":
        made = graph("Relu", evil)
    else:
        made = graph("Tanh", graph.x)
    content = graph.content(evil if place == "output" else made)
    with pytest.raises(ModelError) as caught:
        Model(content, "m1" if place != "file" else evil)
    message = str(caught.value)
    assert message.isprintable()
    assert "##" not in message
    assert len(message) < 5000
    assert isinstance(caught.value, UnsupportedOperatorError) or place in ("tensor", "output")
