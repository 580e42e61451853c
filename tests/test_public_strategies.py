"""`pytest_ensemble.strategies`."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from pytest_ensemble import Model
from pytest_ensemble.errors import QueryError
from pytest_ensemble.queries.ball import Ball, read_bounds
from pytest_ensemble.strategies import ball, networks

SHAPES = st.sampled_from([(1,), (3,), (2, 2), (5, 8)])


@given(st.data(), SHAPES, st.sampled_from([0.0, 1e-9, 0.02, 0.5, 3.0]), st.booleans())
def test_inputs_are_in_the_ball_exactly(data, shape, epsilon, clipped):
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    point = rng.random(shape)
    bounds = (0, 1) if clipped else None
    x = data.draw(ball(point, epsilon, bounds))
    assert x.shape == shape
    assert x.dtype == np.float32
    around = Ball(point.astype(np.float32).reshape(-1), epsilon, read_bounds(bounds, point.size))
    assert around.contains(x.reshape(1, -1))[0]


@pytest.mark.parametrize("shape", [(3,), (6, 6)])
def test_corners_faces_and_the_point_itself_come_often(shape):
    point, epsilon = np.full(shape, 0.5, np.float32), 0.25
    seen = {"corner": 0, "face": 0, "center": 0, "inside": 0}

    @settings(max_examples=200, database=None, derandomize=True)
    @given(ball(point, epsilon))
    def look(x):
        far = np.abs(x - point) == epsilon
        seen["corner"] += bool(far.all())
        seen["face"] += bool(far.any() and not far.all())
        seen["center"] += bool((x == point).all())
        seen["inside"] += bool(not far.any() and (x != point).any())

    look()
    assert min(seen.values()) >= 4, seen


def test_examples_shrink_to_the_point():
    point = np.full((3, 2), 0.5, np.float32)
    x = find(ball(point, 0.25), lambda x: x.reshape(-1)[1] > 0.6)
    assert (x != point).sum() == 1


def test_bad_arguments_are_refused_at_once():
    for arguments in (([0.5], -1), ([0.5], float("nan")), ([0.5], 0.1, (0.6, 1)), ([0.5], 0.1, (1, 0))):
        with pytest.raises(QueryError):
            ball(*arguments)


@settings(max_examples=20)
@given(networks((2, 3), 4, layers=3, width=5))
def test_networks_are_models_of_that_shape(model):
    assert isinstance(model, Model)
    assert (model.input_shape, model.classes) == ((2, 3), 4)
    assert len(model.network.layers) <= 4


def test_networks_differ_and_may_be_linear():
    few = settings(max_examples=20, database=None)
    assert find(networks(2, 2), lambda model: len(model.network.layers) == 1, settings=few)
    with pytest.raises(NoSuchExample):
        find(networks(2, 2, layers=0), lambda model: len(model.network.layers) > 1, settings=few)


def test_without_hypothesis_it_says_what_to_install():
    code = "import sys; sys.modules['hypothesis'] = None; import pytest_ensemble.strategies"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        "ImportError: pytest_ensemble.strategies needs Hypothesis: pip install hypothesis." in result.stderr
    )
    assert "During handling" not in result.stderr
