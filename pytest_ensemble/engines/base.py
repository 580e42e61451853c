"""What an engine is: it takes queries and yields their answers as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pytest_ensemble.queries.answer import Answer, Reason
from pytest_ensemble.queries.query import Query

__all__ = ["Budget", "Engine"]


@dataclass(frozen=True)
class Budget:
    """How long an engine may take.

    Attributes:
        timeout: seconds for one query, or None.
        deadline: `time.monotonic()` at which everything must end, or None.
        cancelled: set by another thread when nobody waits for the answers any more.
        tell: is told now and then what is being done, for those who wait.
    """

    timeout: float | None = None
    deadline: float | None = None
    cancelled: threading.Event | None = field(default=None, compare=False)
    tell: Callable[[str], None] = field(default=lambda doing: None, compare=False)

    def remaining(self) -> float | None:
        """Seconds until the deadline, never negative; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def for_query(self) -> float | None:
        """Seconds that one query starting now may take."""
        limits = [limit for limit in (self.timeout, self.remaining()) if limit is not None]
        return min(limits) if limits else None

    def spent(self) -> bool:
        """Whether the deadline has passed, or nobody waits."""
        return self.remaining() == 0.0 or self.abandoned()

    def abandoned(self) -> bool:
        """Whether nobody waits for the answers any more."""
        return self.cancelled is not None and self.cancelled.is_set()

    def why(self, seconds: float, *, asked: bool = True) -> Reason:
        """Why a query is still open after so many seconds of work: timeout, budget or unasked."""
        if self.timeout is not None and seconds >= self.timeout:
            return "timeout"
        return "budget" if asked else "unasked"

    def part(self, share: float) -> Budget:
        """The same with a share of the seconds for one query."""
        return replace(self, timeout=None if self.timeout is None else share * self.timeout)


class Engine(Protocol):
    """A sound solver of queries. Sat answers carry witnesses that were replayed."""

    name: str

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
        """Answer each query once, in any order, as soon as its answer is known.

        Queries may be of different networks, points and epsilons. What takes longer than the budget allows is
        answered `unknown`, with the reason of `Budget.why`.
        """
        ...

    def close(self) -> None:
        """Release processes and memory; the engine is not used afterwards."""
        ...
