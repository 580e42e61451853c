"""The stages of the cascade: cheap methods first, many queries at once, each answer used wherever it holds.

Per batch of points, for all networks, pairs and epsilons together:

1. bounds: CROWN for every label of every single network; one robust member settles its pairs.
2. attack: the maximising vertex of each label's bound is tried on all networks, at all epsilons.
3. single: which labels each network can be brought to, exactly, by branch and bound on one network.
4. joint: bounds, attack, and branch and bound for what still needs both networks at once, from the largest
   open epsilon of each pair downwards: a proof there settles all smaller ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.attack import ascend
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.board import BOUNDARY, TIMEOUT, Board, Index
from pytest_ensemble.engines.bounds import Rows, certify, optimise, root_rows
from pytest_ensemble.engines.branch_and_bound import Search, branch_and_bound
from pytest_ensemble.engines.chains import Array

__all__ = ["Clock", "solve_board"]

_ATTACK_STEPS = 12
_ASCENTS = 3  # rows of a cell from which an ascent is started


@dataclass
class Clock:
    """When to stop.

    Attributes:
        budget: the deadline of all, and the seconds that a cell may take at one level.
        nodes: how many nodes a cell may take at one level; None for as many as it needs.
        stopped: whether someone asks to stop.
    """

    budget: Budget
    nodes: int | None = None
    stopped: Callable[[], bool] = lambda: False

    def spent(self) -> bool:
        """Whether to stop now."""
        return self.stopped() or self.budget.spent()


def solve_board(board: Board, clock: Clock) -> Iterator[str]:
    """Settle what a board asks; yields the name of each stage after it, when its answers can be read.

    Args:
        board: changed in place.
        clock: when to stop; what is open then stays open.
    """
    _bound_singles(board)
    board.prove_by_singles()
    yield "bounds"
    _attack_singles(board)
    yield "attack"
    while not clock.spent() and (board.top() >= 0).any():
        _search_singles(board, clock)
        board.prove_by_singles()
        yield "single"
        yield from _search_teams(board, clock)


# --- one network ----------------------------------------------------------------------------------


def _needed(board: Board, index: int, *, at: Index | None = None) -> NDArray[np.bool_]:
    """(P, E): around which points at which levels a network is part of an open cell."""
    cells = np.flatnonzero([index in board.teams[team] for team in board.team])
    needed = np.zeros((len(board.labels), len(board.levels)), np.bool_)
    open_ = board.open()[cells]
    if at is not None:
        open_ &= np.arange(len(board.levels)) == at[cells, None]
    np.logical_or.at(needed, board.point[cells], open_)
    return needed


def _single_rows(board: Board, index: int, point: Index, level: Index, target: Index) -> Rows:
    box = board.box(point, level)
    lower, upper = board.bounds((index,), box)
    return root_rows(box, board.labels[point], target[:, None], lower, upper)


def _open_labels(board: Board, index: int, needed: NDArray[np.bool_]) -> tuple[Index, Index, Index]:
    """(point, level, class) of what is not known about a network, where it is needed."""
    level = np.arange(needed.shape[1])[:, None]
    unknown = (board.unreachable[index][:, None] < level) & (board.reachable[index][:, None] > level)
    point, at, target = np.nonzero(needed[:, :, None] & unknown)
    return point, at, target


def _bound_singles(board: Board) -> None:
    """Labels that CROWN rules out, from the largest level downwards."""
    for index in range(len(board.models)):
        frame = board.frame((index,))
        needed = _needed(board, index)
        for level in range(len(board.levels) - 1, -1, -1):
            here = needed & (np.arange(len(board.levels)) == level)
            point, at, target = _open_labels(board, index, here)
            if not len(point):
                continue
            rows = _single_rows(board, index, point, at, target)
            optimise(frame.fast, frame.fast_boxes, rows, steps=0)
            negative = np.flatnonzero(rows.value < 0)
            proven = negative[certify(frame.exact, frame.exact_boxes, rows.take(negative))]
            board.unreachable[index, point[proven], target[proven]] = level


def _attack_singles(board: Board) -> None:
    """Each network at its highest open level; every x* is tried on all networks at all levels."""
    for index in range(len(board.models)):
        frame = board.frame((index,))
        needed = _needed(board, index)
        highest = needed.shape[1] - 1 - needed[:, ::-1].argmax(axis=1)
        needed &= np.arange(needed.shape[1]) == highest[:, None]
        point, level, target = _open_labels(board, index, needed)
        if not len(point):
            continue
        rows = _single_rows(board, index, point, level, target)
        peaks = optimise(
            frame.fast,
            frame.fast_boxes,
            rows,
            steps=_ATTACK_STEPS,
            look=_ATTACK_STEPS + 1,
            keep_last=True,
        )
        board.offer(point, peaks.last)


def _search_singles(board: Board, clock: Clock) -> None:
    """Exactly which labels each network can be brought to, at the level that its cells ask next."""
    top = board.top()
    for index in range(len(board.models)):
        needed = _needed(board, index, at=top)
        point, level, target = _open_labels(board, index, needed)
        if not len(point):
            continue

        offer = partial(_offer_single, board, index, point, level, target)
        rows = _single_rows(board, index, point, level, target)
        owner = np.arange(len(point))
        search = branch_and_bound(
            board.frame((index,)),
            rows,
            owner,
            len(owner),
            offer=offer,
            any_label=False,
            limit=clock.nodes,
            timeout=clock.budget.timeout,
            stop=clock.spent,
        )
        gone = search.unsat
        board.unreachable[index, point[gone], target[gone]] = level[gone]


def _offer_single(
    board: Board, index: int, point: Index, level: Index, target: Index, owner: Index, x: Array
) -> NDArray[np.bool_]:
    """Try inputs on everyone; which owners' labels that has reached, in our own arithmetic."""
    board.offer(point[owner], x)
    return np.asarray(board.reachable[index, point[owner], target[owner]] <= level[owner])


