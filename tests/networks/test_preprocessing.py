"""Steps before a model, against numpy in float32 and onnxruntime on the model's own file."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pytest_ensemble import Outcome, decide
from pytest_ensemble.errors import ModelError
from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.pool import Pool
from pytest_ensemble.networks.preprocessing import prepared, prepared_pool
from pytest_ensemble.networks.steps import Steps
from pytest_ensemble.queries.query import make_query
from pytest_ensemble.queries.replay import replays


def a_model(shape, seed=0, batch="n", kind=np.float32, name="m", opset=17):
    """A random Flatten, Gemm, Relu, Gemm classifier of samples of this shape."""
    rng = np.random.default_rng(seed)
    size, hidden = int(np.prod(shape)), 6
    weights = [rng.normal(size=s) for s in ((size, hidden), (hidden,), (hidden, 3), (3,))]
    number = {np.float32: TensorProto.FLOAT, np.float64: TensorProto.DOUBLE}[kind]
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["pytest_ensemble_data"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "w0", "w1"], ["z"]),
            helper.make_node("Relu", ["z"], ["a"]),
            helper.make_node("Gemm", ["a", "w2", "w3"], ["y"]),
        ],
        "random",
        [helper.make_tensor_value_info("pytest_ensemble_data", number, [batch, *shape])],
        [helper.make_tensor_value_info("y", number, [batch, 3])],
        [numpy_helper.from_array(w.astype(kind), f"w{k}") for k, w in enumerate(weights)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return Model(proto.SerializeToString(), name)


def pipeline(steps, x, kind):
    """What a user's code does to x, shape (m, *data), with one operation after the other."""
    x = x.astype(kind)
    times, by = (kind(number) for number in steps.scale)
    axes = steps.data_axes or "C" * (x.ndim - 1)
    channel = [1] * (x.ndim - 1)
    channel[axes.index("C")] = -1
    mean, std = (np.array(numbers, kind) for numbers in (steps.mean, steps.std))
    mean, std = (part.reshape(channel) if part.size > 1 else part for part in (mean, std))
    x = ((x * times) / by - mean) / std
    if steps.model_axes:
        x = np.transpose(x, [0, *(1 + axes.index(letter) for letter in steps.model_axes)])
    return np.ascontiguousarray(x)


@st.composite
def cases(draw):
    """(Steps, shape of a sample in the data, shape that the model takes)."""
    if draw(st.booleans()):
        data_axes = model_axes = None
        data = model = (draw(st.integers(1, 5)),)
        channels = data[0]
    else:
        sizes = {"C": draw(st.integers(1, 3)), "H": draw(st.integers(1, 3)), "W": draw(st.integers(1, 3))}
        data_axes, model_axes = (draw(st.permutations("CHW").map("".join)) for _ in range(2))
        data, model = (tuple(sizes[letter] for letter in axes) for axes in (data_axes, model_axes))
        channels = sizes["C"]

    def numbers(strategy):
        return (
            tuple(draw(st.lists(strategy, min_size=n, max_size=n)))
            if (n := draw(st.sampled_from([1, channels])))
            else ()
        )

    scale = draw(st.sampled_from([(1.0, 1.0), (1.0, 255.0), (0.1, 1.0), (3.0, 7.0)]))
    mean = numbers(st.floats(-2, 2))
    std = numbers(st.floats(0.125, 4))
    return Steps(scale, mean, std, data_axes, model_axes), data, model


@settings(max_examples=40)
@given(cases(), st.integers(0, 100), st.sampled_from(["n", 1]), st.sampled_from([np.float32, np.float64]))
def test_it_says_what_the_pipeline_and_the_file_say(case, seed, batch, kind):
    steps, data, shape = case
    model = a_model(shape, seed, batch, kind)
    composed = prepared(model, steps)
    x = np.random.default_rng(seed).normal(0, 3, size=(4, *data)).astype(np.float32)
    ready = pipeline(steps, x, kind)
    session = ort.InferenceSession(model.content, providers=["CPUExecutionProvider"])
    feeds = [ready] if batch == "n" else ready[:, None]
    expected = np.concatenate([session.run(None, {"pytest_ensemble_data": feed})[0] for feed in feeds])
    assert composed.input_shape == data
    # to the last bit: it is the same arithmetic
    np.testing.assert_array_equal(composed.scores(x), expected.astype(np.float64))
    # and the lowering sees one affine map
    assert len(composed.network.layers) == len(model.network.layers)
    np.testing.assert_allclose(composed.network.evaluate(x.reshape(4, -1)), expected, rtol=1e-3, atol=1e-3)


