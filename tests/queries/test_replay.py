"""A witness counts when onnxruntime says so, by a strict margin, for an input in the ball."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.query import make_query
from pytest_ensemble.queries.replay import errs, replays
from tests.networks.graphs import Graph


def echo(tail: str = "") -> Model:
    """Two classes, whose scores are the two inputs."""
    graph = Graph(("n", 2))
    scores = graph("MatMul", graph.x, np.eye(2))
    if tail == "ArgMax":
        return graph.model(graph(tail, scores, axis=1), types=["int64"])
    return graph.model(graph(tail, scores) if tail else scores)


def swapped() -> Model:
    graph = Graph(("n", 2))
    return graph.model(graph("MatMul", graph.x, np.eye(2)[::-1].copy()), name="swapped")


def float32(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


TIE = np.float32(0.7)
MORE = np.nextafter(TIE, np.float32(1))


@pytest.mark.parametrize("tail", ["", "Softmax", "LogSoftmax", "ArgMax"])
def test_clear_errors(tail: str) -> None:
    x = float32([1, 0], [0, 1], [0.5, 0.25], [0.25, 0.5])
    assert errs(echo(tail), x, 0).tolist() == [False, True, False, True]
    assert errs(echo(tail), x, 1).tolist() == [True, False, True, False]


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("tail", ["", "Softmax", "ArgMax"])
def test_tie_is_no_error(tail: str, label: int) -> None:
    """Whatever the runtime makes of it: argmax takes the first of two equal scores."""
    assert not errs(echo(tail), float32([TIE, TIE], [0, 0]), label).any()


def test_smallest_margin_is_an_error() -> None:
    assert errs(echo(), float32([TIE, MORE]), 0).all()
    assert not errs(echo(), float32([MORE, TIE]), 0).any()


def test_margin_that_softmax_swallows_is_no_error() -> None:
    """The user's file ranks the classes equal there."""
    x = float32([1e-9, 2e-9])
    assert errs(echo(), x, 0).all()
    assert echo("Softmax").scores(x)[0].tolist() == [0.5, 0.5]
    assert not errs(echo("Softmax"), x, 0).any()


def test_witness_lies_in_the_ball() -> None:
    query = make_query((echo(),), [0.5, 0.5], 0, 0.25)
    beyond = np.nextafter(np.float32(0.75), np.float32(1))
    x = float32([0.5, 0.75], [0.5, beyond], [0.25, 0.5], [np.nextafter(np.float32(0.25), np.float32(0)), 0.5])
    assert errs(query.models[0], x, 0).all()
    assert replays(query, x).tolist() == [True, False, True, False]


def test_witness_keeps_to_the_bounds() -> None:
    query = make_query((echo(),), [0.5, 0.5], 0, 0.25, (0, 0.625))
    assert replays(query, float32([0.5, 0.625], [0.5, 0.75])).tolist() == [True, False]


def test_every_network_must_err() -> None:
    x = float32([0.4, 0.6], [0.6, 0.4])
    assert replays(make_query((echo(), echo()), [0.5, 0.5], 0, 0.25), x).tolist() == [True, False]
    for pair in [(echo(), swapped()), (swapped(), echo())]:
        assert replays(make_query(pair, [0.5, 0.5], 0, 0.25), x).tolist() == [False, False]


def test_what_is_not_a_number_is_no_witness() -> None:
    query = make_query((echo(),), [0.5, 0.5], 0, 0.25)
    assert replays(query, float32([0.5, np.nan], [np.nan, np.nan], [0.5, np.inf])).tolist() == [False] * 3
