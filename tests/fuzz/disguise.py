"""Change the weights of a network, and how its file says them, but not its function in real numbers.

A chain is a list of (weight, bias) in float64, with a ReLU after every one but the last. Every number made
here is one of float32, so what is written into a file is the same function exactly; only its rounding
changes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.networks.model import Model
from tests.networks.graphs import Graph

__all__ = ["Chain", "disguise", "file_of"]

Float = NDArray[np.float64]
Chain = list[tuple[Float, Float]]
Rng = np.random.Generator

_MANY = 12  # inputs, whose signs nobody should have to search through


def disguise(rng: Rng, chain: Chain, *, most: int = 4, hard: bool = False) -> Chain:
    """Some changes, one after the other; `hard`: such as make rounding large."""
    ways = [_permute, _split, _dead, _scale, _carry] + [_cancel, _shear, _drift] * hard
    for _ in range(int(rng.integers(0, most + 1))):
        changed = _pick(rng, ways)(rng, chain)
        with np.errstate(over="ignore"):
            same = all((side.astype(np.float32) == side).all() for layer in changed for side in layer)
        chain = changed if same else chain
    return chain


def _pick(rng: Rng, ways: list[Callable[[Rng, Chain], Chain]]) -> Callable[[Rng, Chain], Chain]:
    return ways[int(rng.integers(len(ways)))]


def _hidden(rng: Rng, chain: Chain) -> int:
    """A layer with ReLUs."""
    return int(rng.integers(len(chain) - 1))


def _with(chain: Chain, k: int, rows: Float, bias: Float, columns: Float) -> Chain:
    """With other neurons in layer k: their rows and biases, and their columns in the next layer."""
    return [*chain[:k], (rows, bias), (columns, chain[k + 1][1]), *chain[k + 2 :]]


def _permute(rng: Rng, chain: Chain) -> Chain:
    k = _hidden(rng, chain)
    (rows, bias), columns = chain[k], chain[k + 1][0]
    order = rng.permutation(len(bias))
    return _with(chain, k, rows[order], bias[order], columns[:, order])


def _split(rng: Rng, chain: Chain) -> Chain:
    """A neuron twice, each with half of the weight."""
    k = _hidden(rng, chain)
    (rows, bias), columns = chain[k], chain[k + 1][0].copy()
    j = int(rng.integers(len(bias)))
    columns[:, j] /= 2
    return _with(
        chain,
        k,
        np.vstack([rows, rows[j]]),
        np.append(bias, bias[j]),
        np.hstack([columns, columns[:, j : j + 1]]),
    )


def _dead(rng: Rng, chain: Chain) -> Chain:
    """Neurons that are never active, or that nobody reads."""
    k = _hidden(rng, chain)
    (rows, bias), columns = chain[k], chain[k + 1][0]
    count = int(rng.integers(1, 4))
    if rng.random() < 0.5:
        new, biases = np.zeros((count, rows.shape[1])), np.full(count, -(2.0 ** rng.integers(-20, 20)))
        read = _numbers(rng, (len(columns), count))
    else:
        new, biases = _numbers(rng, (count, rows.shape[1])), _numbers(rng, (count,))
        read = np.zeros((len(columns), count))
    return _with(chain, k, np.vstack([rows, new]), np.append(bias, biases), np.hstack([columns, read]))


def _scale(rng: Rng, chain: Chain) -> Chain:
    """Neurons larger or smaller by powers of two, and read so much less or more."""
    k = _hidden(rng, chain)
    (rows, bias), columns = chain[k], chain[k + 1][0]
    reach = int(rng.choice([2, 8, 20]))
    factor = 2.0 ** rng.integers(-reach, reach + 1, size=len(bias))
    return _with(chain, k, rows * factor[:, None], bias * factor, columns / factor)


def _carry(rng: Rng, chain: Chain) -> Chain:
    """One more layer, that passes on what is not negative, or both signs of the inputs."""
    k = int(rng.integers(chain[0][0].shape[1] > _MANY, len(chain)))
    weight, bias = chain[k]
    size = weight.shape[1]
    one = np.eye(size)[rng.permutation(size)]
    if k == 0:
        return [
            (np.vstack([one, -one]), np.zeros(2 * size)),
            (weight @ np.hstack([one.T, -one.T]), bias),
            *chain[1:],
        ]
    return [*chain[:k], (one, np.zeros(size)), (weight @ one.T, bias), *chain[k + 1 :]]


def _cancel(rng: Rng, chain: Chain) -> Chain:
    """A neuron three times, the new ones with large weights that cancel."""
    k = _hidden(rng, chain)
    (rows, bias), columns = chain[k], chain[k + 1][0]
    j = int(rng.integers(len(bias)))
    large = _numbers(rng, (len(columns), 1)) * 2.0 ** rng.integers(0, 20)
    return _with(
        chain,
        k,
        np.vstack([rows, rows[[j, j]]]),
        np.append(bias, bias[[j, j]]),
        np.hstack([columns, large, -large]),
    )


def _shear(rng: Rng, chain: Chain) -> Chain:
    """Two more layers: a multiple of one neuron is added to another, and taken away again."""
    k = _hidden(rng, chain) + 1
    size = chain[k][0].shape[1]
    forth, back = np.eye(size), np.eye(size)
    i, j = int(rng.integers(size)), int(rng.integers(size))
    if i != j:
        forth[i, j] = 2.0 ** rng.integers(0, 12)
        back[i, j] = -forth[i, j]
    return [*chain[:k], (forth, np.zeros(size)), (back, np.zeros(size)), *chain[k:]]


def _drift(rng: Rng, chain: Chain) -> Chain:
    """A neuron that adds the same to all classes."""
    k = len(chain) - 2
    (rows, bias), columns = chain[k], chain[k + 1][0]
    new = _numbers(rng, (1, rows.shape[1]))
    same = np.full((len(columns), 1), float(2.0 ** rng.integers(-4, 16)))
    return _with(
        chain, k, np.vstack([rows, new]), np.append(bias, _numbers(rng, (1,))), np.hstack([columns, same])
    )


def _numbers(rng: Rng, shape: tuple[int, ...]) -> Float:
    return rng.normal(size=shape).astype(np.float32).astype(np.float64)


def file_of(rng: Rng, chain: Chain, name: str) -> Model:
    """The chain as an ONNX classifier, its layers written in one of many ways."""
    inputs = chain[0][0].shape[1]
    picture = rng.random() < 0.25
    graph = Graph(("n", inputs, 1, 1) if picture else ("n", inputs))
    value = graph.x
    for k, (weight, bias) in enumerate(chain):
        if k == 0 and picture:
            value = graph("Flatten", graph("Conv", value, weight[:, :, None, None], bias))
        else:
            value = _dense(rng, graph, value, weight, bias)
        if k < len(chain) - 1:
            value = graph("Relu", value) if rng.random() < 0.9 else graph("Max", value, np.zeros(1))
    if rng.random() < 0.1:
        value = graph("Softmax", value, axis=-1)
    return graph.model(value, name=name)


def _dense(rng: Rng, graph: Graph, value: str, weight: Float, bias: Float) -> str:
    way = rng.integers(6)
    out: str
    if way == 0:
        out = graph("Add", graph("MatMul", value, weight.T), bias)
    elif way == 1:
        out = graph("Gemm", value, weight, bias, transB=1)
    elif way == 2:  # a residual connection: two parts of the weight, added
        part = np.where(rng.random(weight.shape) < 0.5, weight, 0.0)
        one, other = graph("MatMul", value, part.T), graph("MatMul", value, (weight - part).T)
        out = graph("Add", graph("Add", one, bias), other)
    elif way == 3:  # scaled, and back
        factor = 2.0 ** rng.integers(-3, 4, size=len(bias))
        out = graph("Mul", graph("Gemm", value, (weight / factor[:, None]).T, bias / factor), factor)
    else:
        out = graph("Gemm", value, weight.T, bias)
    return out
