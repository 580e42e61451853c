"""`Case`: some queries that are asked together, and what is known of their answers beforehand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.ball import Ball, Bounds
from pytest_ensemble.queries.query import Query

__all__ = ["Case", "ask", "teams_of"]


@dataclass
class Case:
    """Queries of one pool.

    Attributes:
        queries: without repetition.
        truth: of each, the highest least margin in real numbers; NaN where it is not known.
        inputs: float32 (m, n), to be tried beside random ones; those outside of a ball are moved into it.
        whole: balls hold so few float32 inputs that all can be tried.
        tiny: the patterns of the ReLUs can be enumerated.
        small: other engines answer within a second or so.
    """

    queries: list[Query]
    truth: list[float] = field(default_factory=list)
    inputs: NDArray[np.float32] | None = None
    whole: bool = False
    tiny: bool = False
    small: bool = True

    def __post_init__(self) -> None:
        self.truth = self.truth or [np.nan] * len(self.queries)


def teams_of(models: Sequence[Model], most: int = 3) -> list[tuple[Model, ...]]:
    """All sets of at most so many models."""
    return [team for size in range(1, most + 1) for team in itertools.combinations(models, size)]


def ask(
    teams: Iterable[tuple[Model, ...]],
    points: Iterable[tuple[NDArray[Any], int, Bounds | None]],
    epsilons: Sequence[float],
    truth: Callable[[tuple[Model, ...], Ball, int], float] | None = None,
) -> Case:
    """Every team around every (point, label, bounds) at every epsilon."""
    teams, queries, known = list(teams), [], []
    for point, label, bounds in points:
        for epsilon in epsilons:
            ball = Ball(np.asarray(point, np.float32), float(epsilon), bounds)
            for team in teams:
                queries.append(Query(team, ball, label))
                known.append(np.nan if truth is None else truth(team, ball, label))
    return Case(queries, known)
