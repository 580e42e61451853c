"""Sums, products with constants, and convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pytest_ensemble.networks.expression import Expression
from pytest_ensemble.networks.limits import check_size, spend
from pytest_ensemble.networks.operators.node import Node, NotPiecewiseLinear, operator
from pytest_ensemble.networks.windows import linear_convolution


@operator("Identity", "Cast", "CastLike")
def _same(node: Node) -> Expression:
    return node.tensor()


@operator("Dropout")
def _dropout(node: Node) -> Expression:
    if node.has(2) and node.constant(2, "training_mode").any():
        raise NotPiecewiseLinear("it is in training mode; export the model in evaluation mode")
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
    matrix = left.constant.reshape(left.shape)
    transposed = matrix if matrix.ndim == 1 else np.swapaxes(matrix, -1, -2)
    if len(right.shape) == 1:
        return _times(right, transposed)
    product = _times(right.take(np.swapaxes(right.indices, -1, -2)), transposed)
    if matrix.ndim == 1:
        return product
    return product.take(np.swapaxes(product.indices, -1, -2))


def _times(x: Expression, matrix: NDArray[Any]) -> Expression:
    """`x @ matrix` for a constant 1-D or 2-D matrix, or one with leading axes of length 1."""
    if any(n != 1 for n in matrix.shape[:-2]):
        raise NotPiecewiseLinear("its constant operand has batch dimensions")
    ones = (1,) * max(0, matrix.ndim - max(2, len(x.shape)))
    inner: tuple[int, ...] = matrix.shape[-2:]
    matrix = matrix.reshape(inner)
    columns = matrix.reshape(matrix.shape[0], -1).astype(np.float64)
    rows = x.size // matrix.shape[0]
    check_size(rows * columns.shape[1])
    spend(rows * columns.size)
    product = sp.kron(sp.eye_array(rows), sp.csr_array(columns.T), format="csr")
    return x.linear(product, (*ones, *x.shape[:-1], *matrix.shape[1:]))


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
    if not (variance >= 0).all():
        raise NotPiecewiseLinear("its variance is negative, or not a number")
    column = (-1, *(1,) * (len(x.shape) - 2))
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    return (x - mean.reshape(column)).scale(factor.reshape(column)) + shift.reshape(column)


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
