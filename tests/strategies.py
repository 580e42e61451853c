"""Hypothesis strategies for balls, points near their surface, brackets and tallies."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_ensemble.analysis.scores import Tally
from pytest_ensemble.queries.answer import Bracket
from pytest_ensemble.queries.ball import Ball

COORDINATES = st.floats(-2, 2, width=32) | st.floats(width=32, allow_nan=False, allow_infinity=False)
RADII = st.sampled_from([0.0, 1e-45, 1e-9, 0.01, 0.1, 0.5, 1.0]) | st.floats(0, 3) | st.floats(0, 1e300)


@st.composite
def balls(draw: st.DrawFn, *, max_size: int = 3) -> Ball:
    """Balls of any size, at any place, with bounds (any float64) or without."""
    center = np.array(draw(st.lists(COORDINATES, min_size=1, max_size=max_size)), dtype=np.float32)
    epsilon = draw(RADII)
    if draw(st.booleans()):
        return Ball(center, epsilon)
    margin = st.sampled_from([0.0, 1e-3, math.inf]) | st.floats(0, 1)
    low, high = (
        np.array([float(c) + side * draw(margin) for c in center], dtype=np.float64) for side in (-1, 1)
    )
    return Ball(center, epsilon, (low, high))


@st.composite
def near(draw: st.DrawFn, ball: Ball) -> NDArray[np.float32]:
    """A point of float32 numbers inside, on, just beside or far from a ball's surface: shape (n,)."""
    return np.array([draw(_coordinates_near(ball, k)) for k in range(len(ball.center))], dtype=np.float32)


def _coordinates_near(ball: Ball, k: int) -> st.SearchStrategy[np.float32]:
    center = float(ball.center[k])
    with np.errstate(over="ignore"):
        places = [np.float32(center), np.float32(center - ball.epsilon), np.float32(center + ball.epsilon)]
        if ball.bounds is not None:
            places += [np.float32(side[k]) for side in ball.bounds]
        beside = [np.nextafter(place, np.float32(to)) for place in places for to in (-np.inf, np.inf)]
    finite = [place for place in places + beside if np.isfinite(place)]
    return st.sampled_from(finite) | COORDINATES.map(np.float32)


@st.composite
def brackets(draw: st.DrawFn, *, consistent: bool = False) -> Bracket:
    """What may be known of a query at all epsilons; contradictory ones too, unless asked otherwise."""
    proven = draw(st.just(-1.0) | st.floats(0, 1))
    witnessed = draw(st.just(math.inf) | st.floats(0, 1))
    if consistent and proven >= witnessed:
        proven, witnessed = (witnessed, proven) if witnessed < proven else (-1.0, witnessed)
    witness = None if witnessed == math.inf else np.array([witnessed], dtype=np.float32)
    return Bracket(proven, witnessed, witness)


def tallies(total: int) -> st.SearchStrategy[Tally]:
    """Outcomes of `total` points."""
    cuts = st.tuples(st.integers(0, total), st.integers(0, total)).map(sorted)
    return cuts.map(lambda cut: Tally(cut[0], cut[1] - cut[0], total - cut[1]))
