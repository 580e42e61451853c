"""Attacks, as stages: the points themselves, each network alone, then whole teams."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pytest_ensemble.engines.attack import ascend
from pytest_ensemble.engines.board import Board, Squad
from pytest_ensemble.engines.chains import Index
from pytest_ensemble.engines.proofs import Proofs
from pytest_ensemble.engines.scheduler import Lane, Turns
from pytest_ensemble.engines.stages import SPEED, STEP, Limits, Stage

__all__ = ["AttackSingles", "AttackTeams", "Starts"]

_ASCENDING = 64, 1024  # cells that are attacked together, at least and at most
_FIRST, _SHORT = 12, 14  # steps of ascents: of single networks, and of open cells


class Starts:
    """(M, P, n): for each network and point the input at which it errs most, or almost."""

    def __init__(self, board: Board) -> None:
        self.x = np.repeat(board.geometry.origins[None], len(board.models), axis=0)


class AttackSingles(Stage):
    """Each network of a squad alone, at the highest open level of each point."""

    def __init__(
        self, board: Board, squad: Squad, limits: Limits, proofs: Proofs | None, starts: Starts
    ) -> None:
        super().__init__(board, squad, limits, proofs)
        self.name = "attack"
        self._starts = starts
        self._left = np.ones((len(squad.members), len(board.labels)), np.bool_)
        self._estimate = 2 * _FIRST * squad.cost / SPEED

    def _find_turns(self) -> Mapping[Lane, Turns]:
        return {None: Turns(0.0)} if self._left.any() else {}

    def _step(self, lane: Lane) -> None:
        board, networks = self.board, self.squad.members[:, 0]
        needed = board.needed()[networks]
        self._left &= needed.any(axis=2)
        team, point = (
            place[: max(_ASCENDING[0], int(STEP / self._estimate))] for place in np.nonzero(self._left)
        )
        self._left[team, point] = False
        share = np.zeros((len(board.models), *board.grid))
        share[networks[team], point] = 1
        with self._serve(board.spread(share)):
            board.try_origins()
            if not len(team):
                return
            level = needed.shape[2] - 1 - needed[team, point, ::-1].argmax(axis=1)
            low, high = board.geometry.corners(board.geometry.box(point, level))
            start = board.geometry.origins[point]
            chains = self.squad.chains
            x, _ = ascend(chains, team, start, low, high, board.labels[point], steps=_FIRST, reach=0.5)
            self._starts.x[networks[team], point] = x
            board.offer(point, x, networks[team])


class AttackTeams(Stage):
    """Joint ascents for every open cell, from where single members err most, down to ever smaller levels.

    Some cells at a time: what is found for them settles others.
    """

    def __init__(
        self, board: Board, squad: Squad, limits: Limits, proofs: Proofs | None, starts: Starts
    ) -> None:
        super().__init__(board, squad, limits, proofs)
        self.name = "attack"
        self._starts = starts
        self._tried = np.full(len(board.team), len(board.levels))
        size = squad.members.shape[1]
        self._estimate = 2 * size * _SHORT * squad.cost / SPEED
        self._took = self._estimate  # seconds of a cell, as measured
        self._working = 0
        if size == 1:  # that is what was done for the network alone
            self._tried[:] = -1

    def _open(self) -> tuple[Index, Index]:
        top = self.board.top()
        cells = self.squad.cells[(top >= 0)[self.squad.cells]]
        return cells[top[cells] < self._tried[cells]], top

    def _find_turns(self) -> Mapping[Lane, Turns]:
        cells, _ = self._open()
        return {None: Turns(self._estimate)} if len(cells) else {}

    def _step(self, lane: Lane) -> None:
        board, squad = self.board, self.squad
        cells, top = self._open()
        most = int(np.clip(STEP / self._took, *_ASCENDING))
        cells = cells[:: max(1, min(2, len(cells) // most))][:most]
        level, team = top[cells], squad.place_of(board.team[cells])
        self._working = len(cells)
        share = np.zeros(board.asked.shape)
        share[cells, level] = 1
        with self._serve(share):
            self._tried[cells] = level
            for position in range(squad.members.shape[1]):
                left = board.found[cells] > level
                cells, team, level = cells[left], team[left], level[left]
                point = board.point[cells]
                low, high = board.geometry.corners(board.geometry.box(point, level))
                start = np.clip(self._starts.x[squad.members[team, position], point], low, high)
                x, least = ascend(
                    squad.chains, team, start, low, high, board.labels[point], steps=_SHORT, reach=0.5
                )
                board.offer(point[least > 0], x[least > 0])

    def charge(self, seconds: float) -> None:
        """See `Task`."""
        super().charge(seconds)
        if self._working:
            self._took, self._working = seconds / self._working, 0
