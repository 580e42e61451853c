"""`Adam`: the optimiser of the multipliers of bounds (Kingma and Ba 2015)."""

from __future__ import annotations

from typing import Any

import numpy as np

from pytest_ensemble.engines.chains import Array

__all__ = ["Adam"]


class Adam:
    """Projected Adam (Kingma and Ba 2015) on several arrays of rows."""

    def __init__(self, arrays: list[Array], rates: list[Any]) -> None:
        self.rates = rates
        self.first = [np.zeros_like(array) for array in arrays]
        self.second = [np.zeros_like(array) for array in arrays]
        self.steps = 0

    def step(self, arrays: list[Array], gradients: list[Array], decay: float) -> None:
        """One step down the gradients, in place."""
        self.steps += 1
        correct = 1 - 0.8**self.steps, 1 - 0.95**self.steps
        for k, gradient in enumerate(gradients):
            first, second = self.first[k], self.second[k]
            first *= 0.8
            first += 0.2 * gradient
            second *= 0.95
            second += 0.05 * gradient**2
            size = np.sqrt(second / correct[1])
            size += 1e-12
            arrays[k] -= (self.rates[k] * decay / correct[0]) * first / size

    def keep(self, which: Any) -> None:
        """Go on with some of the rows."""
        self.first = [array[which] for array in self.first]
        self.second = [array[which] for array in self.second]
        self.rates = [rate[which] if isinstance(rate, np.ndarray) else rate for rate in self.rates]
