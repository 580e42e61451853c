"""An oracle for tiny networks: enumerate activation patterns, with a linear program for each.

Independent of the engines: no bounds, no encoding, no solver of theirs; just `Network.layers`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from pytest_ensemble.networks.network import Layer, dense
from pytest_ensemble.queries.query import Query

Float = NDArray[np.float64]


@dataclass(frozen=True)
class _Region:
    """The inputs u in [-1, 1]^n with `normals @ u <= offsets`; the input itself is c + r u."""

    normals: Float
    offsets: Float

    def cut(self, normal: Float, offset: float) -> _Region:
        return _Region(np.vstack([self.normals, normal]), np.append(self.offsets, offset))

    def minimum(self, objective: Float) -> float | None:
        """Minimum of a linear function, None if the region is empty."""
        corner = -np.sign(objective)
        if np.all(self.normals @ corner <= self.offsets):
            return float(objective @ corner)
        result = linprog(objective, self.normals, self.offsets, bounds=(-1, 1))
        return float(result.fun) if result.status == 0 else None


def optimum(query: Query) -> float:
    """`max over x of min over networks of max over p of f_p(x) - f_label(x)`, over the query's ball.

    Positive: a mutual error exists. Negative: none does. Zero: a tie.
    """
    low, high = query.ball.box
    n = len(low)
    networks = [[*model.network.layers] for model in query.models]
    start = np.diag((high - low) / 2), (low + high) / 2
    everywhere = _Region(np.zeros((0, n)), np.zeros(0))
    best = -np.inf
    for outputs in _linear_pieces(networks, start, everywhere):
        region, logits = outputs
        best = _best_in_piece(region, logits, query.label, best)
    return best


def _linear_pieces(
    networks: list[list[Layer]], start: tuple[Float, Float], region: _Region
) -> Iterator[tuple[_Region, list[tuple[Float, Float]]]]:
    """Regions in which all networks are affine in u, with those functions (matrix, offset)."""
    if not networks:
        yield region, []
        return
    for inner, logits in _pieces_of(networks[0], start, region):
        for innermost, others in _linear_pieces(networks[1:], start, inner):
            yield innermost, [logits, *others]


def _pieces_of(
    layers: list[Layer], values: tuple[Float, Float], region: _Region
) -> Iterator[tuple[_Region, tuple[Float, Float]]]:
    if not layers:
        yield region, values
        return
    weight = dense(layers[0].weight)
    matrix, offset = weight @ values[0], weight @ values[1] + layers[0].bias
    for inner, active in _patterns(matrix, offset, list(np.flatnonzero(layers[0].relu)), region):
        keep = np.ones(len(offset))
        keep[[k for k, on in active.items() if not on]] = 0.0
        yield from _pieces_of(layers[1:], (keep[:, None] * matrix, keep * offset), inner)


def _patterns(
    matrix: Float, offset: Float, relus: list[int], region: _Region
) -> Iterator[tuple[_Region, dict[int, bool]]]:
    if not relus:
        yield region, {}
        return
    k, *rest = relus
    reach = np.abs(matrix[k]).sum()
    stable = abs(offset[k]) >= reach
    low = offset[k] - reach if stable else region.minimum(matrix[k])
    high = offset[k] + reach if stable else region.minimum(-matrix[k])
    if low is None or high is None:
        return
    if not stable:
        low, high = offset[k] + low, offset[k] - high
    if high > 0:
        inner = region if low >= 0 else region.cut(-matrix[k], offset[k])
        for innermost, active in _patterns(matrix, offset, rest, inner):
            yield innermost, {k: True, **active}
    if low < 0 or high <= 0:
        inner = region if high <= 0 else region.cut(matrix[k], -offset[k])
        for innermost, active in _patterns(matrix, offset, rest, inner):
            yield innermost, {k: False, **active}


def _best_in_piece(region: _Region, logits: list[tuple[Float, Float]], label: int, best: float) -> float:
    """The optimum where all networks are affine, if it is above the best so far: one program per choice of
    classes, but for those that can't be above it anywhere in the ball.
    """
    classes = [p for p in range(len(logits[0][1])) if p != label]
    for choice in itertools.product(classes, repeat=len(logits)):
        rows = [m[p] - m[label] for (m, _), p in zip(logits, choice, strict=True)]
        offsets = [b[p] - b[label] for (_, b), p in zip(logits, choice, strict=True)]
        if min(b + np.abs(row).sum() for row, b in zip(rows, offsets, strict=True)) > best:
            best = max(best, _highest_floor(region, np.array(rows), np.array(offsets)))
    return best


def _highest_floor(region: _Region, rows: Float, offsets: Float) -> float:
    """Maximum over the region of the least of some affine functions, as a program in (u, t)."""
    n = rows.shape[1]
    normals = np.vstack(
        [
            np.hstack([region.normals, np.zeros((len(region.normals), 1))]),
            np.hstack([-rows, np.ones((len(rows), 1))]),
        ]
    )
    result = linprog(
        np.append(np.zeros(n), -1.0),
        normals,
        np.concatenate([region.offsets, offsets]),
        bounds=[(-1, 1)] * n + [(None, None)],
    )
    return float(-result.fun) if result.status == 0 else -np.inf
