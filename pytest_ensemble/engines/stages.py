"""The work on a board, in steps that a `Scheduler` puts in order.

1. attack: the points themselves, and gradients of each network alone; every input is tried on all networks,
   at all epsilons.
2. attack of teams: from there, gradients are followed for every open cell.
3. single: which labels each network can be brought to, by CROWN and then by branch and bound on one network.
   A network that is robust settles all its pairs; labels that it can't be brought to fall away in them.
4. joint: bounds, attack, and branch and bound on both networks of a pair at once.

The last two go side by side and take turns; see `scheduler`. Each answer is used wherever it holds.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.attack import ascend
from pytest_ensemble.engines.board import BOUNDARY, TIMEOUT, Board, Squad
from pytest_ensemble.engines.bounds import Rows, certify, optimise, root_rows
from pytest_ensemble.engines.branch_and_bound import BranchAndBound
from pytest_ensemble.engines.chains import Array, Index
from pytest_ensemble.engines.checkpoint import OutOfTime, stopping
from pytest_ensemble.engines.preactivations import bounding_cost
from pytest_ensemble.engines.proofs import Proofs
from pytest_ensemble.engines.scheduler import Lane, Turns

__all__ = ["FIRST_TURN", "Limits", "Stage", "stages_of"]

_SPEED = 4e9  # multiplications a second, a guess that orders what was not measured yet
_STEP = 0.2  # seconds that a step may take where it can be cut into smaller ones
FIRST_TURN = 0.02  # seconds of a first turn of searching, at least
_SLAB = 16384  # labels that are bounded at a time
_NUMBERS = 1 << 19  # neurons of the roots that are bounded at a time,
_ROOTS = 1024  # and roots
_ROOT_PASSES = 40  # forward and backward, of a root
_SINGLE_NODES = 150  # for one label of a network that errs anyway: it only makes the joint search easier
_CHOICES = 10_000  # of labels that a cell may have; models of a thousand classes would fill the memory
_ASCENDING = 64, 1024  # cells that are attacked together, at least and at most
_ASCENTS = 6  # rows of a cell from which an ascent is started
_FIRST, _SHORT, _LONG = 12, 14, 60  # steps of ascents: of single networks, of open cells, and from bounds


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


def stages_of(board: Board, limits: Limits, proofs: Proofs | None = None) -> list[Stage]:
    """All work on a board, the cheapest first.

    Args:
        board: changed in place.
        limits: when to give up.
        proofs: where to keep what is proven, if anywhere. Searches are slower then.
    """
    starts = _Starts(board)
    attacks = [_AttackSingles(board, squad, limits, proofs, starts) for squad in board.singles]
    singles = [_SearchSingles(board, squad, limits, proofs) for squad in board.singles]
    teams = [_AttackTeams(board, squad, limits, proofs, starts) for squad in board.squads]
    joint = [_SearchTeams(board, squad, limits, proofs, singles) for squad in board.squads]
    return [*attacks, *singles, *teams, *joint]


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
        names = [self.board.models[index].name for index in np.unique(self.squad.members)]
        several = f"{len(names)} networks" if len(names) > 3 else ", ".join(names)
        return f"{self.name} of {several}"

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


# --- attacks --------------------------------------------------------------------------------------


class _Starts:
    """(M, P, n): for each network and point the input at which it errs most, or almost."""

    def __init__(self, board: Board) -> None:
        self.x = np.repeat(board.origins[None], len(board.models), axis=0)


class _AttackSingles(Stage):
    """Each network of a squad alone, at the highest open level of each point."""

    def __init__(
        self, board: Board, squad: Squad, limits: Limits, proofs: Proofs | None, starts: _Starts
    ) -> None:
        super().__init__(board, squad, limits, proofs)
        self.name = "attack"
        self._starts = starts
        self._left = np.ones((len(squad.members), len(board.labels)), np.bool_)
        self._estimate = 2 * _FIRST * squad.cost / _SPEED

    def _find_turns(self) -> Mapping[Lane, Turns]:
        return {None: Turns(0.0)} if self._left.any() else {}

    def _step(self, lane: Lane) -> None:
        board, networks = self.board, self.squad.members[:, 0]
        needed = board.needed()[networks]
        self._left &= needed.any(axis=2)
        team, point = (
            place[: max(_ASCENDING[0], int(_STEP / self._estimate))] for place in np.nonzero(self._left)
        )
        self._left[team, point] = False
        share = np.zeros((len(board.models), *board.grid))
        share[networks[team], point] = 1
        with self._serve(board.spread(share)):
            board.try_origins()
            if not len(team):
                return
            level = needed.shape[2] - 1 - needed[team, point, ::-1].argmax(axis=1)
            low, high = board.corners(board.box(point, level))
            start = board.origins[point]
            chains = self.squad.chains
            x, _ = ascend(chains, team, start, low, high, board.labels[point], steps=_FIRST, reach=0.5)
            self._starts.x[networks[team], point] = x
            board.offer(point, x, networks[team])


class _AttackTeams(Stage):
    """Joint ascents for every open cell, from where single members err most, down to ever smaller levels.

    Some cells at a time: what is found for them settles others.
    """

    def __init__(
        self, board: Board, squad: Squad, limits: Limits, proofs: Proofs | None, starts: _Starts
    ) -> None:
        super().__init__(board, squad, limits, proofs)
        self.name = "attack"
        self._starts = starts
        self._tried = np.full(len(board.team), len(board.levels))
        size = squad.members.shape[1]
        self._estimate = 2 * size * _SHORT * squad.cost / _SPEED
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
        most = int(np.clip(_STEP / self._took, *_ASCENDING))
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
                low, high = board.corners(board.box(point, level))
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


# --- searches -------------------------------------------------------------------------------------


class _Search(Stage):
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
        return float(self._took[phase] or self._cost(phase) / _SPEED)

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


class _SearchSingles(_Search):
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
        return bounding_cost(network) + labels if phase == 0 else 2 * _ROOT_PASSES * labels

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
        box = self.board.box(point, level)
        lower, upper = self.board.bounds(self.squad, team, box, refine=refine)
        return root_rows(team, box, self.board.labels[point], target[:, None], lower, upper)

    def _work(self, phase: int, order: Index) -> None:
        left = self._left()
        if phase == 2:
            self._branch(order, left)
        else:
            rows = left.reshape(-1, left.shape[3])[order].sum(axis=1)
            most = _SLAB if phase == 0 else _roots_at_once(self.squad)
            count = max(1, int(np.searchsorted(np.cumsum(rows), most, side="right")))
            count = min(count, max(1, int(_STEP / self._guess(phase))))
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
        self._note_tried(numbers)

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
        places, owner = search.choose(rank)
        numbers, weight = np.unique(owner // left.shape[3], return_counts=True)
        with self._serve_questions(numbers, weight.astype(float)):
            search.branch(places, rank)
        self._rule_out(np.flatnonzero(search.unsat))
        lost = (self._left() & ~search.started.reshape(left.shape)).any(axis=3)
        self._phase[lost & (self._phase == 2)] = 1

    def _rule_out(self, owner: Index) -> None:
        """Some labels can't be reached; nor can they at smaller levels."""
        team, point, level, target = np.unravel_index(owner, self._left_shape)
        self.board.rule_out(self.networks[team], point, level, target)

    def _note_tried(self, numbers: Index) -> None:
        share = np.zeros(self._had.shape)
        share.flat[numbers] = 1
        self.board.tried |= self._cells_of(share) > 0

    def finish(self) -> None:
        """See `Stage`."""
        if "_search" in self.__dict__:
            _keep(self._proofs, self.squad, self._search)


