"""`Board`: what the cascade knows of the queries around some points, and how a witness settles many of them.

A *cell* is one team of networks (one, a pair, or more) around one point. The epsilons that are asked, over
all cells, are the *levels*. Mutual errors are monotone in epsilon, so what is known of a cell is the largest
level proven and the smallest level with a witness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.attack import climb
from pytest_ensemble.engines.chains import Array, Chains, Frame, Index, groups_of
from pytest_ensemble.engines.geometry import Geometry
from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.network import stored
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import errs, margins

__all__ = ["BOUNDARY", "TIMEOUT", "Board", "Known", "Squad"]

# Why a level of a cell was given up.
TIMEOUT, BOUNDARY = 1, 2

_HAIR = 0.25  # of what rounding may add to a margin; it was never seen to add as much
_WEIGHTS = 1 << 23  # that the teams of one squad may have together


@dataclass(frozen=True)
class Squad:
    """Teams that share batches.

    Attributes:
        members: (T, k), indices of models.
        numbers: (T,), places among the teams that were given.
        board: that they are of.
    """

    members: Index
    numbers: Index
    board: Board

    @cached_property
    def frame(self) -> Frame:
        """Its T teams over the boxes of all points and levels."""
        return self.board.geometry.frame(self.members)

    def bounds(self, team: Index, box: Index, *, refine: bool = False) -> tuple[Array, Array]:
        """Bounds of the hidden pre-activations of rows; see `Geometry.bounds`."""
        return self.board.geometry.bounds(self.frame, self.members, team, box, refine=refine)

    @cached_property
    def chains(self) -> Chains:
        """Its teams alone, in float32."""
        return self.board.geometry.layout(self.members)[1]

    @cached_property
    def cells(self) -> Index:
        """Cells of the board that ask about its teams, sorted by team."""
        place = self.place_of(self.board.team)
        cells = np.flatnonzero(place >= 0)
        return cells[np.argsort(place[cells], kind="stable")]

    def place_of(self, team: Index) -> Index:
        """Places here of the board's teams; -1 for others."""
        place = np.full(len(self.board.teams), -1)
        place[self.numbers] = np.arange(len(self.numbers))
        return np.asarray(place[team])

    @property
    def cost(self) -> float:
        """Multiplications that evaluate a team on one input."""
        return float(self.board.geometry.costs[self.members[0]].sum())


@dataclass(frozen=True)
class Known:
    """A settled (cell, level): proven, or with the witness of shape (n,)."""

    cell: int
    level: int
    witness: NDArray[np.float32] | None


