"""What reports show besides scores: curves over epsilon, and inputs that members err on together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.analysis.analysis import Analysis
from pytest_ensemble.analysis.scores import pairs_of
from pytest_ensemble.queries.answer import Outcome
from pytest_ensemble.report.entries import Counterexample, Curve
from pytest_ensemble.report.layout import image_layout

__all__ = ["curves", "gallery", "numbers", "sample_shape"]

_PAIRS = 3  # that the gallery shows, the worst first
_EACH = 2  # inputs of one pair, the nearest to their points first
_NUMBERS = 40_000  # in the gallery of one ensemble and epsilon, about


def curves(analysis: Analysis, ensemble: str, members: Sequence[str]) -> Iterator[Curve]:
    """The curve of every pair of members, from what is known at epsilons that were asked; asks nothing."""
    asked = analysis.asked
    for pair in pairs_of(members):
        witnessed, proven = [], []
        for point in range(len(analysis.points)):
            bracket = analysis.bracket(pair, point)
            witnessed += [e for e in asked if bracket.outcome(e) is Outcome.SAT][:1]
            proven += [e for e in asked if bracket.outcome(e) is Outcome.UNSAT][-1:]
        yield Curve(ensemble, pair, len(analysis.points), tuple(sorted(witnessed)), tuple(sorted(proven)))


def gallery(
    analysis: Analysis,
    ensemble: str,
    members: Sequence[str],
    epsilon: float,
    image_shape: tuple[int, ...] | None,
) -> Iterator[Counterexample]:
    """For the pairs that err most within `epsilon`, inputs near to their points; asks nothing.

    Args:
        image_shape: of one input where it is flat in models and data; None to leave it so.
    """
    shape = sample_shape(analysis, image_shape)
    size = math.prod(shape)
    points = range(len(analysis.points))
    errors = {
        pair: sum(analysis.outcome(pair, point, epsilon) is Outcome.SAT for point in points)
        for pair in pairs_of(members)
    }
    worst = [pair for pair in sorted(errors, key=lambda pair: (-errors[pair], pair)) if errors[pair]]
    found = {pair: analysis.counterexamples(pair, epsilon, _EACH) for pair in worst[:_PAIRS]}
    chosen = [(pair, one) for k in range(_EACH) for pair, own in found.items() for one in own[k : k + 1]]
    for pair, one in chosen[: max(1, _NUMBERS // (2 * size))]:
        x = np.asarray(analysis.points.x[one.point], np.float32).reshape(-1)
        said = {name: analysis.pool[name].classify(one.x[None]) for name in members}
        kept = size <= _NUMBERS
        yield Counterexample(
            ensemble,
            pair,
            one.point,
            int(analysis.points.indices[one.point]),
            int(analysis.points.labels[one.point]),
            one.distance,
            shape,
            numbers(x) if kept else None,
            numbers(one.x) if kept else None,
            {name: int(labels[0]) for name, (_, labels) in said.items()},
            {name: tuple(float(f"{score:.6g}") for score in rows[0]) for name, (rows, _) in said.items()},
        )


def sample_shape(analysis: Analysis, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """Shape of one input: the one given if it fits, else the models' or the data's if it is an image's."""
    model = next(iter(analysis.pool.values())).input_shape
    data = tuple(analysis.points.x.shape[1:])
    fitting = [shape for shape in (given, model, data) if shape and math.prod(shape) == math.prod(data)]
    return next((shape for shape in fitting if image_layout(shape) is not None), data)


def numbers(x: NDArray[np.float32]) -> tuple[float, ...]:
    """The shortest numbers that float32 reads as these."""
    return tuple(float(str(value)) for value in x.reshape(-1))
