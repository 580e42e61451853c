"""`Ball`: the inputs within epsilon of a point, in the L-infinity norm, exactly."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.errors import QueryError
from pytest_ensemble.networks.network import Float

__all__ = ["Ball", "Bounds", "read_bounds", "read_epsilons"]

Bounds = tuple[Float, Float]


def read_bounds(bounds: Any, size: int) -> Bounds | None:
    """(low, high), numbers or arrays that broadcast to `size` inputs, as two flat float64 arrays.

    They are rounded to float32 first, as points are: a point written as 0.1 lies within a bound of 0.1.

    Raises:
        QueryError: not two of them, of another size, NaN, or low above high.
    """
    if bounds is None:
        return None
    try:
        with np.errstate(over="ignore"):  # beyond float32 is no bound at all
            low, high = (
                np.broadcast_to(np.asarray(side, dtype=np.float32).reshape(-1), (size,)).astype(np.float64)
                for side in bounds
            )
    except (TypeError, ValueError):
        raise QueryError(
            f"bounds must be (low, high), each a number or an array of {size} numbers; got {bounds!r}."
        ) from None
    if not (low <= high).all():
        raise QueryError("bounds must have low <= high everywhere, and no NaN.")
    return low, high


def read_epsilons(epsilons: float | Iterable[float]) -> tuple[float, ...]:
    """One radius or several, ascending, each once.

    Raises:
        QueryError: none, or one that is no finite number >= 0.
    """
    values = epsilons if isinstance(epsilons, Iterable) else [epsilons]
    grid: list[float] = []
    for value in values:
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise QueryError(f"epsilon must be a finite number >= 0; got {value!r}.")
        grid.append(float(value))
    if not grid:
        raise QueryError("At least one epsilon is needed.")
    return tuple(sorted(set(grid)))


@dataclass(frozen=True, eq=False)
class Ball:
    """All x with |x - center| <= epsilon in every coordinate, and low <= x <= high where bounded.

    Attributes:
        center: float32, shape (n,): the point as the models see it.
        epsilon: radius, in the units of the data; a finite number >= 0.
        bounds: two float64 arrays of shape (n,), or None for the paper's unclipped ball.

    Raises:
        QueryError: a bad epsilon, or a center that is not finite or lies outside the bounds.
    """

    center: NDArray[np.float32]
    epsilon: float
    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.epsilon) and self.epsilon >= 0):
            raise QueryError(f"epsilon must be a finite number >= 0; got {self.epsilon!r}.")
        if not np.isfinite(self.center).all():
            raise QueryError("The point has NaN or infinite coordinates.")
        if self.bounds is not None:
            low, high = self.bounds
            outside = (self.center < low) | (self.center > high)
            if outside.any():
                k = int(outside.argmax())
                raise QueryError(
                    f"The point lies outside the bounds: its coordinate {k} is {self.center[k]:g}, the "
                    f"bounds there are {low[k]:g} .. {high[k]:g}. Is the data scaled as they say?"
                )

    @cached_property
    def box(self) -> Bounds:
        """The smallest float64 box, (low, high) of shape (n,), that surely contains the ball."""
        center = self.center.astype(np.float64)
        low = np.nextafter(center - self.epsilon, -np.inf)
        high = np.nextafter(center + self.epsilon, np.inf)
        if self.epsilon == 0:
            low, high = center, center
        if self.bounds is None:
            return low, high
        return np.maximum(low, self.bounds[0]), np.minimum(high, self.bounds[1])

    def __reduce__(self) -> tuple[Any, ...]:
        return Ball, (self.center, self.epsilon, self.bounds)  # without what can be computed again

    def distance(self, x: NDArray[np.float32]) -> Float:
        """Distances, shape (m,), of points, shape (m, n), from the center, rounded up to float64."""
        return np.asarray(_coordinate_distance(np.atleast_2d(x), self.center).max(axis=1))

    def contains(self, x: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which of the points, shape (m, n), are in the ball; exact, without tolerance."""
        return np.asarray((self.distance(x) <= self.epsilon) & self.bounded(x))

    def bounded(self, x: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which of the points, shape (m, n), keep to the bounds, however far from the center."""
        x = np.atleast_2d(x)
        inside = np.isfinite(x)
        if self.bounds is not None:
            inside &= (x >= self.bounds[0]) & (x <= self.bounds[1])
        return np.asarray(inside.all(axis=1))

    def project(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Points, shape (m, n), rounded to float32 and moved into the ball."""
        low, high = self.float32_box
        with np.errstate(over="ignore"):  # what overflows is clipped
            return np.clip(np.asarray(x).astype(np.float32), low, high)

    @cached_property
    def float32_box(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The largest box with float32 corners, (low, high) of shape (n,), inside the ball."""
        low, high = self.box
        return _round_inwards(low[None], self)[0], _round_inwards(high[None], self)[0]

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of center and bounds; epsilon is left out, since brackets span all of them."""
        content = hashlib.sha256(np.ascontiguousarray(self.center).tobytes())
        for side in self.bounds or ():
            content.update(np.ascontiguousarray(side).tobytes())
        return content.hexdigest()


def _subtract(a: Float, b: Float) -> tuple[Float, Float]:
    """`difference` and `error` with `difference + error == a - b` exactly (TwoSum, Knuth)."""
    with np.errstate(invalid="ignore"):  # infinite inputs are infinitely far, whatever the error
        difference = a - b
        virtual = a - difference
        return difference, (a - (difference + virtual)) + (virtual - b)


def _coordinate_distance(x: NDArray[np.float32], center: NDArray[np.float32]) -> Float:
    """|x - center|, rounded up."""
    difference, error = _subtract(x.astype(np.float64), center.astype(np.float64))
    size = np.abs(difference)
    beyond = np.where(difference >= 0, error, -error) > 0
    return np.where(beyond, np.nextafter(size, np.inf), size)


def _round_inwards(x: Float, ball: Ball) -> NDArray[np.float32]:
    """To float32, then a step towards the center where that left the ball."""
    with np.errstate(over="ignore"):  # infinite; the step below leads back
        rounded = x.astype(np.float32)
    for _ in range(2):  # the cast moves by half an ulp at most, the outward box by less
        outside = _coordinate_distance(rounded, ball.center) > ball.epsilon
        if ball.bounds is not None:
            outside |= (rounded < ball.bounds[0]) | (rounded > ball.bounds[1])
        rounded = np.where(outside, np.nextafter(rounded, ball.center), rounded)
    return rounded
