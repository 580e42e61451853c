"""The truly joint queries of an analysis: those that joint bounds and attacks leave to branch and bound."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks.workloads import CLIP, Workload
from pytest_ensemble.analysis.analysis import Analysis
from pytest_ensemble.engines import joint_search, make_engine
from pytest_ensemble.engines.bounds import Rows
from pytest_ensemble.engines.branch_and_bound import BranchAndBound
from pytest_ensemble.engines.chains import Frame, Index

__all__ = ["Joint", "branch", "copied", "record", "sample"]


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
    searches: list[Recording] = []

    class Recording(BranchAndBound):
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            self.roots: list[tuple[Rows, Index, NDArray[np.bool_]]] = []
            searches.append(self)

        def start(self, rows: Rows, owner: Index, *others: Any, **options: Any) -> None:
            roots, owners = copied(rows), owner.copy()
            super().start(rows, owner, *others, **options)
            self.roots.append((roots, owners, self.waiting))

    analysis = Analysis(
        workload.pool, workload.points, epsilons=epsilons, bounds=CLIP, engine=make_engine("native")
    )
    with mock.patch.object(joint_search, "BranchAndBound", Recording):
        analysis.solve()
    analysis.close()
    joints = []
    for search in (search for search in searches if search.frame.fast.k > 1):
        for rows, owner, waiting in search.roots:
            settled = np.intersect1d(owner, np.flatnonzero(waiting & (search.unsat | search.sat)))
            if len(settled):
                joints.append(Joint(search.frame, rows, owner, search.unsat).take(settled))
    return joints


def branch(search: BranchAndBound, limit: int, timeout: float) -> None:
    """Search until every owner is settled, or has had so many nodes, or its time is over."""
    end = time.perf_counter() + timeout * len(search.sat)
    while time.perf_counter() < end:
        rank = np.where(search.waiting & (search.nodes <= limit), 0, -1)
        places, _ = search.choose(rank)
        if not len(places):
            return
        search.branch(places, rank)


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
