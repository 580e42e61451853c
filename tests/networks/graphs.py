"""ONNX graphs written as nested calls, and the comparison of their lowering with onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pytest_ensemble.networks.model import Model

_TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int64": TensorProto.INT64}


class Graph:
    """A graph over one input `x`: `g("Relu", g("Gemm", g.x, g.random(4, 3)))` names a tensor.

    Arrays become stored tensors, None an input that is left out; other arguments are attributes.
    """

    x = "x"

    def __init__(self, shape: Sequence[int | str], *, opset: int = 18, dtype: str = "float32") -> None:
        self.shape = list(shape)
        self.opset = opset
        self.dtype = dtype
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(len(self.shape))

    def __call__(
        self, kind: str, *inputs: Any, outputs: int = 1, domain: str = "", name: str = "", **attributes: Any
    ) -> Any:
        names = [self.name_of(value) for value in inputs]
        made = [f"t{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, name=name, domain=domain, **attributes))
        return made[0] if outputs == 1 else made

    def name_of(self, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(self.dtype)
        self.tensors.append(numpy_helper.from_array(array, f"c{len(self.tensors)}"))
        return self.tensors[-1].name

    def random(self, *shape: int) -> NDArray[np.float64]:
        return self._rng.normal(size=shape)

    def dense(self, value: str, fan_in: int, fan_out: int) -> Any:
        return self("Gemm", value, self.random(fan_in, fan_out), self.random(fan_out))

    def proto(self, *outputs: str, types: Sequence[str] | None = None) -> onnx.ModelProto:
        kinds = types or [self.dtype] * len(outputs)
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info(self.x, _TYPES[self.dtype], self.shape)],
            [
                helper.make_tensor_value_info(output, _TYPES[kind], None)
                for output, kind in zip(outputs, kinds, strict=True)
            ],
            self.tensors,
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("ai.onnx.ml", 3)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def content(self, *outputs: str, types: Sequence[str] | None = None) -> bytes:
        return bytes(self.proto(*outputs, types=types).SerializeToString())

    def model(self, *outputs: str, types: Sequence[str] | None = None, name: str = "model") -> Model:
        return Model(self.content(*outputs, types=types), name)


def run(content: bytes, x: NDArray[Any]) -> list[Any]:
    """All outputs of onnxruntime for one feed."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: x}))


def agrees(graph: Graph, output: str, seed: int = 0) -> Model:
    """Check that a graph of fixed input shape is lowered to what onnxruntime computes.

    The inputs have zeros and whole numbers among them: kinks and ties.
    """
    flat = graph("Reshape", output, np.array([1, -1]))
    content = graph.content(flat)
    model = Model(content, "graph")
    shape = [int(n) for n in graph.shape]
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(6, *shape))
    samples[3:] = np.round(2 * samples[3:])
    samples[5] = 0
    samples = samples.astype(graph.dtype)
    expected = np.stack([run(content, sample)[0].reshape(-1) for sample in samples])
    computed = model.network.evaluate(samples.reshape(len(samples), -1))
    np.testing.assert_allclose(computed, expected, rtol=2e-5, atol=2e-5 * (1 + np.abs(expected).max()))
    return model
