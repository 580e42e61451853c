"""`CachedEngine`: an engine that answers from the store what it can, and keeps what it has to solve."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.query import Query
from pytest_ensemble.runtime.store import Store, Stored

__all__ = ["STORED", "CachedEngine"]

STORED = "store"  # the stage of answers that were not solved now
_WAIT = 0.1  # seconds between two looks at what others do
_PATIENCE = 300.0  # seconds without anything new after which their work is done here
_PORTIONS = 6  # that work is claimed in where others ask the same
_LEAST = 8  # points of a portion: queries around a point are solved together
_CUT = ("timeout", "budget", "unasked")  # reasons of what a deadline may have cut short
_SLICE = 2.0  # seconds of a portion's first turn

Solved = tuple[Query, Answer]


class CachedEngine:
    """Answers of an engine, each solved once: in all runs, and by all processes that share the store.

    What another process is solving is waited for. Answers are written as they come. Where others ask the
    same, portions take turns, each twice as long as the one before, so that no hard portion holds back the
    rest; what a turn leaves open begins anew in the next, here or elsewhere.
    """

    def __init__(self, engine: Engine, store: Store, *, proofs: bool = True) -> None:
        """`proofs`: whether to believe what was proven before; False where new certificates are wanted."""
        self.name = engine.name
        self._engine, self._store, self._proofs = engine, store, proofs

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[Solved]:
        """Answer each query as soon as its answer is known; see `Engine`."""
        todo = list(queries)
        news = time.monotonic()
        had: dict[int, float] = {}  # seconds of turns, by query
        try:
            if self._store.path.exists():
                todo = yield from self._stored(todo, budget)
            while todo:
                mine = self._claim(todo)
                if not mine and time.monotonic() > news + _PATIENCE:
                    mine = todo
                if mine:
                    taken = {id(query) for query in mine}
                    todo = [query for query in todo if id(query) not in taken]
                    # somebody may have finished these since we looked
                    mine = yield from self._stored(mine, budget)
                    longest = max((had.get(id(query), 0.0) for query in mine), default=0.0)
                    turn = max(_SLICE, 2 * longest) if todo else math.inf
                    left = yield from self._solve(mine, budget, turn)
                    had.update((id(query), turn) for query in left)
                    todo += left
                    self._store.release()
                elif budget.spent():
                    unasked = Answer(Outcome.UNKNOWN, reason="unasked")
                    yield from ((query, unasked) for query in todo)
                    return
                else:
                    time.sleep(_WAIT)
                if todo and self._store.changed():
                    news = time.monotonic()
                    todo = yield from self._stored(todo, budget)
        finally:
            self._store.release()

    def close(self) -> None:
        """Close the engine; the store stays open for others."""
        self._engine.close()

    def _claim(self, todo: list[Query]) -> list[Query]:
        """What to solve now: all of it, or a portion where others ask the same."""
        if not self._store.shared:
            return self._store.claim(todo)
        points: dict[tuple[str, int], list[Query]] = {}
        for query in todo:
            points.setdefault((query.ball.digest, query.label), []).append(query)
        groups = list(points.values())
        size = max(_LEAST, -(-len(groups) // _PORTIONS))
        for start in range(0, len(groups), size):
            portion = [query for group in groups[start : start + size] for query in group]
            mine = self._store.claim(portion)
            if mine:
                return mine
        return []

    def _stored(self, todo: list[Query], budget: Budget) -> Generator[Solved, None, list[Query]]:
        """Answer what the store knows; what it doesn't."""
        known = self._store.read(todo, self.name, proofs=self._proofs)
        left = []
        for query in todo:
            answer = _answer(query, known.get(query.key, Stored()), budget)
            if answer is None:
                left.append(query)
            else:
                yield query, answer
        return left

    def _solve(
        self, queries: list[Query], budget: Budget, turn: float
    ) -> Generator[Solved, None, list[Query]]:
        """Solve for so many seconds; what is left then, unless the whole budget is spent."""
        if not queries:
            return []
        end = time.monotonic() + turn
        own = budget
        if turn < math.inf and (budget.deadline is None or end < budget.deadline):
            own = replace(budget, deadline=end)
        left = []
        allowed = math.inf if budget.timeout is None else budget.timeout
        for query, answer in self._engine.solve(queries, own):
            # what a deadline cut short says nothing of how long it takes
            cut = own.spent() and answer.reason in _CUT and answer.seconds < allowed
            if cut and not budget.spent():
                left.append(query)
                continue
            if not cut:
                self._store.write(query, answer, asked=self.name, allowed=allowed)
            yield query, answer
        return left


def _answer(query: Query, stored: Stored, budget: Budget) -> Answer | None:
    """What the store says of a query; None if it must be solved."""
    epsilon = query.ball.epsilon
    outcome = stored.bracket.outcome(epsilon)
    if outcome is Outcome.SAT:
        return Answer(outcome, stored.bracket.witness, engine=stored.witnessed_by, stage=STORED)
    if outcome is Outcome.UNSAT:
        return Answer(outcome, engine=stored.proven_by, stage=STORED)
    effort = stored.efforts.get(epsilon)
    if effort is None or effort.allowed < (math.inf if budget.timeout is None else budget.timeout):
        return None
    return Answer(Outcome.UNKNOWN, reason=effort.reason, stage=STORED)
