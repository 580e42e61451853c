"""For property tests with Hypothesis: perturbed inputs, and small networks.

from hypothesis import given
from pytest_ensemble.strategies import ball

@given(x=ball(images[0], epsilon=0.02, bounds=(0, 1)))
def test_the_pipeline_gives_probabilities(x):
    assert abs(pipeline(x).sum() - 1) < 1e-6
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.ball import Ball, read_bounds

try:
    from hypothesis import strategies as st
except ImportError:
    raise ImportError("pytest_ensemble.strategies needs Hypothesis: pip install hypothesis.") from None

__all__ = ["ball", "networks"]

_FEW = 16  # coordinates that are drawn one by one
_SEEDS = st.integers(0, 2**32 - 1)


def ball(point: Any, epsilon: float, bounds: Any = None) -> st.SearchStrategy[NDArray[np.float32]]:
    """Inputs within `epsilon` of a point in the L-infinity norm, exactly: float32, of the point's shape.

    Corners and faces of the ball come often: that is where networks err first. Examples of up to
    16 numbers shrink to the point, number by number.

    Args:
        point: numbers of any shape; rounded to float32.
        epsilon: radius, a finite number >= 0.
        bounds: (low, high) that inputs keep to, numbers or arrays, or None.

    Raises:
        QueryError: a bad epsilon or bounds, or a point outside of them.
    """
    center = np.asarray(point, dtype=np.float32)
    around = Ball(center.reshape(-1), float(epsilon), read_bounds(bounds, center.size))
    inside = _few(around) if center.size <= _FEW else _many(around)
    return inside.map(lambda x: x.reshape(center.shape))


def _coordinate(around: Ball, k: int) -> st.SearchStrategy[float]:
    low, high = (float(side[k]) + 0.0 for side in around.float32_box)  # no -0.0
    corners = st.sampled_from([float(around.center[k]), low, high])
    return corners | st.floats(low, high, width=32)


def _few(around: Ball) -> st.SearchStrategy[NDArray[np.float32]]:
    coordinates = [_coordinate(around, k) for k in range(len(around.center))]
    return st.tuples(*coordinates).map(lambda x: np.array(x, np.float32))


@st.composite
def _many(draw: st.DrawFn, around: Ball) -> NDArray[np.float32]:
    """A simple pattern over all coordinates, some of which are then drawn by themselves."""
    low, high = around.float32_box
    size = len(low)
    pattern = draw(st.sampled_from(["center", "low", "high", "corner", "face", "inside"]))
    rng = np.random.default_rng(draw(_SEEDS) if pattern in ("corner", "face", "inside") else 0)
    x: NDArray[Any] = {"center": around.center, "low": low, "high": high}.get(pattern, around.center).copy()
    if pattern in ("corner", "face"):
        x = np.where(rng.random(size) < 0.5, low, high)
    if pattern in ("face", "inside"):
        between = low + rng.random(size) * (high.astype(np.float64) - low)
        x = np.where(rng.random(size) < 0.5, x, between) if pattern == "face" else between
    inside: NDArray[np.float32] = around.project(x[None])[0]
    for k in draw(st.lists(st.integers(0, size - 1), max_size=4, unique=True)):
        inside[k] = draw(_coordinate(around, k))
    return inside


@st.composite
def networks(
    draw: st.DrawFn,
    inputs: int | tuple[int, ...] = 4,
    classes: int = 3,
    *,
    layers: int = 2,
    width: int = 8,
) -> Model:
    """Random ReLU classifiers, as `pytest_ensemble.Model`: for tests of what is done with models.

    Args:
        inputs: number, or shape of a sample.
        classes: at least 2.
        layers: most hidden layers; `width`: most neurons of each.
    """
    if classes < 2 or layers < 0 or width < 1:
        raise ValueError("networks needs classes >= 2, layers >= 0 and width >= 1.")
    shape = (inputs,) if isinstance(inputs, int) else tuple(inputs)
    hidden = draw(st.lists(st.integers(1, width), max_size=layers))
    rng = np.random.default_rng(draw(_SEEDS))
    sizes = [int(np.prod(shape)), *hidden, classes]
    nodes, weights = [helper.make_node("Flatten", ["x"], ["h0"], axis=1)], []
    for k, (before, after) in enumerate(itertools.pairwise(sizes)):
        weight = rng.normal(size=(before, after)) * np.sqrt(2 / before)
        for name, values in ((f"w{k}", weight), (f"b{k}", rng.normal(size=after) / 4)):
            weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        nodes.append(helper.make_node("Gemm", [f"h{k}", f"w{k}", f"b{k}"], [f"z{k}"]))
        if k < len(hidden):
            nodes.append(helper.make_node("Relu", [f"z{k}"], [f"h{k + 1}"]))
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(f"z{len(hidden)}", TensorProto.FLOAT, ["batch", classes])],
        weights,
    )
    proto: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    return Model(proto.SerializeToString(), "random")
