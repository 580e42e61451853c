"""What the benchmarks ask about: trained pools, their agreement points, and random pair queries."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks import data, training
from pytest_ensemble.analysis.points import Data, Points, agreement_points
from pytest_ensemble.networks.pool import Pool
from pytest_ensemble.queries.query import Query, make_query

__all__ = ["CLIP", "DATASETS", "EPSILONS", "PairQuery", "Workload", "load_workload", "pair_queries"]

DATASETS = ("fashion", "mnist")
EPSILONS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
CLIP = (0.0, 1.0)


@dataclass(frozen=True)
class PairQuery:
    """A query of two networks of a workload around its agreement point number `point`."""

    dataset: str
    point: int
    query: Query


@dataclass(frozen=True)
class Workload:
    """A pool and agreement points of it."""

    dataset: str
    pool: Pool
    points: Points

    @property
    def digest(self) -> str:
        """Of the networks and points, so that results say what they were measured on."""
        content = "".join(model.sha256 for model in self.pool.values()) + self.points.sha256
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def part(self, networks: int | None = None, points: int | None = None) -> Workload:
        """The first networks and points."""
        kept = slice(0, points)
        own = self.points
        return replace(
            self,
            pool=Pool(list(self.pool.values())[:networks]),
            points=replace(own, x=own.x[kept], labels=own.labels[kept], indices=own.indices[kept]),
        )


def load_workload(
    dataset: str,
    mnist: Path | None,
    *,
    hidden: Sequence[int] | None = (30,),
    deployed: tuple[str, bool] | None = None,
    networks: int = 10,
    points: int = 200,
    label: int | None = 0,
) -> Workload:
    """Networks 784-*hidden-10 (None: the convolutional ones) and their first agreement points.

    Args:
        dataset: one of DATASETS.
        mnist: the folder with the idx files of MNIST.
        hidden, networks: the pool; trained if it is not cached.
        deployed: a kind of `training.deployed_pool` instead, and whether it is trained adversarially.
        points, label: how many agreement points of the test images, of one label or of any (None).
    """
    place = data.folder(dataset, mnist)

    def train() -> data.Images:
        return _images(place, "train")

    if deployed is not None:
        kind, adversarial = deployed
        pool = training.deployed_pool(dataset, train, kind, networks, adversarial=adversarial)
    elif hidden is None:
        pool = training.conv_pool(dataset, train, networks)
    else:
        pool = training.trained_pool(dataset, train, hidden, networks)
    images = Data(*_images(place, "t10k"), dataset)
    return Workload(dataset, pool, agreement_points(pool, images, count=points, label=label))


def pair_queries(workload: Workload, epsilons: Sequence[float], count: int, seed: int) -> list[PairQuery]:
    """`count` random (pair, point) for each epsilon, without repetition."""
    rng = np.random.default_rng((seed, DATASETS.index(workload.dataset)))
    pairs = list(combinations(workload.pool.values(), 2))
    total = len(pairs) * len(workload.points)
    queries = []
    for epsilon in epsilons:
        for choice in rng.choice(total, min(count, total), replace=False):
            pair, point = divmod(int(choice), len(workload.points))
            x, label = workload.points.x[point], int(workload.points.labels[point])
            query = make_query(pairs[pair], x, label, epsilon, CLIP)
            queries.append(PairQuery(workload.dataset, point, query))
    return queries


@cache
def _images(place: Path, part: str) -> data.Images:
    return data.load(place, part)
