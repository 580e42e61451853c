"""Where real numbers say "no error" and the float32 of onnxruntime errs, nothing is proven."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_ensemble import Model, Outcome, decide
from pytest_ensemble.engines.marabou_process import available
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from tests.engines.exact import optimum
from tests.networks.graphs import Graph

ULP = 2.0**-23  # of one
EPSILON = 0.75 * ULP


def tipping(name: str, scale: float = 1.0) -> Model:
    """Class 1 gets relu(x + 1) - 1, which is at most 0.75 ulp in the ball, and class 0 gets 0.9 ulp.

    But 1 + x is 1 + ulp in float32, so at the end of the ball the file says class 1.
    """
    graph = Graph(("n", 1))
    hidden = graph("Relu", graph("Gemm", graph.x, np.ones((1, 1)), np.ones(1)))
    weight, bias = scale * np.array([[0.0, 1.0]]), scale * np.array([0.9 * ULP, -1.0])
    return graph.model(graph("Gemm", hidden, weight, bias), name=name)


@pytest.mark.parametrize("engine", ["native", "auto", "milp", "marabou"])
def test_a_tie_that_rounding_tips_is_not_unsat(engine: str) -> None:
    if engine == "marabou" and not available():
        pytest.skip("needs maraboupy")
    models = tipping("a"), tipping("b", 2.0)
    center = np.zeros(1, np.float32)
    query = Query(models, Ball(center, EPSILON), 0)
    assert optimum(query) < -0.1 * ULP
    end = np.array([[EPSILON]], np.float32)
    assert all(model.predict(end)[0] == 1 for model in models)
    answer = decide(models, center, 0, EPSILON, engine=engine)
    assert answer.outcome is not Outcome.UNSAT


def test_a_clear_margin_is_still_unsat() -> None:
    models = tipping("a"), tipping("b", 2.0)
    center = np.full(1, -0.5, np.float32)
    assert decide(models, center, 0, 0.4, engine="native").outcome is Outcome.UNSAT
