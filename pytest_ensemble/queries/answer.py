"""`Outcome`, `Answer` and `Bracket`: what is known of a query, and what is not."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "Bracket", "Outcome", "Reason"]

Reason = Literal[
    "", "timeout", "budget", "unasked", "boundary", "unsupported", "crashed", "memory", "disagreement"
]


class Outcome(enum.StrEnum):
    """What is known of one query.

    SAT: one input in the ball makes all the networks err; replayed in onnxruntime on the user's files.
    UNSAT: none does; proven with a margin that covers rounding.
    UNKNOWN: neither, with a reason; never counted as "no error".
    """

    SAT = "sat"
    UNSAT = "unsat"
    UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to one query.

    Attributes:
        outcome: sat, unsat or unknown.
        witness: float32, shape of the point, for sat; else None.
        reason: for unknown: timeout (the query's own time is over), budget (the whole budget was spent while
            it was worked on), unasked (before its turn came), boundary (between the proof's margin and a
            witness that replays), unsupported, crashed, memory, or disagreement (two engines contradict each
            other).
        engine: who answered.
        stage: which part of that engine gave the answer; "" if none did.
        seconds: of work on this query, whatever came of it, and its share of work for several.
    """

    outcome: Outcome
    witness: NDArray[np.float32] | None = None
    reason: Reason = ""
    engine: str = ""
    stage: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Bracket:
    """What is known of networks and a point at every epsilon: mutual errors are monotone in it.

    Attributes:
        proven: largest epsilon with a proof that there is no error; -1 for none.
        witnessed: smallest distance of a witness; infinite for none.
        witness: that witness, float32 of shape (n,).
    """

    proven: float = -1.0
    witnessed: float = math.inf
    witness: NDArray[np.float32] | None = None

    @property
    def contradictory(self) -> bool:
        """Whether the proof's ball holds the witness: one of the engines was wrong."""
        return self.proven >= self.witnessed

    def outcome(self, epsilon: float) -> Outcome:
        """What the bracket says of the ball of radius `epsilon`.

        A proof and a witness that contradict each other decide nothing.
        """
        if self.contradictory:
            return Outcome.UNKNOWN
        if self.witnessed <= epsilon:
            return Outcome.SAT
        return Outcome.UNSAT if epsilon <= self.proven else Outcome.UNKNOWN

    def merge(self, other: Bracket) -> Bracket:
        """What both know together: (max, min), whatever the order."""
        nearer = self if self.witnessed <= other.witnessed else other
        return Bracket(max(self.proven, other.proven), nearer.witnessed, nearer.witness)
