"""`Workers`: processes that help to solve batches of queries."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.child import GRACE, Child, Died
from pytest_ensemble.engines.work import MOVED, NAME, Solved
from pytest_ensemble.queries.answer import Answer, Outcome, Reason
from pytest_ensemble.queries.query import Query

__all__ = ["Workers"]

_DEATHS = 3  # of processes that a query may cost
_WAIT = 0.1  # seconds between two looks at the clock
_SETTLED = 1.0  # seconds of work on a batch before some of it is given to others, who begin anew


@dataclass(eq=False)
class _Batch:
    """Queries to be answered, and how many processes died of them."""

    queries: list[Query]
    deaths: int = 0


class _Here:
    """What this process is doing.

    Attributes:
        batch: what it works on, if anything.
        since: when it began with that, or was asked for some of it.
        wanted: whether it was asked to give some of it to others.
    """

    def __init__(self) -> None:
        self.batch: _Batch | None = None
        self.since = 0.0
        self.wanted = False
        self.answered: set[int] = set()
        self._place: dict[int, int] = {}

    def begin(self, batch: _Batch) -> None:
        """Work on a batch."""
        self.batch, self.since, self.answered = batch, time.monotonic(), set()
        self._place = {id(query): place for place, query in enumerate(batch.queries)}

    def has_answered(self, query: Query) -> None:
        """It has answered a query, or given it back."""
        self.answered.add(self._place[id(query)])

    def left(self) -> list[Query]:
        """What it was given and has not answered."""
        queries = [] if self.batch is None else self.batch.queries
        return [query for k, query in enumerate(queries) if k not in self.answered]

    def ask(self) -> None:
        """Ask it to give some of that to others."""
        self.since, self.wanted = time.monotonic(), True

    def asked(self) -> bool:
        """Whether it was asked since it was last looked at."""
        wanted, self.wanted = self.wanted, False
        return wanted


class _Worker(_Here):
    """One process, and what it is doing."""

    def __init__(self, child: Child, inbox: queue.SimpleQueue[tuple[_Worker, Any]]) -> None:
        super().__init__()
        self.child = child
        self.ready = False
        self.until = math.inf  # then it is killed
        self._reader = threading.Thread(target=self._read, args=(inbox,), daemon=True)
        self._reader.start()

    def _read(self, inbox: queue.SimpleQueue[tuple[_Worker, Any]]) -> None:
        try:
            while True:
                inbox.put((self, self.child.receive()))
        except Died as death:
            inbox.put((self, death))

    def ask(self) -> None:
        """See `_Here`."""
        super().ask()
        self.child.send("give")

    def close(self) -> None:
        self.child.kill()
        self._reader.join()
        self.child.close()


class Workers:
    """Processes, started as they are needed, that stay until `close`.

    Unless they have a limit of memory, this process works too: small jobs don't wait for others to start.
    """

    def __init__(
        self,
        jobs: int,
        *,
        limit: int | None = None,
        certificates: Path | None = None,
        memory: int | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            jobs: processes, this one included if it works.
            limit, certificates: as those of `Cascade`.
            memory: bytes that each may allocate, or None.
        """
        self._jobs = jobs
        folder = None if certificates is None else certificates.absolute()
        self._make = partial(Child, "pytest_ensemble.engines.worker:serve", limit, folder, memory=memory)
        self._local = memory is None
        self._failures = 0  # to start
        self._workers: list[_Worker] = []
        self._carried: dict[int, float] = {}  # seconds that were spent on a query where it is no more
        self._inbox: queue.SimpleQueue[tuple[_Worker, Any]] = queue.SimpleQueue()
        self._finalizer = weakref.finalize(self, _close, self._workers)

    def close(self) -> None:
        """Kill the processes."""
        self._finalizer()

    def solve(
        self,
        batches: list[list[Query]],
        budget: Budget,
        local: Callable[[list[Query], Callable[[], bool]], Iterator[list[Solved]]],
    ) -> Iterator[Solved]:
        """Answers to all queries of the batches; `local` answers the share of this process, step by step.

        Who has nothing to do gets half of the points that another one is at work on.

        What a process that dies has not answered is tried again by others, in halves, but not here; what
        costs several processes is unknown, with the reason of their death.
        """
        todo = deque(_Batch(batch) for batch in batches)
        here, steps = _Here(), None
        finished = False
        self._carried = {}
        try:
            while True:
                if budget.spent():
                    while todo:
                        yield from self._unknown(todo.popleft().queries, "unasked")
                self._hand_out(todo, budget)
                if steps is None and self._local and (own := _undeadly(todo)) is not None:
                    here.begin(own)
                    steps = local(own.queries, here.asked)
                if steps is not None:
                    solved = next(steps, None)
                    if solved is None:
                        here.batch = steps = None
                    else:
                        yield from self._given(solved, here, todo)
                elif not todo and not any(worker.batch for worker in self._workers):
                    break
                yield from self._collect(todo, budget, wait=steps is None)
                if not todo and not budget.spent():
                    self._even_out(here)
            finished = True
        finally:
            if not finished:  # they are at work that nobody waits for
                _close(self._workers)

    def _hand_out(self, todo: deque[_Batch], budget: Budget) -> None:
        """Give idle processes a batch each; start more if there are too few."""
        for worker in self._workers:
            if todo and worker.ready and worker.batch is None:
                worker.begin(batch := todo.popleft())
                count = len(batch.queries)
                seconds = None if budget.timeout is None else count * budget.timeout
                limits = [limit for limit in (seconds, budget.remaining()) if limit is not None]
                worker.until = time.monotonic() + min(limits) + GRACE if limits else math.inf
                # the clock is the system's: what it takes to read the message counts, too
                worker.child.send((batch.queries, budget.timeout, budget.deadline))
        own = 1 if self._local and any(not batch.deaths for batch in todo) else 0
        idle = sum(worker.batch is None for worker in self._workers)
        room = 0 if self._failures >= _DEATHS else self._jobs - int(self._local) - len(self._workers)
        for _ in range(min(room, len(todo) - own - idle)):
            self._workers.append(_Worker(self._make(), self._inbox))

    def _unknown(self, queries: list[Query], reason: Reason) -> Iterator[Solved]:
        for query in queries:
            seconds = self._carried.pop(id(query), 0.0)
            asked: Reason = "budget" if reason == "unasked" and seconds else reason
            yield query, Answer(Outcome.UNKNOWN, reason=asked, engine=NAME, seconds=seconds)

    def _even_out(self, here: _Here) -> None:
        """Where somebody has nothing to do, ask who has most points left for half of what is open."""
        idle = [worker for worker in self._workers if worker.ready and worker.batch is None]
        busy = [one for one in (here, *self._workers) if one.batch is not None and not one.batch.deaths]
        if not (idle or (self._local and here.batch is None)):
            return
        ripe = [one for one in busy if time.monotonic() > one.since + _SETTLED]
        points = [len({(query.ball.digest, query.label) for query in one.left()}) for one in ripe]
        if max(points, default=0) > 1:
            ripe[points.index(max(points))].ask()

    def _given(self, solved: Iterable[Solved], one: _Here, todo: deque[_Batch]) -> Iterator[Solved]:
        """Answers of a process; what it gives back is to be done again."""
        moved = []
        for query, answer in solved:
            one.has_answered(query)
            carried = self._carried.pop(id(query), 0.0) + answer.seconds
            if answer.stage == MOVED:
                self._carried[id(query)] = carried
                moved.append(query)
            else:
                yield query, replace(answer, seconds=carried)
        if moved:
            todo.append(_Batch(moved))

    def _collect(self, todo: deque[_Batch], budget: Budget, *, wait: bool) -> Iterator[Solved]:
        """What has come from the processes, waiting a moment for the first; kills those that are late."""
        with contextlib.suppress(queue.Empty):
            while True:
                worker, message = self._inbox.get(timeout=_WAIT) if wait else self._inbox.get_nowait()
                wait = False
                if worker in self._workers:
                    yield from self._take(worker, message, todo, budget)
        now = time.monotonic()
        for worker in [worker for worker in self._workers if worker.batch and now > worker.until]:
            self._workers.remove(worker)
            worker.close()
            yield from self._unknown(worker.left(), "budget" if budget.spent() else "timeout")

    def _take(self, worker: _Worker, message: Any, todo: deque[_Batch], budget: Budget) -> Iterator[Solved]:
        if isinstance(message, Died):
            self._workers.remove(worker)
            worker.close()
            if not worker.ready:
                yield from self._give_up(todo, message.reason)
            elif worker.batch is not None:
                left, deaths = worker.left(), worker.batch.deaths + 1
                if deaths >= _DEATHS:
                    yield from self._unknown(left, message.reason)
                else:
                    half = -(-len(left) // 2)
                    todo.extend(_Batch(part, deaths) for part in (left[:half], left[half:]) if part)
        elif message == "ready":
            worker.ready, self._failures = True, 0
        elif message == "done":
            worker.batch = None
        elif isinstance(message, tuple):
            budget.tell(message[1])
        elif worker.batch is not None:
            own = worker.batch.queries
            yield from self._given([(own[place], answer) for place, answer in message], worker, todo)

    def _give_up(self, todo: deque[_Batch], reason: Reason) -> Iterator[Solved]:
        """After several processes could not even start, do without."""
        self._failures += 1
        if self._failures >= _DEATHS:
            for batch in [batch for batch in todo if batch.deaths or not self._local]:
                todo.remove(batch)
                yield from self._unknown(batch.queries, reason)


def _undeadly(todo: deque[_Batch]) -> _Batch | None:
    """Take the first batch that no process died of."""
    for batch in todo:
        if not batch.deaths:
            todo.remove(batch)
            return batch
    return None


def _close(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.close()
    workers.clear()