class _SearchTeams(_Search):
    """The joint question of every open cell of a squad: questions (cells, E)."""

    phases = ("joint bounds", "joint branching")
    _searching = 0

    def __init__(
        self,
        board: Board,
        squad: Squad,
        limits: Limits,
        proofs: Proofs | None,
        singles: Sequence[_SearchSingles],
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
            refuted=self._refuted,
        )

    def _cost(self, phase: int) -> float:
        choices = min(10, self.board.models[0].classes)  # that singles leave
        return 2 * _ROOT_PASSES * choices * self.squad.cost

    def _open(self) -> NDArray[np.bool_]:
        board, cells = self.board, self.squad.cells
        open_ = board.open()[cells]
        members = self.squad.members
        if open_.any() and members.shape[1] > 1:
            ready = np.ones((len(board.models), *board.grid), np.bool_)
            for stage in self._singles:
                if np.isin(stage.networks, members).any():
                    ready[stage.networks] = stage.ready()
            open_ &= ready[board.members[cells], board.point[cells][:, None]].all(axis=1)
        return open_

    def _cells_of(self, share: Array) -> Array:
        whole = np.zeros(self.board.asked.shape)
        whole[self.squad.cells] = share
        return whole

    def _work(self, phase: int, order: Index) -> None:
        board, search, cells = self.board, self._search, self.squad.cells
        if phase == 0:
            count = max(1, int(_STEP / self._guess(0)))
            rows, owner = self._roots(order[:count])
            if not len(rows):
                return
            numbers, weight = np.unique(owner, return_counts=True)
            with self._serve_questions(numbers, weight.astype(float)):
                search.start(rows, owner, self._attack)
            self._phase.flat[numbers] = 1
        else:
            open_ = board.open()[cells].ravel()
            search.forget(search.waiting & ~open_)
            order = order[: search.batch]
            rank = np.full(self._had.size, -1)
            rank[order] = np.arange(len(order))
            places, owner = search.choose(rank)
            numbers, weight = np.unique(owner, return_counts=True)
            if len(numbers):
                with self._serve_questions(numbers, weight.astype(float)):
                    search.branch(places, rank)
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

    def _roots(self, numbers: Index) -> tuple[Rows, Index]:
        """A row for every choice of labels that the members can each be brought to, and its owner.

        Of as many of the questions as fit into a batch; those with too many choices are given up.
        """
        board, squad, shape = self.board, self.squad, self._had.shape
        cell = squad.cells[numbers // shape[1]]
        level, point = numbers % shape[1], board.point[cell]
        team = squad.place_of(board.team[cell])
        possible = [
            board.unreachable[members, at] < e
            for members, at, e in zip(squad.members[team], point, level, strict=True)
        ]
        choices = np.array([np.prod(options.sum(axis=1), dtype=float) for options in possible])
        many = np.zeros(board.asked.shape, np.bool_)
        many[cell[choices > _CHOICES], level[choices > _CHOICES]] = True
        board.give_up(many, TIMEOUT)
        fits = choices <= _CHOICES
        fits[fits] &= np.cumsum(choices[fits]) - choices[fits][:1] <= _roots_at_once(squad)
        owner: list[int] = []
        targets: list[tuple[int, ...]] = []
        for place in sorted(np.flatnonzero(fits), key=lambda place: numbers[place]):
            combined = list(product(*(np.flatnonzero(options).tolist() for options in possible[place])))
            targets += combined
            owner += [int(place)] * len(combined)
        own = np.array(owner, np.intp)
        tried = np.zeros(board.asked.shape, np.bool_)
        tried[cell[own], level[own]] = True
        board.tried |= tried
        box = board.box(point[own], level[own])
        target = np.array(targets, np.intp).reshape(-1, squad.members.shape[1])
        lower, upper = board.bounds(squad, team[own], box, refine=self._proofs is None)
        return root_rows(team[own], box, board.labels[point[own]], target, lower, upper), numbers[own]

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

    def finish(self) -> None:
        """See `Stage`."""
        if "_search" in self.__dict__:
            _keep(self._proofs, self.squad, self._search)


def _keep(proofs: Proofs | None, squad: Squad, search: BranchAndBound) -> None:
    proof = search.proof()
    if proofs is not None and proof is not None:
        proofs.add(squad, *proof)


def _roots_at_once(squad: Squad) -> int:
    return min(_ROOTS, max(1, _NUMBERS // squad.chains.neurons))
