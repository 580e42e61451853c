"""Inputs that show how a pair errs: the same, whoever found an error there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.attack import polish
from pytest_ensemble.queries.answer import Outcome
from pytest_ensemble.queries.shrink import shrink

if TYPE_CHECKING:
    from pytest_ensemble.analysis.analysis import Analysis
    from pytest_ensemble.analysis.scores import Pair

__all__ = ["Counterexample", "find_counterexamples"]

_POINTS = 5  # at which they are looked for


@dataclass(frozen=True, eq=False)
class Counterexample:
    """An input near agreement point number `point` that both of a pair misclassify.

    Attributes:
        distance: from the point, L-infinity.
        x: float32, shape (n,).
    """

    point: int
    distance: float
    x: NDArray[np.float32]


def find_counterexamples(analysis: Analysis, pair: Pair, epsilon: float) -> list[Counterexample]:
    """One at each of the first points at which the pair is known to err, the nearest first.

    Witnesses depend on what was solved together with what. So each is searched for anew from its point, and
    made smaller; only where that fails what the engine found is taken.
    """
    known = analysis.shown
    sat = [k for k in range(len(analysis.points)) if analysis.outcome(pair, k, epsilon) is Outcome.SAT]
    found = []
    for point in sat[:_POINTS]:
        if (pair, point, epsilon) not in known:
            known[pair, point, epsilon] = _find(analysis, pair, point, epsilon)
        found.append(known[pair, point, epsilon])
    return sorted(found, key=lambda one: one.distance)


def _find(analysis: Analysis, pair: Pair, point: int, epsilon: float) -> Counterexample:
    query = analysis.query(pair, point, epsilon)
    witness = polish(query, query.ball.center[None])
    if witness is None:
        witness = analysis.bracket(pair, point).witness
    assert witness is not None
    small = shrink(query, witness)
    return Counterexample(point, float(query.ball.distance(small)[0]), small)
