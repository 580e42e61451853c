"""A pytest plugin for tests of the plugin: models with known scores, and an engine that knows them.

Model k looks at input k only: class 1 if it is above zero. So it errs within epsilon of a point exactly if
that input of the point is within epsilon of zero, two models err together wherever both err, and one corner
of the ball decides every query.
"""

import os
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pytest_ensemble.analysis import analysis
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.replay import replays

POINTS = 20
# The points at which each model errs within 0.1, but not within 0.01.
FRAGILE = {"m1": range(4), "m2": range(8), "m3": range(8), "m4": range(10, 12), "m5": range(0)}


def write_repo(folder):
    """models/m1.onnx .. m5.onnx, and data.npz: 20 agreement points, then a row for each model's error."""
    (folder / "models").mkdir()
    for k, name in enumerate(FRAGILE):
        (folder / "models" / f"{name}.onnx").write_bytes(model_bytes(k, len(FRAGILE)))
    x, y = data()
    np.savez(folder / "data.npz", x=x, y=y)


def data():
    """Labels alternate among the agreement points; the rows after them are all of class 1."""
    y = np.array([p % 2 for p in range(POINTS)] + [1] * len(FRAGILE))
    x = np.full((len(y), len(FRAGILE)), 0.9, dtype=np.float32)
    for k, points in enumerate(FRAGILE.values()):
        x[list(points), k] = 0.05
        x[POINTS + k, k] = -0.9
    x -= np.arange(len(y), dtype=np.float32)[:, None] / 1000  # no two points are the same
    x[y == 0] *= -1
    return x, y


def model_bytes(k, inputs):
    """A Gemm, Relu, Gemm network that tells the sign of input k."""
    hidden, output = np.zeros((2, inputs), np.float32), np.array([[-1, 1], [1, -1]], np.float32)
    hidden[:, k] = 1, -1
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "hidden"], ["z"], transB=1),
            helper.make_node("Relu", ["z"], ["a"]),
            helper.make_node("Gemm", ["a", "output"], ["y"], transB=1),
        ],
        "sign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(hidden, "hidden"), numpy_helper.from_array(output, "output")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


class Corner:
    """Answers in truth, but for pairs in CORNER_UNKNOWN ("m1~m2=timeout ...") or beyond the deadline.

    The engine that CORNER_LIES names says unsat to everything.

    Each takes CORNER_SLOW seconds. Every query is written to queries.log in the current folder.
    """

    def __init__(self, name):
        self.name = name

    def solve(self, queries, budget):
        unknown = dict(entry.split("=") for entry in os.environ.get("CORNER_UNKNOWN", "").split())
        for query in queries:
            names = "~".join(model.name for model in query.models)
            with Path("queries.log").open("a", errors="backslashreplace") as log:
                print(names, query.key, query.ball.epsilon, budget.timeout, file=log)
            time.sleep(float(os.environ.get("CORNER_SLOW", 0)))
            if os.environ.get("CORNER_CRASH") in names.split("~"):
                os._exit(9)
            reason = budget.why(0.0, asked=False) if budget.spent() else unknown.get(names)
            if reason:
                yield query, Answer(Outcome.UNKNOWN, reason=reason, engine=self.name)
                continue
            if self.name == os.environ.get("CORNER_LIES"):
                yield query, Answer(Outcome.UNSAT, engine=self.name)
                continue
            center = query.ball.center
            x = query.ball.project((center - query.ball.epsilon * np.sign(center))[None])
            if replays(query, x).all():
                yield query, Answer(Outcome.SAT, x[0], engine=self.name, seconds=0.001)
            else:
                yield query, Answer(Outcome.UNSAT, engine=self.name, seconds=0.001)

    def close(self):
        Path("closed.log").open("a").close()


_make_engine = analysis.make_engine


def pytest_configure():
    analysis.make_engine = lambda name, *, jobs=1, certificates=None, memory=None: Corner(f"{name}-{jobs}")


def pytest_unconfigure():
    analysis.make_engine = _make_engine
