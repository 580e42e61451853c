"""The ONNX operators that lowering knows, each as a function on `Expression`s.

To add one: write `def _name(node: Node) -> Expression`, register it with `@operator("Name")`, and add
a graph that uses it to tests/networks/test_operators.py; onnxruntime is the oracle there. Shapes and
windows of convolutions and pools are in `windows.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pytest_ensemble.networks.expression import Expression, Trace, concatenate
from pytest_ensemble.networks.windows import linear_convolution, windows

Value = Expression | NDArray[Any]

__all__ = ["OPERATORS", "Node", "NotPiecewiseLinear"]


class NotPiecewiseLinear(Exception):
    """A known operator, used in a way that can't be lowered; the message says which."""


@dataclass(frozen=True)
class Node:
    """One node of a graph whose inputs are known: constants as arrays, the rest as Expressions."""

    inputs: tuple[Value | None, ...]
    attributes: dict[str, Any]
    opset: int
    outputs: int
    trace: Trace

    def has(self, k: int) -> bool:
        """Whether optional input k is there."""
        return k < len(self.inputs) and self.inputs[k] is not None

    def tensor(self, k: int = 0) -> Expression:
        """Input k, made an Expression if it is a constant."""
        value = self.inputs[k]
        if isinstance(value, Expression):
            return value
        return self.trace.constant(np.asarray(value))

    def constant(self, k: int, name: str) -> NDArray[Any]:
        """Input k, which must be a constant."""
        value = self.inputs[k]
        if isinstance(value, Expression):
            if value.is_constant():
                return value.constant.reshape(value.shape)
            raise NotPiecewiseLinear(f"its {name} depends on the input")
        return np.asarray(value)

    def option(self, attribute: str, k: int) -> NDArray[Any] | None:
        """What older opsets have as an attribute and newer ones as input k."""
        if attribute in self.attributes:
            return np.asarray(self.attributes[attribute])
        return self.constant(k, attribute) if self.has(k) else None

    def axes(self, k: int) -> tuple[int, ...] | None:
        """The `axes` option as non-negative numbers; None where it is not given."""
        axes = self.option("axes", k)
        if axes is None:
            return None
        rank = len(self.tensor().shape)
        return tuple(int(axis) % rank for axis in axes.reshape(-1))


Handler = Callable[[Node], Expression] | Callable[[Node], list[Expression]]
Function = TypeVar("Function", bound=Callable[[Node], Any])
OPERATORS: dict[str, Handler] = {}


def operator(*names: str) -> Callable[[Function], Function]:
    """Register a function for these operator types."""

    def register(function: Function) -> Function:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


# --- affine ---------------------------------------------------------------------------------------


@operator("Identity", "Dropout", "Cast", "CastLike")
def _same(node: Node) -> Expression:
    return node.tensor()


@operator("Add", "Sum")
def _add(node: Node) -> Expression:
    total = node.tensor(0)
    for k in range(1, len(node.inputs)):
        value = node.inputs[k]
        assert value is not None
        total = total + value
    return total


@operator("Mean")
def _mean(node: Node) -> Expression:
    return _add(node).scale(np.array(1.0 / len(node.inputs)))


@operator("Sub")
def _sub(node: Node) -> Expression:
    return node.tensor(0) - node.tensor(1)


@operator("Neg")
def _neg(node: Node) -> Expression:
    return -node.tensor()


@operator("Mul")
def _mul(node: Node) -> Expression:
    varying = 0 if isinstance(node.inputs[0], Expression) else 1
    if not node.tensor(varying).is_constant() and node.tensor(1 - varying).is_constant():
        return node.tensor(varying).scale(node.constant(1 - varying, "factor"))
    return node.tensor(1 - varying).scale(node.constant(varying, "factor"))


@operator("Div")
def _div(node: Node) -> Expression:
    divisor = np.asarray(node.constant(1, "divisor"), dtype=np.float64)
    if not np.all(divisor):
        raise NotPiecewiseLinear("it divides by zero")
    return node.tensor().scale(1.0 / divisor)


