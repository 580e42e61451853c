"""Tiny classifiers as Keras users write them: by tf2onnx, and by Model.export(format="onnx").

Needs an environment of its own: tensorflow-cpu 2.21.0, keras 3.15.1, tf2onnx 1.17.0,
onnx 1.23.2, onnxruntime 1.32.0.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from common import outputs, sample, store
from keras import layers

OPSETS = {"tf2onnx": 15, "export": 18}


def mlp(*last: layers.Layer) -> keras.Model:
    last = last or (layers.Dense(4, activation="softmax"),)
    return keras.Sequential([keras.Input((8,)), layers.Dense(6, activation="relu"), *last])


def binary() -> keras.Model:
    return mlp(layers.Dense(1, activation="sigmoid"))


def cnn() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((9, 9, 2)),
            layers.Conv2D(3, 3, padding="valid", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.BatchNormalization(),
            layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
            layers.MaxPool2D(2, padding="same", strides=1),
            layers.AveragePooling2D(2),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(4),
            layers.Softmax(),
        ]
    )


def normalised() -> keras.Model:
    """Model.export makes the mean and the deviation inputs of the graph without a value."""
    normalise = layers.Normalization(mean=np.zeros(8), variance=np.full(8, 2.0))
    return keras.Sequential([keras.Input((8,)), normalise, layers.Dense(4)])


def resnet(scale: layers.Layer | None = None) -> keras.Model:
    x = start = keras.Input((6, 5, 2), name="image")
    x = (scale or layers.Normalization(mean=[0.1, -0.2], variance=[0.5, 2.0]))(x)
    x = layers.ZeroPadding2D(((1, 0), (0, 1)))(x)
    x = layers.LeakyReLU(negative_slope=0.1)(layers.Conv2D(3, 3, padding="same")(x))
    y = layers.ReLU(max_value=6)(layers.DepthwiseConv2D(3, padding="same")(x))
    y = layers.BatchNormalization()(layers.Conv2D(3, 1)(y))
    x = layers.ReLU()(layers.Add()([x, y]))
    y = layers.AveragePooling2D(2, strides=2, padding="same")(x)
    z = layers.Conv2D(3, 3, strides=2, dilation_rate=1, padding="same")(x)
    x = layers.Concatenate()([y, layers.Conv2D(2, 3, dilation_rate=2, padding="same")(z)])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(start, layers.Dense(4, name="logits")(x))


def zoo() -> keras.Model:
    x = start = keras.Input((8,))
    x = layers.Rescaling(0.5, offset=-0.1)(x)
    a = layers.PReLU()(layers.Dense(6)(x))
    b = layers.Dense(6)(x)
    x = layers.Concatenate()([layers.Maximum()([a, b]), layers.Minimum()([a, b])])
    x = layers.Permute((2, 1))(layers.Reshape((4, 3))(x))
    x = layers.Dense(3, activation="relu6")(x)
    x = layers.Concatenate()([layers.Flatten()(x), layers.Average()([a, b])])
    x = layers.Subtract()([layers.Dense(6)(x), a])
    x = layers.ReLU(negative_slope=0.2, threshold=0.0)(x)
    return keras.Model(start, layers.Dense(4, activation="log_softmax")(x))


# name: (model, exporter, fixed batch or None, more options)
MODELS = {
    "mlp": (mlp, "tf2onnx", None, {}),
    "mlp_batch1": (mlp, "tf2onnx", 1, {}),
    "mlp_export": (mlp, "export", None, {}),
    "binary": (binary, "tf2onnx", None, {}),
    "cnn": (cnn, "tf2onnx", None, {}),
    "cnn_batch1": (cnn, "tf2onnx", 1, {}),
    "cnn_nchw": (cnn, "tf2onnx", None, {"inputs_as_nchw": ["input"]}),
    "cnn_export": (cnn, "export", None, {}),
    "resnet": (resnet, "tf2onnx", None, {}),
    "resnet_batch1": (resnet, "tf2onnx", 1, {}),
    "resnet_export": (lambda: resnet(layers.Rescaling(0.5)), "export", None, {}),
    "zoo": (zoo, "tf2onnx", None, {}),
    "zoo_export": (zoo, "export", None, {}),
    "normalisation": (normalised, "tf2onnx", None, {}),
    "normalisation_export": (normalised, "export", None, {}),
}


def randomise(model: keras.Model) -> None:
    """Random weights and statistics, and all classes about equally likely."""
    rng = np.random.default_rng(3)
    for variable in model.trainable_weights + model.non_trainable_weights:
        shape = tuple(variable.shape)
        if variable.name in ("moving_variance", "gamma"):
            variable.assign(rng.uniform(0.5, 2.0, shape))
        elif variable.name == "kernel":
            variable.assign(rng.normal(0, 1.5 / np.prod(shape[:-1]) ** 0.5, shape))
        elif variable.name in ("bias", "beta", "moving_mean", "alpha"):
            variable.assign(rng.normal(0, 0.3, shape))
    if model.output_shape[1] > 1:
        y = model(rng.normal(size=(300, *model.input_shape[1:])).astype(np.float32)).numpy()
        logits = np.log(y) if np.allclose(y.sum(1), 1) else y
        [layer for layer in model.layers if isinstance(layer, layers.Dense)][-1].bias.assign_sub(
            logits.mean(0)
        )


def convert(model: keras.Model, exporter: str, batch: int | None, **options) -> onnx.ModelProto:
    opset = OPSETS[exporter]
    if exporter == "export":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            model.export(path, format="onnx", opset_version=opset, verbose=False)
            return onnx.load(path)
    model.output_names = ["output"]  # tf2onnx 1.17.0 fails on Sequential models of keras 3 without
    shape = (batch, *model.input_shape[1:])
    signature = [tf.TensorSpec(shape, tf.float32, name="input")]
    proto, _ = tf2onnx.convert.from_keras(model, signature, opset=opset, **options)
    return proto


def main() -> None:
    for name, (make, exporter, batch, options) in MODELS.items():
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        model = make()
        randomise(model)
        path = store(convert(model, exporter, batch, **options), f"keras_{name}")
        if name == "normalisation_export":
            continue  # onnxruntime asks for three inputs
        x = sample(path)
        nhwc = x.transpose(0, 2, 3, 1) if options else x
        expected = model(nhwc.astype(np.float32)).numpy()
        assert np.allclose(outputs(path, x)[0], expected, atol=1e-4), path.name


if __name__ == "__main__":
    main()