@settings(max_examples=10)
@given(cases(), st.integers(0, 20))
def test_witnesses_are_in_the_units_of_the_data(case, seed):
    """A witness found for the prepared models fools the user's files behind the user's pipeline."""
    steps, data, shape = case
    models = [a_model(shape, seed + k, name=f"m{k}") for k in range(2)]
    both = [prepared(model, steps) for model in models]
    x = np.random.default_rng(seed).normal(size=(1, *data)).astype(np.float32)
    label, epsilon = int(both[0].predict(x)[0]), 2.0
    answer = decide(both, x[0], label, epsilon)
    if answer.outcome is Outcome.SAT:
        witness = answer.witness.reshape(1, *data)
        assert np.abs(witness.astype(np.float64) - x.astype(np.float64)).max() <= epsilon
        ready = pipeline(steps, witness, np.float32)
        for model in models:
            assert int(model.predict(ready)[0]) != label
        assert replays(make_query(tuple(both), x[0], label, epsilon), witness.reshape(1, -1)).all()


def test_nothing_to_do_changes_nothing():
    model = a_model((4,))
    assert prepared(model, Steps()) is model
    pool = Pool([model, a_model((4,), 1, name="other")])
    assert prepared_pool(pool, {}) is pool


def test_digests_cover_the_steps_and_are_stable():
    model = a_model((4,))
    one, same, other = (prepared(model, Steps(mean=(m,))) for m in (1.0, 1.0, 2.0))
    assert one.sha256 == same.sha256
    assert len({model.sha256, one.sha256, other.sha256}) == 3


def test_own_steps_of_a_model_stand_for_the_common_ones():
    pool = Pool([a_model((2,), k, name=f"m{k}") for k in range(2)])
    both = prepared_pool(pool, {"": Steps(mean=(1.0,)), "m1": Steps(std=(2.0,))})
    x = np.array([[3.0, 5.0]], np.float32)
    np.testing.assert_array_equal(both["m0"].scores(x), pool["m0"].scores(x - 1))
    np.testing.assert_array_equal(both["m1"].scores(x), pool["m1"].scores(x / 2))


@pytest.mark.parametrize(
    ("shape", "steps", "message"),
    [
        ((3, 2, 2), Steps(mean=(1.0, 2.0, 3.0)), "m: .*which axis is the channel with data_axes"),
        ((3, 2, 2), Steps(mean=(1.0, 2.0), data_axes="CHW"), "2 numbers .* takes 3 channels"),
        ((3, 2, 2), Steps(std=(1.0, 2.0, 3.0), data_axes="ABD"), "which axis is the channel"),
        ((3, 2, 2), Steps(mean=(1.0,), data_axes="CH"), "data_axes 'CH' names 2 axes .* has 3"),
        ((4,), Steps(mean=(1.0, 2.0)), "takes 4 channels"),
        ((4,), Steps(scale=(1e300, 1.0)), "beyond float32"),
        ((4,), Steps(std=(1e-60,)), "beyond float32"),
    ],
)
def test_what_does_not_fit_is_refused(shape, steps, message):
    with pytest.raises(ModelError, match=message):
        prepared(a_model(shape), steps)


def test_old_opsets_are_refused():
    proto = onnx.load_model_from_string(a_model((4,)).content)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "w")],
    )
    graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3]))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 6)], ir_version=3)
    model = Model(proto.SerializeToString(), "old")
    with pytest.raises(ModelError, match="needs ONNX opset 7"):
        prepared(model, Steps(mean=(1.0,)))
