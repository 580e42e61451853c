"""Compare answers with the exact optimum."""

from __future__ import annotations

import numpy as np

from pytest_ensemble.networks.rounding import margin_rounding
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import replays

__all__ = ["judge", "rounding", "size"]


def size(query: Query) -> float:
    """What rounding and tolerances are relative to: the largest logit in two corners of the ball."""
    corners = np.stack(query.ball.box)
    return max(1.0, *(float(abs(model.network.evaluate(corners)).max()) for model in query.models))


def rounding(query: Query) -> float:
    """What float32 may add to a margin of the query's networks anywhere in the ball."""
    low, high = (side[None] for side in query.ball.box)
    label = np.array([query.label])
    return max(float(margin_rounding(model.network, low, high, label).max()) for model in query.models)


def judge(query: Query, answer: Answer, best: float) -> None:
    """Refuse an answer that `best`, from `exact.optimum`, contradicts by more than arithmetic may err.

    Unknown is allowed beside a tie only.
    """
    scale = size(query)
    if answer.outcome is Outcome.SAT:
        assert answer.witness is not None
        assert answer.witness.dtype == np.float32
        assert replays(query, answer.witness[None]).all()
        assert best > -1e-6 * scale
    elif answer.outcome is Outcome.UNSAT:
        assert best < 1e-9 * scale
    else:
        assert answer.reason == "boundary"
        assert -rounding(query) - 1e-6 * scale < best < 1e-6 * scale
