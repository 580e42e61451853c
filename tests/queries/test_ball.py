"""`Ball` is exact: fractions are the oracle."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_ensemble.errors import QueryError
from pytest_ensemble.queries.ball import Ball, read_bounds
from tests.strategies import balls, near


def sides(ball: Ball, k: int) -> tuple[Fraction | float, Fraction | float]:
    """The least and the greatest number that coordinate k may have, exactly."""
    center, epsilon = Fraction(float(ball.center[k])), Fraction(ball.epsilon)
    low: Fraction | float = center - epsilon
    high: Fraction | float = center + epsilon
    if ball.bounds is not None:
        low, high = max(low, exact(ball.bounds[0][k])), min(high, exact(ball.bounds[1][k]))
    return low, high


def exact(number: np.floating) -> Fraction | float:
    return Fraction(float(number)) if np.isfinite(number) else float(number)


def inside(ball: Ball, x: NDArray[np.float32]) -> bool:
    return all(
        low <= Fraction(float(value)) <= high
        for value, (low, high) in ((x[k], sides(ball, k)) for k in range(len(x)))
    )


@given(st.data(), balls())
def test_contains_is_exact(data: st.DataObject, ball: Ball) -> None:
    points = np.stack([data.draw(near(ball)) for _ in range(3)])
    assert ball.contains(points).tolist() == [inside(ball, x) for x in points]


@given(st.data(), balls())
def test_distance_is_rounded_up_and_no_further(data: st.DataObject, ball: Ball) -> None:
    x = data.draw(near(ball))
    true = max(abs(Fraction(float(a)) - Fraction(float(b))) for a, b in zip(x, ball.center, strict=True))
    (distance,) = ball.distance(x)
    assert Fraction(distance) >= true
    assert distance == 0 or Fraction(np.nextafter(distance, -np.inf)) < true


@given(st.data(), balls())
def test_projection_is_inside_and_leaves_alone_what_is(data: st.DataObject, ball: Ball) -> None:
    x = data.draw(near(ball))
    numbers = st.floats(allow_nan=False)
    anywhere = data.draw(st.lists(numbers, min_size=len(x), max_size=len(x)))
    projected = ball.project(np.stack([x.astype(np.float64), anywhere]))
    assert projected.dtype == np.float32
    assert all(inside(ball, row) for row in projected)
    if inside(ball, x):
        np.testing.assert_array_equal(projected[0], x)


@given(balls())
def test_float32_box_is_the_largest_inside(ball: Ball) -> None:
    low, high = ball.float32_box
    assert low.dtype == high.dtype == np.float32
    for k in range(len(low)):
        least, greatest = sides(ball, k)
        assert least <= Fraction(float(low[k])) <= Fraction(float(high[k])) <= greatest
        with np.errstate(over="ignore"):
            below, above = (
                np.nextafter(side[k], np.float32(to)) for side, to in ((low, -np.inf), (high, np.inf))
            )
        assert not np.isfinite(below) or Fraction(float(below)) < least
        assert not np.isfinite(above) or Fraction(float(above)) > greatest


@given(balls())
def test_box_contains_the_ball_and_little_more(ball: Ball) -> None:
    low, high = ball.box
    for k in range(len(low)):
        least, greatest = sides(ball, k)
        assert Fraction(low[k]) <= least
        assert Fraction(high[k]) >= greatest
        assert Fraction(_step(low[k], np.inf)) >= least
        assert Fraction(_step(high[k], -np.inf)) <= greatest


def _step(number: float, to: float, steps: int = 3) -> float:
    for _ in range(steps):
        number = np.nextafter(number, to)
    return float(number)


@given(balls())
def test_ball_of_radius_zero_is_its_center(ball: Ball) -> None:
    point = Ball(ball.center, 0.0, ball.bounds)
    for side in (*point.box, *point.float32_box):
        np.testing.assert_array_equal(side, ball.center)


@pytest.mark.parametrize("stray", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_outside(stray: float) -> None:
    ball = Ball(np.zeros(2, dtype=np.float32), 1e300)
    assert not ball.contains(np.array([[0, stray]], dtype=np.float32)).any()


@pytest.mark.parametrize("epsilon", [-1e-9, np.nan, np.inf, -np.inf])
def test_bad_epsilon(epsilon: float) -> None:
    with pytest.raises(QueryError, match="epsilon must be a finite number >= 0"):
        Ball(np.zeros(2, dtype=np.float32), epsilon)


@pytest.mark.parametrize("stray", [np.nan, np.inf])
def test_bad_center(stray: float) -> None:
    with pytest.raises(QueryError, match="NaN or infinite"):
        Ball(np.array([0, stray], dtype=np.float32), 0.1)


def test_center_outside_the_bounds_names_the_coordinate() -> None:
    with pytest.raises(QueryError, match=r"its coordinate 1 is 255, the bounds there are 0 \.\. 1"):
        Ball(np.array([0.5, 255.0], dtype=np.float32), 0.1, read_bounds((0, 1), 2))


# --- bounds as users write them -------------------------------------------------------------------


def test_bounds_broadcast() -> None:
    assert read_bounds(None, 3) is None
    for bounds in [(0, 1), ([0, 0, 0], [1, 1, 1]), (np.zeros((1, 3)), 1.0), np.array([0.0, 1.0])]:
        low, high = read_bounds(bounds, 3)  # type: ignore[misc]
        np.testing.assert_array_equal(low, np.zeros(3))
        np.testing.assert_array_equal(high, np.ones(3))
        assert low.dtype == high.dtype == np.float64


def test_infinite_bounds_bound_nothing() -> None:
    low, high = read_bounds((-np.inf, 1e300), 1)  # type: ignore[misc]
    assert (low[0], high[0]) == (-np.inf, np.inf)


@pytest.mark.parametrize("number", [0.1, -0.4242, 2.8215, 1 / 3])
def test_point_on_a_bound_written_alike_is_inside(number: float) -> None:
    """As float32 it may lie beyond the bound by half an ulp."""
    center = np.array([number], dtype=np.float32)
    for bounds in [(number, 9), (-9, number), (number, number)]:
        assert Ball(center, 0.5, read_bounds(bounds, 1)).contains(center).all()


@pytest.mark.parametrize(
    "bounds", [1, (1,), (0, 1, 2), "01234", ("a", "b"), ([0, 0], 1), {"low": 0, "high": 1}]
)
def test_bounds_of_another_form(bounds: object) -> None:
    with pytest.raises(QueryError, match=r"bounds must be \(low, high\)"):
        read_bounds(bounds, 3)


@pytest.mark.parametrize("bounds", [(1, 0), (0, np.nan), (np.nan, 1), (None, 1), ([0, 0, 2], 1)])
def test_bounds_that_cross(bounds: object) -> None:
    with pytest.raises(QueryError, match="low <= high everywhere, and no NaN"):
        read_bounds(bounds, 3)


def test_digest_depends_on_center_and_bounds_but_not_on_epsilon() -> None:
    center = np.array([0.25, 0.5], dtype=np.float32)
    digests = [
        Ball(center, 0.1).digest,
        Ball(center + np.float32(0.25), 0.1).digest,
        Ball(center, 0.1, read_bounds((0, 1), 2)).digest,
        Ball(center, 0.1, read_bounds((0, 2), 2)).digest,
    ]
    assert len(set(digests)) == 4
    assert Ball(center.copy(), 0.9).digest == digests[0]
    assert Ball(np.array([[0.25, 9], [0.5, 9]], dtype=np.float32)[:, 0], 0.1).digest == digests[0]