@operator("MatMul")
def _matmul(node: Node) -> Expression:
    left, right = node.tensor(0), node.tensor(1)
    if right.is_constant():
        return _times(left, right.constant.reshape(right.shape))
    if not left.is_constant():
        raise NotPiecewiseLinear("it multiplies two tensors that both depend on the input")
    # A @ X = (X.T @ A.T).T
    if len(right.shape) == 1:
        return _times(right, np.swapaxes(left.constant.reshape(left.shape), -1, -2))
    flipped = right.take(np.swapaxes(right.indices, -1, -2))
    product = _times(flipped, np.swapaxes(left.constant.reshape(left.shape), -1, -2))
    return product.take(np.swapaxes(product.indices, -1, -2))


def _times(x: Expression, matrix: NDArray[Any]) -> Expression:
    """`x @ matrix` for a constant 1-D or 2-D matrix."""
    if matrix.ndim > 2 and all(n == 1 for n in matrix.shape[:-2]):
        matrix = matrix.reshape(matrix.shape[-2:])
    if matrix.ndim > 2:
        raise NotPiecewiseLinear("its constant operand has batch dimensions")
    columns = matrix.reshape(matrix.shape[0], -1).astype(np.float64)
    rows = x.size // matrix.shape[0]
    product = sp.kron(sp.eye_array(rows), sp.csr_array(columns.T), format="csr")
    return x.linear(product, (*x.shape[:-1], *matrix.shape[1:]))


@operator("Gemm")
def _gemm(node: Node) -> Expression:
    a, b = node.tensor(0), node.tensor(1)
    if node.attributes.get("transA"):
        a = a.take(a.indices.T)
    if node.attributes.get("transB"):
        b = b.take(b.indices.T)
    flat = Node((a, b), {}, node.opset, 1, node.trace)
    product = _matmul(flat).scale(np.array(node.attributes.get("alpha", 1.0)))
    if not node.has(2):
        return product
    return product + node.tensor(2).scale(np.array(node.attributes.get("beta", 1.0)))


@operator("BatchNormalization")
def _batch_normalization(node: Node) -> Expression:
    if node.attributes.get("training_mode"):
        raise NotPiecewiseLinear("it is in training mode; export the model in evaluation mode")
    x = node.tensor()
    scale, shift, mean, variance = (
        np.asarray(node.constant(k, "parameters"), dtype=np.float64) for k in range(1, 5)
    )
    column = (-1, *(1,) * (len(x.shape) - 2))
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    return x.scale(factor.reshape(column)) + (shift - mean * factor).reshape(column)


@operator("Scaler")  # ai.onnx.ml: what skl2onnx writes for a StandardScaler
def _scaler(node: Node) -> Expression:
    shifted = node.tensor() - np.asarray(node.attributes.get("offset", [0.0]), dtype=np.float64)
    return shifted.scale(np.asarray(node.attributes.get("scale", [1.0]), dtype=np.float64))


@operator("Conv")
def _conv(node: Node) -> Expression:
    weight = np.asarray(node.constant(1, "weight"), dtype=np.float64)
    matrix, shape = linear_convolution(node.tensor().shape, weight, node.attributes)
    product = node.tensor().linear(matrix, shape)
    if not node.has(2):
        return product
    bias = np.asarray(node.constant(2, "bias"), dtype=np.float64)
    return product + bias.reshape(-1, *(1,) * (len(shape) - 2))


@operator("AveragePool", "GlobalAveragePool")
def _average_pool(node: Node) -> Expression:
    x = node.tensor()
    table = _pool_windows(node)
    counted = np.full(table.shape, True) if node.attributes.get("count_include_pad") else table >= 0
    counted = counted & (table != -2)  # -2: beyond the padding, from ceil_mode
    return _weighted(x, table, 1.0 / counted.sum(axis=-1))


def _pool_windows(node: Node) -> NDArray[np.intp]:
    """Flat positions of each window's elements, shape (*output shape, window)."""
    x = node.tensor()
    if "kernel_shape" not in node.attributes:
        return x.indices.reshape(*x.shape[:2], *(1,) * (len(x.shape) - 2), -1)
    return windows(x.shape, node.attributes["kernel_shape"], node.attributes)


def _weighted(x: Expression, table: NDArray[np.intp], factor: NDArray[Any]) -> Expression:
    """Sums of the elements of each window, times its factor."""
    shape = table.shape[:-1]
    flat = table.reshape(-1, table.shape[-1])
    rows, places = np.nonzero(flat >= 0)
    values = np.broadcast_to(factor, shape).reshape(-1)[rows]
    matrix = sp.csr_array((values, (rows, flat[rows, places])), shape=(len(flat), x.size))
    return x.linear(matrix, shape)


