"""`Board`: what the cascade knows of the queries around some points, and how a witness settles many of them.

A *cell* is one team of networks (one, a pair, or more) around one point. The epsilons that are asked, over
all cells, are the *levels*. Mutual errors are monotone in epsilon, so what is known of a cell is the largest
level proven and the smallest level with a witness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.attack import climb
from pytest_ensemble.engines.chains import (
    Array,
    Boxes,
    Chains,
    Frame,
    Index,
    axis_of,
    box_centers,
    groups_of,
)
from pytest_ensemble.engines.checkpoint import checkpoint
from pytest_ensemble.engines.preactivations import hidden_bounds
from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.network import Network, is_dense, multiplications, stored
from pytest_ensemble.networks.rounding import margin_rounding
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import errs, margins

__all__ = ["BOUNDARY", "TIMEOUT", "Board", "Known", "Squad"]

# Why a level of a cell was given up.
TIMEOUT, BOUNDARY = 1, 2

_HAIR = 0.25  # of what rounding may add to a margin; it was never seen to add as much
LARGEST = 1e18  # of numbers that are computed with: float32 must hold their squares
_WEIGHTS = 1 << 23  # that the teams of one squad may have together
_BOXES = 16  # whose rounding is bounded at a time
_ALIKE = 8  # times the cost of the cheapest that networks evaluated together may cost


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
        return self.board.frame(self.members)

    @cached_property
    def chains(self) -> Chains:
        """Its teams alone, in float32."""
        return self.board.layout(self.members)[1]

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
        return float(self.board.costs[self.members[0]].sum())


@dataclass(frozen=True)
class Known:
    """A settled (cell, level): proven, or with the witness of shape (n,)."""

    cell: int
    level: int
    witness: NDArray[np.float32] | None


class Board:
    """The state of one batch of queries whose points have the same size and bounds.

    Networks are laid out when they are first needed, so that a costly one is in nobody's way.

    Attributes:
        models: M networks, by digest.
        costs: (M,), multiplications that evaluate them on one input.
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
        self._known = np.zeros((len(self.models), len(self.levels) * len(self.labels)), np.int8)
        self.costs = np.array([multiplications(model.network) for model in self.models])
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
        self._ready = np.zeros(len(self.models), np.bool_)  # whose columns of the axis are filled in

    # --- geometry ---------------------------------------------------------------------------------

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
        boxes = [ball.box for balls in self.balls for ball in balls]
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
        return Boxes(
            center,
            radius,
            np.empty((count, axis.width), dtype),
            np.empty((count, axis.width if dtype == np.float64 else 0)),
            np.empty((count, axis.neurons if dtype == np.float64 else 0)),
            np.zeros((count, len(self.models), self.models[0].classes if dtype == np.float64 else 0)),
        )

    def _prepare(self, index: int) -> None:
        """What is known of a network before any bound: its values at the centers, and how it rounds."""
        if self._ready[index]:
            return
        network, (low, high) = self.models[index].network, self._corners
        exact_boxes, fast_boxes = self._exact_boxes, self._fast_boxes
        columns = axis_of(self._networks).columns_of((index,))
        exact, fast = _alone(network)
        place = columns[: exact.width]
        with np.errstate(over="ignore", invalid="ignore"):  # see `_give_up_overflow`
            own = exact.boxes(low, high)
            exact_boxes.at_center[:, place], exact_boxes.reach[:, place] = own.at_center, own.reach
            exact_boxes.size[:, columns] = own.size
            fast_boxes.at_center[:, place] = fast.at_centers(fast_boxes.center)
        labels = np.tile(self.labels, len(self.levels))
        assert exact_boxes.rounding is not None
        for start in range(0, len(low), _BOXES):
            checkpoint()
            part = slice(start, start + _BOXES)
            rounding = margin_rounding(network, low[part], high[part], labels[part])
            exact_boxes.rounding[part, index] = np.minimum(rounding, LARGEST)
        self._ready[index] = True
        self._give_up_overflow(index, columns)

    @cached_property
    def crowds(self) -> list[tuple[Index, Chains]]:
        """All networks in groups that are evaluated together, the cheapest first: indices, float32 chains."""
        groups: list[list[int]] = []
        for index in np.argsort(self.costs, kind="stable").tolist():
            network = self.models[index].network
            alike = bool(groups) and self.costs[index] <= _ALIKE * self.costs[groups[-1][0]]
            if alike and is_dense(network) and is_dense(self.models[groups[-1][0]].network):
                groups[-1].append(index)
            else:
                groups.append([index])
        return [
            (np.array(group), _evaluation(tuple(self.models[index].network for index in group)))
            for group in groups
        ]

    @property
    def _networks(self) -> tuple[Network, ...]:
        return tuple(model.network for model in self.models)

    def box(self, point: Index, level: Index) -> Index:
        """Numbers of boxes."""
        return np.asarray(level * len(self.labels) + point)

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

    def bounds(self, squad: Squad, team: Index, box: Index, *, refine: bool = False) -> tuple[Array, Array]:
        """Bounds of the hidden pre-activations of rows: float32 (B, N), rounded outwards.

        Computed once per network and box, and shared by all its teams; once more if they shall be refined.
        """
        members = squad.members[team]
        for index in np.unique(squad.members):
            self._bound(int(index), np.unique(box[(members == index).any(axis=1)]), refine)
        columns = squad.frame.fast.columns
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
        refine &= len(self.models[index].network.layers) > 2
        missing = box[self._known[index, box] < 1 + refine]
        if not len(missing):
            return
        axis = axis_of(self._networks)
        columns = axis.columns_of((index,))
        network, boxes = self.models[index].network, self._exact_boxes
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

    def _give_up_overflow(self, index: int, columns: Index) -> None:
        """Prove nothing of a network at levels at which its numbers may be too large."""
        boxes = self._exact_boxes
        assert boxes.rounding is not None
        # false for NaN too
        fits = (boxes.rounding[:, index] < LARGEST).all(axis=1)
        fits &= (boxes.size[:, columns] < LARGEST).all(axis=1)
        if not fits.all():
            large = ~fits.reshape(len(self.levels), len(self.labels)).T
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

    @property
    def numbers(self) -> int:
        """How many numbers it holds of neurons times boxes."""
        axis = axis_of(self._networks)
        return (axis.neurons + self.models[0].input_size) * self.asked.shape[1] * len(self.labels)

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
        origin = self.origins[point]
        step = x - origin
        far = np.maximum(np.abs(step).max(axis=1, keepdims=True), np.float32(1e-30))
        cells = self._cell_of[:, point].T
        firsts: dict[int, tuple[Array, Array]] = {}
        for level, epsilon in enumerate(self.levels):
            scale = np.minimum(np.float32(1), np.float32(epsilon) / far)
            wanted = (cells >= 0) & (level < self.found[cells])  # (m, teams) that may err, for all we know
            for number, (indices, chains) in enumerate(self.crowds):
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
            self.offer(np.arange(len(self.labels)), self.origins)

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
        rounding = self._exact_boxes.rounding
        assert rounding is not None
        label, box = self.labels[point], level * len(self.labels) + point
        for index in indices:
            logits = self.models[index].network.evaluate(x[None])[0]
            margin = logits - logits[label]
            margin[label] = -np.inf
            if (margin < -_HAIR * rounding[box, index]).all():
                return True
        return False

    @cached_property
    def origins(self) -> NDArray[np.float32]:
        """(P, n): the points."""
        return np.stack([ball.center for ball in self.balls[0]])

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
