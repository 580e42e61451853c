"""What real exporters write: the table of tests/data/exports/README.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from pytest_ensemble.errors import ModelError, UnsupportedOperatorError
from pytest_ensemble.networks.model import Model

FOLDER = Path(__file__).parent.parent / "data" / "exports"

# stem: the error, and what its message says beside the file
REFUSED: dict[str, tuple[type[ModelError], str]] = {
    "torch_dynamo_sigmoid": (UnsupportedOperatorError, "operator Sigmoid"),
    "torch_script_sigmoid": (UnsupportedOperatorError, "operator Sigmoid"),
    "sklearn_tanh": (UnsupportedOperatorError, "operator Tanh"),
    "sklearn_logistic": (UnsupportedOperatorError, "operator ai.onnx.ml.LinearClassifier"),
    "sklearn_labels_3_5_7": (ModelError, "Train with labels 0..2"),
    "sklearn_labels_3_5_7_zipmap": (ModelError, "Train with labels 0..2"),
    "sklearn_labels_text": (ModelError, "class labels are ['cat'"),
    "sklearn_labels_text_zipmap": (ModelError, "Train with labels 0..2"),
    "keras_normalisation_export": (ModelError, "has 3 inputs"),
    "keras_binary": (ModelError, "not a classifier"),
}
STEMS = sorted(path.stem for path in FOLDER.glob("*.onnx"))
LOADED = [stem for stem in STEMS if stem not in REFUSED]


def test_the_exports_are_there() -> None:
    assert len(STEMS) >= 72
    assert set(REFUSED) <= set(STEMS)


@pytest.mark.parametrize("stem", LOADED)
def test_export_means_what_onnxruntime_says(stem: str) -> None:
    model = Model.load(FOLDER / f"{stem}.onnx")
    assert model.name == stem
    assert model.classes == (2 if "binary" in stem else 4)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, *model.input_shape)).astype(np.float32)
    logits = model.network.evaluate(x.reshape(len(x), -1))
    np.testing.assert_allclose(model.logits(x), logits, rtol=1e-4, atol=1e-4)
    labels = np.concatenate([_labels(model, row) for row in x])
    np.testing.assert_array_equal(model.predict(x), labels)
    # a clear winner of the lowered network is the label in the file
    ordered = np.sort(logits, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 1e-3
    np.testing.assert_array_equal(logits.argmax(axis=1)[clear], labels[clear])
    assert len(set(labels[clear])) > 1


def _labels(model: Model, row: np.ndarray) -> np.ndarray:
    """What the file says of one sample, read from its outputs by their types alone."""
    assert model.path is not None
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    dtype = np.float64 if "double" in entry.type else np.float32
    shape = [n if isinstance(n, int) else 1 for n in entry.shape]
    outputs = session.run(None, {entry.name: row.astype(dtype).reshape(shape)})
    for output in outputs:
        if isinstance(output, np.ndarray) and output.dtype == np.int64:
            return output.reshape(-1)[:1]
    return np.asarray(outputs[0]).reshape(1, -1).argmax(axis=1)


@pytest.mark.parametrize("stem", sorted(REFUSED))
def test_export_is_refused(stem: str) -> None:
    kind, reason = REFUSED[stem]
    path = FOLDER / f"{stem}.onnx"
    with pytest.raises(kind) as caught:
        Model.load(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
