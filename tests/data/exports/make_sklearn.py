"""Tiny classifiers as skl2onnx writes them (scikit-learn 1.9.1, skl2onnx 1.20.0)."""

import warnings

import numpy as np
from common import outputs, store
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FEATURES = 8
OPSET = {"": 18, "ai.onnx.ml": 3}
NO_ZIPMAP = {"zipmap": False}


def mlp(hidden: tuple = (6,), activation: str = "relu") -> MLPClassifier:
    return MLPClassifier(hidden, activation=activation, learning_rate_init=0.01, max_iter=200, random_state=0)


def data(names: list) -> tuple[np.ndarray, np.ndarray]:
    x, y = make_blobs(200, FEATURES, centers=len(names), center_box=(-1, 1), random_state=0)
    x = (x - x.mean(0)) * np.linspace(0.5, 1.5, FEATURES) + 0.2
    return x.astype(np.float32), np.array(names)[y]


# name: (classifier, class labels, options of skl2onnx, type of the input)
MODELS = {
    "mlp": (mlp(), range(4), {}, FloatTensorType),
    "mlp_no_zipmap": (mlp((6, 5)), range(4), NO_ZIPMAP, FloatTensorType),
    "mlp_columns": (mlp(), range(4), {"zipmap": "columns"}, FloatTensorType),
    "mlp_class_labels": (
        mlp(),
        range(4),
        NO_ZIPMAP | {"output_class_labels": True},
        FloatTensorType,
    ),
    "binary": (mlp(), range(2), {}, FloatTensorType),
    "binary_no_zipmap": (mlp(), range(2), NO_ZIPMAP, FloatTensorType),
    "pipeline": (make_pipeline(StandardScaler(), mlp()), range(4), NO_ZIPMAP, FloatTensorType),
    "pipeline_zipmap": (make_pipeline(StandardScaler(), mlp()), range(4), {}, FloatTensorType),
    "identity": (mlp(activation="identity"), range(4), {}, FloatTensorType),
    "tanh": (mlp(activation="tanh"), range(4), {}, FloatTensorType),
    "double": (mlp(), range(4), NO_ZIPMAP, DoubleTensorType),
    "labels_3_5_7": (mlp(), [3, 5, 7], NO_ZIPMAP, FloatTensorType),
    "labels_3_5_7_zipmap": (mlp(), [3, 5, 7], {}, FloatTensorType),
    "labels_text": (mlp(), ["cat", "cow", "dog"], NO_ZIPMAP, FloatTensorType),
    "labels_text_zipmap": (mlp(), ["cat", "cow", "dog"], {}, FloatTensorType),
    "logistic": (LogisticRegression(), range(4), NO_ZIPMAP, FloatTensorType),
}


def export(name: str, model, names: list, options: dict, kind: type) -> None:
    x, y = data(list(names))
    model.fit(x, y)
    options = {id(model): options} if options else None
    proto = to_onnx(
        model,
        initial_types=[("X", kind([None, FEATURES]))],
        options=options,
        target_opset=OPSET,
    )
    path = store(proto, f"sklearn_{name}")
    assert np.array_equal(np.ravel(outputs(path, x)[0]), model.predict(x)), path.name


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name, model in MODELS.items():
        export(name, *model)


if __name__ == "__main__":
    main()
