"""`SearchTeams`: whether all networks of a team err on one input."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.attack import ascend
from pytest_ensemble.engines.board import BOUNDARY, TIMEOUT, Board, Squad
from pytest_ensemble.engines.bounds import Rows, root_rows
from pytest_ensemble.engines.branch_and_bound import BranchAndBound
from pytest_ensemble.engines.chains import Array, Index
from pytest_ensemble.engines.preactivations import bounding_cost
from pytest_ensemble.engines.proofs import Proofs
from pytest_ensemble.engines.search import ROOT_PASSES, Search, roots_at_once
from pytest_ensemble.engines.single_search import SearchSingles
from pytest_ensemble.engines.stages import STEP, Limits

__all__ = ["SearchTeams"]

_CHOICES = 10_000  # of labels that a cell may have; models of a thousand classes would fill the memory
_ASCENTS = 6  # rows of a cell from which an ascent is started
_LONG = 60  # steps of these


class SearchTeams(Search):
    """The joint question of every open cell of a squad: questions (cells, E)."""

    phases = ("joint bounds", "joint branching")
    _searching = 0

    def __init__(
        self,
        board: Board,
        squad: Squad,
        limits: Limits,
        proofs: Proofs | None,
        singles: Sequence[SearchSingles],
    ) -> None:
        self._singles = singles
        super().__init__(board, squad, limits, proofs, (len(squad.cells), len(board.levels)))
        self._turn[:] = self._first_turn

    @cached_property
    def _search(self) -> BranchAndBound:
        return BranchAndBound(
            self.squad.frame,
            self._had.size,
            self._offer,
            insist=self._insist,
            record=self._proofs is not None,
            # of one network alone, the other search finds the same; its proofs are to be whole
            refuted=self._refuted if self.squad.members.shape[1] > 1 else None,
        )

    def _cost(self, phase: int) -> float:
        choices = min(10, self.board.models[0].classes)  # that singles leave
        bounds = sum(bounding_cost(self.board.models[index].network) for index in self.squad.members[0])
        return bounds + 2 * ROOT_PASSES * choices * self.squad.cost

    def _open(self) -> NDArray[np.bool_]:
        board, cells = self.board, self.squad.cells
        open_ = board.open()[cells]
        members = self.squad.members
        if open_.any() and members.shape[1] > 1:
            ready = np.ones((len(board.models), *board.grid), np.bool_)
            for stage in self._singles:
                if np.isin(stage.networks, members).any():
                    ready[stage.networks] = stage.ready()
            own = board.members[cells][:, : members.shape[1]]
            open_ &= ready[own, board.point[cells][:, None]].all(axis=1)
        return open_

    def _cells_of(self, share: Array) -> Array:
        whole = np.zeros(self.board.asked.shape)
        whole[self.squad.cells] = share
        return whole

    def _work(self, phase: int, order: Index) -> None:
        board, search, cells = self.board, self._search, self.squad.cells
        if phase == 0:
            count = max(1, int(STEP / self._guess(0)))
            numbers, choices = self._choose(order[:count])
            if not len(numbers):
                return
            with self._serve_questions(numbers, np.array(list(map(len, choices)), float)):
                rows, owner = self._roots(numbers, choices)
                search.start(rows, owner, self._attack)
            self._phase.flat[numbers] = 1
        else:
            open_ = board.open()[cells].ravel()
            search.forget(search.waiting & ~open_)
            order = order[: search.batch]
            rank = np.full(self._had.size, -1)
            rank[order] = np.arange(len(order))
            self._branch_on(rank, 1)
        self._read(search)

    def _read(self, search: BranchAndBound) -> None:
        """Tell the board what the search has found."""
        board, cells, shape = self.board, self.squad.cells, self._had.shape
        place, level = np.unravel_index(np.flatnonzero(search.unsat), shape)
        board.prove(cells[place], level)
        boundary = np.zeros(board.asked.shape, np.bool_)
        boundary[cells] = search.undecidable.reshape(shape)
        board.give_up(boundary & board.open(), BOUNDARY)
        if self._limits.nodes is not None:
            many = np.zeros(board.asked.shape, np.bool_)
            many[cells] = (search.nodes > self._limits.nodes).reshape(shape)
            board.give_up(many & board.open(), TIMEOUT)
        lost = ~search.started.reshape(shape) & board.open()[cells]
        self._phase[lost] = 0

    def _choose(self, numbers: Index) -> tuple[Index, list[list[tuple[int, ...]]]]:
        """As many of the questions as fit into a batch, sorted by team, and their choices of labels.

        A choice is a label for each member that it can be brought to. Questions with too many are given up.
        """
        board, squad, levels = self.board, self.squad, self._had.shape[1]
        cell, level = squad.cells[numbers // levels], numbers % levels
        members = squad.members[squad.place_of(board.team[cell])]
        possible = [
            board.unreachable[team, point] < e
            for team, point, e in zip(members, board.point[cell], level, strict=True)
        ]
        counts = np.array([np.prod(options.sum(axis=1), dtype=float) for options in possible])
        many = np.zeros(board.asked.shape, np.bool_)
        many[cell[counts > _CHOICES], level[counts > _CHOICES]] = True
        board.give_up(many, TIMEOUT)
        fits = counts <= _CHOICES
        fits[fits] &= np.cumsum(counts[fits]) - counts[fits][:1] <= roots_at_once(squad)
        chosen = sorted(np.flatnonzero(fits).tolist(), key=lambda place: int(numbers[place]))
        board.tried[cell[chosen], level[chosen]] = True
        labels = [[np.flatnonzero(options).tolist() for options in possible[place]] for place in chosen]
        return numbers[chosen], [list(product(*own)) for own in labels]

    def _roots(self, numbers: Index, choices: list[list[tuple[int, ...]]]) -> tuple[Rows, Index]:
        """A row for every choice of labels, and the question it is of."""
        board, squad, levels = self.board, self.squad, self._had.shape[1]
        owner = np.repeat(numbers, list(map(len, choices)))
        cell, level = squad.cells[owner // levels], owner % levels
        point, team = board.point[cell], squad.place_of(board.team[cell])
        box = board.geometry.box(point, level)
        target = np.array([choice for own in choices for choice in own], np.intp)
        lower, upper = squad.bounds(team, box, refine=self._proofs is None)
        return root_rows(team, box, board.labels[point], target, lower, upper), owner

    def _refuted(self, rows: Rows) -> NDArray[np.bool_]:
        """Rows with a label that their network can't be brought to, as was found on it alone."""
        level, point = np.divmod(rows.box, len(self.board.labels))
        members = self.squad.members[rows.team]
        return np.asarray(
            (self.board.unreachable[members, point[:, None], rows.target] >= level[:, None]).any(axis=1)
        )

    def _sat(self) -> NDArray[np.bool_]:
        found = self.board.found[self.squad.cells][:, None] <= np.arange(self._had.shape[1])
        return np.asarray(found.ravel())

    def _offer(self, owner: Index, x: Array) -> NDArray[np.bool_]:
        """Try inputs on all networks; which questions have a witness now."""
        self.board.offer(self.board.point[self.squad.cells[owner // self._had.shape[1]]], x)
        return self._sat()

    def _insist(self, owner: int, x: Array) -> NDArray[np.bool_]:
        """Search around an input for a witness as executed; which questions have one now."""
        place, level = divmod(owner, self._had.shape[1])
        self.board.insist(int(self.squad.cells[place]), level, x)
        return self._sat()

    def _attack(self, rows: Rows, owner: Index, start: Array) -> NDArray[np.bool_]:
        """Ascents from the x* of the best rows of every question; which have a witness now."""
        frame = self.squad.frame
        order = np.lexsort((-rows.value, owner))
        rank = np.arange(len(order)) - np.searchsorted(owner[order], owner[order])
        chosen = order[rank < _ASCENTS]  # owners are sorted by team, so these are
        low, high = frame.fast_boxes.corners(rows.box[chosen])
        team, label = rows.team[chosen], rows.label[chosen]
        x, least = ascend(frame.fast, team, start[chosen], low, high, label, steps=_LONG, reach=0.5)
        good = least > 0
        return self._offer(owner[chosen[good]], x[good])
