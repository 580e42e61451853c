"""`decide` against exact enumeration of activation patterns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_ensemble import Model, Outcome, decide
from pytest_ensemble.errors import EngineError, ModelError, QueryError
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from tests.engines.exact import optimum
from tests.engines.judge import judge, rounding, size
from tests.engines.random_networks import shifted, tiny_model, tiny_query


def check(query: Query, engine: str = "native") -> str:
    """Decide the query and compare with the oracle; returns "sat", "unsat" or "unknown"."""
    ball = query.ball
    answer = decide(
        query.models, ball.center, query.label, ball.epsilon, bounds=ball.bounds, engine=engine, timeout=60
    )
    witness = None if answer.witness is None else answer.witness.reshape(-1)
    judge(query, replace(answer, witness=witness), optimum(query))
    return str(answer.outcome)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcomes = [check(tiny_query(rng)) for _ in range(16)]
    assert {"sat", "unsat"} <= set(outcomes)


@pytest.mark.parametrize("seed", range(8))
def test_near_and_on_ties(seed: int) -> None:
    """Biases are moved so that the optimum is a tie, a little more, or a little less."""
    rng = np.random.default_rng(100 + seed)
    query = tiny_query(rng, members=1 + seed % 2, relus=5)
    best = optimum(query)
    for offset in (0.0, 1e-3, -1e-3, 1e-4, -1e-4):
        models = tuple(shifted(model, query.label, offset - best) for model in query.models)
        moved = Query(models, query.ball, query.label)
        outcome = check(moved)
        exact = optimum(moved)
        if exact > 1e-6 * size(moved) or exact < -rounding(moved):
            assert outcome == ("sat" if exact > 0 else "unsat")


def test_a_network_and_its_copy_err_like_one() -> None:
    rng = np.random.default_rng(5)
    for _ in range(10):
        query = tiny_query(rng, members=1)
        twice = Query((query.models[0], query.models[0]), query.ball, query.label)
        assert check(twice) == check(query)


def test_no_error_without_room_for_one() -> None:
    """At epsilon 0 the answer is what the networks say at the point."""
    rng = np.random.default_rng(6)
    models = [tiny_model(rng, name="a"), tiny_model(rng, name="b")]
    x = rng.normal(size=2).astype(np.float32)
    labels = {int(model.predict(x[None])[0]) for model in models}
    for label in range(3):
        expected = Outcome.UNSAT if label in labels else Outcome.SAT
        assert decide(models, x, label, 0.0, engine="native").outcome is expected


def test_takes_paths_and_keeps_the_shape_of_x(tmp_path) -> None:
    model = tiny_model(np.random.default_rng(7), inputs=4)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.content)
    x = np.zeros((2, 2))
    label = int(model.predict(x.reshape(1, -1))[0])
    answer = decide(path, x, label, 100.0, engine="native")
    assert answer.outcome is Outcome.SAT
    assert answer.witness is not None
    assert answer.witness.shape == (2, 2)
    assert answer.witness.dtype == np.float32
    assert Model.load(path).predict(answer.witness[None])[0] != label


def test_seconds_and_engine_are_told() -> None:
    model = tiny_model(np.random.default_rng(8))
    answer = decide(model, np.zeros(2), 0, 0.1, engine="native")
    assert answer.engine == "native"
    assert answer.seconds > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": -0.1}, "epsilon must be a finite number >= 0; got -0.1"),
        ({"epsilon": float("nan")}, "epsilon must be a finite number >= 0; got nan"),
        ({"label": 3}, r"label must be a class, 0\.\.2; got 3"),
        ({"label": -1}, r"label must be a class, 0\.\.2; got -1"),
        ({"x": np.zeros(3)}, "The point has 3 numbers; the models take 2"),
        ({"x": np.array([0.0, np.inf])}, "NaN or infinite"),
        ({"bounds": (1.0, 0.0)}, "low <= high"),
        ({"bounds": (0.5, 1.0)}, "The point lies outside the bounds"),
        ({"bounds": 1.0}, "bounds must be"),
        ({"models": []}, "At least one model"),
    ],
)
def test_bad_questions(change: dict, message: str) -> None:
    model = tiny_model(np.random.default_rng(9))
    call = {"models": model, "x": np.zeros(2), "label": 0, "epsilon": 0.1} | change
    with pytest.raises(QueryError, match=message):
        decide(**call)


def test_unknown_engine_is_an_error_with_a_hint() -> None:
    model = tiny_model(np.random.default_rng(10))
    with pytest.raises(EngineError, match="Did you mean 'native'"):
        decide(model, np.zeros(2), 0, 0.1, engine="nativ")


def test_missing_model_is_an_error(tmp_path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.onnx"):
        decide(tmp_path / "nowhere.onnx", np.zeros(2), 0, 0.1)


def test_models_that_do_not_fit_together() -> None:
    rng = np.random.default_rng(11)
    models = [tiny_model(rng, inputs=2, name="a"), tiny_model(rng, inputs=3, name="b")]
    with pytest.raises(QueryError, match=r"don't fit together"):
        decide(models, np.zeros(2), 0, 0.1)


def test_three_networks_must_err_on_one_input() -> None:
    """The paper's footnote on larger subsets: a triple errs only where all three do."""
    rng = np.random.default_rng(12)
    outcomes = set()
    for _ in range(12):
        query = tiny_query(rng, members=3)
        query = Query(query.models, Ball(query.ball.center, 1.0), query.label)
        outcomes.add(check(query))
    assert {"sat", "unsat"} <= outcomes
