"""`Model`: digests, batch conventions, scores, labels, and files that are no classifiers."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_ensemble.errors import DataError, ModelError
from pytest_ensemble.networks.model import Model
from tests.networks.graphs import Graph, run

X = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)


def classifier(shape: tuple[int | str, ...], opset: int = 18) -> bytes:
    """A small network over 6 inputs that gives one row of logits for each sample."""
    graph = Graph(shape, opset=opset)
    flat = graph("Flatten", graph.x) if len(shape) > 2 else graph.x
    hidden = graph("Relu", graph("MatMul", flat, graph.random(6, 5)))
    return graph.content(graph("MatMul", hidden, graph.random(5, 3)))


def one_by_one(content: bytes, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.stack([run(content, row.reshape(shape))[0].reshape(-1) for row in X])


CONVENTIONS = {
    "symbolic": (("n", 6), (6,), (1, 6)),
    "fixed 1": ((1, 6), (6,), (1, 6)),
    "none": ((6,), (6,), (6,)),
    "symbolic, image": (("n", 1, 2, 3), (1, 2, 3), (1, 1, 2, 3)),
    "fixed 1, image": ((1, 1, 2, 3), (1, 2, 3), (1, 1, 2, 3)),
}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_batch_conventions(convention: str) -> None:
    shape, sample, feed = CONVENTIONS[convention]
    content = classifier(shape)
    model = Model(content, "m")
    expected = one_by_one(content, feed)
    assert model.input_shape == sample
    assert model.input_size == 6
    assert model.classes == 3
    np.testing.assert_allclose(model.scores(X), expected, rtol=1e-5)
    np.testing.assert_allclose(model.logits(X), expected, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(X), expected.argmax(axis=1))
    np.testing.assert_array_equal(model.predict(X[:1]), expected.argmax(axis=1)[:1])
    assert model.scores(X[:0]).shape == (0, 3)
    assert model.predict(X[:0]).shape == (0,)


@pytest.mark.parametrize("shape", [(7, 6), (7, 2, 3), (7, 1, 3, 2)])
def test_inputs_are_reshaped_when_the_sizes_agree(shape: tuple[int, ...]) -> None:
    model = Model(classifier(("n", 1, 2, 3)), "m")
    np.testing.assert_array_equal(model.scores(X.reshape(shape)), model.scores(X))


@pytest.mark.parametrize("shape", [(7, 5), (7, 7), (6,), (2, 21), ()])
def test_inputs_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    model = Model(classifier(("n", 6)), "m")
    with pytest.raises(DataError, match="takes 6 numbers a sample"):
        model.scores(np.zeros(shape, dtype=np.float32))


def test_inputs_are_cast_to_the_type_of_the_model() -> None:
    graph = Graph(("n", 6), dtype="float64")
    double = graph.model(graph.dense(graph.x, 6, 3))
    np.testing.assert_array_equal(double.scores(X), double.scores(X.astype(np.float64)))
    single = Model(classifier(("n", 6)), "m")
    np.testing.assert_array_equal(single.scores(X.astype(np.float64)), single.scores(X))
    np.testing.assert_array_equal(single.scores(np.ones((1, 6), int)), single.scores(np.ones((1, 6))))


def test_batch_that_is_fixed_inside_is_fed_sample_by_sample() -> None:
    graph = Graph(("n", 6))
    content = graph.content(graph.dense(graph("Reshape", graph.x, [1, 6]), 6, 3))
    with pytest.raises(Exception, match=r"[Rr]eshape"):
        run(content, X)  # otherwise this test tests nothing
    np.testing.assert_allclose(Model(content, "m").scores(X), one_by_one(content, (1, 6)), rtol=1e-5)


def test_samples_that_a_batch_would_mix_are_fed_one_by_one() -> None:
    graph = Graph(("n", 6))
    centred = graph("Sub", graph.x, graph("ReduceMean", graph.x, [0]))
    content = graph.content(graph.dense(graph("Add", graph.x, centred), 6, 3))
    assert not np.allclose(run(content, X)[0], one_by_one(content, (1, 6)))
    np.testing.assert_allclose(Model(content, "m").scores(X), one_by_one(content, (1, 6)), rtol=1e-5)


@pytest.mark.parametrize("batch", [2, 3, 4])
def test_fixed_batch_above_one_is_refused(batch: int) -> None:
    with pytest.raises(ModelError, match=r"scores have shape \(\d, 3\) .* export it for one sample"):
        Model(classifier((batch, 6)), "m")


def test_fixed_batch_of_single_outputs_is_refused() -> None:
    graph = Graph((4, 6))
    with pytest.raises(ModelError, match=r"scores have shape \(4, 1\)"):
        graph.model(graph("MatMul", graph.x, graph.random(6, 1)))


def test_sample_with_several_rows_is_no_batch() -> None:
    graph = Graph((2, 3))
    model = graph.model(graph.dense(graph("Reshape", graph.x, [1, 6]), 6, 3))
    assert model.input_shape == (2, 3)
    assert model.scores(X).shape == (7, 3)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (("n", "k"), r"its input shape \(\?, \?\) leaves more than the batch open"),
        ((1, "k"), r"\(1, \?\) leaves more than the batch open"),
    ],
)
def test_open_sample_shape_is_refused(shape: tuple[int | str, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Model(classifier(shape), "m")


@pytest.mark.parametrize("outputs", [1])
def test_fewer_than_two_outputs_are_refused(outputs: int) -> None:
    graph = Graph(("n", 6))
    content = graph.content(graph.dense(graph.x, 6, outputs))
    with pytest.raises(ModelError, match=r"not a classifier: its output .* has 1 number .* at least 2"):
        Model(content, "m")


def test_two_tensors_of_scores_are_refused() -> None:
    graph = Graph(("n", 6))
    first = graph.dense(graph.x, 6, 3)
    content = graph.content(first, graph.dense(first, 3, 3))
    with pytest.raises(ModelError, match=r"which of its outputs .* is not clear"):
        Model(content, "m")


def test_output_that_does_not_depend_on_the_input_is_refused() -> None:
    graph = Graph(("n", 6))
    graph("Relu", graph.x)
    content = graph.content(graph("Identity", np.ones((1, 3))))
    with pytest.raises(ModelError, match="does not depend on its input"):
        Model(content, "m")


def test_input_that_is_not_float_is_refused() -> None:
    graph = Graph(("n", 6), dtype="int64")
    with pytest.raises(ModelError, match="'x' is not a float tensor"):
        graph.model(graph("Cast", graph.x, to=1), types=["float32"])


def test_input_without_a_shape_is_refused() -> None:
    graph = Graph(("n", 6))
    proto = graph.proto(graph("Relu", graph.x))
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelError, match="'x' has no shape"):
        Model(proto.SerializeToString(), "m")


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08\x07" * 99, bytes(range(256)) * 40])
def test_what_is_not_onnx_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        Model.load(path)
    assert str(path) in str(caught.value)
    assert "not an ONNX" in str(caught.value)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_truncated_file_is_refused(keep: float, tmp_path: Path) -> None:
    content = classifier(("n", 6))
    path = tmp_path / "cut.onnx"
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ModelError, match=r"cut\.onnx"):
        Model.load(path)


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.onnx: can't be read: No such file"):
        Model.load(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="can't be read: Is a directory"):
        Model.load(tmp_path)


def test_name_and_digest(tmp_path: Path) -> None:
    path = tmp_path / "a.b.onnx"
    path.write_bytes(classifier(("n", 6)))
    model = Model.load(str(path))
    assert model.name == "a.b"
    assert model.path == path
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert Model.load(path, "other").name == "other"


def test_model_can_be_pickled(tmp_path: Path) -> None:
    model = Model(classifier(("n", 6)), "m")
    copy = pickle.loads(pickle.dumps(model))
    assert (copy.name, copy.path, copy.sha256) == (model.name, model.path, model.sha256)
    np.testing.assert_array_equal(copy.scores(X), model.scores(X))
