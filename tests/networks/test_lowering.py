"""What is read at the end of a graph, and what can't be read at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pytest_ensemble.errors import ModelError, UnsupportedOperatorError
from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.operators import OPERATORS
from tests.networks.graphs import Graph, run

X = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)


def _graph(opset: int = 18, shape: tuple[int | str, ...] = ("n", 4)) -> tuple[Graph, str]:
    graph = Graph(shape, opset=opset)
    return graph, graph.dense(graph("Relu", graph.dense(graph.x, 4, 5)), 5, 3)


# --- tails that keep the order of the classes -----------------------------------------------------


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [11, 18])
def test_softmax_is_dropped_and_reported_as_scores(kind: str, opset: int) -> None:
    graph, logits = _graph(opset)
    plain = graph.model(logits)
    model = graph.model(graph(kind, logits))
    np.testing.assert_allclose(model.network.evaluate(X), plain.network.evaluate(X))
    np.testing.assert_allclose(model.logits(X), plain.scores(X), rtol=1e-6)
    scores = model.scores(X)
    scores = scores if kind == "Softmax" else np.exp(scores)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("tail", ["argmax", "argmax of softmax", "label and scores"])
def test_labels_are_those_of_the_file(tail: str) -> None:
    graph, logits = _graph()
    probabilities = graph("Softmax", logits)
    label = graph("ArgMax", logits if tail == "argmax" else probabilities, axis=1, keepdims=0)
    outputs = [label, probabilities] if tail == "label and scores" else [label]
    model = graph.model(*outputs, types=["int64", "float32"][: len(outputs)])
    np.testing.assert_array_equal(model.predict(X), model.network.evaluate(X).argmax(axis=1))
    assert model.scores(X).shape == (9, 3)


@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_over_another_axis_is_refused(axis: int) -> None:
    graph, logits = _graph()
    square = graph("Reshape", logits, [3, 1, 1] if axis else [1, 3])
    with pytest.raises(UnsupportedOperatorError, match="axis is not that of the classes"):
        graph.model(graph("Softmax", square, axis=axis))


def test_softmax_without_an_axis_is_over_the_last_one_since_opset_13() -> None:
    graph, logits = _graph()
    with pytest.raises(UnsupportedOperatorError, match="axis is not that of the classes"):
        graph.model(graph("Softmax", graph("Reshape", logits, [1, 3, 1, 1])))


@pytest.mark.parametrize("kind", ["Relu", "Exp", "Add"])
def test_computing_with_probabilities_is_refused(kind: str) -> None:
    graph, logits = _graph()
    tail = graph(kind, graph("Softmax", logits), *([np.zeros(1)] if kind == "Add" else []))
    with pytest.raises(UnsupportedOperatorError, match="computes with what Softmax"):
        graph.model(tail)


def test_adding_logits_to_probabilities_is_refused() -> None:
    graph, logits = _graph()
    with pytest.raises(UnsupportedOperatorError, match="mixes class scores with other tensors"):
        graph.model(graph("Add", graph("Softmax", logits), logits))


@pytest.mark.parametrize("to", [TensorProto.INT64, TensorProto.FLOAT16])
@pytest.mark.parametrize("kind", ["Cast", "CastLike"])
def test_scores_that_a_cast_would_round_are_refused(kind: str, to: int) -> None:
    graph, logits = _graph()
    like = np.zeros(1, helper.tensor_dtype_to_np_dtype(to))
    options = {"to": to} if kind == "Cast" else {}
    rounded = graph(kind, graph("Softmax", logits), *([] if options else [like]), **options)
    with pytest.raises(ModelError, match="rounds class scores"):
        graph.model(graph("Cast", rounded, to=TensorProto.FLOAT))
    graph, logits = _graph()
    rounded = graph(kind, logits, *([] if options else [like]), **options)
    with pytest.raises(ModelError, match=r"a cast to (INT64|FLOAT16) rounds"):
        graph.model(graph("Cast", rounded, to=TensorProto.FLOAT))


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (lambda g, label: g("Cast", label, to=TensorProto.UINT8), "cuts labels"),
        (
            lambda g, label: g("ArrayFeatureExtractor", np.array([0, 1, 1]), label, domain="ai.onnx.ml"),
            r"class labels are \[0, 1, 1\]. Train with labels 0\.\.2",
        ),
    ],
)
def test_labels_that_are_renamed_are_refused(tail: Callable[[Graph, str], str], reason: str) -> None:
    """Whether or not the few inputs that a model is tried on have those labels."""
    graph, logits = _graph()
    label = graph("ArgMax", logits, axis=1, keepdims=0)
    with pytest.raises(UnsupportedOperatorError, match=reason):
        graph.model(tail(graph, label), graph("Softmax", logits), types=["int64", "float32"])


@pytest.mark.parametrize("of", ["scores", "logits"])
def test_a_label_over_the_batch_is_refused(of: str) -> None:
    graph, logits = _graph()
    scores = graph("Softmax", logits) if of == "scores" else logits
    with pytest.raises(UnsupportedOperatorError, match="axis is not that of the classes"):
        graph.model(graph("ArgMax", scores, axis=0, keepdims=0), types=["int64"])


def test_dropout_of_scores_in_training_is_refused() -> None:
    graph, logits = _graph()
    dropped = graph("Dropout", graph("Softmax", logits), np.float32(1e-9), np.array(True))
    with pytest.raises(UnsupportedOperatorError, match="in training mode"):
        graph.model(dropped)


# --- unsupported ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Sigmoid", "Tanh", "Elu", "Floor"])
def test_unsupported_operator_names_file_node_operator_and_what_is_supported(kind: str) -> None:
    graph = Graph(("n", 4))
    content = graph.content(graph.dense(graph(kind, graph.x, name="middle"), 4, 3))
    with pytest.raises(UnsupportedOperatorError) as caught:
        Model(content, "m1")
    message = str(caught.value)
    assert "'m1'" in message
    assert "'middle'" in message
    assert f"operator {kind} " in message
    assert all(known in message for known in OPERATORS)


def test_unnamed_node_is_named_by_its_output() -> None:
    graph = Graph(("n", 4))
    content = graph.content(graph("Tanh", graph.x))
    with pytest.raises(UnsupportedOperatorError, match="node 't0_0'"):
        Model(content, "m1")


REFUSED_USES: dict[str, tuple[Callable[[Graph], str], str]] = {
    "product": (lambda g: g("Mul", g.x, g.x), "factor depends on the input"),
    "quotient": (lambda g: g("Div", np.ones(4), g.x), "divisor depends on the input"),
    "division by zero": (lambda g: g("Div", g.x, np.zeros(4)), "divides by zero"),
    "matrix product": (lambda g: g("MatMul", g.x, g("Transpose", g.x)), "both depend on the input"),
    "rounding": (lambda g: g("Cast", g("Cast", g.x, to=6), to=1), "a cast to INT32 rounds"),
    "half precision": (lambda g: g("Cast", g("Cast", g.x, to=10), to=1), "a cast to FLOAT16 rounds"),
    "negative pads": (lambda g: g("Pad", g.x, [0, -1, 0, 0]), "negative pads"),
    "dropout in training": (
        lambda g: g("Dropout", g.x, np.array(1e-6), np.array(True)),
        "in training mode",
    ),
    "random": (
        lambda g: g("Add", g.x, g("RandomNormal", shape=[1, 4], scale=1e-9)),
        "it has constants for input",
    ),
    "indices of a pool": (
        lambda g: g(
            "MaxPool",
            g("Reshape", g.x, [1, 1, 2, 2]),
            kernel_shape=[1, 1],
            outputs=2,
        )[0],
        "Indices output is used",
    ),
    "batched constant": (
        lambda g: g("MatMul", g("Reshape", g.x, [2, 1, 2]), g.random(2, 2, 2)),
        "batch dimensions",
    ),
    "another domain": (lambda g: g("Relu", g.x, domain="com.example"), "operator com.example.Relu"),
}


@pytest.mark.parametrize("use", REFUSED_USES)
def test_use_that_is_not_piecewise_linear_is_refused(use: str) -> None:
    build, reason = REFUSED_USES[use]
    graph = Graph((1, 4))
    content = graph.content(build(graph))
    with pytest.raises(UnsupportedOperatorError) as caught:
        Model(content, "m1")
    assert reason in str(caught.value)


def test_any_operator_may_compute_constants() -> None:
    graph = Graph((1, 4))
    model = graph.model(graph("Mul", graph.x, graph("Exp", graph("Tanh", np.arange(4.0)))))
    np.testing.assert_allclose(model.network.evaluate(X), X * np.exp(np.tanh(np.arange(4))), rtol=1e-6)


def test_functions_of_the_model_are_read() -> None:
    graph = Graph((1, 4))
    proto = graph.proto(graph("Twice", graph.x, domain="own"))
    body = [helper.make_node("Add", ["a", "a"], ["b"]), helper.make_node("Relu", ["b"], ["c"])]
    imports = [helper.make_opsetid("", 18)]
    proto.functions.append(helper.make_function("own", "Twice", ["a"], ["c"], body, imports))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    model = Model(proto.SerializeToString(), "m1")
    np.testing.assert_allclose(model.network.evaluate(X), np.maximum(2 * X, 0), rtol=1e-6)


# --- lowering against onnxruntime -----------------------------------------------------------------


def test_disagreement_with_onnxruntime_is_an_error() -> None:
    """x + 1e9 - 1e9 is x, except in the float32 of onnxruntime."""
    graph = Graph((1, 4))
    content = graph.content(graph("Sub", graph("Add", graph.x, np.full(4, 1e9)), np.full(4, 1e9)))
    (rounded,) = run(content, X[:1])
    assert not np.allclose(rounded, X[:1])  # otherwise this test tests nothing
    with pytest.raises(ModelError, match=r"differs from onnxruntime by .* must not be gated"):
        Model(content, "m1")


def test_disagreement_is_found_whatever_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph((1, 4))
    content = graph.content(graph("LeakyRelu", graph.x, alpha=0.5))
    Model(content, "m1")
    monkeypatch.setitem(OPERATORS, "LeakyRelu", OPERATORS["Relu"])
    with pytest.raises(ModelError, match="differs from onnxruntime"):
        Model(content, "m1")


# --- damaged or malicious files -------------------------------------------------------------------


def _edited(edit: Callable[[onnx.ModelProto], object]) -> bytes:
    graph, logits = _graph()
    proto = graph.proto(logits)
    edit(proto)
    return bytes(proto.SerializeToString())


def _cycle(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = proto.graph.output[0].name


def _self_cycle(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].input[0] = proto.graph.node[1].output[0]


def _recursion(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].op_type, proto.graph.node[0].domain = "F", "own"
    body = [helper.make_node("F", ["a"], ["b"], domain="own")]
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    proto.functions.append(helper.make_function("own", "F", ["a"], ["b"], body, imports))
    proto.opset_import.append(helper.make_opsetid("own", 1))


def _loop(proto: onnx.ModelProto) -> None:
    inner = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("c", 9))]
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["d"])], "body", inner, [])
    body.output.append(helper.make_tensor_value_info("d", TensorProto.BOOL, []))
    proto.graph.initializer.append(helper.make_tensor("trips", TensorProto.INT64, [], [2**62]))
    proto.graph.initializer.append(helper.make_tensor("on", TensorProto.BOOL, [], [True]))
    proto.graph.node.insert(0, helper.make_node("Loop", ["trips", "on"], [], body=body))


def _doubling(proto: onnx.ModelProto) -> None:
    name = proto.graph.output[0].name
    for k in range(40):
        proto.graph.node.append(helper.make_node("Concat", [name, name], [f"twice{k}"], axis=1))
        name = f"twice{k}"
    proto.graph.output[0].name = name


DAMAGED: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "cycle": (_cycle, "the graph is cyclic, or a part of it is missing"),
    "cycle of one": (_self_cycle, "the graph is cyclic"),
    "recursive function": (_recursion, "model 'm1'"),
    "loop": (_loop, "it has constants for input"),
    "doubling": (_doubling, "too large"),
    "missing output": (
        lambda p: setattr(p.graph.output[0], "name", "nowhere"),
        "'nowhere' is computed by no",
    ),
    "no input": (lambda p: p.graph.ClearField("input"), "has 0 inputs"),
    "no nodes": (lambda p: p.graph.ClearField("node"), "its graph is empty"),
    "no outputs": (lambda p: p.graph.ClearField("output"), "its graph is empty"),
    "short weights": (lambda p: setattr(p.graph.initializer[0], "raw_data", b"1234"), "can't be read"),
    "unknown type": (lambda p: setattr(p.graph.initializer[0], "data_type", 99), "can't be read"),
    "negative shape": (lambda p: p.graph.initializer[0].dims.__setitem__(0, -5), "model 'm1'"),
    "external weights": (lambda p: setattr(p.graph.initializer[0], "data_location", 1), "in another file"),
    "no operands": (lambda p: p.graph.node[0].ClearField("input"), "model 'm1'"),
    "blank operand": (lambda p: p.graph.node[1].input.__setitem__(0, ""), "model 'm1'"),
    "no opset": (lambda p: p.ClearField("opset_import"), "model 'm1'"),
    "weights do not fit": (
        lambda p: p.graph.initializer[0].dims.__setitem__(slice(0, 2), [5, 4]),
        "can't be",
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_file_is_a_model_error(damage: str) -> None:
    edit, reason = DAMAGED[damage]
    content = _edited(edit)
    with pytest.raises(ModelError) as caught:
        Model(content, "m1")
    assert reason in str(caught.value)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 1, 2, 3])
def test_weights_that_are_not_finite_are_refused(number: float, where: int) -> None:
    graph = Graph((1, 4))
    arrays = [graph.random(4, 5), graph.random(5), graph.random(5, 3), graph.random(3)]
    arrays[where].flat[1] = number
    hidden = graph("Relu", graph("Gemm", graph.x, *arrays[:2]))
    content = graph.content(graph("Gemm", hidden, *arrays[2:]))
    with pytest.raises(ModelError, match=r"NaN or infinite|not finite"):
        Model(content, "m1")


def test_numbers_beyond_float32_are_refused() -> None:
    graph = Graph((1, 4))
    value = graph.x
    for _ in range(3):
        value = graph("Mul", value, np.full(4, 1e30))
    content = graph.content(value)
    with pytest.raises(ModelError, match="not finite"):
        Model(content, "m1")


@pytest.mark.parametrize("shape", [(1, 10**12), (1, 2**40, 2**40), (1, 3, 10**5, 10**5)])
def test_absurd_input_is_refused(shape: tuple[int, ...]) -> None:
    graph = Graph(shape)
    content = graph.content(graph("ReduceMean", graph.x, [-1]))
    with pytest.raises(ModelError, match="too many to verify"):
        Model(content, "m1")


@pytest.mark.parametrize("kind", ["Expand", "Pad", "Conv"])
def test_absurd_tensor_is_refused(kind: str) -> None:
    graph = Graph((1, 1, 2, 2))
    output = {
        "Expand": lambda: graph("Expand", graph.x, [10**6, 10**7, 1, 1]),
        "Pad": lambda: graph("Pad", graph.x, [0, 0, 0, 0, 0, 0, 0, 10**10]),
        "Conv": lambda: graph("Conv", graph.x, graph.random(1, 1, 2, 2), pads=[0, 0, 0, 10**10]),
    }[kind]()
    content = graph.content(output)
    with pytest.raises(ModelError, match="too large"):
        Model(content, "m1")