# --- reductions over constant axes ----------------------------------------------------------------


@operator("ReduceMean")
def _reduce_mean(node: Node) -> Expression:
    table = _reduced(node)
    return _weighted(node.tensor(), table, np.array(1.0 / table.shape[-1]))


@operator("ReduceSum")
def _reduce_sum(node: Node) -> Expression:
    return _weighted(node.tensor(), _reduced(node), np.array(1.0))


@operator("ReduceMax")
def _reduce_max(node: Node) -> Expression:
    table = _reduced(node)
    x = node.tensor()
    return node.trace.tournament([x.take(table[..., k]) for k in range(table.shape[-1])])


@operator("ReduceMin")
def _reduce_min(node: Node) -> Expression:
    negated = Node((-node.tensor(), *node.inputs[1:]), node.attributes, node.opset, 1, node.trace)
    return -_reduce_max(negated)


def _reduced(node: Node) -> NDArray[np.intp]:
    """Flat positions of what each output element reduces, shape (*output shape, count)."""
    x = node.tensor()
    axes = node.axes(1)
    if not axes:
        if axes == () and node.attributes.get("noop_with_empty_axes"):
            return x.indices[..., None]
        axes = tuple(range(len(x.shape)))
    kept = tuple(axis for axis in range(len(x.shape)) if axis not in axes)
    table = x.indices.transpose(*kept, *axes).reshape(*(x.shape[axis] for axis in kept), -1)
    if node.attributes.get("keepdims", 1):
        shape = [1 if axis in axes else n for axis, n in enumerate(x.shape)]
        table = table.reshape(*shape, -1)
    return table


# --- piecewise linear -----------------------------------------------------------------------------


@operator("Relu")
def _relu(node: Node) -> Expression:
    return node.trace.relu(node.tensor())


@operator("LeakyRelu")
def _leaky_relu(node: Node) -> Expression:
    return _slope(node, np.array(node.attributes.get("alpha", 0.01)))


@operator("PRelu")
def _prelu(node: Node) -> Expression:
    return _slope(node, np.asarray(node.constant(1, "slope"), dtype=np.float64))


def _slope(node: Node, slope: NDArray[Any]) -> Expression:
    """x where x >= 0, slope * x below: slope * x + (1 - slope) * relu(x)."""
    x = node.tensor()
    return x.scale(slope) + node.trace.relu(x).scale(1.0 - slope)


@operator("Abs")
def _abs(node: Node) -> Expression:
    x = node.tensor()
    return node.trace.relu(x) + node.trace.relu(-x)


@operator("Clip")
def _clip(node: Node) -> Expression:
    x = node.tensor()
    low, high = node.option("min", 1), node.option("max", 2)
    if low is not None and np.isfinite(low).all():
        x = node.trace.relu(x - low) + low
    if high is not None and np.isfinite(high).all():
        x = -node.trace.relu(-(x - high)) + high
    return x


@operator("Max")
def _max(node: Node) -> Expression:
    return node.trace.tournament([node.tensor(k) for k in range(len(node.inputs))])


@operator("Min")
def _min(node: Node) -> Expression:
    return -node.trace.tournament([-node.tensor(k) for k in range(len(node.inputs))])


@operator("MaxPool", "GlobalMaxPool")
def _max_pool(node: Node) -> Expression:
    if node.outputs > 1:
        raise NotPiecewiseLinear("its Indices output is used")
    x = node.tensor()
    table = _pool_windows(node)
    inside = np.take_along_axis(table, (table >= 0).argmax(axis=-1)[..., None], axis=-1)
    table = np.where(table >= 0, table, inside)  # padding never wins: repeat an element instead
    return node.trace.tournament([x.take(table[..., k]) for k in range(table.shape[-1])])


# --- arrangement of elements ----------------------------------------------------------------------


