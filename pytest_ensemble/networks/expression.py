"""Symbolic tensors: affine expressions over the inputs and over ReLUs met so far.

Lowering evaluates an ONNX graph on these instead of on numbers. Each ReLU opens a new block of
variables; at the end the blocks are laid out, level by level, as the layers of a `Network`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pytest_ensemble.networks.limits import TERM, check_size, spend
from pytest_ensemble.networks.network import Float, Layer, Network, Sums, compact

__all__ = ["Expression", "Trace", "concatenate"]

INPUT = 0  # the block of variables that are the network's inputs
FACTOR = 4  # roundings of a factor: normalisation computes it, and the runtime may fold it into weights

Matrix = Any  # csr_array


@dataclass(frozen=True, eq=False)
class Expression:
    """A tensor, flattened: `sum over blocks of terms[block] @ variables[block] + constant`.

    The file computes it step by step in float32. What rounding can do to it is relative to `sizes`: the same
    with absolute values in each step, so that nothing cancels.

    Attributes:
        shape: of the tensor; it has `size` elements.
        terms: by block, a csr_array of shape (size, width of the block).
        constant: (size,).
        largest: absolute values of the constants that it was made of, (size,).
        sizes: the same for the terms; None where they are those of `terms`.
        roundings: that a summand goes through at most; where `sizes` is None, of all sums together.
    """

    shape: tuple[int, ...]
    terms: dict[int, Matrix]
    constant: Float
    largest: Float
    sizes: dict[int, Matrix] | None = None
    roundings: int = 0

    @staticmethod
    def exact(shape: Sequence[int], terms: dict[int, Matrix], constant: Float) -> Expression:
        """What the file knows without rounding."""
        return Expression(tuple(shape), terms, constant, np.abs(constant))

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self.constant.shape[0])

    @property
    def absolute(self) -> dict[int, Matrix]:
        """`sizes`, whether or not they differ from the terms."""
        if self.sizes is not None:
            return self.sizes
        return {block: abs(term) for block, term in self.terms.items()}

    @property
    def occurring(self) -> dict[int, Matrix]:
        """Nonzero where a variable occurs as executed: also one that cancels in real numbers."""
        return self.terms if self.sizes is None else self.sizes

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
        moved.largest[~inside] = abs(fill)
        return moved

    def linear(self, matrix: Matrix, shape: tuple[int, ...], *, factor: int = 1) -> Expression:
        """`matrix @ self`, as a tensor of `shape`; the runtime may round the matrix `factor` times."""
        summands = int(np.diff(matrix.indptr).max(initial=0))
        exact = summands <= 1 and bool(np.isin(matrix.data, (-1, 0, 1)).all())
        sizes = None
        if self.sizes is not None or (summands > 1 and self._sums()):
            sizes = _product(abs(matrix), self.absolute)
        return Expression(
            shape,
            _product(matrix, self.terms),
            np.asarray(matrix @ self.constant, dtype=np.float64),
            np.asarray(abs(matrix) @ self.largest, dtype=np.float64),
            sizes,
            self.roundings + (0 if exact else summands + factor),
        )

    def _sums(self) -> bool:
        """Whether an element has several summands, or several have a variable: a product may cancel them."""
        count = (self.largest > 0).astype(np.intp)
        for term in self.terms.values():
            if (np.bincount(term.indices) > 1).any():
                return True
            count += np.diff(term.indptr)
        return bool((count > 1).any())

    def reshape(self, shape: Sequence[int]) -> Expression:
        """The same elements in another shape."""
        return replace(self, shape=tuple(int(n) for n in shape))

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
        return wide.linear(sp.diags_array(flat, format="csr"), shape, factor=FACTOR)

    def __neg__(self) -> Expression:
        return self.scale(np.array(-1.0))

    def __add__(self, other: Expression | NDArray[Any]) -> Expression:
        shape = np.broadcast_shapes(self.shape, other.shape)
        left = self.broadcast(shape)
        if not isinstance(other, Expression):
            values = np.broadcast_to(np.asarray(other, dtype=np.float64), shape).reshape(-1)
            other = Expression.exact(shape, {}, values)
        right = other.broadcast(shape)
        plain = left.sizes is None and right.sizes is None and not left.terms.keys() & right.terms.keys()
        return Expression(
            shape,
            _sum(left.terms, right.terms),
            left.constant + right.constant,
            left.largest + right.largest,
            None if plain else _sum(left.absolute, right.absolute),
            left.roundings + right.roundings + 1,
        )

    def __sub__(self, other: Expression | NDArray[Any]) -> Expression:
        return self + (-other if isinstance(other, Expression) else -np.asarray(other))

    def is_constant(self) -> bool:
        """Whether no variable occurs in it."""
        return all(term.count_nonzero() == 0 for term in self.occurring.values())


def _product(matrix: Matrix, terms: dict[int, Matrix]) -> dict[int, Matrix]:
    uses = np.bincount(matrix.indices, minlength=matrix.shape[1])
    spend(
        matrix.nnz
        + sum(matrix.shape)
        + sum(int(uses @ np.diff(term.indptr)) + TERM for term in terms.values())
    )
    products = {block: sp.csr_array(matrix @ term) for block, term in terms.items()}
    for product in products.values():
        product.eliminate_zeros()
    return {block: product for block, product in products.items() if product.nnz}


def _sum(left: dict[int, Matrix], right: dict[int, Matrix]) -> dict[int, Matrix]:
    spend(sum(term.nnz + TERM for terms in (left, right) for term in terms.values()))
    total = dict(left)
    for block, term in right.items():
        total[block] = total[block] + term if block in total else term
    return total


def concatenate(parts: Sequence[Expression], axis: int) -> Expression:
    """The tensors joined along `axis`."""
    offsets = np.cumsum([0, *(part.size for part in parts)])
    check_size(int(offsets[-1]))
    order = np.concatenate(
        [part.indices + offset for part, offset in zip(parts, offsets, strict=False)], axis=axis
    )
    plain = all(part.sizes is None for part in parts)
    together = Expression(
        (int(offsets[-1]),),
        _stacked(parts, [part.terms for part in parts]),
        np.concatenate([part.constant for part in parts]),
        np.concatenate([part.largest for part in parts]),
        None if plain else _stacked(parts, [part.absolute for part in parts]),
        max(part.roundings for part in parts),
    )
    return together.take(order)


def _stacked(parts: Sequence[Expression], terms: Sequence[dict[int, Matrix]]) -> dict[int, Matrix]:
    """The terms of all parts, one after the other."""
    widths = {block: term.shape[1] for own in terms for block, term in own.items()}
    spend(sum(term.nnz for own in terms for term in own.values()) + TERM * len(widths) * len(parts))
    return {
        block: sp.vstack(
            [
                own.get(block, sp.csr_array((part.size, width)))
                for part, own in zip(parts, terms, strict=True)
            ],
            format="csr",
        )
        for block, width in sorted(widths.items())
    }


class Trace:
    """The blocks of ReLU variables that one walk over a graph has opened."""

    def __init__(self, input_size: int) -> None:
        self.input_size = input_size
        self._relus: list[Expression] = []  # block k + 1 is relu(self._relus[k])

    def input(self, shape: tuple[int, ...]) -> Expression:
        """The network's input as a tensor of `shape`."""
        identity = sp.eye_array(self.input_size, format="csr")
        return Expression.exact(shape, {INPUT: identity}, np.zeros(self.input_size))

    def constant(self, value: NDArray[Any]) -> Expression:
        """A constant tensor."""
        spend(2 * value.size)
        if value.dtype.kind in "cOSU":
            raise ValueError("it computes with constants that are not real numbers")
        array = np.asarray(value, dtype=np.float64)
        return Expression.exact(array.shape, {}, array.reshape(-1).copy())

    def relu(self, x: Expression) -> Expression:
        """max(x, 0). Elements that can't be negative by construction need no variable.

        Raises:
            ValueError: a constant in it is NaN or infinite.
        """
        if not np.isfinite(x.constant).all():
            raise ValueError("it computes with numbers that are NaN or infinite")
        varies = np.zeros(x.size, dtype=bool)
        nonnegative = x.constant >= 0
        for size in x.occurring.values():
            varies |= np.diff(size.indptr) > 0
        for block, term in x.terms.items():
            lowest = np.minimum(term.min(axis=1).toarray(), 0.0)
            nonnegative &= (lowest == 0) & (block != INPUT) | (np.diff(term.indptr) == 0)
        fresh = np.flatnonzero(varies & ~nonnegative)
        stays = nonnegative & (varies | (x.constant > 0))  # constants and sums of ReLUs
        same = x.linear(sp.diags_array(stays.astype(float), format="csr"), x.shape)
        if not len(fresh):
            return same
        self._relus.append(x.reshape((x.size,)).take(fresh))
        place = sp.csr_array(
            (np.ones(len(fresh)), (fresh, np.arange(len(fresh)))), shape=(x.size, len(fresh))
        )
        opened = Expression.exact(x.shape, {len(self._relus): place}, np.zeros(x.size))
        return opened + same if stays.any() else opened

    def maximum(self, a: Expression, b: Expression) -> Expression:
        """max(a, b) = b + relu(a - b)."""
        return b + self.relu(a - b)

    def tournament(self, x: Expression) -> Expression:
        """The maximum over the first axis, by rounds of pairs: few levels of ReLUs, one step for each."""
        while x.shape[0] > 1:
            half, rows = x.shape[0] // 2, x.indices
            best = self.maximum(x.take(rows[:half]), x.take(rows[half : 2 * half]))
            x = concatenate([best, x.take(rows[2 * half :])], axis=0) if x.shape[0] % 2 else best
        return x.reshape(x.shape[1:])

    def network(self, output: Expression) -> Network:
        """All blocks that `output` needs, laid out as a chain of layers."""
        needed = self._needed(output)
        levels: dict[int, int] = {INPUT: 0}
        for block in sorted(needed - {INPUT}):
            levels[block] = 1 + max((levels[b] for b in self._relus[block - 1].occurring), default=0)
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
            layer = _assemble(rows, carried, state)
            if level < depth:
                layer.relu[: sum(row.size for row in rows)] = True
            layers.append(layer)
            state = [(b, np.arange(expression(b).size)) for b in fresh] + carried
        return Network(tuple(layers))

    def _needed(self, output: Expression) -> set[int]:
        needed = {INPUT}
        stack = list(output.occurring)
        while stack:
            block = stack.pop()
            if block not in needed:
                needed.add(block)
                stack += self._relus[block - 1].occurring
        return needed

    def _carried(
        self, state: list[tuple[int, NDArray[np.intp]]], later: list[Expression]
    ) -> list[tuple[int, NDArray[np.intp]]]:
        carried = []
        for block, columns in state:
            used = np.zeros(0, dtype=np.intp)
            spend(len(later), step=0)
            for expression in later:
                size = expression.occurring.get(block)
                if size is not None:
                    spend(size.nnz + len(used), step=TERM)
                    used = np.union1d(used, size.indices)
            keep = np.intersect1d(columns, used)
            if len(keep):
                carried.append((block, keep))
        return carried


