"""`Board`: what the cascade knows of the queries around some points, and how a witness settles many of them.

A *cell* is one team of networks (one, a pair, or more) around one point. The epsilons that are asked, over
all cells, are the *levels*. Mutual errors are monotone in epsilon, so what is known of a cell is the largest
level proven and the smallest level with a witness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.attack import climb
from pytest_ensemble.engines.chains import Array, Boxes, Chains, Frame, Index, groups_of
from pytest_ensemble.engines.checkpoint import checkpoint
from pytest_ensemble.engines.preactivations import hidden_bounds
from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.network import Network
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


@dataclass(frozen=True)
class Squad:
    """Teams that share batches.

    Attributes:
        frame: its T teams over the boxes of all points and levels.
        members: (T, k), indices of models.
        numbers: (T,), places among the teams that were given.
    """

    frame: Frame
    members: Index
    numbers: Index


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
        levels: (E,) epsilons, ascending.
        teams: index tuples into models.
        labels: (P,), of the points.
        team, point: (C,), of the cells.
        asked: (C, E), which levels of a cell are asked.
        proven: (C,), the largest level known to have no error; -1 for none.
        found: (C,), the smallest level known to have one; E for none.
        given_up: (C, E), levels that a search could not decide: TIMEOUT or BOUNDARY; 0 elsewhere.
        unreachable: (M, P, L), the largest level at which a network surely never prefers a class to the
            label.
        reachable: (M, P, L), the smallest at which it does somewhere.
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

    # --- geometry ---------------------------------------------------------------------------------

    @cached_property
    def everyone(self) -> Frame:
        """All networks as one team; box number `level * P + point`."""
        exact, fast = _layout(self._networks, None)
        boxes = [ball.box for balls in self.balls for ball in balls]
        low, high = (np.stack(sides) for sides in zip(*boxes, strict=True))
        labels = np.tile(self.labels, len(self.levels))
        rounding = np.empty((len(low), len(self.models), self.models[0].classes))
        for index, network in enumerate(self._networks):
            for start in range(0, len(low), _BOXES):
                checkpoint()
                part = slice(start, start + _BOXES)
                rounding[part, index] = margin_rounding(network, low[part], high[part], labels[part])
        rounding = np.minimum(rounding, LARGEST)
        with np.errstate(over="ignore", invalid="ignore"):  # see `give_up_overflow`
            return Frame(
                fast,
                replace(fast.boxes(low, high), rounding=rounding),
                exact,
                replace(exact.boxes(low, high), rounding=rounding),
            )

    @property
    def _networks(self) -> tuple[Network, ...]:
        return tuple(model.network for model in self.models)

    def box(self, point: Index, level: Index) -> Index:
        """Numbers of boxes."""
        return np.asarray(level * len(self.labels) + point)

    @cached_property
    def singles(self) -> list[Squad]:
        """Every network alone."""
        return self._squads([(index,) for index in range(len(self.models))])

    @cached_property
    def squads(self) -> list[Squad]:
        """The teams that are asked about."""
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
            weights = sum(
                int(np.prod(layer.weight.shape)) for network in networks for layer in network.layers
            )
            most = max(1, _WEIGHTS // weights)
            for start in range(0, len(numbers), most):
                chosen = numbers[start : start + most]
                squads.append(self._squad(chosen, [teams[number] for number in chosen]))
        return squads

    def _squad(self, numbers: list[int], teams: list[tuple[int, ...]]) -> Squad:
        everyone = self.everyone
        exact, fast = _layout(self._networks, tuple(teams))
        frame = Frame(fast, everyone.fast_boxes, exact, everyone.exact_boxes)
        return Squad(frame, np.array(teams), np.array(numbers))

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
        columns = self.everyone.exact.columns_of((index,))
        lower, upper = self._preactivations
        return lower[np.ix_(box, columns)], upper[np.ix_(box, columns)]

    @cached_property
    def _preactivations(self) -> tuple[Array, Array]:
        shape = self.everyone.exact_boxes.size.shape
        return np.empty(shape, np.float32), np.empty(shape, np.float32)

    def _bound(self, index: int, box: Index, refine: bool) -> None:
        """Bound one network's pre-activations where that was not done yet."""
        refine &= len(self.models[index].network.layers) > 2
        missing = box[self._known[index, box] < 1 + refine]
        if not len(missing):
            return
        everyone = self.everyone
        columns = everyone.exact.columns_of((index,))
        network = self.models[index].network
        width = int((columns < everyone.exact.width).sum())
        boxes = everyone.exact_boxes
        own = Boxes(
            boxes.center[missing],
            boxes.radius[missing],
            boxes.at_center[np.ix_(missing, columns[:width])],
            boxes.reach[np.ix_(missing, columns[:width])],
            boxes.size[np.ix_(missing, columns)],
        )
        low, high = hidden_bounds(network, own, refine=refine)
        lower, upper = self._preactivations
        place = np.ix_(missing, columns)
        lower[place], upper[place] = low, high
        self._known[index, missing] = 1 + refine

    def give_up_overflow(self) -> None:
        """Prove nothing at levels at which numbers of a network may be too large; still try the points."""
        self.offer(np.arange(len(self.labels)), self._origins)
        everyone = self.everyone
        boxes, chains = everyone.exact_boxes, everyone.exact
        assert boxes.rounding is not None
        large = boxes.rounding.max(axis=2) >= LARGEST
        for index in range(len(self.models)):
            # false for NaN too
            large[:, index] |= ~(boxes.size[:, chains.columns_of((index,))] < LARGEST).all(axis=1)
        if large.any():
            levels = large.reshape(len(self.levels), len(self.labels), -1)
            for cell, (team, point) in enumerate(zip(self.team, self.point, strict=True)):
                members = list(self.teams[team])
                self.given_up[cell, levels[:, point, members].any(axis=1)] = BOUNDARY

    # --- what is open -----------------------------------------------------------------------------

    def open(self) -> NDArray[np.bool_]:
        """(C, E): what is asked, neither settled nor given up."""
        level = np.arange(len(self.levels))
        settled = (level <= self.proven[:, None]) | (level >= self.found[:, None])
        return np.asarray(self.asked & ~settled & (self.given_up == 0))

    def top(self) -> NDArray[np.intp]:
        """(C,): the highest open level of each cell; -1 where none is open."""
        open_ = self.open()
        highest = open_.shape[1] - 1 - open_[:, ::-1].argmax(axis=1)
        return np.where(open_.any(axis=1), highest, -1)

    def settled(self) -> list[Known]:
        """All that is asked and settled so far."""
        level = np.arange(len(self.levels))
        unsat = self.asked & (level <= self.proven[:, None])
        sat = self.asked & (level >= self.found[:, None])
        known = [Known(int(cell), int(e), None) for cell, e in np.argwhere(unsat & ~sat)]
        return known + [
            Known(int(cell), int(e), self.witnesses[int(cell)]) for cell, e in np.argwhere(sat & ~unsat)
        ]

    def prove_by_singles(self) -> None:
        """One robust member settles its teams."""
        robust = self.unreachable.min(axis=2)  # (M, P)
        for index, team in enumerate(self.teams):
            cells = np.flatnonzero(self.team == index)
            best = robust[list(team)][:, self.point[cells]].max(axis=0)
            self.proven[cells] = np.maximum(self.proven[cells], best)

    # --- witnesses --------------------------------------------------------------------------------

    @np.errstate(over="ignore", invalid="ignore")
    def offer(self, point: Index, x: Array) -> None:
        """Try inputs, shape (m, n), for all teams at all levels: each pulled towards its point."""
        if not len(x):
            return
        chains = self.everyone.fast
        rows, label = np.arange(len(x)), self.labels[point]
        origin = self._origins[point]
        step = x - origin
        far = np.maximum(np.abs(step).max(axis=1, keepdims=True), np.float32(1e-30))
        alone = np.zeros(len(x), np.intp)
        groups = groups_of(alone)
        start = chains.from_input(origin, groups) + chains.first_bias[0]
        slope = chains.from_input(step, groups)
        for level, epsilon in enumerate(self.levels):
            scale = np.minimum(np.float32(1), np.float32(epsilon) / far)
            erring = np.empty((len(x), len(self.models)), np.float32)
            for index, logits in enumerate(
                chains.logits(chains.hidden(start + scale * slope, alone, groups), groups)
            ):
                beaten = logits > logits[rows, label][:, None]
                erring[:, index] = beaten.any(axis=1)
                candidate, target = np.nonzero(beaten & (self.reachable[index, point] > level))
                np.minimum.at(self.reachable[index], (point[candidate], target), level)
            all_err = erring @ self._membership.T >= self._membership.sum(axis=1)
            cells = self._cell_of[:, point].T
            useful = all_err & (cells >= 0) & (level < self.found[cells])
            candidate, team = np.nonzero(useful)
            if len(candidate):
                # one candidate a cell; another will come for the few that don't replay
                _, first = np.unique(cells[candidate, team], return_index=True)
                tried, back = np.unique(candidate[first], return_inverse=True)
                pulled = origin[tried] + scale[tried] * step[tried]
                self._confirm(cells[candidate, team][first], back, point[tried], level, pulled)

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
            self.found[cell] = level
            self.witnesses[cell] = best[0]

    def _clearly_right(self, indices: list[int], point: int, level: int, x: Array) -> bool:
        """Whether some network is so right at x that rounding hardly ever makes it err."""
        rounding = self.everyone.exact_boxes.rounding
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
    def _origins(self) -> NDArray[np.float32]:
        return np.stack([ball.center for ball in self.balls[0]])

    def _confirm(self, cells: Index, candidate: Index, point: Index, level: int, x: Array) -> None:
        """Replay candidates, shape (m, n), in onnxruntime; cells are settled by those that err there."""
        for p in np.unique(point):
            x[point == p] = self.balls[level][p].project(x[point == p])
        fails = np.stack([errs(model, x, self.labels[point]) for model in self.models], axis=1)
        for cell, row in zip(cells, candidate, strict=True):
            if fails[row, list(self.teams[self.team[cell]])].all():
                self.found[cell] = level
                self.witnesses[int(cell)] = x[row].copy()


@lru_cache(maxsize=32)
def _layout(
    networks: tuple[Network, ...], teams: tuple[tuple[int, ...], ...] | None
) -> tuple[Chains, Chains]:
    """Chains of teams of these networks (None: all of them as one team), in float64 and in float32.

    Boards of one pool share them.
    """
    if teams is None:
        exact = Chains([networks])
    else:
        everyone, _ = _layout(networks, None)
        columns = np.stack([everyone.columns_of(team) for team in teams])
        exact = Chains(
            [[networks[index] for index in team] for team in teams], columns=columns, numbers=np.array(teams)
        )
    return exact, exact.cast(np.float32)
