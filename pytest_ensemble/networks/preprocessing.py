"""Put a pipeline's steps in front of a model, so that it takes inputs as the data has them.

They become nodes of the graph in the precision of the model's input: onnxruntime runs what the pipeline would
do, answers are keyed by them, and as they are affine the ball in the data's units goes through them exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pytest_ensemble.errors import ModelError, did_you_mean
from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.pool import Pool
from pytest_ensemble.networks.steps import Steps

__all__ = ["prepared", "prepared_pool"]

_OPSET = 7  # since then, arithmetic broadcasts
_PREFIX = "pytest_ensemble_data"


def prepared_pool(pool: Pool, steps: Mapping[str, Steps], folder: Path | None = None) -> Pool:
    """The pool with the steps before its models; those under "" are for all that have none of their own.

    Args:
        folder: where to write the new models, for who wants to read them later (proofs are of them).

    Raises:
        ModelError: steps for a model that is not in the pool, or that don't fit its input.
    """
    for name in steps:
        if name and name not in pool:
            raise ModelError(
                f"preprocessing is given for {name!r}, not in the pool.{did_you_mean(name, pool)}"
            )
    if not steps:
        return pool
    common = steps.get("", Steps())
    models = {name: prepared(model, steps.get(name, common)) for name, model in pool.items()}
    for name, model in models.items() if folder is not None else ():
        if model is not pool[name]:
            assert folder is not None
            folder.mkdir(parents=True, exist_ok=True)
            model.path = folder / f"{name}-{model.sha256[:12]}.onnx"
            model.path.write_bytes(model.content)
    return Pool(models.values())


def prepared(model: Model, steps: Steps) -> Model:
    """The model with the steps before it. It takes samples with their axes as in the data.

    Raises:
        ModelError: the axes or the number of channels do not fit its input, or its opset is too old.
    """
    if steps == Steps(data_axes=steps.data_axes):
        return model
    proto = onnx.load_model_from_string(model.content)
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version < _OPSET:
            raise ModelError(
                f"{model.name}: preprocessing needs ONNX opset {_OPSET} or later; the model has "
                f"{entry.version}. Export it anew, or put the steps into it."
            )
    stored = {tensor.name for tensor in proto.graph.initializer}
    (entry,) = (entry for entry in proto.graph.input if entry.name not in stored)
    order = _order(model, steps)
    kind: Any = {onnx.TensorProto.FLOAT: np.float32}.get(entry.type.tensor_type.elem_type, np.float64)
    batch = len(entry.type.tensor_type.shape.dim) - len(model.input_shape)  # axes before the sample's

    nodes: list[onnx.NodeProto] = []
    current = first = _unused(proto, _PREFIX)
    for k, (operator, constant) in enumerate(_arithmetic(model, steps, order, kind)):
        nodes.append(
            helper.make_node(
                "Constant", [], [f"{first}_constant{k}"], value=numpy_helper.from_array(constant)
            )
        )
        nodes.append(helper.make_node(operator, [current, f"{first}_constant{k}"], [f"{first}_step{k}"]))
        current = f"{first}_step{k}"
    if order != sorted(order):
        back = [*range(batch), *(batch + place for place in np.argsort(order).tolist())]
        nodes.append(helper.make_node("Transpose", [current], [f"{first}_order"], perm=back))
    nodes[-1].output[0] = entry.name  # what was the input is computed now

    given = onnx.ValueInfoProto()
    given.CopyFrom(entry)
    given.name = first
    dims = list(entry.type.tensor_type.shape.dim)
    for place, axis in enumerate(order):
        given.type.tensor_type.shape.dim[batch + place].CopyFrom(dims[batch + axis])
    inputs = [given if old.name == entry.name else old for old in proto.graph.input]
    before = list(proto.graph.node)
    del proto.graph.input[:], proto.graph.node[:]
    proto.graph.input.extend(inputs)
    proto.graph.node.extend([*nodes, *before])
    return Model(proto.SerializeToString(deterministic=True), model.name, model.path)


def _order(model: Model, steps: Steps) -> list[int]:
    """Which axis of the model's samples each axis of the data's is."""
    axes = len(model.input_shape)
    if steps.data_axes is None:
        return list(range(axes))
    for name, letters in (("data_axes", steps.data_axes), ("model_axes", steps.model_axes)):
        if letters is not None and len(letters) != axes:
            raise ModelError(
                f"{model.name}: {name} {letters!r} names {len(letters)} axes of a sample; the model takes "
                f"samples of shape {model.input_shape}, which has {axes}."
            )
    model_axes = steps.model_axes or steps.data_axes
    return [model_axes.index(letter) for letter in steps.data_axes]


def _arithmetic(
    model: Model, steps: Steps, order: list[int], kind: Any
) -> list[tuple[str, NDArray[np.floating[Any]]]]:
    """(operator, constant) of each step that does something, for data with its axes."""
    times, by = steps.scale
    parts = [
        ("Mul", (times,), 1.0),
        ("Div", (by,), 1.0),
        ("Sub", steps.mean, 0.0),
        ("Div", steps.std, 1.0),
    ]
    found = []
    for operator, numbers, nothing in parts:
        if all(number == nothing for number in numbers):
            continue
        with np.errstate(over="ignore"):
            constant = np.asarray(numbers, dtype=kind)
        if not np.isfinite(constant).all() or (operator != "Sub" and (constant == 0).any()):
            raise ModelError(
                f"{model.name}: preprocessing has numbers beyond {np.dtype(kind).name}: {numbers}."
            )
        found.append((operator, _along_channel(model, steps, order, constant)))
    return found


def _along_channel(
    model: Model, steps: Steps, order: list[int], constant: NDArray[np.floating[Any]]
) -> NDArray[np.floating[Any]]:
    """A number, or a number for each channel shaped to be broadcast to samples of the data."""
    if constant.size == 1:
        return constant.reshape(())
    shape = [model.input_shape[axis] for axis in order]
    if len(shape) == 1:
        place = 0
    elif steps.data_axes is None or "C" not in steps.data_axes:
        raise ModelError(
            f"{model.name}: preprocessing has {constant.size} numbers for mean or std; say which axis is the "
            'channel with data_axes, "NHWC" or "NCHW" for example.'
        )
    else:
        place = steps.data_axes.index("C")
    if shape[place] != constant.size:
        raise ModelError(
            f"{model.name}: preprocessing has {constant.size} numbers for mean or std; the model takes "
            f"{shape[place]} channels."
        )
    return constant.reshape([-1] + [1] * (len(shape) - 1 - place))


def _unused(proto: onnx.ModelProto, name: str) -> str:
    """The name, with as many underscores as it takes to differ from the beginnings of all others."""
    used = {value.name for value in (*proto.graph.input, *proto.graph.initializer)}
    used |= {output for node in proto.graph.node for output in node.output}
    while any(other.startswith(name) for other in used):
        name += "_"
    return name
