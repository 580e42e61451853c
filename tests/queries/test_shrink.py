"""Smaller witnesses: they replay, and are never farther nor of more changed inputs."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_ensemble.errors import QueryError
from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.query import make_query
from pytest_ensemble.queries.replay import replays
from pytest_ensemble.queries.shrink import shrink
from pytest_ensemble.strategies import networks
from tests.plugin.corner import model_bytes


def changed(query, x):
    return int((x != query.ball.center).sum())


@settings(max_examples=30)
@given(st.data(), st.sampled_from([3, 8, 40]), st.booleans(), st.integers(0, 1000))
def test_the_smaller_witness_is_one_and_is_smaller(data, inputs, clipped, seed):
    models = tuple(data.draw(st.lists(networks(inputs, 3), min_size=1, max_size=2)))
    bounds = (-1, 1) if clipped else None
    rng = np.random.default_rng(seed)
    point = np.clip(rng.normal(size=inputs), -1, 1).astype(np.float32)
    label = int(models[0].predict(point[None])[0])
    query = make_query(models, point, label, 0.8, bounds)
    candidates = query.ball.project(point + rng.choice([-0.8, 0.8], size=(400, inputs)))
    good = candidates[replays(query, candidates)]
    assume(len(good))
    witness = good[0]
    smaller = shrink(query, witness)
    assert replays(query, smaller[None])[0]
    assert query.ball.distance(smaller)[0] <= query.ball.distance(witness)[0]
    assert changed(query, smaller) <= changed(query, witness)
    # what is left is needed: no single input can be set back as well
    for k in np.flatnonzero(smaller != point) if inputs <= 8 else ():
        other = smaller.copy()
        other[k] = point[k]
        assert not replays(query, other[None])[0]


@pytest.mark.parametrize("inputs", [5, 1000])
def test_only_what_matters_is_left(inputs):
    """Both models look at one input each: two inputs are changed in the end, just across zero."""
    models = tuple(Model(model_bytes(k, inputs), f"m{k}") for k in (0, 3))
    point = np.full(inputs, 0.9, np.float32)
    point[[0, 3]] = 0.125, 0.25
    query = make_query(models, point, 1, 0.5)
    rng = np.random.default_rng(0)
    x = query.ball.project(point[None] + rng.uniform(-0.5, 0.5, size=(1, inputs)))[0]
    x[[0, 3]] = -0.2, -0.25
    smaller = shrink(query, x)
    assert np.flatnonzero(smaller != point).tolist() == [0, 3]
    assert query.ball.distance(smaller)[0] == pytest.approx(0.25, rel=1e-3)


def test_a_point_that_errs_itself_is_its_own_witness():
    model = Model(model_bytes(0, 3), "m")
    point = np.array([-0.1, 0.5, 0.5], np.float32)
    query = make_query((model,), point, 1, 0.5)
    np.testing.assert_array_equal(shrink(query, np.array([-0.3, 0.2, 0.9], np.float32)), point)


def test_what_is_no_witness_is_refused():
    query = make_query((Model(model_bytes(0, 3), "m"),), np.full(3, 0.4, np.float32), 1, 0.5)
    for x in (np.full(3, 0.3), np.full(3, -0.5), np.full(2, 0.0)):
        with pytest.raises(QueryError, match="that replays"):
            shrink(query, x.astype(np.float32))


def test_files_are_run_a_bounded_number_of_times(monkeypatch):
    runs = []
    classify = Model.classify
    monkeypatch.setattr(Model, "classify", lambda self, x: (runs.append(len(x)), classify(self, x))[1])
    models = tuple(Model(model_bytes(k, 3000), f"m{k}") for k in (0, 3))
    point = np.full(3000, 0.4, np.float32)
    query = make_query(models, point, 1, 0.5)
    shrink(query, point - np.float32(0.5))
    assert len(runs) <= 2 * 40
    assert max(runs) <= 256
