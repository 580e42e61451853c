"""Iterative selection: swap the weakest member for the candidate that is most unique in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_ensemble.analysis.scores import Interval

__all__ = ["Swap", "iterate"]


@dataclass(frozen=True)
class Swap:
    """One step: `out` leaves, `into` takes its place.

    Attributes:
        epsilon: radius at which the scores hold.
        uniqueness_before: of `out` in the ensemble before.
        uniqueness_after: of `into` in the ensemble after.
        members: the ensemble after the swap, in order.
        accuracy_before, accuracy_after: of the averaged outputs, on the labelled data.
    """

    epsilon: float
    out: str
    into: str
    uniqueness_before: Interval
    uniqueness_after: Interval
    members: tuple[str, ...]
    accuracy_before: float
    accuracy_after: float


Uniqueness = Callable[[str, Sequence[str]], Interval]


def iterate(
    members: Sequence[str],
    candidates: Sequence[str],
    epsilon: float,
    uniqueness: Uniqueness,
    accuracy: Callable[[Sequence[str]], float],
    limit: int | None = None,
) -> list[Swap]:
    """The paper's iterative selection (Amir et al. 2022, Algorithm 1).

    The member with the lowest uniqueness is compared with the candidate whose uniqueness in its place is
    highest; they are swapped if that is strictly higher. The number of joint errors falls with each swap,
    so it ends. Where scores are intervals a swap must be an improvement whatever the unknown queries are.
    Ties go to the first name.

    Args:
        members: the ensemble, at least two.
        candidates: the rest of the pool.
        uniqueness: score of a network among others, asked only where it is needed.
        accuracy: of an ensemble.
        limit: most swaps, or None.
    """
    ensemble = list(members)
    outside = [name for name in candidates if name not in ensemble]
    swaps: list[Swap] = []
    while outside and (limit is None or len(swaps) < limit):
        scores = {name: uniqueness(name, _without(ensemble, name)) for name in ensemble}
        weak = min(sorted(ensemble), key=lambda name: (scores[name].low, scores[name].high))
        others = _without(ensemble, weak)
        inside = {name: uniqueness(name, others) for name in sorted(outside)}
        best = max(inside, key=lambda name: inside[name].low)
        if inside[best].low <= scores[weak].high:
            break
        before = accuracy(ensemble)
        ensemble[ensemble.index(weak)] = best
        outside[outside.index(best)] = weak
        swaps.append(
            Swap(
                epsilon,
                weak,
                best,
                scores[weak],
                inside[best],
                tuple(ensemble),
                before,
                accuracy(ensemble),
            )
        )
    return swaps


def _without(names: Sequence[str], name: str) -> list[str]:
    return [other for other in names if other != name]