def _assemble(
    rows: list[Expression],
    carried: list[tuple[int, NDArray[np.intp]]],
    state: list[tuple[int, NDArray[np.intp]]],
) -> Layer:
    """A layer over the variables of `state`, without ReLUs: the rows, then the variables carried on."""
    columns = dict(state)
    unit = [_carry(block, keep, columns[block]) for block, keep in carried]
    parts = [*rows, *unit]
    weight = _grid(parts, [row.terms for row in parts], state)
    bias = np.concatenate([row.constant for row in parts])
    plain = all(row.sizes is None for row in parts)
    sums = Sums(
        None if plain else compact(_grid(parts, [row.absolute for row in parts], state)),
        np.concatenate([row.largest for row in parts]),
        np.concatenate([np.full(row.size, row.roundings) for row in parts]),
    )
    return Layer(compact(weight), bias, np.zeros(len(bias), dtype=bool), sums)


def _carry(block: int, keep: NDArray[np.intp], columns: NDArray[np.intp]) -> Expression:
    """Variables of a block as they are."""
    place = np.arange(len(keep)), keep
    term = sp.csr_array((np.ones(len(keep)), place), shape=(len(keep), int(columns[-1]) + 1))
    return Expression.exact((len(keep),), {block: term}, np.zeros(len(keep)))


def _grid(
    parts: list[Expression], terms: list[dict[int, Matrix]], state: list[tuple[int, NDArray[np.intp]]]
) -> Matrix:
    """The terms as one csr_array over the variables of `state`."""
    grid = []
    spend(sum(part.size for part in parts) + TERM * len(parts) * len(state))
    for part, own in zip(parts, terms, strict=True):
        cells = [
            own[block][:, columns] if block in own else sp.csr_array((part.size, len(columns)))
            for block, columns in state
        ]
        grid.append(sp.hstack(cells, format="csr"))
    return sp.vstack(grid, format="csr")
