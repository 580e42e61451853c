"""`make_query` checks everything; keys say what was asked, whatever the names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_ensemble.errors import QueryError
from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.query import make_query
from tests.networks.graphs import Graph

X = [0.25, 0.5, 0.75]


def linear(seed: int, *, inputs: int = 3, classes: int = 4, name: str = "m") -> Model:
    graph = Graph(("n", inputs))
    weight = np.random.default_rng(seed).normal(size=(inputs, classes))
    return graph.model(graph("MatMul", graph.x, weight), name=name)


@pytest.fixture(scope="module")
def pair() -> tuple[Model, Model]:
    return linear(1, name="a"), linear(2, name="b")


@pytest.mark.parametrize("x", [X, np.array(X), np.array(X, dtype=np.float32), np.array([X]).T])
def test_points_of_any_shape(pair: tuple[Model, Model], x: Any) -> None:
    query = make_query(pair, x, 1, 0.1)
    assert query.ball.center.dtype == np.float32
    assert query.ball.center.tolist() == X
    assert (query.label, query.ball.epsilon, query.ball.bounds) == (1, 0.1, None)


@pytest.mark.parametrize("label", [0, 3, np.int64(3), np.uint8(2)])
@pytest.mark.parametrize("epsilon", [0, 1, 0.5, np.float32(0.5), np.int64(1)])
def test_numbers_of_any_type(pair: tuple[Model, Model], label: Any, epsilon: Any) -> None:
    query = make_query(pair, X, label, epsilon)
    assert type(query.label) is int
    assert type(query.ball.epsilon) is float


@pytest.mark.parametrize("label", [-1, 4, 1.5, 1.0, True, None, "1", np.nan, [1]])
def test_label_that_is_no_class(pair: tuple[Model, Model], label: Any) -> None:
    with pytest.raises(QueryError, match=r"label must be a class, 0\.\.3; got"):
        make_query(pair, X, label, 0.1)


@pytest.mark.parametrize("epsilon", [-0.1, np.nan, np.inf, True, None, "0.1", [0.1], 1j, np.complex64(1)])
def test_bad_epsilon(pair: tuple[Model, Model], epsilon: Any) -> None:
    with pytest.raises(QueryError, match="epsilon must be a finite number >= 0; got"):
        make_query(pair, X, 0, epsilon)


@pytest.mark.parametrize("x", [[1.0], [1.0] * 4, [], 1.0])
def test_point_of_another_size(pair: tuple[Model, Model], x: Any) -> None:
    with pytest.raises(QueryError, match=r"The point has \d numbers; the models take 3"):
        make_query(pair, x, 0, 0.1)


@pytest.mark.parametrize("x", ["abc", ["a", "b", "c"], [[1], [2, 3]], {}])
def test_point_that_is_no_array_of_numbers(pair: tuple[Model, Model], x: Any) -> None:
    with pytest.raises(QueryError, match="The point must hold 3 numbers"):
        make_query(pair, x, 0, 0.1)


@pytest.mark.parametrize("stray", [np.nan, np.inf, 1e300])
def test_point_that_is_not_finite_in_float32(pair: tuple[Model, Model], stray: float) -> None:
    with pytest.raises(QueryError, match="NaN or infinite"):
        make_query(pair, [0, 0, stray], 0, 0.1)


def test_bounds_are_checked(pair: tuple[Model, Model]) -> None:
    with pytest.raises(QueryError, match="low <= high"):
        make_query(pair, X, 0, 0.1, (1, 0))
    with pytest.raises(QueryError, match="outside the bounds"):
        make_query(pair, X, 0, 0.1, (0, 0.5))


def test_models_must_fit_together() -> None:
    with pytest.raises(QueryError, match="At least one model"):
        make_query((), X, 0, 0.1)
    with pytest.raises(QueryError, match="'a' has 3 inputs and 4 classes, 'b' 2 and 4"):
        make_query((linear(1, name="a"), linear(2, inputs=2, name="b")), X, 0, 0.1)
    with pytest.raises(QueryError, match="'a' has 3 inputs and 4 classes, 'b' 3 and 5"):
        make_query((linear(1, name="a"), linear(2, classes=5, name="b")), X, 0, 0.1)


def test_key_is_the_content(pair: tuple[Model, Model]) -> None:
    a, b = pair
    key = make_query(pair, X, 1, 0.1).key
    assert make_query((b, a), X, 1, 0.2).key == key  # neither order nor epsilon
    assert make_query((linear(1, name="other"), b), X, 1, 0.1).key == key  # nor names
    others = [
        make_query((a,), X, 1, 0.1),
        make_query((a, a), X, 1, 0.1),
        make_query((a, linear(3)), X, 1, 0.1),
        make_query(pair, X, 2, 0.1),
        make_query(pair, [0.25, 0.5, 0.5], 1, 0.1),
        make_query(pair, X, 1, 0.1, (0, 1)),
    ]
    assert len({key, *(query.key for query in others)}) == 7


def test_description_names_the_networks(pair: tuple[Model, Model]) -> None:
    assert make_query(pair, X, 1, 0.02).describe() == "a~b, label 1, epsilon 0.02"
