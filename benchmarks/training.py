"""Train the networks of the benchmarks: fixed seeds, minutes at most, cached as ONNX files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.data import Images
from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.pool import Pool

__all__ = ["CACHE", "CHANNELS", "KERNEL", "SIDE", "STRIDE", "conv_pool", "deployed_pool", "trained_pool"]

CACHE = Path(__file__).parent / "cache"

# The convolutional classifier: one layer of CHANNELS KERNEL x KERNEL filters, then a dense one.
CHANNELS, KERNEL, STRIDE, SIDE = 8, 5, 2, 28

# The strided classifier: two layers of STRIDED 4 x 4 filters, stride 2 and padding 1, then two dense ones.
STRIDED, DENSE = (16, 32), 100
ATTACK = 0.05  # radius of the inputs that adversarial training shows

Parameters = list[NDArray[np.float32]]


def trained_pool(
    dataset: str, train: Callable[[], Images], hidden: Sequence[int], count: int, epochs: int = 8
) -> Pool:
    """`count` ReLU networks 784-*hidden-10 of different seeds, from the cache or trained now."""

    def make(seed: int) -> onnx.ModelProto:
        return _dense_onnx(fit_dense(train(), hidden, seed, epochs))

    return _cached(CACHE / dataset / "-".join(str(n) for n in hidden), count, make)


def conv_pool(dataset: str, train: Callable[[], Images], count: int, epochs: int = 3) -> Pool:
    """`count` networks of one convolution and one dense layer, from the cache or trained now."""

    def make(seed: int) -> onnx.ModelProto:
        return _conv_onnx(fit_conv(train(), seed, epochs))

    return _cached(CACHE / dataset / f"conv{CHANNELS}", count, make)


def deployed_pool(
    dataset: str, train: Callable[[], Images], kind: str, count: int, *, adversarial: bool
) -> Pool:
    """`count` networks as people deploy them, "dense" (784-256-256-10) or "strided"."""

    def make(seed: int) -> onnx.ModelProto:
        parameters = fit_deployed(train(), kind, seed, adversarial=adversarial)
        return _dense_onnx(parameters) if kind == "dense" else _strided_onnx(parameters)

    return _cached(CACHE / dataset / f"{kind}{'-adversarial' * adversarial}", count, make)


def _cached(place: Path, count: int, make: Callable[[int], onnx.ModelProto]) -> Pool:
    place.mkdir(parents=True, exist_ok=True)
    paths = [place / f"n{seed:02d}.onnx" for seed in range(count)]
    for seed, path in enumerate(paths):
        if not path.exists():
            onnx.save(make(seed), path)
    return Pool(Model.load(path) for path in paths)


# --- training -------------------------------------------------------------------------------------


def fit_dense(train: Images, hidden: Sequence[int], seed: int, epochs: int) -> Parameters:
    """Weight, bias, weight, bias, ... of a chain of dense layers."""
    torch = _torch(seed)
    layers: list[Any] = []
    for before, after in pairwise([train[0].shape[1], *hidden, 10]):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    return _fit(torch, torch.nn.Sequential(*layers[:-1]), train, epochs)


def fit_conv(train: Images, seed: int, epochs: int) -> Parameters:
    """Kernels, (channels, 1, k, k), their bias, and the weight and bias of the dense layer."""
    torch = _torch(seed)
    after = (SIDE - KERNEL) // STRIDE + 1
    net = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, SIDE, SIDE)),
        torch.nn.Conv2d(1, CHANNELS, KERNEL, STRIDE),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(CHANNELS * after**2, 10),
    )
    return _fit(torch, net, train, epochs)


def fit_deployed(train: Images, kind: str, seed: int, *, adversarial: bool) -> Parameters:
    """Weights and biases in the order of the layers, kernels first where there are any."""
    torch = _torch(seed)
    nn = torch.nn
    if kind == "dense":
        layers = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)]
        return _fit(torch, nn.Sequential(*layers), train, 4, rate=1e-3, adversarial=adversarial)
    first, second = STRIDED
    net = nn.Sequential(
        nn.Unflatten(1, (1, SIDE, SIDE)),
        nn.Conv2d(1, first, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(first, second, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(second * (SIDE // 4) ** 2, DENSE),
        nn.ReLU(),
        nn.Linear(DENSE, 10),
    )
    return _fit(torch, net, train, 2, rate=1e-3, adversarial=adversarial)


def _torch(seed: int) -> Any:
    try:
        import torch
    except ImportError:
        raise SystemExit('Training needs torch: pip install -e ".[dev]"') from None
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    return torch


def _fit(
    torch: Any, net: Any, train: Images, epochs: int, *, rate: float = 2e-3, adversarial: bool = False
) -> Parameters:
    """Adam on the cross-entropy, of the images or of what a gradient step from a random start makes."""
    x, y = (torch.from_numpy(part) for part in train)
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(128):
            shown = _attacked(torch, net, x[rows], y[rows]) if adversarial else x[rows]
            loss = torch.nn.functional.cross_entropy(net(shown), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return [parameter.detach().numpy() for parameter in net.parameters()]


def _attacked(torch: Any, net: Any, x: Any, y: Any) -> Any:
    """FGSM with a random start (Wong, Rice and Kolter 2020)."""
    start = (x + torch.empty_like(x).uniform_(-ATTACK, ATTACK)).requires_grad_()
    loss = torch.nn.functional.cross_entropy(net(start), y)
    (gradient,) = torch.autograd.grad(loss, start)
    moved = start.detach() + 1.25 * ATTACK * gradient.sign()
    return torch.minimum(torch.maximum(moved, x - ATTACK), x + ATTACK).clamp(0, 1)


# --- files ----------------------------------------------------------------------------------------


def _dense_onnx(parameters: Parameters) -> onnx.ModelProto:
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
    return _model(nodes, stored, ["batch", parameters[0].shape[1]], parameters[-1].shape[0])


def _conv_onnx(parameters: Parameters) -> onnx.ModelProto:
    names = ["kernel", "shift", "weight", "bias"]
    stored = [numpy_helper.from_array(p, n) for p, n in zip(parameters, names, strict=True)]
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "shift"], ["z"], strides=[STRIDE, STRIDE]),
        helper.make_node("Relu", ["z"], ["h"]),
        helper.make_node("Flatten", ["h"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"], transB=1),
    ]
    return _model(nodes, stored, ["batch", 1, SIDE, SIDE], parameters[-1].shape[0])


def _strided_onnx(parameters: Parameters) -> onnx.ModelProto:
    stored = [numpy_helper.from_array(p, f"p{k}") for k, p in enumerate(parameters)]
    strides = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "p0", "p1"], ["z0"], **strides),
        helper.make_node("Relu", ["z0"], ["h0"]),
        helper.make_node("Conv", ["h0", "p2", "p3"], ["z1"], **strides),
        helper.make_node("Relu", ["z1"], ["h1"]),
        helper.make_node("Flatten", ["h1"], ["flat"]),
        helper.make_node("Gemm", ["flat", "p4", "p5"], ["z2"], transB=1),
        helper.make_node("Relu", ["z2"], ["h2"]),
        helper.make_node("Gemm", ["h2", "p6", "p7"], ["logits"], transB=1),
    ]
    return _model(nodes, stored, ["batch", 1, SIDE, SIDE], parameters[-1].shape[0])


def _model(nodes: list[Any], stored: list[Any], shape: list[Any], classes: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
