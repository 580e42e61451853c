"""Bounds of float32 rounding against onnxruntime, and against float32 sums in hostile orders."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_ensemble.errors import ModelError
from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.network import Layer, Network
from pytest_ensemble.networks.rounding import SOFTMAX, margin_rounding, output_rounding
from tests.engines.random_networks import KINDS, tiny_model
from tests.networks.graphs import Graph

SEEDS = st.integers(0, 2**32 - 1)


def normalised(rng: np.random.Generator) -> Model:
    """Steps that cancel: (x - mean) / deviation, two dense layers without a ReLU, batch normalisation."""
    graph = Graph(("n", 4), opset=17)
    value = graph("Div", graph("Sub", graph.x, 100 * rng.normal(size=4)), rng.uniform(0.1, 2, size=4))
    weight = rng.normal(size=(4, 6))
    value = graph("MatMul", graph("MatMul", value, weight), np.linalg.pinv(weight) + 1e-3)
    statistics = (
        rng.normal(size=4),
        rng.normal(size=4),
        10 * rng.normal(size=4),
        rng.uniform(0.1, 2, size=4),
    )
    value = graph("Relu", graph("BatchNormalization", value, *statistics))
    return graph.model(graph("Add", value, graph("Gemm", value, rng.normal(size=(4, 4)))))


def error_of(model: Model, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """By how much onnxruntime is off, where float64 stands for real numbers: shape (m, classes)."""
    return np.abs(model.logits(x) - model.network.evaluate(x))


@settings(max_examples=60)
@given(SEEDS, st.sampled_from([*KINDS, "normalised"]), st.sampled_from([1e-3, 1.0, 1e3]))
def test_onnxruntime_stays_within_the_bounds(seed: int, kind: str, scale: float) -> None:
    rng = np.random.default_rng(seed)
    model = normalised(rng) if kind == "normalised" else tiny_model(rng, inputs=4, hidden=(6, 5), kind=kind)
    center, radius = scale * rng.normal(size=4), scale * rng.uniform(0, 0.3, size=4)
    low, high = (center - radius)[None], (center + radius)[None]
    x = rng.uniform(low, high, size=(64, 4)).astype(np.float32)
    low, high = np.minimum(low, x.min(axis=0)), np.maximum(high, x.max(axis=0))
    assert (error_of(model, x) <= output_rounding(model.network, low, high)).all()
    for label in range(model.classes):
        executed, real = model.logits(x), model.network.evaluate(x)
        gained = (executed - executed[:, [label]]) - (real - real[:, [label]])
        assert (gained <= margin_rounding(model.network, low, high, np.array([label]))).all()


@given(SEEDS)
def test_what_cancels_between_steps_counts(seed: int) -> None:
    """x + 1000 - 1000 is x, but float32 loses its last bits; the lowered layer alone does not show that."""
    rng = np.random.default_rng(seed)
    graph = Graph(("n", 2))
    model = graph.model(graph("Sub", graph("Add", graph.x, np.full(2, 1000.0)), np.full(2, 1000.0)))
    x = rng.normal(size=(32, 2)).astype(np.float32)
    assert (model.network.layers[0].weight == np.eye(2)).all()
    assert error_of(model, x).max() > 1e-6
    low, high = x.min(axis=0)[None].astype(float), x.max(axis=0)[None].astype(float)
    assert (error_of(model, x) <= output_rounding(model.network, low, high)).all()


@given(SEEDS, st.sampled_from(["the input", "neurons"]))
def test_what_cancels_between_copies_counts(seed: int, copied: str) -> None:
    """100 x - 99 x is x; the lowered layer shows one weight for both copies of a variable."""
    rng = np.random.default_rng(seed)
    graph = Graph(("n", 2))
    value = (
        graph.x if copied == "the input" else graph("Relu", graph("Gemm", graph.x, rng.normal(size=(2, 2))))
    )
    weight = 30 * rng.normal(size=(2, 2))
    twice = graph("Concat", value, value, axis=1)
    model = graph.model(graph("MatMul", twice, np.concatenate([weight, np.eye(2) - weight])))
    x = rng.normal(size=(32, 2)).astype(np.float32)
    exact = x.astype(np.float64)
    assert (error_of(model, x) <= output_rounding(model.network, exact, exact)).all()


@settings(max_examples=30)
@given(st.integers(2, 600), SEEDS)
def test_no_order_of_summation_leaves_the_bounds(terms: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight, x = (rng.normal(size=terms).astype(np.float32) for _ in range(2))
    exact = sum((Fraction(float(a)) * Fraction(float(b)) for a, b in zip(weight, x, strict=True)), Fraction())
    network = Network((Layer(weight[None].astype(float), np.zeros(1), np.zeros(1, np.bool_)),))
    (bound,) = output_rounding(network, x[None].astype(float), x[None].astype(float))[0]
    products = weight * x
    for order in (
        np.argsort(products),
        np.argsort(-products),
        np.argsort(-abs(products)),
        rng.permutation(terms),
    ):
        total = np.cumsum(products[order], dtype=np.float32)[-1]
        assert abs(Fraction(float(total)) - exact) <= Fraction(float(bound))


def test_some_order_almost_reaches_the_bound() -> None:
    """Adding numbers just below half an ulp to one loses all of them."""
    terms = 1000
    x = np.concatenate([[1.0], np.full(terms, 0.99 * 2.0**-24)]).astype(np.float32)
    network = Network((Layer(np.ones((1, terms + 1)), np.zeros(1), np.zeros(1, np.bool_)),))
    (bound,) = output_rounding(network, x[None].astype(float), x[None].astype(float))[0]
    lost = float(x.astype(float).sum() - np.cumsum(x, dtype=np.float32)[-1])
    assert 0.9 * bound < lost < bound


def test_off_neurons_have_no_error() -> None:
    rng = np.random.default_rng(0)
    first = Layer(rng.normal(size=(3, 2)), np.array([-50.0, -50.0, -50.0]), np.ones(3, np.bool_))
    last = Layer(100 * rng.normal(size=(2, 3)), np.zeros(2), np.zeros(2, np.bool_))
    bound = output_rounding(Network((first, last)), -np.ones((1, 2)), np.ones((1, 2)))
    assert bound.max() < 1e-30


def test_softmax_and_overflow() -> None:
    graph = Graph(("n", 2))
    model = graph.model(graph("Softmax", graph("Gemm", graph.x, 1e-6 * np.eye(2))))
    box = np.zeros((1, 2)), np.ones((1, 2))
    assert margin_rounding(model.network, *box, np.array([0]))[0, 1] > SOFTMAX
    huge = Network((Layer(np.full((2, 2), 1e300), np.zeros(2), np.zeros(2, np.bool_)),) * 2)
    assert np.isinf(margin_rounding(huge, *box, np.array([0]))[0, 1])


@pytest.mark.parametrize("label", [0, 1])
def test_margins_gain_nothing_on_the_label(label: int) -> None:
    model = tiny_model(np.random.default_rng(1))
    bound = margin_rounding(model.network, -np.ones((2, 2)), np.ones((2, 2)), np.array([label, label]))
    assert bound.shape == (2, 3)
    assert (bound[:, label] == 0).all()
    assert (np.delete(bound, label, axis=1) > 0).all()


def cancelling(graph: Graph) -> str:
    """x - (x + l) + l: zero, and a few units in the last place of x as executed."""
    leaky = graph("LeakyRelu", graph.x, alpha=0.25)
    return graph("Add", graph("Sub", graph.x, graph("Add", graph.x, leaky)), leaky)


def test_what_cancels_in_real_numbers_still_rounds() -> None:
    graph = Graph(("n", 4))
    model = graph.model(cancelling(graph))
    x = np.random.default_rng(0).normal(scale=30, size=(2000, 4)).astype(np.float32)
    exact = x.astype(np.float64)
    error = error_of(model, x)
    assert (error.max(axis=0) > 1e-7).all()
    assert (error <= output_rounding(model.network, exact, exact)).all()


def test_what_cancels_in_real_numbers_is_no_constant() -> None:
    graph = Graph(("n", 4))
    with pytest.raises(ModelError, match="Mul"):
        graph.model(graph("Mul", cancelling(graph), graph.x))
