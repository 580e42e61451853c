"""`Network`: evaluation, margins, networks side by side, and their storage."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ensemble.networks.network import Layer, Network, compact, dense, side_by_side


def chain(seed: int, *sizes: int) -> Network:
    """A random chain with ReLUs on some neurons of its hidden layers."""
    rng = np.random.default_rng(seed)
    layers = []
    for k in range(1, len(sizes)):
        relu = rng.random(sizes[k]) < 0.7 if k < len(sizes) - 1 else np.zeros(sizes[k], dtype=bool)
        layers.append(Layer(rng.normal(size=(sizes[k], sizes[k - 1])), rng.normal(size=sizes[k]), relu))
    return Network(tuple(layers))


def by_hand(network: Network, x: np.ndarray) -> list[float]:
    value = [float(v) for v in x]
    for layer in network.layers:
        weight = dense(layer.weight)
        sums = [
            sum(w * v for w, v in zip(row, value, strict=True)) + b
            for row, b in zip(weight, layer.bias, strict=True)
        ]
        value = [max(s, 0.0) if on else s for s, on in zip(sums, layer.relu, strict=True)]
    return value


SIZES = st.lists(st.integers(1, 5), min_size=0, max_size=3)


@settings(max_examples=40)
@given(SIZES, st.integers(0, 2**32))
def test_evaluate(hidden: list[int], seed: int) -> None:
    network = chain(seed, 3, *hidden, 4)
    x = np.random.default_rng(seed).normal(size=(5, 3))
    np.testing.assert_allclose(network.evaluate(x), [by_hand(network, row) for row in x], atol=1e-12)
    assert (network.input_size, network.output_size) == (3, 4)
    assert network.relu_count == sum(int(layer.relu.sum()) for layer in network.layers)


@settings(max_examples=40)
@given(SIZES, st.integers(0, 2**32), st.integers(0, 3))
def test_margins(hidden: list[int], seed: int, label: int) -> None:
    network = chain(seed, 3, *hidden, 4)
    x = np.random.default_rng(seed).normal(size=(5, 3))
    logits = network.evaluate(x)
    expected = np.delete(logits - logits[:, [label]], label, axis=1)
    np.testing.assert_allclose(network.margins(label).evaluate(x), expected, atol=1e-12)


@settings(max_examples=40)
@given(st.lists(SIZES, min_size=1, max_size=3), st.integers(0, 2**32))
def test_side_by_side(shapes: list[list[int]], seed: int) -> None:
    networks = [chain(seed + k, 3, *hidden, 2 + k) for k, hidden in enumerate(shapes)]
    together = side_by_side(networks)
    x = np.random.default_rng(seed).normal(size=(5, 3))
    expected = np.hstack([network.evaluate(x) for network in networks])
    np.testing.assert_allclose(together.evaluate(x), expected, atol=1e-12)
    assert together.relu_count == sum(network.relu_count for network in networks)


def test_relus_on_the_outputs_are_refused() -> None:
    with pytest.raises(ValueError, match="last layer"):
        Network((Layer(np.eye(2), np.zeros(2), np.array([True, False])),))


@pytest.mark.parametrize("start", [np.asarray, sp.csr_array, sp.coo_array])
def test_large_and_empty_weights_are_stored_sparsely(start: type) -> None:
    large, small = np.zeros((300, 300)), np.zeros((200, 200))
    large[7, 3] = small[7, 3] = 2.0
    assert isinstance(compact(start(large)), sp.csr_array)
    assert isinstance(compact(start(small)), np.ndarray)
    assert isinstance(compact(start(large + 1.0)), np.ndarray)
    np.testing.assert_array_equal(dense(compact(start(large))), large)


def test_sparse_and_dense_layers_compute_the_same() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(300, 400)) * (rng.random((300, 400)) < 0.01)
    relu = rng.random(300) < 0.5
    last = Layer(rng.normal(size=(3, 300)), np.zeros(3), np.zeros(3, dtype=bool))
    networks = [
        Network((Layer(stored, np.ones(300), relu), last)) for stored in (weight, sp.csr_array(weight))
    ]
    x = rng.normal(size=(6, 400))
    np.testing.assert_allclose(*(network.evaluate(x) for network in networks), atol=1e-12)
    pairs = [side_by_side([network, network.margins(1)]).evaluate(x) for network in networks]
    np.testing.assert_allclose(*pairs, atol=1e-12)
