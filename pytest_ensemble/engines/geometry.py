"""`Geometry`: networks and boxes of a board, laid out for bounds when they are first needed.

A costly network is in nobody's way: its values at the centers of the boxes, what float32 rounding may add to
its margins, and bounds of its neurons are found where somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.chains import Array, Boxes, Chains, Frame, Index, axis_of, box_centers
from pytest_ensemble.engines.checkpoint import checkpoint
from pytest_ensemble.engines.preactivations import hidden_bounds
from pytest_ensemble.networks.network import Network, is_dense, multiplications
from pytest_ensemble.networks.rounding import margin_rounding
from pytest_ensemble.queries.ball import Ball

__all__ = ["Geometry"]

LARGEST = 1e18  # of numbers that are computed with: float32 must hold their squares
_BOXES = 16  # whose rounding is bounded at a time
_ALIKE = 8  # times the cost of the cheapest that networks evaluated together may cost


class Geometry:
    """M networks over the boxes of P points at E levels; box number `level * P + point`.

    Attributes:
        costs: (M,), multiplications that evaluate them on one input.
        origins: (P, n), the points.
    """

    def __init__(
        self,
        networks: tuple[Network, ...],
        balls: list[list[Ball]],
        labels: Index,
        on_overflow: Callable[[int, NDArray[np.bool_]], None],
    ) -> None:
        """Lay out nothing yet.

        Args:
            networks: of the same inputs and classes.
            balls: by level and point.
            labels: (P,), of the points.
            on_overflow: is told of a network where, (P, E), its numbers may be too large to prove anything.
        """
        self._networks, self._balls, self._labels = networks, balls, labels
        self._on_overflow = on_overflow
        self.costs = np.array([multiplications(network) for network in networks])
        self.origins = np.stack([ball.center for ball in balls[0]])
        self._ready = np.zeros(len(networks), np.bool_)  # whose columns of the axis are filled in
        self._known = np.zeros((len(networks), len(balls) * len(labels)), np.int8)  # 1: bounded, 2: refined

    @property
    def numbers(self) -> int:
        """How many numbers it holds of neurons times boxes."""
        axis = axis_of(self._networks)
        return int(axis.neurons + self.origins.shape[1]) * len(self._balls) * len(self._labels)

    def box(self, point: Index, level: Index) -> Index:
        """Numbers of boxes."""
        return np.asarray(level * len(self._labels) + point)

    def rounding(self, box: int, network: int) -> Array:
        """What float32 may add to the margins of a network in a box: (classes,)."""
        assert self._exact_boxes.rounding is not None
        return np.asarray(self._exact_boxes.rounding[box, network])

    def frame(self, teams: Index) -> Frame:
        """Teams of equal layer widths, (T, k), over the boxes; box number `level * P + point`."""
        for index in np.unique(teams):
            self._prepare(int(index))
        exact, fast = self.layout(teams)
        return Frame(fast, self._fast_boxes, exact, self._exact_boxes)

    def layout(self, teams: Index) -> tuple[Chains, Chains]:
        """Teams of equal layer widths, (T, k), in float64 and in float32."""
        return _layout(self._networks, tuple(map(tuple, teams.tolist())))

    def corners(self, box: Index) -> tuple[Array, Array]:
        """The lowest and the highest corner of some boxes, float32 of shape (B, n)."""
        return self._fast_boxes.corners(box)

    @cached_property
    def _corners(self) -> tuple[Array, Array]:
        boxes = [ball.box for balls in self._balls for ball in balls]
        low, high = (np.stack(sides) for sides in zip(*boxes, strict=True))
        return low, high

    @cached_property
    def _exact_boxes(self) -> Boxes:
        return self._empty_boxes(np.float64)

    @cached_property
    def _fast_boxes(self) -> Boxes:
        exact = self._exact_boxes
        fast = self._empty_boxes(np.float32)
        return replace(fast, reach=exact.reach, size=exact.size, rounding=exact.rounding)

    def _empty_boxes(self, dtype: Any) -> Boxes:
        """Boxes on the axis of all networks, in whose columns `_prepare` puts each network's."""
        center, radius = box_centers(*self._corners, dtype)
        count, axis = len(center), axis_of(self._networks)
        exact = dtype == np.float64
        return Boxes(
            center,
            radius,
            np.empty((count, axis.width), dtype),
            np.empty((count, axis.width if exact else 0)),
            np.empty((count, axis.neurons if exact else 0)),
            np.zeros((count, len(self._networks), self._networks[0].output_size if exact else 0)),
        )

    def _prepare(self, index: int) -> None:
        """What is known of a network before any bound: its values at the centers, and how it rounds."""
        if self._ready[index]:
            return
        network, (low, high) = self._networks[index], self._corners
        exact_boxes, fast_boxes = self._exact_boxes, self._fast_boxes
        columns = axis_of(self._networks).columns_of((index,))
        exact, fast = _alone(network)
        place = columns[: exact.width]
        with np.errstate(over="ignore", invalid="ignore"):  # see `_note_overflow`
            own = exact.boxes(low, high)
            exact_boxes.at_center[:, place], exact_boxes.reach[:, place] = own.at_center, own.reach
            exact_boxes.size[:, columns] = own.size
            fast_boxes.at_center[:, place] = fast.at_centers(fast_boxes.center)
        labels = np.tile(self._labels, len(self._balls))
        assert exact_boxes.rounding is not None
        for start in range(0, len(low), _BOXES):
            checkpoint()
            part = slice(start, start + _BOXES)
            rounding = margin_rounding(network, low[part], high[part], labels[part])
            exact_boxes.rounding[part, index] = np.minimum(rounding, LARGEST)
        self._ready[index] = True
        self._note_overflow(index, columns)

    @cached_property
    def crowds(self) -> list[tuple[Index, Chains]]:
        """All networks in groups that are evaluated together, the cheapest first: indices, float32 chains."""
        groups: list[list[int]] = []
        for index in np.argsort(self.costs, kind="stable").tolist():
            network = self._networks[index]
            alike = bool(groups) and self.costs[index] <= _ALIKE * self.costs[groups[-1][0]]
            if alike and is_dense(network) and is_dense(self._networks[groups[-1][0]]):
                groups[-1].append(index)
            else:
                groups.append([index])
        return [
            (np.array(group), _evaluation(tuple(self._networks[index] for index in group)))
            for group in groups
        ]

    def bounds(
        self, frame: Frame, members: Index, team: Index, box: Index, *, refine: bool = False
    ) -> tuple[Array, Array]:
        """Bounds of the hidden pre-activations of rows: float32 (B, N), rounded outwards.

        Computed once per network and box, and shared by all its teams; once more if they shall be refined.
        """
        own = members[team]
        for index in np.unique(own):
            self._bound(int(index), np.unique(box[(own == index).any(axis=1)]), refine)
        columns = frame.fast.columns
        assert columns is not None
        lower, upper = self._preactivations
        place = box[:, None], columns[team]
        return lower[place], upper[place]

    def bounds_of(self, index: int, box: Index) -> tuple[Array, Array]:
        """Of one network, as they were used: float32, shape (len(box), neurons of all its hidden layers)."""
        columns = axis_of(self._networks).columns_of((index,))
        lower, upper = self._preactivations
        return lower[np.ix_(box, columns)], upper[np.ix_(box, columns)]

    @cached_property
    def _preactivations(self) -> tuple[Array, Array]:
        shape = self._exact_boxes.size.shape
        return np.empty(shape, np.float32), np.empty(shape, np.float32)

    def _bound(self, index: int, box: Index, refine: bool) -> None:
        """Bound one network's pre-activations where that was not done yet."""
        refine &= len(self._networks[index].layers) > 2
        missing = box[self._known[index, box] < 1 + refine]
        if not len(missing):
            return
        axis = axis_of(self._networks)
        columns = axis.columns_of((index,))
        network, boxes = self._networks[index], self._exact_boxes
        first = columns[columns < axis.width]
        own = Boxes(
            boxes.center[missing],
            boxes.radius[missing],
            boxes.at_center[np.ix_(missing, first)],
            boxes.reach[np.ix_(missing, first)],
            boxes.size[np.ix_(missing, columns)],
        )
        low, high = hidden_bounds(network, own, refine=refine)
        lower, upper = self._preactivations
        place = np.ix_(missing, columns)
        lower[place], upper[place] = low, high
        self._known[index, missing] = 1 + refine

    def _note_overflow(self, index: int, columns: Index) -> None:
        boxes = self._exact_boxes
        assert boxes.rounding is not None
        # false for NaN too
        fits = (boxes.rounding[:, index] < LARGEST).all(axis=1)
        fits &= (boxes.size[:, columns] < LARGEST).all(axis=1)
        if not fits.all():
            boxes.rounding[~fits, index] = np.inf  # whoever is at work there already proves nothing
            self._on_overflow(index, ~fits.reshape(len(self._balls), len(self._labels)).T)


@lru_cache(maxsize=32)
def _layout(networks: tuple[Network, ...], teams: tuple[tuple[int, ...], ...]) -> tuple[Chains, Chains]:
    """Chains of teams of these networks, in float64 and in float32. Boards of one pool share them."""
    axis = axis_of(networks)
    exact = Chains(
        [[networks[index] for index in team] for team in teams],
        columns=np.stack([axis.columns_of(team) for team in teams]),
        numbers=np.array(teams),
    )
    return exact, exact.cast(np.float32)


@lru_cache(maxsize=64)
def _alone(network: Network) -> tuple[Chains, Chains]:
    exact = Chains([[network]])
    return exact, exact.cast(np.float32)


@lru_cache(maxsize=64)
def _evaluation(networks: tuple[Network, ...]) -> Chains:
    return Chains([networks], np.float32)
