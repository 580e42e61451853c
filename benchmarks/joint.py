"""The truly joint queries of an analysis: those that joint bounds and attacks leave to branch and bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks.workloads import CLIP, Workload
from pytest_ensemble.analysis.analysis import Analysis
from pytest_ensemble.engines import make_engine, stages
from pytest_ensemble.engines.bounds import Rows
from pytest_ensemble.engines.branch_and_bound import BranchAndBound
from pytest_ensemble.engines.chains import Frame, Index

__all__ = ["Joint", "copied", "record", "sample"]


@dataclass
class Joint:
    """Truly joint queries of one search: O owners.

    Attributes:
        frame: their networks and boxes.
        rows, owner: the roots, (B,), as the search began with.
        unsat: (O,), what the engine found in the end; the others are sat.
    """

    frame: Frame
    rows: Rows
    owner: Index
    unsat: NDArray[np.bool_]

    def take(self, owners: Index) -> Joint:
        """Some of the queries."""
        chosen = np.flatnonzero(np.isin(self.owner, owners))
        return Joint(
            self.frame,
            self.rows.take(chosen),
            np.searchsorted(owners, self.owner[chosen]),
            self.unsat[owners],
        )


def record(workload: Workload, epsilons: Sequence[float]) -> list[Joint]:
    """The searches in which an analysis branches on several networks at once."""
    joints: list[Joint] = []

    class Recording(BranchAndBound):
        def start(self, rows: Rows, owner: Index, *others: Any, **options: Any) -> None:
            self.roots = copied(rows), owner.copy()
            super().start(rows, owner, *others, **options)

        def branch(self, **options: Any) -> Iterator[None]:
            open_ = np.flatnonzero(self.open)
            yield from super().branch(**options)
            if self.frame.fast.k > 1 and len(open_):
                settled = open_[(self.unsat | self.sat)[open_]]
                joints.append(Joint(self.frame, *self.roots, self.unsat).take(settled))

    analysis = Analysis(
        workload.pool, workload.points, epsilons=epsilons, bounds=CLIP, engine=make_engine("native")
    )
    with mock.patch.object(stages, "BranchAndBound", Recording):
        analysis.solve()
    analysis.close()
    return joints


def sample(joints: list[Joint], count: int, seed: int) -> list[Joint]:
    """At most so many of the queries, at random."""
    places = [(search, own) for search, joint in enumerate(joints) for own in range(len(joint.unsat))]
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(places))[:count]
    kept: dict[int, list[int]] = {}
    for search, own in sorted(places[k] for k in chosen):
        kept.setdefault(search, []).append(own)
    return [joints[search].take(np.array(own)) for search, own in kept.items()]


def copied(rows: Rows) -> Rows:
    """Rows that share no array with these."""
    return rows.take(np.arange(len(rows)))
