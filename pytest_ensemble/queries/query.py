"""`Query`: can one input in a ball make all of these networks misclassify?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.errors import QueryError, printable
from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.ball import Ball, read_bounds

__all__ = ["Query", "make_query"]


@dataclass(frozen=True, eq=False)
class Query:
    """One network: local robustness. Two: a mutual error. More: an error common to all of them.

    The question is whether some x in `ball` has, for every network, another class p with
    `f_p(x) > f_label(x)` (Amir et al. 2022, definition of a mutual error).
    """

    models: tuple[Model, ...]
    ball: Ball
    label: int

    @cached_property
    def key(self) -> str:
        """Content key of everything but epsilon: digests of the networks in any order, point, label."""
        digests = "+".join(sorted(model.sha256 for model in self.models))
        return f"{digests}@{self.ball.digest}#{self.label}"

    def describe(self) -> str:
        """For messages: names, label and epsilon."""
        names = "~".join(model.name for model in self.models)
        return printable(f"{names}, label {self.label}, epsilon {self.ball.epsilon:g}")


def make_query(
    models: tuple[Model, ...], x: NDArray[Any], label: int, epsilon: float, bounds: Any = None
) -> Query:
    """A query from what users write; everything is checked.

    Raises:
        QueryError: a point of another size, a label that is not a class, a bad epsilon or bounds.
    """
    if not models:
        raise QueryError("At least one model is needed.")
    size = models[0].input_size
    for model in models:
        if model.input_size != size or model.classes != models[0].classes:
            raise QueryError(
                f"The models don't fit together: {models[0].name!r} has {size} inputs and "
                f"{models[0].classes} classes, {model.name!r} {model.input_size} and {model.classes}."
            )
    try:
        with np.errstate(over="ignore"):  # the ball refuses what is not finite
            point = np.asarray(x, dtype=np.float32).reshape(-1)
    except (TypeError, ValueError):
        raise QueryError(f"The point must hold {size} numbers; got {x!r}.") from None
    if point.size != size:
        raise QueryError(f"The point has {point.size} numbers; the models take {size}.")
    whole = isinstance(label, (int, np.integer)) and not isinstance(label, bool)
    if not whole or not 0 <= label < models[0].classes:
        raise QueryError(f"label must be a class, 0..{models[0].classes - 1}; got {label!r}.")
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float, np.integer, np.floating)):
        raise QueryError(f"epsilon must be a finite number >= 0; got {epsilon!r}.")
    return Query(models, Ball(point, float(epsilon), read_bounds(bounds, size)), int(label))
