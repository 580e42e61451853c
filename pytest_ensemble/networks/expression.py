"""Symbolic tensors: affine expressions over the inputs and over ReLUs met so far.

Lowering evaluates an ONNX graph on these instead of on numbers. Each ReLU opens a new block of
variables; at the end the blocks are laid out, level by level, as the layers of a `Network`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pytest_ensemble.networks.network import Float, Layer, Network, compact

__all__ = ["Expression", "Trace", "check_size", "concatenate"]

INPUT = 0  # the block of variables that are the network's inputs
LARGEST = 1 << 20  # numbers in a tensor; larger ones can't be verified, and damaged files ask for 10**12

Matrix = Any  # csr_array


@dataclass(frozen=True, eq=False)
class Expression:
    """A tensor, flattened: `sum over blocks of terms[block] @ variables[block] + constant`."""

    shape: tuple[int, ...]
    terms: dict[int, Matrix]  # block -> csr_array (size, width of the block)
    constant: Float  # (size,)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self.constant.shape[0])

    @property
    def indices(self) -> NDArray[np.intp]:
        """Flat positions in the tensor's own shape: rearrange these, then `take`."""
        return np.arange(self.size).reshape(self.shape)

    def take(self, indices: NDArray[np.intp], fill: float = 0.0) -> Expression:
        """The tensor of the elements at flat `indices`; -1 stands for the constant `fill`."""
        check_size(np.size(indices))
        flat = np.asarray(indices).reshape(-1)
        inside = flat >= 0
        rows = np.flatnonzero(inside)
        select = sp.csr_array((np.ones(len(rows)), (rows, flat[inside])), shape=(len(flat), self.size))
        moved = self.linear(select, tuple(np.shape(indices)))
        moved.constant[~inside] = fill
        return moved

    def linear(self, matrix: Matrix, shape: tuple[int, ...]) -> Expression:
        """`matrix @ self`, as a tensor of `shape`."""
        terms = {block: sp.csr_array(matrix @ term) for block, term in self.terms.items()}
        for term in terms.values():
            term.eliminate_zeros()
        return Expression(shape, terms, np.asarray(matrix @ self.constant, dtype=np.float64))

    def reshape(self, shape: Sequence[int]) -> Expression:
        """The same elements in another shape."""
        return Expression(tuple(int(n) for n in shape), self.terms, self.constant)

    def broadcast(self, shape: tuple[int, ...]) -> Expression:
        """Numpy broadcasting to `shape`."""
        if shape == self.shape:
            return self
        return self.take(np.broadcast_to(self.indices, shape))

    def scale(self, factor: NDArray[Any]) -> Expression:
        """Elementwise product with a constant that broadcasts."""
        factor = np.asarray(factor, dtype=np.float64)
        shape = np.broadcast_shapes(self.shape, factor.shape)
        wide = self.broadcast(shape)
        flat = np.broadcast_to(factor, shape).reshape(-1)
        return wide.linear(sp.diags_array(flat, format="csr"), shape)

    def __neg__(self) -> Expression:
        return self.scale(np.array(-1.0))

    def __add__(self, other: Expression | NDArray[Any]) -> Expression:
        shape = np.broadcast_shapes(self.shape, other.shape)
        left = self.broadcast(shape)
        if not isinstance(other, Expression):
            values = np.broadcast_to(np.asarray(other, dtype=np.float64), shape)
            return Expression(shape, left.terms, left.constant + values.reshape(-1))
        right = other.broadcast(shape)
        terms = dict(left.terms)
        for block, term in right.terms.items():
            terms[block] = terms[block] + term if block in terms else term
        return Expression(shape, terms, left.constant + right.constant)

    def __sub__(self, other: Expression | NDArray[Any]) -> Expression:
        return self + (-other if isinstance(other, Expression) else -np.asarray(other))

    def is_constant(self) -> bool:
        """Whether no variable occurs in it."""
        return all(term.count_nonzero() == 0 for term in self.terms.values())


def check_size(size: int) -> None:
    """Refuse tensors that are too large to be lowered."""
    if size > LARGEST:
        raise ValueError(f"a tensor of {size} numbers is too large; {LARGEST} are allowed")


def concatenate(parts: Sequence[Expression], axis: int) -> Expression:
    """The tensors joined along `axis`."""
    offsets = np.cumsum([0, *(part.size for part in parts)])
    check_size(int(offsets[-1]))
    order = np.concatenate(
        [part.indices + offset for part, offset in zip(parts, offsets, strict=False)], axis=axis
    )
    blocks = sorted({block for part in parts for block in part.terms})
    terms = {}
    for block in blocks:
        width = next(part.terms[block].shape[1] for part in parts if block in part.terms)
        rows = [part.terms.get(block, sp.csr_array((part.size, width))) for part in parts]
        terms[block] = sp.vstack(rows, format="csr")
    constant = np.concatenate([part.constant for part in parts])
    return Expression((len(constant),), terms, constant).take(order)


