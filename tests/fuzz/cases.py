"""Random cases of every kind; `KINDS` names them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.rounding import margin_rounding
from pytest_ensemble.queries.ball import Ball, Bounds
from pytest_ensemble.queries.query import Query
from tests.engines.exact import optimum
from tests.engines.judge import size
from tests.engines.random_networks import (
    ARCHITECTURES,
    KINDS,
    shifted,
    tiny_architecture,
    tiny_model,
    tiny_query,
)
from tests.fuzz.case import Case, ask, teams_of
from tests.fuzz.disguise import Chain, disguise, file_of
from tests.fuzz.planted import planted
from tests.fuzz.samples import every_input, some_inputs
from tests.networks.graphs import Graph

__all__ = ["MAKERS"]

Rng = np.random.Generator
_CENTERS = (0.0, 1.0, 0.1, -0.75, 3e-39, 1e-6, 1e4, -3e7)


def tiny(rng: Rng) -> Case:
    """Networks with a few ReLUs, of two or three inputs."""
    inputs, classes = int(rng.integers(1, 4)), int(rng.integers(2, 4))
    models = []
    for k in range(int(rng.integers(2, 5))):
        hidden = rng.integers(1, 4, size=int(rng.integers(1, 4)))
        kind = str(rng.choice(KINDS))
        models.append(tiny_model(rng, inputs=inputs, hidden=hidden, classes=classes, kind=kind, name=f"m{k}"))
    case = _around(rng, models, float(rng.choice([0.01, 0.1, 0.5, 2.0])))
    case.tiny = True
    return case


def architectures(rng: Rng) -> Case:
    """Deep, residual and convolutional networks."""
    kinds = rng.choice(ARCHITECTURES, size=int(rng.integers(2, 5)))
    models = [tiny_architecture(rng, str(kind), name=f"m{k}") for k, kind in enumerate(kinds)]
    case = _around(rng, models, float(rng.choice([0.02, 0.1, 0.3, 1.0])))
    case.tiny = True
    return case


def wide(rng: Rng) -> Case:
    """Networks with dozens of ReLUs."""
    inputs, classes = int(rng.integers(4, 13)), int(rng.integers(2, 6))
    layers = [[12], [24], [8, 8], [16, 8], [6, 6, 6]]
    models = []
    for k in range(int(rng.integers(2, 4))):
        hidden = layers[int(rng.integers(len(layers)))]
        kind = str(rng.choice(KINDS))
        models.append(tiny_model(rng, inputs=inputs, hidden=hidden, classes=classes, kind=kind, name=f"m{k}"))
    return _around(rng, models, float(rng.choice([0.01, 0.05, 0.2])))


def near_ties(rng: Rng) -> Case:
    """One query whose optimum is enumerated, moved to all distances from a tie."""
    query = tiny_query(rng, members=int(rng.integers(1, 3)), relus=5)
    best, scale = optimum(query), size(query)
    queries, truth = [], []
    for exponent in rng.uniform(-8, -1, size=12):
        by = float(10.0**exponent * scale * rng.choice([-1, 1]))
        for shift in (by - best, -best, by):
            moved = {model.sha256: shifted(model, query.label, shift) for model in query.models}
            models = tuple(moved[model.sha256] for model in query.models)
            queries.append(Query(models, query.ball, query.label))
            truth.append(_after_shift(query, models, best))
    return Case(queries, truth, tiny=True)


def _after_shift(query: Query, models: tuple[Model, ...], best: float) -> float:
    """The optimum, if all margins were moved by the same in float32; else NaN."""
    moves = set()
    for old, new in zip(query.models, models, strict=True):
        before, after = (model.network.margins(query.label).layers[-1].bias for model in (old, new))
        moves |= set((after - before).tolist())
    spread = max(moves) - min(moves)
    return best + max(moves) if spread < 1e-9 * size(query) else np.nan


def twins(rng: Rng, *, hard: bool = False) -> Case:
    """A random network and others with the same function: all teams have the same optimum."""
    inputs, classes = int(rng.integers(1, 4)), int(rng.integers(2, 4))
    chain = _random_chain(rng, [inputs, *rng.integers(1, 4, size=int(rng.integers(1, 3))), classes])
    models = [file_of(rng, chain, "m0")]
    models += [file_of(rng, disguise(rng, chain, hard=hard), f"m{k}") for k in range(1, 4)]
    known: dict[tuple[str, float, int], float] = {}

    def truth(team: tuple[Model, ...], ball: Ball, label: int) -> float:
        key = ball.digest, ball.epsilon, label
        if key not in known:
            known[key] = optimum(Query((models[0],), ball, label))
        return known[key]

    center = rng.uniform(-1, 1, size=inputs).astype(np.float32)
    label = int(models[0].predict(center[None])[0])
    epsilons = sorted(float(rng.choice([0.02, 0.2, 1.0])) * rng.uniform(0.2, 2, size=3))
    case = ask(teams_of(models), [(center, label, None)], epsilons, truth)
    case.tiny = True
    return case


def huge_ratios(rng: Rng) -> Case:
    """Weights, inputs and radii of very different sizes."""
    inputs, classes = int(rng.integers(1, 5)), int(rng.integers(2, 4))
    models = []
    for k in range(3):
        chain = _random_chain(rng, [inputs, *rng.integers(1, 5, size=int(rng.integers(1, 4))), classes])
        reach = float(rng.choice([1, 3, 6]))
        chain = [
            tuple(
                _round(side * 10.0 ** rng.uniform(-reach, reach, size=(len(side),) + (1,) * (side.ndim - 1)))
                for side in layer
            )
            for layer in chain
        ]  # type: ignore[misc]
        models.append(file_of(rng, disguise(rng, chain, hard=True), f"m{k}"))
    return _around(rng, models, 10.0 ** float(rng.uniform(-4, 3)))


def few_floats(rng: Rng) -> Case:
    """Balls of so few float32 inputs that all are tried, on networks about as far from ties as they round."""
    inputs = int(rng.integers(1, 3))
    center = rng.choice(_CENTERS, size=inputs).astype(np.float32)
    if rng.random() < 0.5:
        center[:] = center[0]
    ulp, most = float(np.spacing(np.abs(center)).min()), int(rng.choice([1, 4, 16]))
    epsilons = ulp * (rng.integers(0, most + 1, size=3) + rng.choice([0, 0.5, 0.75]))
    ball = Ball(center, float(np.median(epsilons)))
    models = [_barely_right(rng, ball, f"m{k}") for k in range(4)]
    case = ask(teams_of(models, 2), [(center, 0, None)], sorted(set(epsilons.tolist())))
    case.whole = True
    return case


def _barely_right(rng: Rng, ball: Ball, name: str) -> Model:
    """Its highest margin for class 1 is below zero by a multiple of what rounding may add."""
    chain = _random_chain(rng, [len(ball.center), *rng.integers(1, 5, size=int(rng.integers(1, 3))), 2])
    if rng.random() < 0.5:  # kinks in the ball
        chain[0] = chain[0][0], _round(chain[0][1] - chain[0][0] @ ball.center)
    chain = disguise(rng, chain, hard=bool(rng.random() < 0.5))
    style = int(rng.integers(1 << 32))
    low, high = (side[None] for side in ball.box)
    # files err by a tenth of the bound where they err at all
    for times in (0.0, float(rng.uniform(-0.5, 2) if rng.random() < 0.5 else rng.uniform(0, 0.1))):
        model = file_of(np.random.default_rng(style), chain, name)
        rounding = margin_rounding(model.network, low, high, np.array([0]))[0, 1]
        x = every_input(ball)
        highest = (
            model.network.margins(0).evaluate(some_inputs(rng, ball, 64, None) if x is None else x).max()
        )
        weight, bias = chain[-1]
        chain[-1] = weight, _round(bias - np.array([0, highest + times * rounding]))
    return file_of(np.random.default_rng(style), chain, name)


def compositions(rng: Rng) -> Case:
    """Any operators in any order, with values that are used twice; some end as a binary classifier."""
    classes = int(rng.integers(2, 5))
    models = [_composition(rng, classes, f"m{k}") for k in range(int(rng.integers(2, 4)))]
    return _around(rng, models, float(rng.choice([0.01, 0.1, 0.5, 2.0])))


def _composition(rng: Rng, classes: int, name: str) -> Model:
    graph = Graph(("n", 4), dtype="float64" if rng.random() < 0.1 else "float32")
    values = [graph.x]

    def some() -> str:
        return values[-1 - int(rng.geometric(0.5) - 1) % len(values)]

    def normalise(value: str) -> str:
        moments = [rng.normal(size=4) for _ in range(3)]
        out: str = graph("BatchNormalization", value, *moments, rng.uniform(0.01, 2, size=4), epsilon=1e-3)
        return out

    def dense(value: str) -> str:
        out: str = graph("Gemm", value, rng.normal(size=(4, 4)) / 1.5, rng.normal(size=4) / 2)
        return out

    ways: list[Callable[[], str]] = [
        lambda: dense(some()),
        lambda: graph("Relu", dense(some())),
        lambda: graph("LeakyRelu", some(), alpha=0.1),
        lambda: graph("Abs", some()),
        lambda: graph("Clip", some(), np.array(-1.0), np.array(1.0)),
        lambda: graph(str(rng.choice(["Max", "Min", "Add", "Sub"])), some(), some()),
        lambda: graph("Mul", some(), rng.normal(size=4)),
        lambda: graph("Slice", graph("Concat", some(), some(), axis=1), [1], [8], [1], [2]),
        lambda: normalise(some()),
    ]
    for _ in range(int(rng.integers(2, 7))):
        values.append(ways[int(rng.integers(len(ways)))]())
    outputs = 1 if classes == 2 and rng.random() < 0.5 else classes
    value = graph("Gemm", values[-1], rng.normal(size=(4, outputs)), rng.normal(size=outputs) / 2)
    if outputs == 1:
        yes = graph("Sigmoid", value)
        value = graph("Concat", graph("Sub", np.ones(1), yes), yes, axis=1)
    elif rng.random() < 0.2:
        value = graph("Softmax", value, axis=1)
    return graph.model(value, name=name)


def _around(rng: Rng, models: list[Model], epsilon: float) -> Case:
    """All teams around some points at some epsilons, moved so that errors are about as likely as not."""
    inputs, classes = models[0].input_size, models[0].classes
    points = []
    for _ in range(int(rng.integers(2, 12))):
        center = rng.uniform(-1, 1, size=inputs).astype(np.float32)
        label = int(models[0].predict(center[None])[0]) if rng.random() < 0.8 else int(rng.integers(classes))
        points.append((center, label, _bounds(rng, center)))
    center, label, _ = points[0]
    moved = []
    for model in models:
        corners = center + epsilon * rng.choice([-1, 1], size=(32, inputs))
        margins = model.network.margins(label).evaluate(corners)
        by = rng.normal() * margins.std() - float(margins.max())
        movable = rng.random() < 0.6 and model.content.count(b"Gemm")
        moved.append(_try_shift(model, label, by) if movable else model)
    epsilons = set(epsilon * rng.uniform(0.1, 1.5, size=6))
    if rng.random() < 0.1:
        epsilons |= {0.0, float(rng.choice([1e-45, 1e-20, 1e4, 1e20]))}
    return ask(teams_of(moved), points, sorted(epsilons))


def _bounds(rng: Rng, center: NDArray[np.float32]) -> Bounds | None:
    """None, a cube, or sides that some coordinates stand on already."""
    if rng.random() < 0.6:
        return None
    low, high = np.full(len(center), -1.0), np.full(len(center), 1.0)
    if rng.random() < 0.5:
        low = np.where(rng.random(len(center)) < 0.3, center, -np.inf)
        high = np.where(rng.random(len(center)) < 0.3, center, high)
    return low.astype(np.float64), high.astype(np.float64)


def _try_shift(model: Model, label: int, by: float) -> Model:
    try:
        return shifted(model, label, by)
    except (ValueError, IndexError):  # its last node is not a Gemm with a bias
        return model


def _random_chain(rng: Rng, sizes: list[int]) -> Chain:
    chain = []
    for fan_in, fan_out in pairwise(sizes):
        weight = rng.normal(size=(fan_out, fan_in)) * np.sqrt(2 / fan_in)
        chain.append((_round(weight), _round(rng.normal(size=fan_out) / 2)))
    return chain


def _round(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.astype(np.float32).astype(np.float64)


MAKERS: dict[str, Callable[[Rng], Case]] = {
    "planted": planted,
    "planted-hard": partial(planted, hard=True),
    "tiny": tiny,
    "architectures": architectures,
    "near-ties": near_ties,
    "twins": twins,
    "twins-hard": partial(twins, hard=True),
    "wide": wide,
    "compositions": compositions,
    "huge-ratios": huge_ratios,
    "few-floats": few_floats,
}