class Board:
    """The state of one batch of queries whose points have the same size and bounds.

    Attributes:
        models: M networks, by digest.
        geometry: of networks and boxes.
        levels: (E,) epsilons, ascending.
        teams: index tuples into models.
        labels: (P,), of the points.
        team, point: (C,), of the cells.
        members: (C, k), indices of the models of each cell; -1 beyond those of smaller teams.
        asked: (C, E), which levels of a cell are asked.
        proven: (C,), the largest level known to have no error; -1 for none.
        found: (C,), the smallest level known to have one; E for none.
        given_up: (C, E), levels that a search could not decide: TIMEOUT or BOUNDARY; 0 elsewhere.
        unreachable: (M, P, L), the largest level at which a network surely never prefers a class to the
            label.
        reachable: (M, P, L), the smallest at which it does somewhere.
        spent: (C, E), seconds of work on what is asked, what was shared in shares.
        tried: (C, E), whether a bound was computed for that cell at that level.
        version: rises with each step of work, and whenever something is settled or given up.
    """

    def __init__(self, queries: Sequence[Query]) -> None:
        unique = {model.sha256: model for query in queries for model in query.models}
        self.models: list[Model] = [unique[digest] for digest in sorted(unique)]
        place = {model.sha256: index for index, model in enumerate(self.models)}
        self.levels = np.unique([query.ball.epsilon for query in queries])
        teams: dict[tuple[int, ...], int] = {}
        points: dict[tuple[str, int], tuple[int, Ball]] = {}
        cells: dict[tuple[int, int], int] = {}
        self.place_of: list[tuple[int, int]] = []
        for query in queries:
            indices = tuple(sorted({place[model.sha256] for model in query.models}))
            team = teams.setdefault(indices, len(teams))
            point, _ = points.setdefault((query.ball.digest, query.label), (len(points), query.ball))
            cell = cells.setdefault((team, point), len(cells))
            self.place_of.append((cell, int(np.searchsorted(self.levels, query.ball.epsilon))))
        self.teams = list(teams)
        self.team, self.point = (np.array(index, np.intp) for index in zip(*cells, strict=True))
        self.asked = np.zeros((len(cells), len(self.levels)), np.bool_)
        self.asked[tuple(np.array(self.place_of).T)] = True
        self.balls = [[replace(ball, epsilon=float(e)) for _, ball in points.values()] for e in self.levels]
        self.labels = np.array([label for _, label in points], np.intp)
        networks = tuple(model.network for model in self.models)
        self.geometry = Geometry(networks, self.balls, self.labels, self._give_up_overflow)
        self.proven = np.full(len(cells), -1)
        self.found = np.full(len(cells), len(self.levels))
        self.given_up = np.zeros(self.asked.shape, np.int8)
        self.witnesses: dict[int, NDArray[np.float32]] = {}
        shape = (len(self.models), len(self.labels), self.models[0].classes)
        self.unreachable, self.reachable = np.full(shape, -1), np.full(shape, len(self.levels))
        self.unreachable[:, np.arange(len(self.labels)), self.labels] = len(self.levels)
        self._cell_of = np.full((len(self.teams), len(self.labels)), -1)
        self._cell_of[self.team, self.point] = np.arange(len(cells))
        self._membership = np.zeros((len(self.teams), len(self.models)), np.float32)
        for index, members in enumerate(self.teams):
            self._membership[index, list(members)] = 1
        self.spent = np.zeros(self.asked.shape)
        self.tried = np.zeros(self.asked.shape, np.bool_)
        self.version = 0
        self._memory: dict[str, Array] = {}  # what holds until something changes
        self._origins_tried = False
        size = max(map(len, self.teams))
        padded = np.array([(*team, *(size - len(team)) * (-1,)) for team in self.teams])
        self.members = padded[self.team]
        self._sizes = (self.members >= 0).sum(axis=1)
        self._told = np.zeros(self.asked.shape, np.bool_)

    @cached_property
    def singles(self) -> list[Squad]:
        """Every network alone, the cheapest first."""
        return self._squads([(index,) for index in range(len(self.models))])

    @cached_property
    def squads(self) -> list[Squad]:
        """The teams that are asked about, the cheapest first."""
        return self._squads(self.teams)

    def _squads(self, teams: Sequence[tuple[int, ...]]) -> list[Squad]:
        """Teams that can share batches: of equal layer widths, and not too many weights together."""
        alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for number, team in enumerate(teams):
            networks = [self.models[index].network for index in team]
            widths = tuple(tuple(layer.size for layer in network.layers) for network in networks)
            alike.setdefault(widths, []).append(number)
        squads = []
        for numbers in alike.values():
            networks = [self.models[index].network for index in teams[numbers[0]]]
            weights = sum(stored(layer.weight) for network in networks for layer in network.layers)
            most = max(1, _WEIGHTS // weights)
            for start in range(0, len(numbers), most):
                chosen = numbers[start : start + most]
                squads.append(Squad(np.array([teams[number] for number in chosen]), np.array(chosen), self))
        return sorted(squads, key=lambda squad: squad.cost)

    def _give_up_overflow(self, index: int, large: NDArray[np.bool_]) -> None:
        """Prove nothing of a network where its numbers may be too large, (P, E)."""
        cells = np.flatnonzero(self._membership[self.team, index] > 0)
        self.given_up[cells] = np.where(large[self.point[cells]], BOUNDARY, self.given_up[cells])
        self.changed()

    # --- what is open -----------------------------------------------------------------------------

    def changed(self) -> None:
        """Something was done: what is open has to be found anew."""
        self.version += 1
        self._memory.clear()

    def _remember(self, name: str, find: Callable[[], Array]) -> Array:
        if name not in self._memory:
            self._memory[name] = find()
            self._memory[name].flags.writeable = False
        return self._memory[name]

    def open(self) -> NDArray[np.bool_]:
        """(C, E): what is asked, neither settled nor given up. Not to be changed."""
        return self._remember("open", self._find_open)

    def _find_open(self) -> NDArray[np.bool_]:
        level = np.arange(len(self.levels))
        settled = (level <= self.proven[:, None]) | (level >= self.found[:, None])
        return np.asarray(self.asked & ~settled & (self.given_up == 0))

    def top(self) -> NDArray[np.intp]:
        """(C,): the highest open level of each cell; -1 where none is open."""
        open_ = self.open()
        highest = open_.shape[1] - 1 - open_[:, ::-1].argmax(axis=1)
        return np.where(open_.any(axis=1), highest, -1)

    @property
    def grid(self) -> tuple[int, int]:
        """(P, E)."""
        return len(self.labels), len(self.levels)

    def needed(self) -> NDArray[np.bool_]:
        """(M, P, E): around which points and at which levels networks are part of open cells."""
        return self._remember("needed", lambda: self._find_needed(1))

    def needed_in_pairs(self) -> NDArray[np.bool_]:
        """The same of cells with several networks."""
        return self._remember("needed in pairs", lambda: self._find_needed(2))

    def _find_needed(self, least: int) -> NDArray[np.bool_]:
        needed = np.zeros((len(self.models), *self.grid), np.bool_)
        open_ = self.open() & (self._sizes[:, None] >= least)
        for members in self.members.T:
            own = np.flatnonzero((members >= 0) & open_.any(axis=1))
            np.logical_or.at(needed, (members[own], self.point[own]), open_[own])
        return needed

    def spread(self, share: Array) -> Array:
        """Shares of networks, (M, P, E), in equal parts to the open cells that have them: (C, E)."""
        open_ = self.open()
        total = np.zeros(self.asked.shape)
        count = np.zeros_like(share)
        places = [(np.flatnonzero(members >= 0), members) for members in self.members.T]
        for own, members in places:
            np.add.at(count, (members[own], self.point[own]), open_[own])
        each = share / np.maximum(count, 1)
        for own, members in places:
            total[own] += open_[own] * each[members[own], self.point[own]]
        return total

    def rule_out(self, network: Index, point: Index, level: Index, target: Index) -> None:
        """Networks can't be brought to some labels, (m,), nor can they at smaller levels."""
        if len(network):
            np.maximum.at(self.unreachable, (network, point, target), level)
            self.changed()

    def news(self) -> list[Known]:
        """What is asked and was settled since this was last called."""
        level = np.arange(len(self.levels))
        unsat, sat = level <= self.proven[:, None], level >= self.found[:, None]
        new = self.asked & (unsat ^ sat) & ~self._told
        self._told |= new
        return [
            Known(int(cell), int(e), self.witnesses[int(cell)] if sat[cell, e] else None)
            for cell, e in np.argwhere(new)
        ]

    def prove(self, cells: Index, level: Index) -> None:
        """Cells, (m,), have no error at some levels, (m,)."""
        new = level > self.proven[cells]
        if new.any():
            np.maximum.at(self.proven, cells, level)
            self.changed()

    def give_up(self, which: NDArray[np.bool_], reason: int) -> None:
        """Nothing more is tried for some levels of cells, (C, E)."""
        new = which & (self.given_up == 0)
        if new.any():
            self.given_up[new] = reason
            self.changed()

    def prove_by_singles(self) -> None:
        """One robust member settles its teams."""
        robust = self.unreachable.min(axis=2)  # (M, P)
        alone = robust[self.members, self.point[:, None]]
        self.prove(np.arange(len(self.team)), np.where(self.members >= 0, alone, -1).max(axis=1))

    # --- witnesses --------------------------------------------------------------------------------

    @np.errstate(over="ignore", invalid="ignore")
    def offer(self, point: Index, x: Array, source: Index | None = None) -> None:
        """Try inputs, shape (m, n), for all teams at all levels: each pulled towards its point.

        Networks are evaluated, the cheapest first, where a team could still err. `source`, (m,): networks
        that are evaluated in any case.
        """
        if not len(x):
            return
        self.changed()
        origin = self.geometry.origins[point]
        step = x - origin
        far = np.maximum(np.abs(step).max(axis=1, keepdims=True), np.float32(1e-30))
        cells = self._cell_of[:, point].T
        firsts: dict[int, tuple[Array, Array]] = {}
        for level, epsilon in enumerate(self.levels):
            scale = np.minimum(np.float32(1), np.float32(epsilon) / far)
            wanted = (cells >= 0) & (level < self.found[cells])  # (m, teams) that may err, for all we know
            for number, (indices, chains) in enumerate(self.geometry.crowds):
                rows = (wanted @ self._membership[:, indices].any(axis=1)) > 0
                if source is not None:
                    rows |= np.isin(source, indices)
                if not rows.any():
                    continue
                if number not in firsts:
                    alone = groups_of(np.zeros(len(x), np.intp))
                    at_origin = chains.from_input(origin, alone) + chains.first_bias[0]
                    firsts[number] = at_origin, chains.from_input(step, alone)
                start, slope = firsts[number]
                place = np.flatnonzero(rows)
                at = start[place] + scale[place] * slope[place]
                erring = self._erring(indices, chains, at, point[place], level)
                missed = (1 - erring) @ self._membership[:, indices].T > 0
                wanted[place] &= ~missed
            candidate, team = np.nonzero(wanted)
            if len(candidate):
                # one candidate a cell; another will come for the few that don't replay
                _, first = np.unique(cells[candidate, team], return_index=True)
                tried, back = np.unique(candidate[first], return_inverse=True)
                pulled = origin[tried] + scale[tried] * step[tried]
                self._confirm(cells[candidate, team][first], back, point[tried], level, pulled)

    def _erring(self, indices: Index, chains: Chains, first: Array, point: Index, level: int) -> Array:
        """Which of some networks err, (m, networks), at first pre-activations; labels reached are noted."""
        rows, label = np.arange(len(first)), self.labels[point]
        alone = np.zeros(len(first), np.intp)
        groups = groups_of(alone)
        erring = np.empty((len(first), len(indices)), np.float32)
        for position, logits in enumerate(chains.logits(chains.hidden(first, alone, groups), groups)):
            beaten = logits > logits[rows, label][:, None]
            erring[:, position] = beaten.any(axis=1)
            reachable = self.reachable[indices[position]]
            candidate, target = np.nonzero(beaten & (reachable[point] > level))
            np.minimum.at(reachable, (point[candidate], target), level)
        return erring

    def try_origins(self) -> None:
        """Try the points themselves, once."""
        if not self._origins_tried:
            self._origins_tried = True
            self.offer(np.arange(len(self.labels)), self.geometry.origins)

    def insist(self, cell: int, level: int, x: Array) -> None:
        """Search for a witness around an input, shape (n,), that is one in real numbers, or almost."""
        point = int(self.point[cell])
        indices = list(self.teams[self.team[cell]])
        members = [self.models[index] for index in indices]
        label, ball = int(self.labels[point]), self.balls[level][point]
        if self._clearly_right(indices, point, level, x):
            return

        def execute(x: NDArray[np.float32]) -> Array:
            return np.stack([margins(model, x, label) for model in members], axis=1)

        best = climb(x.astype(np.float32), ball.project, execute)[None]
        if level < self.found[cell] and all(errs(model, best, label)[0] for model in members):
            self._witnessed(cell, level, best[0])

    def _clearly_right(self, indices: list[int], point: int, level: int, x: Array) -> bool:
        """Whether some network is so right at x that rounding hardly ever makes it err."""
        label, box = self.labels[point], level * len(self.labels) + point
        for index in indices:
            logits = self.models[index].network.evaluate(x[None])[0]
            margin = logits - logits[label]
            margin[label] = -np.inf
            if (margin < -_HAIR * self.geometry.rounding(box, index)).all():
                return True
        return False

    def _confirm(self, cells: Index, candidate: Index, point: Index, level: int, x: Array) -> None:
        """Replay candidates, shape (m, n), in onnxruntime; cells are settled by those that err there."""
        for p in np.unique(point):
            x[point == p] = self.balls[level][p].project(x[point == p])
        fails = np.zeros((len(x), len(self.models)), np.bool_)
        asked = [list(self.teams[team]) for team in self.team[cells]]
        for index in {index for team in asked for index in team}:
            rows = np.unique([row for row, team in zip(candidate, asked, strict=True) if index in team])
            fails[rows, index] = errs(self.models[index], x[rows], self.labels[point[rows]])
        for cell, row, team in zip(cells, candidate, asked, strict=True):
            if fails[row, team].all():
                self._witnessed(int(cell), level, x[row].copy())

    def _witnessed(self, cell: int, level: int, x: NDArray[np.float32]) -> None:
        self.found[cell] = level
        self.witnesses[cell] = x
        self.changed()
