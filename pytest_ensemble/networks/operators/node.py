"""`Node`: what an operator is given; `operator`: how it is registered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.networks.expression import Expression, Trace

__all__ = ["OPERATORS", "Node", "NotPiecewiseLinear", "Value", "operator"]

Value = Expression | NDArray[Any]


class NotPiecewiseLinear(Exception):
    """A known operator, used in a way that can't be lowered; the message says which."""


@dataclass(frozen=True)
class Node:
    """One node of a graph whose inputs are known: constants as arrays, the rest as Expressions."""

    inputs: tuple[Value | None, ...]
    attributes: dict[str, Any]
    opset: int
    outputs: int
    trace: Trace

    def has(self, k: int) -> bool:
        """Whether optional input k is there."""
        return k < len(self.inputs) and self.inputs[k] is not None

    def tensor(self, k: int = 0) -> Expression:
        """Input k, made an Expression if it is a constant."""
        value = self.inputs[k]
        if isinstance(value, Expression):
            return value
        return self.trace.constant(np.asarray(value))

    def constant(self, k: int, name: str) -> NDArray[Any]:
        """Input k, which must be a constant."""
        value = self.inputs[k]
        if isinstance(value, Expression):
            if value.is_constant():
                return value.constant.reshape(value.shape)
            raise NotPiecewiseLinear(f"its {name} depends on the input")
        return np.asarray(value)

    def option(self, attribute: str, k: int) -> NDArray[Any] | None:
        """What older opsets have as an attribute and newer ones as input k."""
        if attribute in self.attributes:
            return np.asarray(self.attributes[attribute])
        return self.constant(k, attribute) if self.has(k) else None

    def axes(self, k: int) -> tuple[int, ...] | None:
        """The `axes` option as non-negative numbers; None where it is not given."""
        axes = self.option("axes", k)
        if axes is None:
            return None
        rank = len(self.tensor().shape)
        return tuple(int(axis) % rank for axis in axes.reshape(-1))


Handler = Callable[[Node], Expression] | Callable[[Node], list[Expression]]
Function = TypeVar("Function", bound=Callable[[Node], Any])
OPERATORS: dict[str, Handler] = {}


def operator(*names: str) -> Callable[[Function], Function]:
    """Register a function for these operator types."""

    def register(function: Function) -> Function:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register
