"""What float32 can't hold, and programs that HiGHS can't solve: no warning, and nothing is proven by it."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.optimize import linprog

from pytest_ensemble import Outcome, decide
from pytest_ensemble.engines import leaf
from pytest_ensemble.engines.bounds import Rows, root_rows
from pytest_ensemble.engines.chains import Chains, Frame
from pytest_ensemble.engines.tightening import tighten
from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.network import Layer, Network
from tests.engines.random_networks import tiny_model


def one_row(weight: float, bias: float, last: float, side: int = 0) -> tuple[Frame, Rows]:
    """relu(weight x + bias), x in [-1, 1], read with weight `last` by class 1; its row, on a side."""
    hidden = Layer(np.array([[weight]]), np.array([bias]), np.ones(1, np.bool_))
    outputs = Layer(np.array([[0.0], [last]]), np.array([-1.0, 0.0]), np.zeros(2, np.bool_))
    exact = Chains([[Network((hidden, outputs))]])
    fast, ends = exact.cast(np.float32), (np.full((1, 1), -1.0), np.ones((1, 1)))
    lower, upper = (np.array([[bias + sign * abs(weight)]], np.float32) for sign in (-1, 1))
    zero = np.zeros(1, np.intp)
    lower, upper = (np.maximum(lower, 0) if side > 0 else lower), upper
    rows = root_rows(zero, zero, zero, np.ones((1, 1), np.intp), lower, upper)
    return Frame(fast, fast.boxes(*ends), exact, exact.boxes(*ends)), rows


def test_a_cut_without_a_slope_narrows_nothing_wrongly() -> None:
    """Its multiplier has no limit, and float32 has one."""
    frame, rows = one_row(weight=1e10, bias=0.0, last=0.0)
    assert not tighten(frame, rows).any()
    assert rows.lower[0, 0] <= -1e10
    assert rows.upper[0, 0] >= 1e10


def test_a_leaf_that_highs_gives_up_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, rows = one_row(weight=1.0, bias=-5.0, last=1.0, side=1)  # x - 5 >= 0 nowhere
    x, multipliers = leaf.solve_leaf(frame, rows)
    assert x is None
    assert multipliers is not None

    def give_up(*_: object) -> object:
        return linprog([1.0], [[-1.0]], [-1.0], options={"maxiter": 0, "presolve": False})

    monkeypatch.setattr(leaf, "_farthest", give_up)
    assert leaf.solve_leaf(frame, rows) == (None, None)


@pytest.mark.parametrize("epsilon", [1e15, 1e20, 1e38, 1e200])
@pytest.mark.parametrize("seed", range(3))
def test_no_ball_is_too_large(seed: int, epsilon: float) -> None:
    rng = np.random.default_rng(seed)
    models = [tiny_model(rng, hidden=(3, 3), kind=kind, name=kind) for kind in ("gaussian", "scaled")]
    center = rng.normal(size=2).astype(np.float32)
    label = int(models[0].predict(center[None])[0])
    answer = decide(models, center, label, epsilon, engine="native", timeout=0.3)
    x = center.astype(float) + 10.0 ** rng.uniform(0, 36, size=(1000, 1)) * rng.normal(size=(1000, 2))
    x = np.clip(x, center.astype(float) - epsilon, center.astype(float) + epsilon).astype(np.float32)
    err = np.all([model.network.margins(label).evaluate(x).max(axis=1) > 0 for model in models], axis=0)
    if answer.outcome is Outcome.UNSAT:
        assert not err.any()


@pytest.mark.parametrize("members", [1, 2])
def test_what_may_overflow_proves_nothing(members: int) -> None:
    """The margins are far below zero in real numbers, but float32 may be further off: some inputs err."""
    slopes, biases = 1e27 * np.array([[1, 1], [1, 0], [0, 1]]), 1e27 * np.array([1, 0.5, 0.5])
    models = []
    for shift in (5e18, 7.5e18)[:members]:
        nodes = [
            helper.make_node("Gemm", ["x", "w0", "b0"], ["z0"], transB=1),
            helper.make_node("Relu", ["z0"], ["a0"]),
            helper.make_node("Gemm", ["a0", "w1", "b1"], ["z1"], transB=1),
        ]
        last = np.array([[1, -1, -1], [0, 0, 0]]), np.array([shift, 0])
        arrays = {"w0": slopes, "b0": biases, "w1": last[0], "b1": last[1]}
        tensors = [numpy_helper.from_array(v.astype(np.float32), name) for name, v in arrays.items()]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
            [helper.make_tensor_value_info("z1", TensorProto.FLOAT, ["N", 2])],
            tensors,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        models.append(Model(made.SerializeToString(), f"m{shift}"))
    center = np.array([0.011, 0.023], np.float32)
    x = np.random.default_rng(0).uniform(center - 0.2, center + 0.2, size=(10_000, 2)).astype(np.float32)
    assert all((model.predict(x) == 1).any() for model in models)
    answer = decide(models, center, 0, 0.2, engine="native")
    assert (answer.outcome, answer.reason) in ((Outcome.UNKNOWN, "boundary"), (Outcome.SAT, ""))
