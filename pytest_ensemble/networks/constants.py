"""Nodes that depend on constants only: computed by ONNX's own reference evaluator, within limits.

The evaluator does whatever a node asks for: 10**12 zeros, a loop that never ends, a regular expression that
takes years. So it is given only operators of plain arithmetic, once the size of the result is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from pytest_ensemble.errors import reason
from pytest_ensemble.networks.limits import LARGEST, TooLarge, spend
from pytest_ensemble.networks.operators import NotPiecewiseLinear

__all__ = ["fold"]

Array = NDArray[Any]


def fold(node: onnx.NodeProto, inputs: Sequence[Array | None], opsets: dict[str, int]) -> list[Array]:
    """The outputs of a node from its inputs, None for those that are left out.

    Raises:
        NotPiecewiseLinear: an operator that constants can't be computed with, or one that fails.
        TooLarge: too many numbers.
    """
    largest_result = _RESULT_SIZES.get(node.op_type)
    if largest_result is None or node.domain not in ("", "ai.onnx"):
        known = ", ".join(sorted(_RESULT_SIZES))
        raise NotPiecewiseLinear(f"it has constants for input; those can be computed with {known}")
    given = [value for value in inputs if value is not None]
    if any(value.dtype.kind in "OSU" for value in given):
        raise NotPiecewiseLinear("its input is text")
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if attributes.get("to") == onnx.TensorProto.STRING:
        raise NotPiecewiseLinear("it makes text of numbers")
    size = int(largest_result(given, attributes))
    read = sum(value.size for value in given)
    if size > max(LARGEST, read):
        raise TooLarge(f"a constant of {size} numbers is too large; {LARGEST} are allowed")
    spend(size + read)
    return _evaluate(node, inputs, opsets)


def _evaluate(node: onnx.NodeProto, inputs: Sequence[Array | None], opsets: dict[str, int]) -> list[Array]:
    from onnx.reference import ReferenceEvaluator  # 0.1 s to import, and most files need none

    feeds = {name: value for name, value in zip(node.input, inputs, strict=True) if name}
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    graph = helper.make_graph(
        [node],
        "constant",
        [helper.make_value_info(name, onnx.TypeProto()) for name in feeds],
        [helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name],
    )
    model = helper.make_model(graph, opset_imports=imports)
    try:
        folded = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # the evaluator raises whatever its operators raise
        raise NotPiecewiseLinear(f"its constant value can't be computed: {reason(error)}") from error
    results = iter(folded)
    return [next(results) if name else np.zeros(0) for name in node.output]


# --- how large results can be ---------------------------------------------------------------------

Size = Callable[[Sequence[Array], dict[str, Any]], float]


def _as_read(given: Sequence[Array], attributes: dict[str, Any]) -> int:
    """No larger than all inputs together; or what the file itself holds."""
    return sum(value.size for value in given)


def _broadcast(given: Sequence[Array], attributes: dict[str, Any]) -> int:
    return math.prod(np.broadcast_shapes(*(value.shape for value in given)))


def _by_rank(given: Sequence[Array], attributes: dict[str, Any]) -> int:
    return given[0].size * max(1, given[0].ndim)


def _of_shape(given: Sequence[Array], attributes: dict[str, Any]) -> int:
    return math.prod(map(int, given[0].tolist()))


def _expand(given: Sequence[Array], attributes: dict[str, Any]) -> int:
    shape: tuple[int, ...] = np.broadcast_shapes(given[0].shape, tuple(given[1].tolist()))
    return math.prod(shape)


def _tile(given: Sequence[Array], attributes: dict[str, Any]) -> int:
    return given[0].size * math.prod(map(int, given[1].reshape(-1).tolist()))


def _range(given: Sequence[Array], attributes: dict[str, Any]) -> float:
    start, limit, delta = (float(value.item()) for value in given)
    return math.ceil(abs((limit - start) / delta))


def _gather(given: Sequence[Array], attributes: dict[str, Any]) -> int:
    data, places = given
    return int(places.size) * int(data.size // max(1, data.shape[attributes.get("axis", 0)]))


def _gather_nd(given: Sequence[Array], attributes: dict[str, Any]) -> int:
    data, places = given
    return math.prod(places.shape[:-1]) * math.prod(data.shape[places.shape[-1] :])


def _matmul(given: Sequence[Array], attributes: dict[str, Any]) -> int:
    left, right = given
    inner = max(1, int(left.shape[-1]))
    spend(left.size * (right.size // inner))
    return (left.size // inner) * (right.size // inner)


def _pad(given: Sequence[Array], attributes: dict[str, Any]) -> int:
    widths = given[1] if len(given) > 1 else np.asarray(attributes["pads"])
    grown = int(widths.clip(min=0).sum(dtype=object))  # of all axes, to be added to each
    return math.prod(size + grown for size in given[0].shape)


# fmt: off
_NO_LARGER = (
    "Abs", "Cast", "CastLike", "Ceil", "Clip", "Concat", "Constant", "DequantizeLinear", "Exp",
    "Flatten", "Floor", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Neg", "Not", "Reciprocal",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Round",
    "Sigmoid", "Sign", "Size", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Tanh", "Transpose",
    "Unsqueeze",
)
_ELEMENTWISE = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean",
    "Min", "Mod", "Mul", "Or", "Pow", "Sub", "Sum", "Where", "Xor",
)
# fmt: on
_RESULT_SIZES: dict[str, Size] = {
    **dict.fromkeys(_NO_LARGER, _as_read),
    **dict.fromkeys(_ELEMENTWISE, _broadcast),
    "ConstantOfShape": _of_shape,
    "Expand": _expand,
    "Gather": _gather,
    "GatherElements": lambda given, attributes: given[1].size,
    "GatherND": _gather_nd,
    "MatMul": _matmul,
    "NonZero": _by_rank,
    "Pad": _pad,
    "Range": _range,
    "Tile": _tile,
}
