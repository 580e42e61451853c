"""Queries whose answers are known at every epsilon, for tests of what is kept of them.

The models tell the signs of inputs 0 and 1: both err within epsilon of a point exactly if both of these
inputs are less than epsilon from zero.
"""

from __future__ import annotations

import numpy as np

from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import replays
from tests.plugin.corner import model_bytes

MODELS = tuple(Model(model_bytes(k, 3), f"m{k}") for k in range(2))


def radius(point: int) -> float:
    """The distance of the nearest mutual error around a point."""
    return 0.1 + point / 1000


def question(point: int, epsilon: float, models: tuple[Model, ...] = MODELS) -> Query:
    center = np.array([0.05, radius(point), 0.5], np.float32)
    return Query(models, Ball(center, epsilon), 1)


def truth(query: Query, engine: str = "native") -> Answer:
    """The answer, as an engine would give it: one corner of the ball decides."""
    corner = query.ball.project((query.ball.center - query.ball.epsilon)[None])
    if replays(query, corner)[0]:
        return Answer(Outcome.SAT, corner[0], engine=engine, seconds=0.5)
    return Answer(Outcome.UNSAT, engine=engine, seconds=0.5)


class Known:
    """An engine that knows all this, and what it was asked."""

    name = "native"

    def __init__(self):
        self.asked = []

    def solve(self, queries, budget):
        for query in queries:
            self.asked.append((query.key, query.ball.epsilon))
            yield query, truth(query)

    def close(self):
        pass
