"""`SearchSingles`: which labels each network can be brought to."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.board import Board, Squad
from pytest_ensemble.engines.bounds import Rows, certify, optimise, root_rows
from pytest_ensemble.engines.branch_and_bound import BranchAndBound
from pytest_ensemble.engines.chains import Array, Index
from pytest_ensemble.engines.preactivations import bounding_cost
from pytest_ensemble.engines.proofs import Proofs
from pytest_ensemble.engines.search import ROOT_PASSES, Search, roots_at_once
from pytest_ensemble.engines.stages import STEP, Limits

__all__ = ["SearchSingles"]

_SLAB = 16384  # labels that are bounded at a time
_SINGLE_NODES = 150  # for one label of a network that errs anyway: it only makes the joint search easier


class SearchSingles(Search):
    """Which labels each network of a squad can be brought to: questions (T, P, E), and their labels (.., L).

    As far as that is cheap where the network errs; otherwise until it is proven robust.
    """

    phases = ("bounds", "single bounds", "single branching")
    _searching = 1

    def __init__(self, board: Board, squad: Squad, limits: Limits, proofs: Proofs | None) -> None:
        self.networks = squad.members[:, 0]
        super().__init__(board, squad, limits, proofs, (len(squad.members), *board.grid))
        self._opened = -1, np.zeros(0, np.bool_)  # at a version of the board

    @cached_property
    def _search(self) -> BranchAndBound:
        count = self._had.size * self.board.models[0].classes
        record = self._proofs is not None
        return BranchAndBound(self.squad.frame, count, self._offer, any_label=False, record=record)

    def ready(self) -> NDArray[np.bool_]:
        """(T, P, E): where nothing is to be done, or a first turn of searching was had."""
        return self._past | ~self._open()

    def _cost(self, phase: int) -> float:
        network = self.board.models[self.networks[0]].network
        labels = float(network.output_size * self.squad.cost)
        return bounding_cost(network) + labels if phase == 0 else 2 * ROOT_PASSES * labels

    def _left(self) -> NDArray[np.bool_]:
        """(T, P, E, L): labels that are not settled, and worth a search."""
        board, networks = self.board, self.networks
        level = np.arange(len(board.levels))[:, None]
        unreachable = board.unreachable[networks][:, :, None] >= level
        reachable = board.reachable[networks][:, :, None] <= level
        left = ~(unreachable | reachable)
        if "_search" in self.__dict__:
            search = self._search
            left &= ~search.undecidable.reshape(left.shape)
            # nothing can make it robust any more
            errs = (reachable | search.boundary.reshape(left.shape)).any(axis=3, keepdims=True)
            left &= ~(errs & (search.nodes.reshape(left.shape) > _SINGLE_NODES))
        return left

    def _open(self) -> NDArray[np.bool_]:
        if self._opened[0] != self.board.version:
            open_ = self.board.needed_in_pairs()[self.networks] & self._left().any(axis=3)
            self._opened = self.board.version, open_
        return self._opened[1]

    def _cells_of(self, share: Array) -> Array:
        whole = np.zeros((len(self.board.models), *self.board.grid))
        whole[self.networks] = share
        return self.board.spread(whole)

    def _offer(self, owner: Index, x: Array) -> NDArray[np.bool_]:
        """Try inputs on all networks; which owners, labels of questions, are reached."""
        board = self.board
        team, point, _, _ = np.unravel_index(owner, self._left_shape)
        board.offer(point, x, self.networks[team])
        level = np.arange(len(board.levels))[:, None]
        return np.asarray((board.reachable[self.networks][:, :, None] <= level).ravel())

    @property
    def _left_shape(self) -> tuple[int, ...]:
        return (*self._had.shape, self.board.models[0].classes)

    def _labels(self, numbers: Index, left: NDArray[np.bool_]) -> tuple[Index, ...]:
        """The labels left of some questions: owner, team, point, level and label, sorted by team."""
        chosen = np.zeros(self._had.shape, np.bool_)
        chosen.flat[numbers] = True
        places = np.nonzero(left & chosen[..., None])
        return np.ravel_multi_index(places, left.shape), *places

    def _rows(self, labels: tuple[Index, ...], *, refine: bool = False) -> Rows:
        _, team, point, level, target = labels
        box = self.board.geometry.box(point, level)
        lower, upper = self.squad.bounds(team, box, refine=refine)
        return root_rows(team, box, self.board.labels[point], target[:, None], lower, upper)

    def _work(self, phase: int, order: Index) -> None:
        left = self._left()
        if phase == 2:
            self._branch(order, left)
        else:
            rows = left.reshape(-1, left.shape[3])[order].sum(axis=1)
            most = _SLAB if phase == 0 else roots_at_once(self.squad)
            count = max(1, int(np.searchsorted(np.cumsum(rows), most, side="right")))
            count = min(count, max(1, int(STEP / self._guess(phase))))
            order = order[:count]
            with self._serve_questions(order, np.ones(len(order))):
                self._bound(order, left) if phase == 0 else self._start(order, left)
            self._phase.flat[order] = phase + 1
        self.board.prove_by_singles()

    def _bound(self, numbers: Index, left: NDArray[np.bool_]) -> None:
        """CROWN's bounds of all labels."""
        labels, frame = self._labels(numbers, left), self.squad.frame
        rows = self._rows(labels)
        optimise(frame.fast, frame.fast_boxes, rows, steps=0)
        negative = np.flatnonzero(rows.value < 0)
        proven = negative[certify(frame.exact, frame.exact_boxes, rows.take(negative))]
        self._rule_out(labels[0][proven])
        if self._proofs is not None:
            self._proofs.add(self.squad, rows.take(proven), rows.side[proven])
        self.board.tried |= self._served > 0

    def _start(self, numbers: Index, left: NDArray[np.bool_]) -> None:
        search = self._search
        left = left & ~search.started.reshape(left.shape)
        labels = self._labels(numbers, left)
        if len(labels[0]):
            search.start(self._rows(labels, refine=self._proofs is None), labels[0])
            self._rule_out(np.flatnonzero(search.unsat))

    def _branch(self, order: Index, left: NDArray[np.bool_]) -> None:
        search = self._search
        search.forget(search.waiting & ~left.ravel())
        order = order[: search.batch]
        place = np.full((self._had.size, 1), -1)
        place[order, 0] = np.arange(len(order))
        rank = np.where(left.reshape(len(place), -1), place, -1).ravel()
        self._branch_on(rank, left.shape[3])
        self._rule_out(np.flatnonzero(search.unsat))
        lost = (self._left() & ~search.started.reshape(left.shape)).any(axis=3)
        self._phase[lost & (self._phase == 2)] = 1

    def _rule_out(self, owner: Index) -> None:
        """Some labels can't be reached; nor can they at smaller levels."""
        team, point, level, target = np.unravel_index(owner, self._left_shape)
        self.board.rule_out(self.networks[team], point, level, target)
