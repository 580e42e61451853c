"""`Cascade`: the engines "native", our own alone, and "auto", which hands on what that leaves open."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from threadpoolctl import threadpool_limits

from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.engines.board import BOUNDARY, Board
from pytest_ensemble.engines.stages import Clock, solve_board
from pytest_ensemble.queries.answer import Answer, Outcome, Reason
from pytest_ensemble.queries.query import Query

__all__ = ["Cascade"]

_POINTS = 50  # whose queries are solved in one batch
_HAND_ON = 100_000  # nodes after which "auto" asks others

Solved = tuple[Query, Answer]


class Cascade:
    """Answers many queries at once by bounds, attacks and branch and bound.

    Sound and complete for piecewise-linear networks. Batches of points are solved in threads: numpy
    releases the interpreter for most of the work.
    """

    def __init__(
        self, *, name: str = "native", jobs: int = 1, others: Sequence[Callable[[], Engine]] = ()
    ) -> None:
        """Args:
        name: how answers name this engine.
        jobs: threads.
        others: makers of the engines that are asked, in order, what stays open at the limit.
        """
        self.name = name
        self._jobs = jobs
        self._others = list(others)
        self._made: list[Engine] = []

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[Solved]:
        """Answer each query as soon as its answer is known; see `Engine`."""
        left: list[Query] = []
        # the matrices are small: threads over batches, not within one product
        with threadpool_limits(1, user_api="blas"):
            for query, answer in self._solve_batches(_batches(queries), budget):
                if answer.reason == "timeout" and self._others and not budget.spent():
                    left.append(query)
                else:
                    yield query, answer
        if left:
            yield from self._hand_on(left, budget)

    def close(self) -> None:
        """Close the engines that were handed queries."""
        for engine in self._made:
            engine.close()

    def _solve_batches(self, batches: list[list[Query]], budget: Budget) -> Iterator[Solved]:
        if self._jobs == 1 or len(batches) == 1:
            for batch in batches:
                yield from self._solve_batch(batch, budget, lambda: False)
            return
        answers: queue.SimpleQueue[Solved | BaseException | None] = queue.SimpleQueue()
        todo = iter(batches)
        lock, stopped = threading.Lock(), threading.Event()

        def work() -> None:
            try:
                while not stopped.is_set():
                    with lock:
                        batch = next(todo, None)
                    if batch is None:
                        break
                    for solved in self._solve_batch(batch, budget, stopped.is_set):
                        answers.put(solved)
            except BaseException as error:
                answers.put(error)
            answers.put(None)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(self._jobs, len(batches)))]
        for thread in threads:
            thread.start()
        running = len(threads)
        try:
            while running:
                item = answers.get()
                if item is None:
                    running -= 1
                elif isinstance(item, BaseException):
                    raise item
                else:
                    yield item
        finally:
            stopped.set()
            for thread in threads:
                thread.join()

    def _solve_batch(
        self, batch: list[Query], budget: Budget, stopped: Callable[[], bool]
    ) -> Iterator[Solved]:
        board = Board(batch)
        queries: dict[tuple[int, int], list[Query]] = {}
        for query, place in zip(batch, board.place_of, strict=True):
            queries.setdefault(place, []).append(query)
        clock = Clock(budget, _HAND_ON if self._others else None, stopped)
        start = time.perf_counter()
        for stage in solve_board(board, clock):
            known = [entry for entry in board.settled() if (entry.cell, entry.level) in queries]
            now = time.perf_counter()
            share = (now - start) / max(1, len(known))
            start = now
            for entry in known:
                outcome = Outcome.UNSAT if entry.witness is None else Outcome.SAT
                answer = Answer(outcome, entry.witness, engine=self.name, stage=stage, seconds=share)
                for query in queries.pop((entry.cell, entry.level)):
                    yield query, answer
        for place, waiting in queries.items():
            reason: Reason = "boundary" if board.given_up[place] == BOUNDARY else "timeout"
            for query in waiting:
                yield query, Answer(Outcome.UNKNOWN, reason=reason, engine=self.name)

    def _hand_on(self, queries: list[Query], budget: Budget) -> Iterator[Solved]:
        """What one engine leaves unknown is asked of the next."""
        for make in self._others:
            engine = make()
            self._made.append(engine)
            left = []
            for query, answer in engine.solve(queries, budget):
                if answer.outcome is Outcome.UNKNOWN and make is not self._others[-1]:
                    left.append(query)
                else:
                    yield query, answer
            queries = left


def _batches(queries: Sequence[Query]) -> list[list[Query]]:
    """Queries that can share a board, some points at a time."""
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
        for start in range(0, len(groups), _POINTS):
            result.append([query for group in groups[start : start + _POINTS] for query in group])
    return result
