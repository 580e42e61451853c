"""ONNX graph -> `Network`: the graph evaluated on affine expressions instead of numbers.

What keeps the order of the classes (Softmax, LogSoftmax) or only names the winner (ArgMax, ZipMap, and
what skl2onnx wraps around them) is dropped at the end of a graph: what is left are the logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pytest_ensemble.errors import ModelError, UnsupportedOperatorError, printable, quoted, reason
from pytest_ensemble.networks.constants import fold
from pytest_ensemble.networks.expression import Expression, Trace, concatenate
from pytest_ensemble.networks.limits import CLASSES, TooLarge, limited, spend
from pytest_ensemble.networks.network import Network
from pytest_ensemble.networks.operators import OPERATORS, Node, NotPiecewiseLinear, Value
from pytest_ensemble.networks.parsing import without_functions
from pytest_ensemble.networks.rounding import SOFTMAX

__all__ = ["Lowered", "lower"]


@dataclass(frozen=True, eq=False)
class Verdict:
    """A symbolic tensor that follows from the logits and says which class wins.

    `kind` is "scores" (one per class, in the order of the logits), "label" (the winner), or, for the
    single Sigmoid of a binary classifier, "probability" and "complement" (one minus it).
    """

    logits: Expression
    source: str  # tensor of the graph that holds the logits
    scores: str  # tensor of the graph that holds one score per class
    kind: str


@dataclass(frozen=True)
class Lowered:
    """A lowered graph and the names of the tensors that tell its verdict in the file itself.

    `logits`: the tensor that `network` computes (for `binary`, the z of class scores (0, z));
    `scores`: the last tensor with one number per class; `label`: the output with the winner, if any.
    """

    network: Network
    logits: str
    scores: str
    label: str | None
    binary: bool


Symbol = Value | Verdict
_PASSED_ON = {"Identity", "Cast", "CastLike", "ZipMap", "Dropout", "Reshape", "Squeeze"}
_WHOLE = {onnx.TensorProto.INT32, onnx.TensorProto.INT64}
_REAL = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}


def lower(proto: onnx.ModelProto, input_name: str, shape: tuple[int, ...], where: str) -> Lowered:
    """Lower the graph of an ONNX classifier, fed through `input_name` with one sample of `shape`.

    Raises:
        UnsupportedOperatorError: an operator that is not piecewise linear or not known.
        ModelError: the outputs are not class scores.
    """
    # what is not finite is refused where it is left in the result; warnings of it on the way say nothing
    with np.errstate(all="ignore"), limited():
        proto = without_functions(proto, where)
        values = _stored(proto, where)
        opsets = {entry.domain: entry.version for entry in proto.opset_import}
        trace = Trace(math.prod(shape))
        values[input_name] = trace.input(shape)
        for node in proto.graph.node:
            _check_names(node, values, where)
            try:
                spend(0)
                results = _apply(node, values, opsets, trace)
                spend(sum(value.size for value in results if not isinstance(value, Verdict)), step=0)
            except NotPiecewiseLinear as error:
                raise UnsupportedOperatorError(_refusal(node, where, str(error))) from None
            except Exception as error:  # the file may be anything, and so may what numpy says to it
                raise ModelError(f"{where}: {_title(node)} can't be read: {reason(error)}.") from error
            values.update(zip(node.output, results, strict=False))
        try:
            return _finish([output.name for output in proto.graph.output], shape, values, trace, where)
        except (TooLarge, MemoryError) as error:
            raise ModelError(f"{where}: can't be read: {reason(error)}.") from None


def _stored(proto: onnx.ModelProto, where: str) -> dict[str, Symbol]:
    """The stored tensors, by name."""
    values: dict[str, Symbol] = {}
    for tensor in proto.graph.initializer:
        name = quoted(tensor.name)
        if tensor.name in values:
            raise ModelError(f"{where}: stores two tensors with the name {name}.")
        try:
            if any(n < 0 for n in tensor.dims):
                raise ValueError("its shape has a negative number")
            values[tensor.name] = numpy_helper.to_array(tensor)
        except Exception as error:  # onnx raises what numpy raises
            raise ModelError(f"{where}: its tensor {name} can't be read: {reason(error)}.") from error
    return values


def _check_names(node: onnx.NodeProto, values: dict[str, Symbol], where: str) -> None:
    """Every tensor is computed once, and before it is used."""
    missing = [name for name in node.input if name and name not in values]
    if missing:
        raise ModelError(
            f"{where}: {_title(node)} needs {quoted(missing[0])}, which nothing before it computes: "
            "the graph is cyclic, or a part of it is missing."
        )
    made = [name for name in node.output if name]
    twice = [name for name in made if name in values]
    if twice or len(set(made)) < len(made):
        name = quoted((twice or made)[0])
        raise ModelError(f"{where}: {_title(node)} computes {name}, which is another tensor's name too.")
    options = [item.name for item in node.attribute]
    if len(set(options)) < len(options):
        raise ModelError(f"{where}: {_title(node)} has an attribute twice.")


def _apply(
    node: onnx.NodeProto, values: dict[str, Symbol], opsets: dict[str, int], trace: Trace
) -> list[Any]:
    inputs = [values[name] if name else None for name in node.input]
    if any(isinstance(value, Verdict) for value in inputs):
        return [_pass_verdict(node, inputs)]
    if node.op_type == "Shape":
        return [_shape(node, inputs[0])]
    if not any(isinstance(value, Expression) for value in inputs):
        constants: Any = inputs
        return fold(node, constants, opsets)
    begun = _begin_verdict(node, inputs, opsets)
    if begun is not None:
        return [begun]
    handler: Callable[[Node], Any] | None = OPERATORS.get(node.op_type)
    if handler is None or node.domain not in ("", "ai.onnx", "ai.onnx.ml"):
        raise NotPiecewiseLinear("it is not supported")
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if (kind := _cast_to(node, inputs)) not in _REAL:
        name = helper.tensor_dtype_to_string(kind).removeprefix("TensorProto.")
        raise NotPiecewiseLinear(f"a cast to {name} rounds")
    used = sum(1 for name in node.output if name)
    plain: Any = tuple(inputs)
    result = handler(Node(plain, attributes, opsets.get(node.domain, 1), used, trace))
    return result if isinstance(result, list) else [result]


def _cast_to(node: onnx.NodeProto, inputs: list[Any]) -> int:
    """The type of a cast's result; float for what casts nothing."""
    if node.op_type == "Cast":
        return next((item.i for item in node.attribute if item.name == "to"), onnx.TensorProto.UNDEFINED)
    if node.op_type == "CastLike" and isinstance(inputs[1], np.ndarray):
        return int(helper.np_dtype_to_tensor_dtype(inputs[1].dtype))
    return int(onnx.TensorProto.FLOAT)