# --- teams ----------------------------------------------------------------------------------------


def _search_teams(board: Board, clock: Clock) -> Iterator[str]:
    """The joint question for every open cell, at its highest open level."""
    top = board.top()
    for team_index, team in enumerate(board.teams):
        if clock.spent():
            return
        cells = np.flatnonzero((board.team == team_index) & (top >= 0))
        cells = cells[board.open()[cells, top[cells]]]  # earlier teams' witnesses may have settled some
        if not len(cells):
            continue
        rows, owner = _team_rows(board, team, cells, top[cells])
        search = _Joint(board, team, cells, top[cells]).run(rows, owner, clock)
        done = cells[search.unsat]
        board.proven[done] = np.maximum(board.proven[done], top[done])
        for reason, left in ((TIMEOUT, search.cut), (BOUNDARY, search.boundary & ~search.cut)):
            board.given_up[cells[left], top[cells[left]]] = reason
    yield "joint"


def _team_rows(board: Board, team: tuple[int, ...], cells: Index, level: Index) -> tuple[Rows, Index]:
    """A row for every choice of labels that the members can each be brought to."""
    owner: list[int] = []
    targets: list[tuple[int, ...]] = []
    for position, (cell, at) in enumerate(zip(cells, level, strict=True)):
        classes = [board.unreachable[index, board.point[cell]] < at for index in team]
        choices = list(product(*(np.flatnonzero(options).tolist() for options in classes)))
        targets += choices
        owner += [position] * len(choices)
    owners = np.array(owner, np.intp)
    point = board.point[cells[owners]]
    box = board.box(point, level[owners])
    lower, upper = board.bounds(team, box)
    target = np.array(targets, np.intp).reshape(-1, len(team))
    return root_rows(box, board.labels[point], target, lower, upper), owners


@dataclass
class _Joint:
    """The joint search of one team, over its open cells at their highest open levels."""

    board: Board
    team: tuple[int, ...]
    cells: Index
    level: Index

    def run(self, rows: Rows, owner: Index, clock: Clock) -> Search:
        return branch_and_bound(
            self.board.frame(self.team),
            rows,
            owner,
            len(self.cells),
            offer=self.offer,
            attack=self.attack,
            limit=clock.nodes,
            timeout=clock.budget.timeout,
            stop=clock.spent,
        )

    def offer(self, owner: Index, x: Array) -> NDArray[np.bool_]:
        """Try inputs on everyone; which of the owners, shape (m,), that settles."""
        self.board.offer(self.board.point[self.cells[owner]], x)
        return self.sat(owner)

    def sat(self, owner: Index) -> NDArray[np.bool_]:
        return np.asarray(self.board.found[self.cells[owner]] <= self.level[owner])

    def attack(self, rows: Rows, owner: Index, start: Array) -> Index:
        """Ascents from the x* of the best rows of every cell; returns the owners that they settle."""
        frame = self.board.frame(self.team)
        order = np.lexsort((-rows.value, owner))
        rank = np.arange(len(order)) - np.searchsorted(owner[order], owner[order])
        chosen = order[rank < _ASCENTS]
        box = rows.box[chosen]
        center, radius = frame.fast_boxes.center[box], frame.fast_boxes.radius[box]
        x, least = ascend(
            frame.fast, start[chosen], center - radius, center + radius, rows.label[chosen], reach=0.5
        )
        good = least > 0
        settled = self.offer(owner[chosen[good]], x[good])
        return owner[chosen[good]][settled]
