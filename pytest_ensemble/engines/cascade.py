"""`Cascade`: the engines "native", our own alone, and "auto", which hands on what that leaves open."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.engines.board import BOUNDARY, Board
from pytest_ensemble.engines.checkpoint import OutOfTime
from pytest_ensemble.engines.proofs import Proofs
from pytest_ensemble.engines.scheduler import Lane, Scheduler, Turns
from pytest_ensemble.engines.stages import FIRST_TURN, Limits, Stage, stages_of
from pytest_ensemble.engines.workers import MOVED, Workers
from pytest_ensemble.queries.answer import Answer, Outcome, Reason
from pytest_ensemble.queries.query import Query

__all__ = ["Cascade"]

_POINTS = 50  # whose queries are solved in one batch; more if there are
_PAIRS = 2500  # fewer pairs with them than this
_NUMBERS = 1 << 23  # that a batch may hold of neurons times boxes,
_OPEN_NUMBERS = 1 << 26  # and all batches that are worked on at the same time
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
        batches = _batches(queries, self._jobs)
        if self._memory is not None or (self._jobs > 1 and len(batches) > 1):
            hands = [batches[start :: self._jobs] for start in range(min(self._jobs, len(batches)))]
            shares = [[query for batch in hand for query in batch] for hand in hands]
            yield from self._workers.solve(shares, budget, partial(self.steps, budget))
        else:
            for solved in self.steps(budget, queries):
                yield from solved

    def steps(
        self, budget: Budget, queries: Sequence[Query], moved: Callable[[], Collection[int]] = tuple
    ) -> Iterator[list[Solved]]:
        """Answer all queries in this process; what each step of the work gives, often nothing.

        Args:
            budget: as for `solve`.
            queries: all that is asked.
            moved: gives the ids of queries that others shall answer; those that are still open are given
                back as unknown, in the stage `MOVED`.
        """
        return _quietly(self._steps(budget, queries, moved))

    def _steps(
        self, budget: Budget, queries: Sequence[Query], moved: Callable[[], Collection[int]]
    ) -> Iterator[list[Solved]]:
        limits = Limits(budget.timeout, self._limit, budget.spent)
        works = _Works([_Batch(batch) for batch in _batches(queries, 1)], limits, self._certificates)
        try:
            while not budget.spent():
                try:
                    for task in works.scheduler.run():
                        if isinstance(task, Stage):
                            budget.tell(task.doing)
                        yield works.news()
                        if taken := moved():
                            yield works.give_back(taken)
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


@dataclass(frozen=True)
class _Batch:
    """Queries that share a board, and how often memory may yet be too small for them."""

    queries: list[Query]
    tries: int = _TRIES


class _Work:
    """The work on one batch."""

    def __init__(self, batch: _Batch, limits: Limits, certificates: Path | None) -> None:
        self.batch = batch
        self.board = Board(batch.queries)
        self.proofs = None if certificates is None else Proofs(self.board)
        self.stages = stages_of(self.board, limits, self.proofs)
        self._certificates = certificates
        self._queries: dict[tuple[int, int], list[Query]] = {}
        for query, place in zip(batch.queries, self.board.place_of, strict=True):
            self._queries.setdefault(place, []).append(query)

    def news(self, stage: str) -> Iterator[Solved]:
        """What was settled since this was last asked, in that stage."""
        for entry in self.board.news():
            outcome = Outcome.UNSAT if entry.witness is None else Outcome.SAT
            queries = self._queries.pop((entry.cell, entry.level))
            seconds = float(self.board.spent[entry.cell, entry.level]) / len(queries)
            for query in queries:
                yield query, Answer(outcome, entry.witness, engine=_NAME, stage=stage, seconds=seconds)

    def left(self) -> Iterator[Solved]:
        """What stays open."""
        for place, queries in self._queries.items():
            given_up = int(self.board.given_up[place])
            reason: Reason = "budget" if self.board.tried[place] else "unasked"
            if given_up:
                reason = "boundary" if given_up == BOUNDARY else "timeout"
            seconds = float(self.board.spent[place]) / len(queries)
            for query in queries:
                yield query, Answer(Outcome.UNKNOWN, reason=reason, engine=_NAME, seconds=seconds)
        self._queries.clear()

    def give_back(self, ids: Collection[int]) -> Iterator[Solved]:
        """Work no more on some queries."""
        for place, queries in list(self._queries.items()):
            kept = [query for query in queries if id(query) not in ids]
            if len(kept) < len(queries):
                seconds = float(self.board.spent[place]) / (len(queries) - len(kept))
                unknown = Answer(Outcome.UNKNOWN, engine=_NAME, stage=MOVED, seconds=seconds)
                yield from ((query, unknown) for query in queries if id(query) in ids)
                self._queries[place] = kept
            if not kept:
                del self._queries[place]
                self.board.asked[place] = False
                self.board.changed()

    def unanswered(self) -> list[Query]:
        """What stays open, as queries."""
        return [query for queries in self._queries.values() for query in queries]

    def close(self) -> None:
        """Write what was proven."""
        if self.proofs is not None and self._certificates is not None:
            for stage in self.stages:
                stage.finish()
            self.proofs.write(self._certificates)


class _Works:
    """The work on all batches, and the task that begins with another one.

    That is done before any question has its second turn, as far as memory allows.
    """

    def __init__(self, batches: list[_Batch], limits: Limits, certificates: Path | None) -> None:
        self.scheduler: Scheduler[Any] = Scheduler([self])
        self._waiting = deque(batches)
        self._open: list[_Work] = []
        self._limits, self._certificates = limits, certificates

    def turns(self) -> Mapping[Lane, Turns]:
        """See `Task`."""
        numbers = sum(work.board.numbers for work in self._open)
        room = not self._open or numbers < _OPEN_NUMBERS
        return {None: Turns(FIRST_TURN)} if self._waiting and room else {}

    def step(self, lane: Lane) -> int:
        """See `Task`."""
        work = _Work(self._waiting.popleft(), self._limits, self._certificates)
        self._open.append(work)
        self.scheduler.tasks.extend(work.stages)
        return 0

    def charge(self, seconds: float) -> None:
        """See `Task`."""
        board = self._open[-1].board
        board.spent += seconds / board.asked.sum() * board.asked

    def news(self) -> list[Solved]:
        """What the last step has settled."""
        task = self.scheduler.current
        if not isinstance(task, Stage):
            return []
        work = next(work for work in self._open if work.board is task.board)
        solved = list(work.news(task.name))
        self._end_if_done(work, solved)
        return solved

    def give_back(self, ids: Collection[int]) -> list[Solved]:
        """Work no more on some queries, those that are still open."""
        solved: list[Solved] = []
        for work in list(self._open):
            solved += work.give_back(ids)
            self._end_if_done(work, solved)
        return solved

    def split(self) -> list[Solved]:
        """Memory was too small for the last step: its batch is tried again in halves."""
        task = self.scheduler.current
        batch = self._waiting[0] if task is self else None
        solved: list[Solved] = []
        if isinstance(task, Stage):
            work = next(work for work in self._open if work.board is task.board)
            solved += work.news(task.name)
            batch = _Batch(work.unanswered(), work.batch.tries)
            self._end(work)
        elif batch is not None:
            self._waiting.popleft()
        assert batch is not None
        if batch.tries == 1:
            unknown = Answer(Outcome.UNKNOWN, reason="memory", engine=_NAME)
            return [*solved, *((query, unknown) for query in batch.queries)]
        half = -(-len(batch.queries) // 2)
        for part in (batch.queries[half:], batch.queries[:half]):
            if part:
                self._waiting.appendleft(_Batch(part, batch.tries - 1))
        return solved

    def left(self) -> list[Solved]:
        """What stays open."""
        unasked = Answer(Outcome.UNKNOWN, reason="unasked", engine=_NAME)
        solved = [solved for work in self._open for solved in work.left()]
        return solved + [(query, unasked) for batch in self._waiting for query in batch.queries]

    def close(self) -> None:
        """Write what was proven."""
        for work in self._open:
            work.close()
        self._open.clear()

    def _end_if_done(self, work: _Work, solved: list[Solved]) -> None:
        if not work.board.open().any():
            solved += work.left()
            self._end(work)

    def _end(self, work: _Work) -> None:
        work.close()
        self._open.remove(work)
        self.scheduler.tasks = [task for task in self.scheduler.tasks if task not in work.stages]


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