class Trace:
    """The blocks of ReLU variables that one walk over a graph has opened."""

    def __init__(self, input_size: int) -> None:
        self.input_size = input_size
        self._relus: list[Expression] = []  # block k + 1 is relu(self._relus[k])

    def input(self, shape: tuple[int, ...]) -> Expression:
        """The network's input as a tensor of `shape`."""
        identity = sp.eye_array(self.input_size, format="csr")
        return Expression(shape, {INPUT: identity}, np.zeros(self.input_size))

    def constant(self, value: NDArray[Any]) -> Expression:
        """A constant tensor."""
        array = np.asarray(value, dtype=np.float64)
        return Expression(array.shape, {}, array.reshape(-1).copy())

    def relu(self, x: Expression) -> Expression:
        """max(x, 0). Elements that can't be negative by construction need no variable."""
        varies = np.zeros(x.size, dtype=bool)
        nonnegative = x.constant >= 0
        for block, term in x.terms.items():
            varies |= np.diff(term.indptr) > 0
            lowest = np.minimum(term.min(axis=1).toarray(), 0.0)
            nonnegative &= (lowest == 0) & (block != INPUT) | (np.diff(term.indptr) == 0)
        fresh = np.flatnonzero(varies & ~nonnegative)
        kept = np.where(nonnegative, 1.0, 0.0)  # constants and sums of ReLUs stay as they are
        same = x.linear(sp.diags_array(kept, format="csr"), x.shape)
        if not len(fresh):
            return same
        self._relus.append(x.reshape((x.size,)).take(fresh))
        place = sp.csr_array(
            (np.ones(len(fresh)), (fresh, np.arange(len(fresh)))), shape=(x.size, len(fresh))
        )
        return same + Expression(x.shape, {len(self._relus): place}, np.zeros(x.size))

    def maximum(self, a: Expression, b: Expression) -> Expression:
        """max(a, b) = b + relu(a - b)."""
        return b + self.relu(a - b)

    def tournament(self, parts: Sequence[Expression]) -> Expression:
        """The elementwise maximum of many tensors, by rounds of pairs: few levels of ReLUs."""
        left = list(parts)
        while len(left) > 1:
            odd = left[-1:] if len(left) % 2 else []
            left = [self.maximum(a, b) for a, b in zip(left[::2], left[1::2], strict=False)] + odd
        return left[0]

    def network(self, output: Expression) -> Network:
        """All blocks that `output` needs, laid out as a chain of layers."""
        needed = self._needed(output)
        levels: dict[int, int] = {INPUT: 0}
        for block in sorted(needed - {INPUT}):
            levels[block] = 1 + max((levels[b] for b in self._relus[block - 1].terms), default=0)
        depth = max(levels.values()) + 1

        def expression(block: int) -> Expression:
            return self._relus[block - 1]

        layers = []
        state = [(INPUT, np.arange(self.input_size))]
        for level in range(1, depth + 1):
            fresh = [block for block, at in levels.items() if at == level]
            rows = [output] if level == depth else [expression(block) for block in fresh]
            later = [expression(b) for b, at in levels.items() if at > level]
            later += [output] if level < depth else []
            carried = self._carried(state, later)
            weight, bias = _assemble(rows, carried, state)
            relu = np.zeros(len(bias), dtype=bool)
            if level < depth:
                relu[: sum(row.size for row in rows)] = True
            layers.append(Layer(compact(weight), bias, relu))
            state = [(b, np.arange(expression(b).size)) for b in fresh] + carried
        return Network(tuple(layers))

    def _needed(self, output: Expression) -> set[int]:
        needed = {INPUT}
        stack = list(output.terms)
        while stack:
            block = stack.pop()
            if block not in needed:
                needed.add(block)
                stack += self._relus[block - 1].terms
        return needed

    def _carried(
        self, state: list[tuple[int, NDArray[np.intp]]], later: list[Expression]
    ) -> list[tuple[int, NDArray[np.intp]]]:
        carried = []
        for block, columns in state:
            used = np.zeros(0, dtype=np.intp)
            for expression in later:
                if block in expression.terms:
                    used = np.union1d(used, expression.terms[block].indices)
            keep = np.intersect1d(columns, used)
            if len(keep):
                carried.append((block, keep))
        return carried


def _assemble(
    rows: list[Expression],
    carried: list[tuple[int, NDArray[np.intp]]],
    state: list[tuple[int, NDArray[np.intp]]],
) -> tuple[Matrix, Float]:
    """Weight and bias over the variables of `state`: the rows, then the variables carried on."""
    widths = [len(columns) for _, columns in state]
    grid: list[Matrix] = []
    for row in rows:
        cells = []
        for (block, columns), width in zip(state, widths, strict=True):
            term = row.terms.get(block)
            cells.append(sp.csr_array((row.size, width)) if term is None else term[:, columns])
        grid.append(sp.hstack(cells, format="csr"))
    for block, keep in carried:
        cells = []
        for (source, columns), width in zip(state, widths, strict=True):
            if source != block:
                cells.append(sp.csr_array((len(keep), width)))
                continue
            at = np.searchsorted(columns, keep)
            cells.append(
                sp.csr_array((np.ones(len(keep)), (np.arange(len(keep)), at)), shape=(len(keep), width))
            )
        grid.append(sp.hstack(cells, format="csr"))
    bias = [row.constant for row in rows] + [np.zeros(len(keep)) for _, keep in carried]
    return sp.vstack(grid, format="csr"), np.concatenate(bias)
