"""`MarabouEngine`: the paper's paired query, solved by Marabou in child processes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.marabou_encoding import WITNESS, Encoding, encode
from pytest_ensemble.engines.marabou_process import Child, Status, available, missing
from pytest_ensemble.engines.pool import ChildPool, Loans
from pytest_ensemble.networks.network import Float
from pytest_ensemble.networks.rounding import margin_rounding
from pytest_ensemble.queries.answer import Answer, Outcome, Reason
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import replays

__all__ = ["MarabouEngine", "available"]

# Balls smaller than this share of the point's largest coordinate are not asked about: Marabou's
# tolerances are absolute, and it has been wrong on them.
SMALLEST = 1e-4


class MarabouEngine:
    """Marabou 2.0 (Wu et al. 2024) on the query of Amir et al. 2022.

    Each query is asked as: is there an input with margins >= -m, with m a little more than rounding
    and Marabou's tolerances can move them? No: `unsat`. Yes, and the input replays, perhaps after
    some steps of polishing: `sat`. Otherwise again with margins above zero, for an input that replays
    more easily; if there is none, `unknown (boundary)`.
    """

    name = "marabou"

    def __init__(self, *, jobs: int = 1, memory: int | None = None) -> None:
        """Start nothing yet; up to `jobs` processes, of `memory` bytes each, start as they are needed.

        Raises:
            EngineError: maraboupy is not installed.
        """
        if not available():
            raise missing()
        self._pool: ChildPool[Child] = ChildPool(jobs, lambda: Child(memory=memory))

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
        """Answer each query as soon as its answer is known; see `Engine`.

        When the iterator is closed early, or interrupted, the processes are killed at once.
        """
        for query, answer in self._pool.solve(queries, budget, _answer):
            yield query, replace(answer, engine=self.name)

    def close(self) -> None:
        """Kill the processes."""
        self._pool.close()


@np.errstate(all="ignore")  # on some CPUs matrix products set such flags without cause
def _answer(children: Loans[Child], query: Query, until: float | None) -> Answer:
    if query.ball.epsilon == 0:
        return _at_center(query)
    if query.ball.epsilon < SMALLEST * float(abs(query.ball.center).max(initial=0)):
        return _unknown("unsupported")
    return _ask(children, query, until)


def _unknown(reason: Reason, stage: str = "") -> Answer:
    return Answer(Outcome.UNKNOWN, reason=reason, stage=stage)


def _at_center(query: Query) -> Answer:
    """The answer for a ball of one point."""
    center = query.ball.center
    if replays(query, center[None]).all():
        return Answer(Outcome.SAT, center, stage="point")
    exact = center[None].astype(np.float64)
    for model in query.models:
        rounding = margin_rounding(model.network, exact, exact, np.array([query.label]))[0]
        margins = model.network.margins(query.label).evaluate(exact)[0]
        if (margins < -np.delete(rounding, query.label)).all():
            return Answer(Outcome.UNSAT, stage="point")
    return _unknown("boundary", "point")


def _ask(children: Loans[Child], query: Query, until: float | None) -> Answer:
    """Ask for margins >= -m, then, while no solution of that replays, for larger and larger ones."""
    for margin in (0.0, *WITNESS):
        stage = "witness query" if margin else "query"
        status, x = _solve(children, encode(query, margin=margin), until)
        if status == "bounds" or status == "unsat":
            if margin:
                return _unknown("boundary", stage)
            return Answer(Outcome.UNSAT, stage="bounds" if status == "bounds" else stage)
        if status != "sat" or x is None:
            return _unknown("crashed" if status == "sat" else status, stage)
        witness = _confirm(query, x)
        if witness is not None:
            return Answer(Outcome.SAT, witness, stage=stage)
    return _unknown("boundary", stage)


def _solve(
    children: Loans[Child], encoding: Encoding, until: float | None
) -> tuple[Status | Literal["bounds", "unsupported"], Float | None]:
    """What Marabou says, with the input, shape (n,), if that is "sat"."""
    problem = encoding.problem
    if problem is None:
        return "bounds", None
    if not problem.disjunctions:
        return "sat", encoding.middle
    if not problem.is_finite():
        return "unsupported", None
    with children.borrow() as child:
        seconds = None if until is None else max(0.0, until - time.monotonic())
        status, values = child.solve(problem, seconds)
    return status, None if values is None else encoding.decode(values)


def _confirm(query: Query, x: Float) -> NDArray[np.float32] | None:
    """A witness that replays, shape (n,), at x or a few steps from there."""
    from pytest_ensemble.engines.attack import polish

    candidate = query.ball.project(x[None])
    if replays(query, candidate).all():
        witness: NDArray[np.float32] = candidate[0]
        return witness
    return polish(query, candidate)
