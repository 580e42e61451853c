"""Networks that say what a table says, and an engine that knows the radius of every mutual error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.analysis.points import Points, agreement_points
from pytest_ensemble.analysis.scores import Pair
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.networks.pool import Pool
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.query import Query
from tests.networks.graphs import Graph


def table_pool(says: Mapping[str, Sequence[int]], classes: int = 3) -> Pool:
    """Networks that give sample k, row k of the identity, the label in place k of their row."""
    models = []
    for number, (name, labels) in enumerate(says.items()):
        graph = Graph(("n", len(labels)))
        weight = (number + 1.0) * np.eye(classes)[list(labels)]  # two networks that say the same differ
        models.append(graph.model(graph("MatMul", graph.x, weight), name=name))
    return Pool(models)


def samples(count: int) -> NDArray[np.float32]:
    """The inputs of `table_pool`."""
    return np.eye(count, dtype=np.float32)


def agreeing(names: Sequence[str], count: int) -> tuple[Pool, Points]:
    """A pool that is right on all of `count` points."""
    labels = [k % 3 for k in range(count)]
    pool = table_pool(dict.fromkeys(names, labels))
    return pool, agreement_points(pool, samples(count), labels, count="all")


Asked = tuple[Pair, int, float]
Says = Callable[[Pair, int, float], Answer]


class Recorder:
    """An engine in memory: `says` answers a pair, a point and an epsilon; all questions are kept."""

    name = "recorder"

    def __init__(self, says: Says) -> None:
        self.says = says
        self.asked: list[Asked] = []
        self.budgets: list[Budget] = []
        self.closed = False

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
        self.budgets.append(budget)
        for query in reversed(queries):  # in any order
            a, b = (model.name for model in query.models)
            point = int(query.ball.center.argmax())
            self.asked.append(((a, b), point, query.ball.epsilon))
            yield query, self.says(*self.asked[-1])

    def close(self) -> None:
        self.closed = True

    def repeated(self) -> list[Asked]:
        return [asked for asked, times in Counter(self.asked).items() if times > 1]


def by_radius(radii: Mapping[tuple[Pair, int], float], count: int) -> Says:
    """Sat from the radius on (multiples of 1/64 are exact); unsat below, and where there is no radius."""

    def says(pair: Pair, point: int, epsilon: float) -> Answer:
        radius = radii.get((pair, point), np.inf)
        if radius > epsilon:
            return Answer(Outcome.UNSAT, engine="recorder", stage="table")
        return Answer(Outcome.SAT, witness(point, radius, count), engine="recorder", stage="table")

    return says


def witness(point: int, distance: float, count: int) -> NDArray[np.float32]:
    """An input at exactly that distance of sample number `point`."""
    return np.asarray(samples(count)[point] - np.float32(distance), dtype=np.float32)


def unknown(reason: Any = "timeout") -> Answer:
    return Answer(Outcome.UNKNOWN, reason=reason, engine="recorder", stage="table")
