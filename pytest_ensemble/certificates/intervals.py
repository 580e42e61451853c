"""Real numbers known up to an error: midpoints and radii, with float64 rounding counted.

After Rump, "Fast and parallel interval arithmetic" (1999): a product of matrices costs two products, one of
the midpoints and one of absolute values, and the radius takes in what the first may have been rounded by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.networks.network import Layer

__all__ = ["Approx", "Float", "affine", "exact", "middle_of"]

Float = NDArray[np.float64]

_U = 2.0**-53
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Approx:
    """Numbers within `radius` of `middle`, arrays of one shape."""

    middle: Float
    radius: Float

    @property
    def high(self) -> Float:
        """Upper bounds."""
        return np.nextafter(self.middle + self.radius, np.inf)

    @property
    def size(self) -> Float:
        """Upper bounds of the absolute values."""
        return np.nextafter(np.abs(self.middle) + self.radius, np.inf)

    def __getitem__(self, where: Any) -> Approx:
        return Approx(self.middle[where], self.radius[where])

    def __neg__(self) -> Approx:
        return Approx(-self.middle, self.radius)

    def __add__(self, other: Approx) -> Approx:
        middle = self.middle + other.middle
        return Approx(middle, _up(self.radius + other.radius + _U * np.abs(middle)))

    def times(self, factor: Float) -> Approx:
        """Elementwise products with exact numbers."""
        middle = self.middle * factor
        return Approx(middle, _up(self.radius * np.abs(factor) + _U * np.abs(middle) + _TINY))

    def product(self, matrix: Any) -> Approx:
        """`self @ matrix` for an exact matrix, dense or sparse: (..., in) -> (..., out)."""
        size = np.asarray(self.size @ abs(matrix))
        gamma = 2 * (matrix.shape[0] + 2) * _U
        radius = np.asarray(self.radius @ abs(matrix)) + gamma * size
        return Approx(np.asarray(self.middle @ matrix), _up(radius, matrix.shape[0]))

    def dot(self, factor: Float) -> Approx:
        """Sums over the last axis of products with exact numbers."""
        terms = self.middle * factor
        count = terms.shape[-1] + 2
        radius = (self.radius * np.abs(factor)).sum(axis=-1) + 2 * count * _U * np.abs(terms).sum(axis=-1)
        return Approx(terms.sum(axis=-1), _up(radius + count * _TINY, count))

    def widened(self, radius: Float) -> Approx:
        """The same, known less well by some radius."""
        return Approx(self.middle, _up(self.radius + radius))


def exact(values: Any) -> Approx:
    """Numbers that are known."""
    middle = np.asarray(values, dtype=np.float64)
    return Approx(middle, np.zeros_like(middle))


def middle_of(low: Float, high: Float) -> tuple[Float, Float]:
    """Center and radius of what holds [low, high]."""
    center = (low + high) / 2
    radius = np.maximum(high - center, center - low)
    return center, np.where(radius > 0, np.nextafter(radius, np.inf), 0.0)


def affine(x: Approx, layer: Layer) -> Approx:
    """Pre-activations of a layer: (..., in) -> (..., out)."""
    return x.product(layer.weight.T) + exact(layer.bias)


def _up(radius: Float, terms: int = 8) -> Float:
    """A sum of so many numbers >= 0, rounded up."""
    return np.asarray(radius * (1 + 4 * (terms + 2) * _U) + _TINY)
