"""`Stage`: a part of the work on a board, as a task of the scheduler; see `work` for what there is to do."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pytest_ensemble.engines.board import TIMEOUT, Board, Squad
from pytest_ensemble.engines.chains import Array
from pytest_ensemble.engines.checkpoint import OutOfTime, stopping
from pytest_ensemble.engines.proofs import Proofs
from pytest_ensemble.engines.scheduler import Lane, Turns

__all__ = ["SPEED", "STEP", "Limits", "Stage"]

SPEED = 4e9  # multiplications a second, a guess that orders what was not measured yet
STEP = 0.2  # seconds that a step may take where it can be cut into smaller ones


@dataclass(frozen=True)
class Limits:
    """When to give up.

    Attributes:
        timeout: seconds that a cell may take at one level; None for as many as it needs.
        nodes: how many nodes a cell may take at one level; None for as many as it needs.
        stop: whether nothing more must be done at all.
    """

    timeout: float | None = None
    nodes: int | None = None
    stop: Callable[[], bool] = field(default=lambda: False)


class Stage(ABC):
    """A part of the work on a board, as a task of the scheduler.

    Attributes:
        board: whose work it is.
        name: of what the last step did, for answers.
        doing: the same for those who wait.
    """

    def __init__(self, board: Board, squad: Squad, limits: Limits, proofs: Proofs | None) -> None:
        self.board, self.squad = board, squad
        self.name = ""
        self._limits, self._proofs = limits, proofs
        self._served = np.zeros(board.asked.shape)
        self._turns: Mapping[Lane, Turns] = {}
        self._version = -1

    @property
    def doing(self) -> str:
        """What the last step did, for those who wait."""
        return f"{self.name} of {self._networks}"

    @cached_property
    def _networks(self) -> str:
        names = sorted(self.board.models[index].name for index in np.unique(self.squad.members))
        return f"{len(names)} networks" if len(names) > 3 else ", ".join(names)

    def turns(self) -> Mapping[Lane, Turns]:
        """See `Task`."""
        if self._version != self.board.version:
            self._turns = self._find_turns()
            self._version = self.board.version
        return self._turns

    def step(self, lane: Lane) -> int:
        """See `Task`."""
        self._served[:] = 0
        before = int(self.board.open().sum())
        try:
            with stopping(self._limits.stop):
                self._step(lane)
        except OutOfTime:
            if self._limits.stop():
                raise
        finally:
            self.board.changed()
        return max(0, before - int(self.board.open().sum()))

    def charge(self, seconds: float) -> None:
        """See `Task`. Cells that have had their time are given up."""
        total = self._served.sum()
        board = self.board
        if not total:
            return
        board.spent += seconds / total * self._served
        if self._limits.timeout is not None:
            board.give_up(board.open() & (board.spent >= self._limits.timeout), TIMEOUT)

    def _serve(self, share: Array) -> AbstractContextManager[None]:
        """Note for whom the step works, (C, E), and let it take no more than what they may still take."""
        self._served += share
        if self._limits.timeout is None:
            return stopping(self._limits.stop)
        left = np.maximum(self._limits.timeout - self.board.spent, 0)[share > 0].sum()
        until = time.perf_counter() + left
        return stopping(lambda: self._limits.stop() or time.perf_counter() > until)

    def finish(self) -> None:  # noqa: B027
        """Hand over proofs, at the end."""

    @abstractmethod
    def _find_turns(self) -> Mapping[Lane, Turns]: ...

    @abstractmethod
    def _step(self, lane: Lane) -> None: ...
