"""Native, MILP and enumeration give the same answers, on small queries of every kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ensemble.engines import make_engine
from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from tests.engines.exact import optimum
from tests.engines.judge import judge, size
from tests.engines.random_networks import architecture_query, shifted, tiny_query

NAMES = ("native", "milp")
Make = Callable[[np.random.Generator], Query]


def near_a_tie(rng: np.random.Generator) -> Query:
    """A query shifted so that its best margin is small on either side, or zero but for rounding."""
    query = tiny_query(rng, members=int(rng.integers(1, 3)), relus=5)
    by = float(rng.choice([0.0, 1e-6, 1e-5, 1e-4, 1e-3])) * float(rng.choice([-1, 1]))
    by = by * size(query) - optimum(query)
    models = tuple(shifted(model, query.label, by) for model in query.models)
    return Query(models, query.ball, query.label)


@lru_cache(maxsize=len(NAMES))
def engine_of(name: str) -> Engine:
    """Kept: solver processes take a second to start, and end with this one."""
    return make_engine(name)


def answers(query: Query) -> dict[str, Answer]:
    found = {}
    for name in NAMES:
        ((_, found[name]),) = engine_of(name).solve([query], Budget(600.0))
    return found


def agree(query: Query) -> set[Outcome]:
    """Check all answers; the outcomes that are known."""
    best, found = optimum(query), answers(query)
    for answer in found.values():
        judge(query, answer, best)
    known = {answer.outcome for answer in found.values()} - {Outcome.UNKNOWN}
    # what rounding in float32 makes an error may be none in real numbers
    assert len(known) < 2 or abs(best) < 1e-7 * size(query), found
    return known


@pytest.mark.parametrize(("make", "count"), [(tiny_query, 20), (architecture_query, 24), (near_a_tie, 12)])
def test_all_agree(make: Make, count: int) -> None:
    seen: set[Outcome] = set()
    for seed in range(count):
        seen |= agree(make(np.random.default_rng([seed, count])))
    assert seen == {Outcome.SAT, Outcome.UNSAT}


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_all_agree_on_what_hypothesis_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    agree(architecture_query(rng) if seed % 2 else tiny_query(rng))


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.5, 3.0]))
def test_monotone_and_symmetric(seed: int, factor: float) -> None:
    """Engines agree across epsilons too, and on the pair the other way round."""
    query = architecture_query(np.random.default_rng(seed))
    other = Query(query.models[::-1], Ball(query.ball.center, factor * query.ball.epsilon), query.label)
    small, large = (query, other) if factor > 1 else (other, query)
    in_small = {answer.outcome for answer in answers(small).values()}
    in_large = {answer.outcome for answer in answers(large).values()}
    assert not (Outcome.SAT in in_small and Outcome.UNSAT in in_large)
