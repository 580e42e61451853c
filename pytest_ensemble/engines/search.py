"""`Search`: bounds, then branch and bound, of questions that take turns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.board import Board, Squad
from pytest_ensemble.engines.branch_and_bound import BranchAndBound
from pytest_ensemble.engines.chains import Array, Index
from pytest_ensemble.engines.proofs import Proofs
from pytest_ensemble.engines.scheduler import Lane, Turns
from pytest_ensemble.engines.stages import SPEED, Limits, Stage

__all__ = ["FIRST_TURN", "ROOT_PASSES", "Search", "roots_at_once"]

FIRST_TURN = 0.02  # seconds of a first turn of searching, at least
ROOT_PASSES = 40  # forward and backward, of a root
_NUMBERS = 1 << 19  # neurons of the roots that are bounded at a time,
_ROOTS = 1024  # and roots


class Search(Stage):
    """Bounds, then branch and bound, of questions that take turns.

    Questions are numbered (..., E), levels last. Each is in one of the phases of the class, in which all that
    are served together are.
    """

    phases: ClassVar[tuple[str, ...]]
    _searching: ClassVar[int]  # the phase in which roots are bounded

    def __init__(
        self, board: Board, squad: Squad, limits: Limits, proofs: Proofs | None, shape: tuple[int, ...]
    ) -> None:
        super().__init__(board, squad, limits, proofs)
        self._phase = np.zeros(shape, np.int8)
        self._had = np.zeros(shape)  # seconds of work on each question
        self._turn = np.zeros(shape)  # seconds after which its turn ends
        self._took = np.zeros(len(self.phases))  # seconds that a question takes in each phase, as measured
        self._past = np.zeros(shape, np.bool_)  # who has had a turn of searching
        self._turn[:] = self._guess(0)
        self._working: tuple[int, Index, Array] | None = None  # phase, questions, shares

    @cached_property
    @abstractmethod
    def _search(self) -> BranchAndBound:
        """Made when it is first needed."""

    @abstractmethod
    def _open(self) -> NDArray[np.bool_]:
        """Questions that are to be worked on."""

    @abstractmethod
    def _cost(self, phase: int) -> float:
        """Multiplications of a question in a phase."""

    @abstractmethod
    def _cells_of(self, share: Array) -> Array:
        """Shares of questions as shares of the board's cells, (C, E)."""

    @abstractmethod
    def _work(self, phase: int, order: Index) -> None:
        """Work on some of these questions, flat numbers, which are in that phase; the first ones first."""

    def _guess(self, phase: int) -> float:
        """Seconds that a question takes in a phase."""
        return float(self._took[phase] or self._cost(phase) / SPEED)

    def _find_turns(self) -> Mapping[Lane, Turns]:
        open_ = self._open()
        turn = np.where(open_, self._turn, np.inf).reshape(-1, open_.shape[-1])
        least, count = turn.min(axis=0, initial=np.inf), np.isfinite(turn).sum(axis=0)
        levels = self.board.levels
        return {float(levels[e]): Turns(float(least[e]), int(count[e])) for e in np.flatnonzero(count)}

    def _step(self, lane: Lane) -> None:
        open_ = self._open()
        level = int(np.searchsorted(self.board.levels, lane or 0.0))
        numbers = np.flatnonzero(open_)
        elsewhere = numbers % open_.shape[-1] != level
        # of those whose turns end first, who has begun goes on
        order = np.lexsort((-self._had.flat[numbers], self._turn.flat[numbers], elsewhere))
        numbers = numbers[order]
        phase = int(self._phase.flat[numbers[0]])
        self.name = self.phases[phase]
        self._working = None
        self._work(phase, numbers[self._phase.flat[numbers] == phase])

    def _serve_questions(self, numbers: Index, weight: Array) -> AbstractContextManager[None]:
        """Note on which questions, flat numbers, a step works, and how much."""
        self._working = int(self._phase.flat[numbers[0]]), numbers, weight / weight.sum()
        share = np.zeros(self._had.shape)
        share.flat[numbers] = weight
        return self._serve(self._cells_of(share))

    def _branch_on(self, rank: Index, each: int) -> None:
        """Branch on a batch of nodes of the owners first in rank, of which a question has so many."""
        places, owner = self._search.choose(rank)
        numbers, weight = np.unique(owner // each, return_counts=True)
        if len(numbers):
            with self._serve_questions(numbers, weight.astype(float)):
                self._search.branch(places, rank)

    def finish(self) -> None:
        """See `Stage`."""
        proof = self._search.proof() if "_search" in self.__dict__ else None
        if self._proofs is not None and proof is not None:
            self._proofs.add(self.squad, *proof)

    def charge(self, seconds: float) -> None:
        """See `Task`."""
        super().charge(seconds)
        if self._working is None:
            return
        phase, numbers, weight = self._working
        self._working = None
        each = seconds / len(numbers)
        self._took[phase] = 0.7 * self._took[phase] + 0.3 * each if self._took[phase] else each
        self._had.flat[numbers] += seconds * weight
        had, turn = self._had.flat[numbers], self._turn.flat[numbers]
        over = had >= turn
        self._past.flat[numbers] |= over & (self._phase.flat[numbers] == len(self.phases) - 1)
        turn[over] = 2 * had[over]
        if phase < self._searching <= int(self._phase.flat[numbers[0]]):
            turn = had + self._first_turn
        self._turn.flat[numbers] = turn

    @property
    def _first_turn(self) -> float:
        """Seconds of a first turn of searching: there must be some left after the roots."""
        return max(FIRST_TURN, 2 * self._guess(self._searching))


def roots_at_once(squad: Squad) -> int:
    """How many roots of a squad are bounded at a time."""
    return min(_ROOTS, max(1, _NUMBERS // squad.chains.neurons))