def _shape(node: onnx.NodeProto, value: Any) -> NDArray[np.int64]:
    shape = np.array(value.shape, dtype=np.int64)
    options = {item.name: item.i for item in node.attribute}
    return shape[options.get("start", 0) : options.get("end", len(shape))]


def _begin_verdict(node: onnx.NodeProto, inputs: list[Any], opsets: dict[str, int]) -> Verdict | None:
    x = inputs[0]
    if not isinstance(x, Expression):
        return None
    options = {item.name: item.i for item in node.attribute}
    if node.op_type in ("Softmax", "LogSoftmax", "ArgMax"):
        default = 0 if node.op_type == "ArgMax" else 1 if opsets.get(node.domain, 1) < 13 else -1
        if x.shape[options.get("axis", default)] != x.size:
            raise NotPiecewiseLinear("its axis is not that of the classes")
        kind = "label" if node.op_type == "ArgMax" else "scores"
        scores = node.input[0] if kind == "label" else node.output[0]
        return Verdict(x, node.input[0], scores, kind)
    if node.op_type == "Sigmoid" and x.size == 1:
        return Verdict(x, node.input[0], node.output[0], "probability")
    return None


def _pass_verdict(node: onnx.NodeProto, inputs: list[Any]) -> Verdict:
    verdicts = [value for value in inputs if isinstance(value, Verdict)]
    first = verdicts[0]
    kinds = [verdict.kind for verdict in verdicts]
    if len({verdict.source for verdict in verdicts}) > 1 or any(
        isinstance(value, Expression) for value in inputs
    ):
        raise NotPiecewiseLinear("it mixes class scores with other tensors")
    options = {item.name: item.i for item in node.attribute}
    if kinds == ["scores"] and node.op_type == "ArgMax":
        if options.get("axis", 0) not in (1, -1):
            raise NotPiecewiseLinear("its axis is not that of the classes")
        return replace(first, kind="label")
    if kinds == ["label"] and node.op_type == "ArrayFeatureExtractor":
        _check_labels(np.asarray(inputs[0]).reshape(-1).tolist(), first)
        return first
    if node.op_type == "ZipMap":
        _check_labels([label for item in node.attribute for label in (*item.ints, *item.strings)], first)
    if _cast_to(node, inputs) not in (_REAL | _WHOLE if kinds == ["label"] else _REAL):
        raise NotPiecewiseLinear("it rounds class scores, or cuts labels")
    if node.op_type == "Dropout" and len(inputs) > 2 and np.any(inputs[2]):
        raise NotPiecewiseLinear("it is in training mode; export the model in evaluation mode")
    if kinds in (["scores"], ["label"]) and node.op_type in _PASSED_ON:
        if kinds == ["scores"] and node.op_type in ("Reshape", "Squeeze", "Cast"):
            return replace(first, scores=node.output[0])
        return first
    if kinds in (["scores"], ["column"]) and node.op_type in ("Slice", "Split", "Gather", "Reshape"):
        return replace(first, kind="column")  # skl2onnx with zipmap="columns": one output a class
    if kinds == ["probability"] and node.op_type == "Sub" and np.all(np.equal(inputs[0], 1)):
        return replace(first, kind="complement")
    if kinds == ["complement", "probability"] and node.op_type == "Concat":
        return replace(first, kind="scores", scores=node.output[0])
    raise NotPiecewiseLinear("it computes with what Softmax, ArgMax or Sigmoid returned")


