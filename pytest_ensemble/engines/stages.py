"""The stages of the cascade: cheap methods first, many queries at once, each answer used wherever it holds.

Per batch of points, for all networks, pairs and epsilons together:

1. bounds: CROWN for every label of every single network; one robust member settles its pairs.
2. attack: the maximising vertex of each label's bound is tried on all networks, at all epsilons; from there
   gradients are followed for every open pair.
3. single: which labels each network can be brought to, by branch and bound on one network, as far as that is
   cheap.
4. joint: bounds, attack, and branch and bound for what still needs both networks at once, from the largest
   open epsilon of each pair downwards: a proof there settles all smaller ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.attack import ascend
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.board import BOUNDARY, TIMEOUT, Board, Squad
from pytest_ensemble.engines.bounds import Rows, certify, optimise, root_rows
from pytest_ensemble.engines.branch_and_bound import BranchAndBound
from pytest_ensemble.engines.chains import Array, Index
from pytest_ensemble.engines.checkpoint import OutOfTime, checkpoint, stopping
from pytest_ensemble.engines.proofs import Proofs

__all__ = ["Clock", "solve_board"]

_ATTACK_STEPS = 12
_SLAB = 16384  # labels that are bounded at a time
_SINGLE_NODES = 150  # for one label of one network; the joint search must not wait for hopeless ones
_CHOICES = 10_000  # of labels that a cell may have; models of a thousand classes would fill the memory
_ASCENDING = 1024  # cells at least that are attacked together
_ASCENTS = 6  # rows of a cell from which an ascent is started
_SHORT, _LONG = 14, 60  # steps of ascents: of all open cells, and of those that bounds leave


@dataclass
class Clock:
    """When to stop.

    Attributes:
        budget: the deadline of all, and the seconds that a cell may take at one level.
        nodes: how many nodes a cell may take at one level; None for as many as it needs.
    """

    budget: Budget
    nodes: int | None = None

    def shared_by(self, cells: int) -> Clock:
        """The clock for a board: all its cells together may take what each may."""
        if self.budget.timeout is None:
            return self
        deadline = time.monotonic() + cells * self.budget.timeout
        if self.budget.deadline is not None:
            deadline = min(deadline, self.budget.deadline)
        return replace(self, budget=replace(self.budget, deadline=deadline))

    def spent(self) -> bool:
        """Whether to stop now."""
        return self.budget.spent()


def solve_board(board: Board, clock: Clock, proofs: Proofs | None = None) -> Iterator[str]:
    """Settle what a board asks; yields the name of each stage after it, when its answers can be read.

    Args:
        board: changed in place.
        clock: when to stop; what is open then stays open.
        proofs: where to keep what is proven, if anywhere. Searches are slower then.
    """
    clock = clock.shared_by(int((board.open()).any(axis=1).sum()))
    stages = _stages(board, clock, proofs)
    while True:
        try:
            with stopping(clock.spent):
                stage = next(stages)
        except (StopIteration, OutOfTime):
            return
        yield stage


def _stages(board: Board, clock: Clock, proofs: Proofs | None) -> Iterator[str]:
    board.give_up_overflow()
    _bound_singles(board, proofs)
    yield "bounds"
    starts = _attack_singles(board)
    for squad in board.squads:
        _attack_teams(board, squad, starts)
    yield "attack"
    while not clock.spent() and (board.top() >= 0).any():
        for squad in board.singles:
            yield from _search_singles(board, squad, clock, proofs)
        for squad in board.squads:
            yield from _search_teams(board, squad, clock, proofs)


# --- one network ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Labels:
    """Labels of single networks that are not settled, as rows, shape (B,): sorted by team.

    Attributes:
        team: place of the network in its squad; network: in the board.
        point, level, target: around which point, at which level, which class.
    """

    team: Index
    network: Index
    point: Index
    level: Index
    target: Index

    def __len__(self) -> int:
        return len(self.team)

    @staticmethod
    def unsettled(board: Board, squad: Squad, needed: NDArray[np.bool_]) -> _Labels:
        """Those of a squad of single networks that are needed, (M, P, E)."""
        networks = squad.members[:, 0]
        level = np.arange(needed.shape[2])[:, None]
        impossible = board.unreachable[networks][:, :, None] >= level
        seen = board.reachable[networks][:, :, None] <= level
        team, point, at, target = np.nonzero(needed[networks][..., None] & ~impossible & ~seen)
        return _Labels(team, networks[team], point, at, target)

    def slabs(self) -> Iterator[_Labels]:
        """Some at a time, so that a thousand classes don't fill the memory."""
        for start in range(0, len(self), _SLAB):
            checkpoint()
            part = slice(start, start + _SLAB)
            yield _Labels(
                self.team[part], self.network[part], self.point[part], self.level[part], self.target[part]
            )

    def rows(self, board: Board, squad: Squad, *, refine: bool = False) -> Rows:
        """Their relaxations."""
        box = board.box(self.point, self.level)
        lower, upper = board.bounds(squad, self.team, box, refine=refine)
        return root_rows(self.team, box, board.labels[self.point], self.target[:, None], lower, upper)

    def rule_out(self, board: Board, which: Any) -> None:
        """Some can't be reached; nor can they at smaller levels."""
        place = self.network[which], self.point[which], self.target[which]
        np.maximum.at(board.unreachable, place, self.level[which])

    def offer(self, board: Board, owner: Index, x: Array) -> NDArray[np.bool_]:
        """Try inputs on everyone; which of all these labels are reached, in our own arithmetic."""
        board.offer(self.point[owner], x)
        return np.asarray(board.reachable[self.network, self.point, self.target] <= self.level)


