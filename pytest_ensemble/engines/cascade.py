"""`Cascade`: the engines "native", our own alone, and "auto", which hands on what that leaves open."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController

from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.engines.board import BOUNDARY, Board
from pytest_ensemble.engines.proofs import Proofs
from pytest_ensemble.engines.stages import Clock, solve_board
from pytest_ensemble.engines.workers import Workers
from pytest_ensemble.queries.answer import Answer, Outcome, Reason
from pytest_ensemble.queries.query import Query

__all__ = ["Cascade"]

_POINTS = 50  # whose queries are solved in one batch; more if there are
_PAIRS = 2500  # fewer pairs with them than this
_NUMBERS = 1 << 23  # that a batch may hold of neurons times boxes
_SHARE = 0.5  # of a query's seconds, before those who are asked afterwards get the rest
_TRIES = 3  # of a query that memory is too small for
_NAME = "native"

Solved = tuple[Query, Answer]


class Cascade:
    """Answers many queries at once by bounds, attacks and branch and bound.

    Sound and complete for piecewise-linear networks. Batches of points are solved in processes.
    """

    def __init__(
        self,
        *,
        name: str = _NAME,
        jobs: int = 1,
        limit: int | None = None,
        after: Engine | None = None,
        certificates: Path | None = None,
        memory: int | None = None,
    ) -> None:
        """Args:
        name: of the whole; answers name who gave them, "native" or an engine of `after`.
        jobs: processes, this one included.
        limit: nodes that a pair may take around a point at one epsilon; None for as many as it needs.
        after: is asked what stays open at the limit.
        certificates: folder that gets the proofs of all that is answered "unsat" here; None for none.
        memory: bytes that each process may allocate, or None. With a limit all is solved in processes.
        """
        self.name = name
        self._jobs = jobs
        self._workers = Workers(jobs, limit=limit, certificates=certificates, memory=memory)
        self._memory = memory
        self._limit = limit
        self._after = after
        self._certificates = certificates

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[Solved]:
        """Answer each query as soon as its answer is known; see `Engine`."""
        left: list[Query] = []
        own = budget if self._after is None else budget.part(_SHARE)
        # the matrices are small: threads over batches, not within one product
        with _threads().limit(limits=1, user_api="blas"):
            for query, answer in _quietly(self._solve_batches(_batches(queries, self._jobs), own)):
                if answer.reason == "timeout" and self._after is not None and not budget.spent():
                    left.append(query)
                else:
                    yield query, answer
        if left and self._after is not None:
            yield from self._after.solve(left, budget.part(1 - _SHARE))

    def close(self) -> None:
        """Kill the processes, and close who is asked afterwards."""
        self._workers.close()
        if self._after is not None:
            self._after.close()

    def _solve_batches(self, batches: list[list[Query]], budget: Budget) -> Iterator[Solved]:
        def here(batch: list[Query]) -> Iterator[Solved]:
            return self._solve_batch(batch, budget)

        if self._memory is not None or (self._jobs > 1 and len(batches) > 1):
            yield from self._workers.solve(batches, budget, here)
        else:
            for batch in batches:
                yield from here(batch)

    def _solve_batch(self, batch: list[Query], budget: Budget, tries: int = _TRIES) -> Iterator[Solved]:
        """Where memory is too small for a batch, it is tried in halves."""
        if budget.spent():
            for query in batch:
                yield query, Answer(Outcome.UNKNOWN, reason="timeout", engine=_NAME)
            return
        left = {id(query): query for query in batch}
        try:
            for query, answer in self._solve_together(batch, budget):
                del left[id(query)]
                yield query, answer
        except MemoryError:
            tries -= 1
        if not tries:
            for query in left.values():
                yield query, Answer(Outcome.UNKNOWN, reason="memory", engine=_NAME)
        elif left:
            queries = list(left.values())
            half = -(-len(queries) // 2)
            for part in (queries[:half], queries[half:]):
                if part:
                    yield from self._solve_batch(part, budget, tries)

    def _solve_together(self, batch: list[Query], budget: Budget) -> Iterator[Solved]:
        board = Board(batch)
        queries: dict[tuple[int, int], list[Query]] = {}
        for query, place in zip(batch, board.place_of, strict=True):
            queries.setdefault(place, []).append(query)
        proofs = None if self._certificates is None else Proofs(board)
        try:
            yield from self._answers(board, queries, budget, proofs)
        finally:
            if proofs is not None and self._certificates is not None:
                proofs.write(self._certificates)

    def _answers(
        self,
        board: Board,
        queries: dict[tuple[int, int], list[Query]],
        budget: Budget,
        proofs: Proofs | None,
    ) -> Iterator[Solved]:
        """What each stage settles, then what stays open."""
        start = time.perf_counter()
        for stage in solve_board(board, Clock(budget, self._limit), proofs):
            known = [entry for entry in board.settled() if (entry.cell, entry.level) in queries]
            now = time.perf_counter()
            share = (now - start) / max(1, len(known))
            start = now
            for entry in known:
                outcome = Outcome.UNSAT if entry.witness is None else Outcome.SAT
                answer = Answer(outcome, entry.witness, engine=_NAME, stage=stage, seconds=share)
                for query in queries.pop((entry.cell, entry.level)):
                    yield query, answer
        for place, waiting in queries.items():
            reason: Reason = "boundary" if board.given_up[place] == BOUNDARY else "timeout"
            for query in waiting:
                yield query, Answer(Outcome.UNKNOWN, reason=reason, engine=_NAME)


def _quietly(solved: Iterator[Solved]) -> Iterator[Solved]:
    """Without numpy's warnings: on some CPUs matrix products set such flags without cause.

    Not around the whole loop: what is set within a generator holds for its caller, too.
    """
    while True:
        with np.errstate(all="ignore"):
            pair = next(solved, None)
        if pair is None:
            return
        yield pair


@lru_cache(maxsize=1)
def _threads() -> ThreadpoolController:
    """What limits the threads of matrix products; finding the libraries takes milliseconds."""
    return ThreadpoolController()


def _batches(queries: Sequence[Query], jobs: int) -> list[list[Query]]:
    """Queries that can share a board: some points at a time, as many as memory and jobs suggest."""
    points: dict[tuple[int, int, str, int], list[Query]] = {}
    for query in queries:
        model = query.models[0]
        key = model.input_size, model.classes, query.ball.digest, query.label
        points.setdefault(key, []).append(query)
    shapes: dict[tuple[int, int], list[list[Query]]] = {}
    for (size, classes, *_), group in points.items():
        shapes.setdefault((size, classes), []).append(group)
    result = []
    for groups in shapes.values():
        size = _batch_size(groups, jobs)
        for start in range(0, len(groups), size):
            result.append([query for group in groups[start : start + size] for query in group])
    return result


def _batch_size(groups: list[list[Query]], jobs: int) -> int:
    models = {model.sha256: model for group in groups for query in group for model in query.models}
    neurons = sum(layer.size for model in models.values() for layer in model.network.layers)
    levels = len({query.ball.epsilon for group in groups for query in group})
    most = _NUMBERS // ((neurons + groups[0][0].models[0].input_size) * levels)
    fair = len(groups) if jobs == 1 else -(-len(groups) // (3 * jobs))
    pairs = max(len({query.models for query in group}) for group in groups)
    return max(1, min(max(_POINTS, _PAIRS // pairs), most, max(fair, 8)))
