"""`Cascade`: the engines "native", our own alone, and "auto", which hands on what that leaves open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController

from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.engines.checkpoint import OutOfTime
from pytest_ensemble.engines.stages import Limits, Stage
from pytest_ensemble.engines.work import NAME, Batch, Solved, Works
from pytest_ensemble.engines.workers import Workers
from pytest_ensemble.queries.query import Query

__all__ = ["Cascade"]

_POINTS = 50  # whose queries are solved in one batch; more if there are
_PAIRS = 2500  # fewer pairs with them than this
_NUMBERS = 1 << 23  # that a batch may hold of neurons times boxes
_SHARE = 0.5  # of a query's seconds, before those who are asked afterwards get the rest


class Cascade:
    """Answers many queries at once by bounds, attacks and branch and bound.

    Sound and complete for piecewise-linear networks. Batches of points are solved in processes.
    """

    def __init__(
        self,
        *,
        name: str = NAME,
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
        left: dict[int, tuple[Query, float]] = {}
        own = budget if self._after is None else budget.part(_SHARE)
        # the matrices are small: threads over batches, not within one product
        with _threads().limit(limits=1, user_api="blas"):
            for query, answer in self._deal(queries, own):
                if answer.reason == "timeout" and self._after is not None and not budget.spent():
                    left[id(query)] = query, answer.seconds
                else:
                    yield query, answer
        if left and self._after is not None:
            rest = budget.part(1 - _SHARE)
            for query, answer in self._after.solve([query for query, _ in left.values()], rest):
                yield query, replace(answer, seconds=answer.seconds + left[id(query)][1])

    def close(self) -> None:
        """Kill the processes, and close who is asked afterwards."""
        self._workers.close()
        if self._after is not None:
            self._after.close()

    def _deal(self, queries: Sequence[Query], budget: Budget) -> Iterator[Solved]:
        """Deal the points to the processes; each works on all that it has, by turns."""
        alone = self._memory is None and self._jobs == 1
        batches = [] if alone else _batches(queries, self._jobs)
        if self._memory is not None or len(batches) > 1:
            hands = [batches[start :: self._jobs] for start in range(min(self._jobs, len(batches)))]
            shares = [[query for batch in hand for query in batch] for hand in hands]
            yield from self._workers.solve(shares, budget, partial(self.steps, budget))
        else:
            for solved in self.steps(budget, queries):
                yield from solved

    def steps(
        self, budget: Budget, queries: Sequence[Query], wanted: Callable[[], bool] = bool
    ) -> Iterator[list[Solved]]:
        """Answer all queries in this process; what each step of the work gives, often nothing.

        Args:
            budget: as for `solve`.
            queries: all that is asked.
            wanted: whether others have nothing to do; half of what is open is given back to them then, as
                unknown in the stage `MOVED`.
        """
        return _quietly(self._steps(budget, queries, wanted))

    def _steps(
        self, budget: Budget, queries: Sequence[Query], wanted: Callable[[], bool]
    ) -> Iterator[list[Solved]]:
        limits = Limits(budget.timeout, self._limit, budget.spent)
        works = Works([Batch(batch) for batch in _batches(queries, 1)], limits, self._certificates)
        try:
            while not budget.spent():
                try:
                    for task in works.scheduler.run():
                        if isinstance(task, Stage):
                            budget.tell(task.doing)
                        yield works.news()
                        if wanted():
                            yield works.give_back()
                        if budget.spent():
                            break
                    else:
                        break
                except MemoryError:
                    yield works.split()
                except OutOfTime:
                    break
            yield works.left()
        finally:
            works.close()


def _quietly(steps: Iterator[list[Solved]]) -> Iterator[list[Solved]]:
    """Without numpy's warnings: on some CPUs matrix products set such flags without cause.

    Not around the whole loop: what is set within a generator holds for its caller, too.
    """
    while True:
        with np.errstate(all="ignore"):
            solved = next(steps, None)
        if solved is None:
            return
        yield solved


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