def _needed(board: Board, levels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(M, P, E): around which points networks are part of open cells, at the levels, (C, E), that count."""
    needed = np.zeros((len(board.models), len(board.labels), len(board.levels)), np.bool_)
    for number, team in enumerate(board.teams):
        cells = np.flatnonzero(board.team == number)
        for index in team:
            needed[index, board.point[cells]] |= levels[cells]
    return needed


def _at(board: Board, level: Index) -> NDArray[np.bool_]:
    """(C, E): of each cell, this level only; none for -1."""
    return np.asarray(np.arange(len(board.levels)) == level[:, None])


def _bound_singles(board: Board, proofs: Proofs | None) -> None:
    """Labels that CROWN rules out, from the largest level downwards."""
    needed = _needed(board, board.open())
    for squad in board.singles:
        frame = squad.frame
        for level in range(len(board.levels) - 1, -1, -1):
            labels = _Labels.unsettled(board, squad, needed & (np.arange(len(board.levels)) == level))
            if not len(labels):
                continue
            for part in labels.slabs():
                rows = part.rows(board, squad)
                optimise(frame.fast, frame.fast_boxes, rows, steps=0)
                negative = np.flatnonzero(rows.value < 0)
                proven = negative[certify(frame.exact, frame.exact_boxes, rows.take(negative))]
                part.rule_out(board, proven)
                if proofs is not None:
                    proofs.add(squad, rows.take(proven), rows.side[proven])
    board.prove_by_singles()


def _attack_singles(board: Board) -> Array:
    """Each network at its highest open level; every x* is tried on all networks at all levels.

    Returns:
        (M, P, n): for each network and point the x* of the label with the highest bound; the point itself
        where nothing was tried.
    """
    origins = np.stack([ball.center for ball in board.balls[0]])
    starts = np.repeat(origins[None], len(board.models), axis=0)
    peak = np.full(starts.shape[:2], -np.inf)
    needed = _needed(board, board.open())
    highest = needed.shape[2] - 1 - needed[:, :, ::-1].argmax(axis=2)
    needed &= np.arange(needed.shape[2]) == highest[:, :, None]
    for squad in board.singles:
        labels = _Labels.unsettled(board, squad, needed)
        if not len(labels):
            continue
        boxes, steps = squad.frame.fast_boxes, _ATTACK_STEPS
        for part in labels.slabs():
            rows = part.rows(board, squad)
            peaks = optimise(squad.frame.fast, boxes, rows, steps=steps, look=steps + 1, keep_last=True)
            board.offer(part.point, peaks.last)
            better = np.flatnonzero(rows.value > peak[part.network, part.point])
            order = better[np.argsort(rows.value[better], kind="stable")]
            place = part.network[order], part.point[order]
            starts[place], peak[place] = peaks.last[order], rows.value[order]
    return starts


def _attack_teams(board: Board, squad: Squad, starts: Array) -> None:
    """Joint ascents for every open cell, from where single members err most, down to ever smaller levels.

    Some cells at a time: what is found for them settles others.
    """
    tried = np.full(len(board.team), len(board.levels))
    frame = squad.frame
    while True:
        joint = _Joint.open(board, squad)
        new = np.flatnonzero(joint.level < tried[joint.cells])
        if not len(new):
            return
        new = new[:: max(1, min(2, len(new) // _ASCENDING))]
        cells, team, level = joint.cells[new], joint.team[new], joint.level[new]
        tried[cells] = level
        for position in range(squad.members.shape[1]):
            left = board.found[cells] > level
            cells, team, level = cells[left], team[left], level[left]
            point = board.point[cells]
            box = board.box(point, level)
            low, high = frame.fast_boxes.corners(box)
            start = np.clip(starts[squad.members[team, position], point], low, high)
            x, least = ascend(
                frame.fast, team, start, low, high, board.labels[point], steps=_SHORT, reach=0.5
            )
            board.offer(point[least > 0], x[least > 0])


def _search_singles(board: Board, squad: Squad, clock: Clock, proofs: Proofs | None) -> Iterator[str]:
    """Exactly which labels each network can be brought to, at the level that its cells ask next."""
    labels = _Labels.unsettled(board, squad, _needed(board, _at(board, board.top())))
    if not len(labels):
        return
    record = proofs is not None
    search = BranchAndBound(
        squad.frame, len(labels), partial(labels.offer, board), any_label=False, record=record
    )
    search.start(labels.rows(board, squad, refine=not record), np.arange(len(labels)))
    labels.rule_out(board, search.unsat)
    board.prove_by_singles()
    yield "single bounds"
    try:
        for _ in search.branch(limit=_SINGLE_NODES, stop=clock.spent):
            labels.rule_out(board, search.unsat)
            board.prove_by_singles()
            yield "single branching"
    finally:
        _keep(proofs, squad, search)


def _keep(proofs: Proofs | None, squad: Squad, search: BranchAndBound) -> None:
    proof = search.proof()
    if proofs is not None and proof is not None:
        proofs.add(squad, *proof)


# --- teams ----------------------------------------------------------------------------------------


def _search_teams(board: Board, squad: Squad, clock: Clock, proofs: Proofs | None) -> Iterator[str]:
    """The joint question for every open cell of a squad, at its highest open level."""
    joint = _Joint.open(board, squad).feasible()
    if not len(joint.cells):
        return
    record = proofs is not None
    rows, owner = joint.rows(refine=not record)
    search = BranchAndBound(squad.frame, len(joint.cells), joint.offer, insist=joint.insist, record=record)
    search.start(rows, owner, joint.attack)
    joint.prove(search.unsat)
    yield "joint bounds"
    try:
        for _ in search.branch(limit=clock.nodes, timeout=clock.budget.timeout, stop=clock.spent):
            joint.prove(search.unsat)
            yield "joint branching"
    finally:
        _keep(proofs, squad, search)
    for reason, left in ((TIMEOUT, search.cut), (BOUNDARY, search.boundary & ~search.cut)):
        board.given_up[joint.cells[left], joint.level[left]] = reason
    yield "joint branching"


@dataclass
class _Joint:
    """The open cells of a squad, at their highest open levels: all (O,), sorted by team.

    Attributes:
        cells, level: places in the board.
        team: place in the squad.
    """

    board: Board
    squad: Squad
    cells: Index
    level: Index
    team: Index

    @staticmethod
    def open(board: Board, squad: Squad) -> _Joint:
        place = np.full(len(board.teams), -1)
        place[squad.numbers] = np.arange(len(squad.numbers))
        top = board.top()
        cells = np.flatnonzero((place[board.team] >= 0) & (top >= 0))
        cells = cells[np.argsort(place[board.team[cells]], kind="stable")]
        return _Joint(board, squad, cells, top[cells], place[board.team[cells]])

    def feasible(self) -> _Joint:
        """Without the cells that have too many choices of labels, which are given up."""
        point, level = self.board.point[self.cells], self.level[:, None]
        choices = np.ones(len(self.cells))
        for member in self.squad.members[self.team].T:
            choices *= (self.board.unreachable[member, point] < level).sum(axis=1)
        few = choices <= _CHOICES
        self.board.given_up[self.cells[~few], self.level[~few]] = TIMEOUT
        return replace(self, cells=self.cells[few], level=self.level[few], team=self.team[few])

    def rows(self, *, refine: bool) -> tuple[Rows, Index]:
        """A row for every choice of labels that the members can each be brought to, and its owner."""
        board = self.board
        owner: list[int] = []
        targets: list[tuple[int, ...]] = []
        for position, (cell, level, team) in enumerate(zip(self.cells, self.level, self.team, strict=True)):
            classes = board.unreachable[self.squad.members[team], board.point[cell]] < level
            choices = list(product(*(np.flatnonzero(options).tolist() for options in classes)))
            targets += choices
            owner += [position] * len(choices)
        owners = np.array(owner, np.intp)
        point, team = board.point[self.cells[owners]], self.team[owners]
        box = board.box(point, self.level[owners])
        lower, upper = board.bounds(self.squad, team, box, refine=refine)
        target = np.array(targets, np.intp).reshape(-1, self.squad.members.shape[1])
        return root_rows(team, box, board.labels[point], target, lower, upper), owners

    def prove(self, which: NDArray[np.bool_]) -> None:
        cells = self.cells[which]
        self.board.proven[cells] = np.maximum(self.board.proven[cells], self.level[which])

    def offer(self, owner: Index, x: Array) -> NDArray[np.bool_]:
        """Try inputs on everyone; which cells, shape (O,), have a witness now."""
        self.board.offer(self.board.point[self.cells[owner]], x)
        return np.asarray(self.board.found[self.cells] <= self.level)

    def insist(self, owner: int, x: Array) -> NDArray[np.bool_]:
        """Search around an input for a witness as executed; which cells, (O,), have one now."""
        self.board.insist(int(self.cells[owner]), int(self.level[owner]), x)
        return np.asarray(self.board.found[self.cells] <= self.level)

    def attack(self, rows: Rows, owner: Index, start: Array) -> NDArray[np.bool_]:
        """Ascents from the x* of the best rows of every cell; which cells, (O,), have a witness now."""
        frame = self.squad.frame
        order = np.lexsort((-rows.value, owner))
        rank = np.arange(len(order)) - np.searchsorted(owner[order], owner[order])
        chosen = order[rank < _ASCENTS]  # owners are sorted by team, so these are
        low, high = frame.fast_boxes.corners(rows.box[chosen])
        team, label = rows.team[chosen], rows.label[chosen]
        x, least = ascend(frame.fast, team, start[chosen], low, high, label, steps=_LONG, reach=0.5)
        good = least > 0
        return self.offer(owner[chosen[good]], x[good])