def _check_labels(labels: list[Any], verdict: Verdict) -> None:
    """Class k must have the label k: the few inputs that a model is tried on may not show another."""
    last = max(verdict.logits.size, 2) - 1
    if labels != list(range(last + 1)):
        raise NotPiecewiseLinear(f"its class labels are {quoted(labels)}. Train with labels 0..{last}")


def _finish(
    outputs: list[str], shape: tuple[int, ...], values: dict[str, Symbol], trace: Trace, where: str
) -> Lowered:
    absent = [name for name in outputs if name not in values]
    if absent:
        raise ModelError(f"{where}: its output {quoted(absent[0])} is computed by no node.")
    verdicts = [(name, _as_verdict(name, values[name])) for name in outputs]
    named = ", ".join(map(quoted, outputs[:20]))
    if all(verdict is None for _, verdict in verdicts):
        raise ModelError(f"{where}: its output ({named}) does not depend on its input.")
    found = [(name, verdict) for name, verdict in verdicts if verdict is not None]  # not constants
    if len({verdict.source for _, verdict in found}) != 1:
        raise ModelError(
            f"{where}: which of its outputs ({named}) holds the class scores is not clear. "
            "Export the model with the logits (or probabilities) as its only output."
        )
    if any(verdict.kind in ("probability", "complement") for _, verdict in found):
        raise ModelError(
            f"{where}: not a classifier: its output ({named}) is a single probability. "
            "Export one score per class."
        )
    verdict = next((v for _, v in found if v.kind in ("scores", "label")), None)
    if verdict is None:
        raise ModelError(f"{where}: its outputs ({named}) hold single columns of the class scores only.")
    logits = verdict.logits
    of_batch = len(shape) > 1 and shape[0] > 1 and len(logits.shape) > 1 and logits.shape[0] == shape[0]
    if of_batch or sum(n > 1 for n in logits.shape) > 1:
        raise ModelError(
            f"{where}: its class scores have shape {logits.shape} where its input has {shape}; one number "
            "for each class is needed. If the file fixes the number of samples: export it for one sample, "
            "or for any number of them."
        )
    binary = logits.size == 1 and verdict.scores != verdict.source
    if logits.size < 2 and not binary:
        raise ModelError(
            f"{where}: not a classifier: its output ({named}) has {logits.size} number for each "
            "input; at least 2 classes are needed."
        )
    if logits.size > CLASSES:
        raise ModelError(f"{where}: has {logits.size} classes, too many to verify; {CLASSES} are allowed.")
    if binary:
        logits = concatenate([trace.constant(np.zeros(1)), logits.reshape((1,))], axis=0)
    label = next((name for name, v in found if v.kind == "label"), None)
    network = trace.network(logits.reshape((logits.size,)))
    for layer in network.layers:
        if not np.isfinite(layer.bias.sum() + layer.weight.sum()):
            raise ModelError(f"{where}: has weights that are NaN or infinite.")
    if verdict.scores != verdict.source:
        network = replace(network, score_rounding=SOFTMAX)
    return Lowered(network, verdict.source, verdict.scores, label, binary)


def _as_verdict(name: str, value: Symbol) -> Verdict | None:
    if isinstance(value, Verdict):
        return value
    if isinstance(value, Expression):
        return Verdict(value, name, name, "scores")
    return None


def _name(node: onnx.NodeProto) -> str:
    return quoted(node.name or (node.output[0] if node.output else "?"))


def _title(node: onnx.NodeProto) -> str:
    return f"node {_name(node)} ({printable(node.op_type, 100)})"


def _refusal(node: onnx.NodeProto, where: str, reason: str) -> str:
    domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
    kind = printable(f"{domain}{node.op_type}", 100)
    known = ", ".join(sorted({*OPERATORS, "ArgMax", "LogSoftmax", "Shape", "Softmax", "ZipMap"}))
    return (
        f"{where}: node {_name(node)} with operator {kind} can't be verified: "
        f"{reason}. Supported operators: {known} (Softmax, LogSoftmax, ArgMax and ZipMap at the end; "
        "what depends on constants only may use more)."
    )
