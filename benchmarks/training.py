"""Train the networks of the benchmarks: fixed seeds, minutes at most, cached as ONNX files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.data import Images
from pytest_ensemble.networks.pool import Pool

CACHE = Path(__file__).parent / "cache"


def trained_pool(dataset: str, train: Images, hidden: Sequence[int], count: int, epochs: int = 8) -> Pool:
    """`count` ReLU networks 784-*hidden-10 of different seeds, from the cache or trained now."""
    place = CACHE / dataset / "-".join(str(n) for n in hidden)
    place.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        path = place / f"n{seed:02d}.onnx"
        if not path.exists():
            onnx.save(_as_onnx(_train(train, hidden, seed, epochs)), path)
    return (
        Pool.load(str(place / "n[0-9][0-9].onnx"))
        if count == len(list(place.glob("*.onnx")))
        else Pool(model for model in Pool.load(place).values() if int(model.name[1:]) < count)
    )


def _train(train: Images, hidden: Sequence[int], seed: int, epochs: int) -> list[np.ndarray]:
    """Adam on the cross-entropy; returns weight, bias, weight, bias, ..."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(2)
    x, y = (torch.from_numpy(part) for part in train)
    sizes = [x.shape[1], *hidden, 10]
    layers: list[torch.nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(128):
            loss = torch.nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return [parameter.detach().numpy() for parameter in net.parameters()]


def _as_onnx(parameters: list[np.ndarray]) -> onnx.ModelProto:
    nodes, stored, value = [], [], "x"
    for k in range(0, len(parameters), 2):
        names = [f"w{k // 2}", f"b{k // 2}"]
        stored += [numpy_helper.from_array(p, n) for p, n in zip(parameters[k : k + 2], names, strict=True)]
        last = k + 2 == len(parameters)
        result = "logits" if last else f"z{k // 2}"
        nodes.append(helper.make_node("Gemm", [value, *names], [result], transB=1))
        value = result
        if not last:
            value = f"h{k // 2}"
            nodes.append(helper.make_node("Relu", [result], [value]))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", parameters[0].shape[1]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", parameters[-1].shape[0]])],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
