"""Networks whose answers are known: each is a function of one direction, so that a query is a line to walk.

Network i gives class p the score h_ip(d . x), with h_ip piecewise linear and d of powers of two on some of
the inputs. Over a box, d . x fills an interval, and on the pieces of it the best point is an end or a
crossing of margins. Networks on other inputs are independent of each other: the least of their optima counts.
Everything is a sum of few float64 products of float32 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.ball import Ball, Bounds
from tests.fuzz.case import Case, ask, teams_of
from tests.fuzz.disguise import Chain, disguise, file_of

__all__ = ["planted"]

Float = NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True)
class _Ridge:
    """Scores `outer @ relu(inner * s + shift) + bias` of s = direction . x, of shape (classes,)."""

    block: int
    direction: Float
    inner: Float
    shift: Float
    outer: Float
    bias: Float

    def margins(self, s: Float, label: int) -> Float:
        """Of the other classes, (m, classes - 1), at s, (m,)."""
        scores = np.maximum(np.outer(s, self.inner) + self.shift, 0) @ self.outer.T + self.bias
        return np.delete(scores - scores[:, [label]], label, axis=1)

    def chain(self) -> Chain:
        return [(np.outer(self.inner, self.direction), self.shift), (self.outer, self.bias)]


def planted(rng: Rng, *, hard: bool = False) -> Case:
    """A pool of such networks in disguise, with epsilons beside the radii where answers change."""
    blocks, classes = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    sizes = rng.integers(1, int(rng.choice([2, 5, 40])) + 1, size=blocks)
    directions = _directions(rng, sizes)
    ridges: dict[str, _Ridge] = {}
    models: list[Model] = []
    for k in range(int(rng.integers(2, 6))):
        if models and rng.random() < 0.2:  # the same function again
            ridge = ridges[models[int(rng.integers(len(models)))].name]
        else:
            ridge = _ridge(rng, directions, classes)
        ridges[f"m{k}"] = ridge
        models.append(file_of(rng, disguise(rng, ridge.chain(), hard=hard), f"m{k}"))

    def truth(team: tuple[Model, ...], ball: Ball, label: int) -> float:
        return _truth([ridges[model.name] for model in team], ball, label)

    points = [_point(rng, int(sizes.sum()), classes) for _ in range(int(rng.integers(2, 16)))]
    teams = teams_of(list({model.sha256: model for model in models}.values()))
    epsilons = [0.0, *(10.0 ** rng.uniform(-3, 0.5, size=5))]
    for _ in range(3):
        team, (x, label, bounds) = teams[int(rng.integers(len(teams)))], points[0]
        radius = _radius(team, x, label, bounds, truth)
        beside = 1 + float(rng.choice([1e-4, 1e-2, 0.1] if hard else [1e-8, 1e-6, 1e-4, 1e-2]))
        epsilons += [radius * beside, radius / beside, radius][: 2 + (rng.random() < 0.2)] if radius else []
    case = ask(teams, points, sorted(set(epsilons)), truth)
    case.inputs = _ends(rng, points, directions)
    case.small = sizes.sum() <= 20
    return case


def _directions(rng: Rng, sizes: NDArray[np.int64]) -> list[Float]:
    """One a block of inputs; zero elsewhere."""
    directions, start = [], 0
    for size in sizes:
        direction = np.zeros(sizes.sum())
        reach = int(rng.choice([0, 1, 4]))
        direction[start : start + size] = rng.choice([-1, 1], size=size) * 2.0 ** rng.integers(
            -reach, 1, size=size
        )
        directions.append(direction)
        start += size
    return directions


def _ridge(rng: Rng, directions: list[Float], classes: int) -> _Ridge:
    neurons = int(rng.integers(1, 9))
    block = int(rng.integers(len(directions)))
    scale = 10.0 ** rng.uniform(-2, 2) if rng.random() < 0.3 else 1.0
    inner = _round(rng.normal(size=neurons) * scale)
    inner[inner == 0] = 1.0
    shift = _round(-inner * rng.normal(size=neurons) * np.abs(directions[block]).sum())
    outer, bias = _round(rng.normal(size=(classes, neurons)) / scale), _round(rng.normal(size=classes))
    if rng.random() < 0.3:  # whole numbers: ties
        inner, shift, outer, bias = (np.round(2 * side) for side in (inner, shift, outer, bias))
    if rng.random() < 0.2:  # the same for all classes but for a hair
        outer = _round(outer[:1] + outer * 2.0**-10)
    return _Ridge(block, directions[block], inner, shift, outer, bias)


def _round(values: Float) -> Float:
    return values.astype(np.float32).astype(np.float64)


def _point(rng: Rng, inputs: int, classes: int) -> tuple[NDArray[np.float32], int, Bounds | None]:
    x = rng.uniform(-1, 1, size=inputs).astype(np.float32)
    if rng.random() < 0.2:
        x = np.round(2 * x) / 2
    bounds = (np.full(inputs, -1.0), np.full(inputs, 1.0)) if rng.random() < 0.3 else None
    return x, int(rng.integers(classes)), bounds


def _truth(ridges: list[_Ridge], ball: Ball, label: int) -> float:
    """The highest least margin over the ball."""
    low, high = ball.box
    optimum = np.inf
    for block in {ridge.block for ridge in ridges}:
        own = [ridge for ridge in ridges if ridge.block == block]
        direction = own[0].direction
        middle, reach = direction @ (low + high) / 2, np.abs(direction) @ (high - low) / 2
        optimum = min(optimum, _along(own, middle - reach, middle + reach, label))
    return optimum


def _along(ridges: list[_Ridge], start: float, end: float, label: int) -> float:
    """The highest least margin over an interval of s."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        kinks = np.concatenate([-ridge.shift / ridge.inner for ridge in ridges])
    ends = np.unique(np.concatenate([[start, end], kinks[(kinks > start) & (kinks < end)]]))
    margins = [ridge.margins(ends, label) for ridge in ridges]
    best = float(_least(margins).max())
    for k, (a, b) in enumerate(pairwise(ends)):
        left, right = (np.concatenate([one[side] for one in margins]) for side in (k, k + 1))
        rise = right - left
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (left[:, None] - left) / (rise - rise[:, None])
        share = share[(share > 0) & (share < 1)]
        if len(share):
            best = max(
                best, float(_least([ridge.margins(a + share * (b - a), label) for ridge in ridges]).max())
            )
    return best


def _least(margins: list[Float]) -> Float:
    """Of networks at points: the least of their highest margins."""
    return np.min([one.max(axis=1) for one in margins], axis=0)


def _radius(team, x, label, bounds, truth) -> float:  # type: ignore[no-untyped-def]
    """An epsilon at which the optimum passes zero; 0 if there is none below 8."""
    low, high = 0.0, 8.0
    if truth(team, Ball(x, low, bounds), label) > 0 or truth(team, Ball(x, high, bounds), label) < 0:
        return 0.0
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (low, middle) if truth(team, Ball(x, middle, bounds), label) > 0 else (middle, high)
    return high


def _ends(
    rng: Rng, points: list[tuple[NDArray[np.float32], int, Bounds | None]], directions: list[Float]
) -> NDArray[np.float32]:
    """Far along all directions: where single networks are worst."""
    total = np.array([rng.choice([-1, 1], size=len(directions)) @ np.array(directions) for _ in range(8)])
    steps = np.sign(total) * rng.choice([0.01, 0.1, 1, 10], size=(8, 1))
    return np.concatenate([x + steps for x, _, _ in points]).astype(np.float32)