@operator("Flatten")
def _flatten(node: Node) -> Expression:
    x = node.tensor()
    axis = node.attributes.get("axis", 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    first = int(np.prod(x.shape[:axis], dtype=np.int64))
    return x.reshape((first, x.size // first if first else 0))


@operator("Reshape")
def _reshape(node: Node) -> Expression:
    x = node.tensor()
    wanted = [int(n) for n in node.constant(1, "shape")]
    if not node.attributes.get("allowzero"):
        wanted = [x.shape[k] if n == 0 else n for k, n in enumerate(wanted)]
    return x.reshape(x.indices.reshape(wanted).shape)


@operator("Squeeze")
def _squeeze(node: Node) -> Expression:
    x = node.tensor()
    return x.reshape(x.indices.squeeze(node.axes(1)).shape)


@operator("Unsqueeze")
def _unsqueeze(node: Node) -> Expression:
    x = node.tensor()
    axes = node.option("axes", 1)
    assert axes is not None
    return x.reshape(np.expand_dims(x.indices, tuple(int(axis) for axis in axes)).shape)


@operator("Transpose")
def _transpose(node: Node) -> Expression:
    x = node.tensor()
    return x.take(x.indices.transpose(node.attributes.get("perm")))


@operator("Expand")
def _expand(node: Node) -> Expression:
    x = node.tensor()
    wanted = tuple(int(n) for n in node.constant(1, "shape"))
    return x.broadcast(np.broadcast_shapes(x.shape, wanted))


@operator("Concat")
def _concat(node: Node) -> Expression:
    parts = [node.tensor(k) for k in range(len(node.inputs))]
    return concatenate(parts, int(node.attributes["axis"]))


@operator("Slice")
def _slice(node: Node) -> Expression:
    x = node.tensor()
    starts, ends = node.option("starts", 1), node.option("ends", 2)
    assert starts is not None
    assert ends is not None
    axes, steps = node.option("axes", 3), node.option("steps", 4)
    where = range(len(starts)) if axes is None else axes
    stride = np.ones(len(starts), dtype=int) if steps is None else steps
    cuts = [slice(None)] * len(x.shape)
    for axis, start, end, step in zip(where, starts, ends, stride, strict=True):
        size = x.shape[int(axis)]
        stop: int | None = int(end)
        if step < 0 and end < -size:  # "beyond the first element", which slice() can't say
            stop = None
        cuts[int(axis)] = slice(int(start), stop, int(step))
    return x.take(x.indices[tuple(cuts)])


@operator("Split")
def _split(node: Node) -> list[Expression]:
    x = node.tensor()
    axis = int(node.attributes.get("axis", 0))
    sizes = node.option("split", 1)
    if sizes is None:
        count = int(node.attributes.get("num_outputs", node.outputs))
        chunk = -(-x.shape[axis] // count)
        sizes = np.minimum(chunk, x.shape[axis] - chunk * np.arange(count))
    pieces = np.split(x.indices, np.cumsum(sizes)[:-1].astype(int), axis=axis)
    return [x.take(piece) for piece in pieces]


@operator("Gather")
def _gather(node: Node) -> Expression:
    x = node.tensor()
    axis = int(node.attributes.get("axis", 0))
    return x.take(np.take(x.indices, node.constant(1, "indices").astype(int), axis=axis))


@operator("GatherND")
def _gather_nd(node: Node) -> Expression:
    x = node.tensor()
    if node.attributes.get("batch_dims"):
        raise NotPiecewiseLinear("it has batch_dims")
    places = node.constant(1, "indices").astype(int)
    return x.take(x.indices[tuple(np.moveaxis(places, -1, 0))])


@operator("Pad")
def _pad(node: Node) -> Expression:
    x = node.tensor()
    pads = node.option("pads", 1)
    assert pads is not None
    mode = node.attributes.get("mode", b"constant").decode()
    rank = len(x.shape)
    where = node.axes(3) if node.has(3) else tuple(range(rank))
    assert where is not None
    widths = [(0, 0)] * rank
    for k, axis in enumerate(where):
        widths[axis] = (int(pads[k]), int(pads[k + len(where)]))
    if min(min(pair) for pair in widths) < 0:
        raise NotPiecewiseLinear("it has negative pads")
    if mode == "constant":
        fill = node.option("value", 2)
        table = np.pad(x.indices, widths, constant_values=-1)
        return x.take(table, fill=0.0 if fill is None else float(fill.reshape(-1)[0]))
    modes: dict[str, Any] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    return x.take(np.pad(x.indices, widths, mode=modes[mode]))


@operator("Where")
def _where(node: Node) -> Expression:
    kept = node.constant(0, "condition").astype(bool).astype(float)
    return node.tensor(1).scale(kept) + node.tensor(2).scale(1.0 - kept)
