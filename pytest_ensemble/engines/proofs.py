"""What the searches of one board proved, leaf by leaf; written in the format that `certificates` describes.

A fact says that one choice of labels, a class for each network of a team, is reached by no input of a box.
Its leaves are the rows that closed the search for it: together they hold every sign of the ReLUs that it
branched on, and the multipliers of each make its bound negative.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.board import Board, Squad
from pytest_ensemble.engines.bounds import Rows, weights_of
from pytest_ensemble.engines.chains import Array, Chains
from pytest_ensemble.errors import EngineError

__all__ = ["Proofs"]

_LEAF = ("side", "alpha", "beta", "weight", "lower", "upper")

# The members of a team, the point, the level, and the class of each member.
Fact = tuple[tuple[int, ...], int, int, tuple[int, ...]]


class Proofs:
    """The facts of one board."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._leaves: dict[Fact, list[dict[str, list[Array]]]] = {}

    def add(self, squad: Squad, rows: Rows, branch: NDArray[np.int8]) -> None:
        """All leaves of some facts.

        Args:
            squad: whose rows they are.
            rows: that are closed, in any order.
            branch: (B, N), the signs that branching has fixed in them.
        """
        points = len(self._board.labels)
        parts = _by_member(squad.frame.exact, rows, branch)
        found: dict[Fact, list[dict[str, list[Array]]]] = {}
        for row in range(len(rows)):
            members = tuple(int(index) for index in squad.members[rows.team[row]])
            level, point = divmod(int(rows.box[row]), points)
            fact = members, point, level, tuple(int(p) for p in rows.target[row])
            own = {name: [values[row] for values in arrays] for name, arrays in parts.items()}
            found.setdefault(fact, []).append(own)
        self._leaves |= found

    def write(self, folder: Path) -> int:
        """Write the certificate of every cell that is proven at a level that was asked; how many there are.

        Raises:
            EngineError: it can't be written.
        """
        board, needed, queries = self._board, {}, []
        for cell in np.flatnonzero(board.proven >= 0):
            facts = self._facts_of(int(cell))
            if facts is None or not board.asked[cell, : board.proven[cell] + 1].any():
                continue
            members = board.teams[board.team[cell]]
            queries.append((*members, int(board.point[cell]), int(board.proven[cell])))
            needed.update(dict.fromkeys(facts))
        if queries:
            try:
                _write(folder, _arrays(board, list(needed), self._leaves, queries))
            except OSError as error:
                raise EngineError(f"Certificates can't be written to {folder}: {error.strerror}.") from None
        return len(queries)

    def _facts_of(self, cell: int) -> list[Fact] | None:
        """Facts that rule out every choice of labels of a cell at the largest level proven."""
        board = self._board
        members, point = board.teams[board.team[cell]], int(board.point[cell])
        level, label = int(board.proven[cell]), int(board.labels[point])
        classes = [p for p in range(board.models[0].classes) if p != label]
        alone = {index: {p: self._single(index, point, level, p) for p in classes} for index in members}
        for facts in alone.values():
            if None not in facts.values():
                return [fact for fact in facts.values() if fact is not None]
        singles = [fact for facts in alone.values() for fact in facts.values() if fact is not None]
        left = [[p for p in classes if alone[index][p] is None] for index in members]
        joint = [(members, point, level, choice) for choice in product(*left)]
        if any(fact not in self._leaves for fact in joint):
            return None
        return singles + joint

    def _single(self, index: int, point: int, level: int, target: int) -> Fact | None:
        """That a network can't be brought to a class, at this level or a larger one."""
        for at in range(level, len(self._board.levels)):
            fact = (index,), point, at, (target,)
            if fact in self._leaves:
                return fact
        return None


def _by_member(chains: Chains, rows: Rows, branch: NDArray[np.int8]) -> dict[str, list[Array]]:
    """What a leaf is: weights of the margins, and per network, in the order of its layers, the rest."""
    unstable = (rows.lower < 0) & (rows.upper > 0)
    alpha = np.where(unstable, rows.alpha, 0)
    beta, weights = rows.side * rows.beta, weights_of(rows.omega.astype(np.float64))
    parts: dict[str, list[Array]] = {name: [] for name in _LEAF}
    for position, places in enumerate(chains.places):
        columns = np.concatenate([np.arange(place.start, place.stop) for place in places])
        deeper = columns[places[0].stop - places[0].start :]
        parts["lower"].append(rows.lower[:, deeper].astype(np.float32))
        parts["upper"].append(rows.upper[:, deeper].astype(np.float32))
        parts["side"].append(branch[:, columns])
        parts["alpha"].append(alpha[:, columns])
        parts["beta"].append(beta[:, columns])
        parts["weight"].append(weights[:, position])
    return parts


def _arrays(
    board: Board, facts: list[Fact], leaves: dict[Fact, list[Any]], queries: list[tuple[int, ...]]
) -> dict[str, Array]:
    """All arrays of a certificate, as `certificates` describes them."""
    arrays: dict[str, Array] = {
        "center": np.stack([ball.center for ball in board.balls[0]]),
        "label": board.labels,
        "epsilon": board.levels,
    }
    unbounded = np.full(board.balls[0][0].center.shape, np.inf)
    bounds = [ball.bounds or (-unbounded, unbounded) for ball in board.balls[0]]
    arrays["low"], arrays["high"] = (np.stack(sides) for sides in zip(*bounds, strict=True))
    boxes: dict[int, set[tuple[int, int]]] = {}
    teams: dict[tuple[int, ...], list[Fact]] = {}
    for fact in facts:
        teams.setdefault(fact[0], []).append(fact)
        for index in fact[0]:
            boxes.setdefault(index, set()).add(fact[1:3])
    for number, (members, own) in enumerate(teams.items()):
        rows = [leaf for fact in own for leaf in leaves[fact]]
        counts = [len(leaves[fact]) for fact in own]
        arrays[f"team{number}.members"] = np.array(members)
        arrays[f"team{number}.facts"] = np.array([(*fact[1:3], *fact[3]) for fact in own])
        arrays[f"team{number}.leaves"] = np.array(counts)
        for position in range(len(members)):
            for name in _LEAF:
                stacked = np.stack([row[name][position] for row in rows])
                arrays[f"team{number}.{name}{position}"] = stacked
    for index, own_boxes in boxes.items():
        place = np.array(sorted(own_boxes))
        lower, upper = board.geometry.bounds_of(index, board.geometry.box(place[:, 0], place[:, 1]))
        arrays[f"model{index}.boxes"] = place
        arrays[f"model{index}.lower"], arrays[f"model{index}.upper"] = lower, upper
    models = [
        {"name": model.name, "sha256": model.sha256, "path": None if model.path is None else str(model.path)}
        for model in board.models
    ]
    manifest = {"format": "pytest-ensemble certificate 1", "models": models, "queries": queries}
    arrays["manifest"] = np.frombuffer(json.dumps(manifest).encode(), np.uint8)
    return arrays


def _write(folder: Path, arrays: dict[str, Array]) -> None:
    """One file, named by its content, there as a whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # not `allow_pickle`
    name = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.{os.getpid()}"
    partial.write_bytes(buffer.getvalue())
    partial.replace(folder / f"{name}.npz")
