"""Mutual error and uniqueness scores, as intervals: what is unknown widens them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Interval", "Pair", "Tally", "make_pair", "pairs_of", "uniqueness"]

Pair = tuple[str, str]


def make_pair(a: str, b: str) -> Pair:
    """The pair of two names; order does not matter."""
    return (a, b) if a <= b else (b, a)


def pairs_of(members: Sequence[str]) -> list[Pair]:
    """All pairs of distinct members."""
    return [make_pair(a, b) for k, a in enumerate(members) for b in members[k + 1 :]]


@dataclass(frozen=True, order=True)
class Interval:
    """A score between `low` and `high`; they are equal where everything was decided."""

    low: float
    high: float

    @property
    def exact(self) -> bool:
        """Whether nothing is undecided."""
        return self.low == self.high

    def __str__(self) -> str:
        return f"{self.low:.3f}" if self.exact else f"{self.low:.3f} .. {self.high:.3f}"


@dataclass(frozen=True)
class Tally:
    """How many of a pair's points are sat, unsat and unknown."""

    sat: int = 0
    unsat: int = 0
    unknown: int = 0

    @property
    def total(self) -> int:
        """Number of agreement points."""
        return self.sat + self.unsat + self.unknown

    @property
    def mutual_error(self) -> Interval:
        """ME = share of the points with a mutual error (Amir et al. 2022, Definition of ME)."""
        return Interval(self.sat / self.total, (self.sat + self.unknown) / self.total)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.sat + other.sat, self.unsat + other.unsat, self.unknown + other.unknown)


def uniqueness(member: str, others: Sequence[str], tallies: Mapping[Pair, Tally]) -> Interval:
    """US(member) = 1 - sum of ME(member, other) / (n - 1) over the other members of its ensemble.

    One rounded division of counts, so that a score that should equal a threshold does.
    """
    total = sum((tallies[make_pair(member, other)] for other in others), Tally())
    low = (total.total - total.sat - total.unknown) / total.total
    return Interval(low, (total.total - total.sat) / total.total)
