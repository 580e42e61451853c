"""`ChildPool`: queries that are asked one by one, of solver processes that are kept."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from typing import Generic, TypeVar

from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.checkpoint import OutOfTime, stopping
from pytest_ensemble.engines.child import Child, Died
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.query import Query

__all__ = ["ChildPool", "Loans"]

_WAIT = 0.05  # seconds between two looks at whether anyone still waits

Kind = TypeVar("Kind", bound=Child)


class ChildPool(Generic[Kind]):
    """Up to so many processes, started as they are needed, that stay until `close`."""

    def __init__(self, jobs: int, make: Callable[[], Kind]) -> None:
        self._jobs = jobs
        self._make = make
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="solver")
        self._idle: list[Kind] = []
        self._finalizer = weakref.finalize(self, _close, self._threads, self._idle)

    def solve(
        self,
        queries: Sequence[Query],
        budget: Budget,
        answer: Callable[[Loans[Kind], Query, float | None], Answer],
    ) -> Iterator[tuple[Query, Answer]]:
        """Answer each query, in threads, by `answer(children, query, until)`; `time.monotonic` is its clock.

        When the iterator is closed early, or interrupted, the processes are killed at once. A process that
        died is an answer: unknown, with the reason.
        """
        waiting = iter(queries)
        running: dict[Future[Answer], Query] = {}
        children = Loans(self._idle, self._make)

        def work(query: Query) -> Answer:
            start = time.monotonic()
            if budget.spent():
                return Answer(Outcome.UNKNOWN, reason=budget.why(0.0, asked=False))
            limit = budget.for_query()
            until = None if limit is None else start + limit

            def late() -> bool:
                return children.stopped or (until is not None and time.monotonic() >= until)

            try:
                if late():
                    raise OutOfTime
                with stopping(late):
                    found = answer(children, query, until)
            except OutOfTime:
                found = Answer(Outcome.UNKNOWN, reason="timeout")
            except Died as death:
                found = Answer(Outcome.UNKNOWN, reason=death.reason)
            except MemoryError:
                found = Answer(Outcome.UNKNOWN, reason="memory")
            seconds = time.monotonic() - start
            if found.reason == "timeout" and budget.spent():
                found = replace(found, reason=budget.why(seconds))
            return replace(found, seconds=seconds)

        def start(count: int) -> None:
            for query in islice(waiting, count):
                running[self._threads.submit(work, query)] = query

        start(self._jobs)
        try:
            while running:
                # only who can cancel is looked after from time to time
                limit = None if budget.cancelled is None else _WAIT
                finished = wait(running, timeout=limit, return_when=FIRST_COMPLETED).done
                if budget.abandoned():
                    return
                for done in finished:
                    query = running.pop(done)
                    found = done.result()
                    start(1)
                    yield query, found
        finally:
            children.stop()
            wait(running)

    def close(self) -> None:
        """Kill the processes."""
        self._finalizer()


def _close(threads: ThreadPoolExecutor, idle: list[Kind]) -> None:
    threads.shutdown(wait=False, cancel_futures=True)
    for child in idle:
        child.close()
    idle.clear()


class Loans(Generic[Kind]):
    """The children that one call of `solve` uses: taken from the idle ones, or new."""

    def __init__(self, idle: list[Kind], make: Callable[[], Kind]) -> None:
        self._idle = idle
        self._make = make
        self._busy: set[Kind] = set()
        self.stopped = False
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Kind]:
        """A child that is alive, for one problem.

        Raises:
            OutOfTime: the iterator of answers was closed; nobody waits for this one.
        """
        child = self._take() or self._make()
        with self._lock:
            self._busy.add(child)
            if self.stopped:
                child.kill()
        try:
            yield child
        finally:
            with self._lock:
                self._busy.remove(child)
                if child.alive() and not self.stopped:
                    self._idle.append(child)
                else:
                    child.close()

    def _take(self) -> Kind | None:
        with self._lock:
            if self.stopped:
                raise OutOfTime
            while self._idle:
                child = self._idle.pop()
                if child.alive():
                    return child
                child.close()
        return None

    def stop(self) -> None:
        """Kill what is in use, and lend nothing more."""
        with self._lock:
            self.stopped = True
            for child in self._busy:
                child.kill()
