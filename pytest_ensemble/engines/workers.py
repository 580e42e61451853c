"""`Workers`: processes that help to solve batches of queries."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytest_ensemble.engines.base import Budget
from pytest_ensemble.queries.answer import Answer
from pytest_ensemble.queries.query import Query

__all__ = ["Workers"]

Solved = tuple[Query, Answer]
Batch = list[Query]


class _Worker:
    """One process, and what it is doing."""

    def __init__(self, inbox: queue.SimpleQueue[tuple[_Worker, Any]]) -> None:
        limits = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("worker.py")), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | limits,
        )
        self.ready = False
        self.batch: Batch | None = None
        self.answered: set[int] = set()
        self.reader = threading.Thread(target=self._read, args=(inbox,), daemon=True)
        self.reader.start()
        self.send(sys.path)

    def send(self, message: Any) -> None:
        # a process that died is noticed when its output ends
        with contextlib.suppress(OSError):
            pickle.dump(message, self.process.stdin, pickle.HIGHEST_PROTOCOL)  # type: ignore[arg-type]
            self.process.stdin.flush()  # type: ignore[union-attr]

    def _read(self, inbox: queue.SimpleQueue[tuple[_Worker, Any]]) -> None:
        try:
            while True:
                inbox.put((self, pickle.load(self.process.stdout)))  # type: ignore[arg-type]
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            inbox.put((self, EOFError()))
        finally:
            self.process.stdout.close()  # type: ignore[union-attr]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]


class Workers:
    """Processes, started when there is more than one batch, that stay until `close`.

    This process works too, so that small jobs don't wait for others to start.
    """

    def __init__(self, count: int, certificates: Path | None = None) -> None:
        """Up to `count` processes beside this one; `certificates`: where they write those."""
        self._count = count
        self._certificates = certificates
        self._workers: list[_Worker] = []
        self._inbox: queue.SimpleQueue[tuple[_Worker, Any]] = queue.SimpleQueue()
        self._finalizer = weakref.finalize(self, _close, self._workers)

    def close(self) -> None:
        """Kill the processes."""
        self._finalizer()

    def solve(
        self,
        batches: list[Batch],
        budget: Budget,
        limit: int | None,
        local: Callable[[Batch], Iterator[Solved]],
    ) -> Iterator[Solved]:
        """Answers to all queries of the batches; `local` answers the share of this process.

        A batch whose process dies is solved here.
        """
        todo = deque(batches)
        while len(self._workers) < min(self._count, len(batches) - 1):
            self._workers.append(_Worker(self._inbox))
        here: Iterator[Solved] | None = None
        finished = False
        try:
            for worker in self._workers:
                self._hand_out(worker, todo, budget, limit)
            while True:
                if here is None and todo:
                    here = local(todo.popleft())
                if here is not None:
                    solved = next(here, None)
                    if solved is None:
                        here = None
                    else:
                        yield solved
                busy = any(worker.batch for worker in self._workers)
                if here is None and not todo and not busy:
                    break
                with contextlib.suppress(queue.Empty):
                    while True:
                        worker, message = self._inbox.get(block=here is None and not todo)
                        yield from self._take(worker, message, todo)
                        self._hand_out(worker, todo, budget, limit)
                        if here is None:
                            break
            finished = True
        finally:
            if not finished:  # they are at work that nobody waits for
                _close(self._workers)

    def _hand_out(self, worker: _Worker, todo: deque[Batch], budget: Budget, limit: int | None) -> None:
        if worker in self._workers and worker.ready and worker.batch is None and todo:
            worker.batch, worker.answered = todo.popleft(), set()
            worker.send((worker.batch, limit, budget.timeout, budget.remaining(), self._certificates))

    def _take(self, worker: _Worker, message: Any, todo: deque[Batch]) -> Iterator[Solved]:
        """Answers from a message; what a dead process leaves is put back."""
        if worker not in self._workers:
            return
        if isinstance(message, EOFError):
            self._workers.remove(worker)
            worker.close()
            if worker.batch is not None:
                left = [query for k, query in enumerate(worker.batch) if k not in worker.answered]
                todo.append(left)
                worker.batch = None
        elif message == "ready":
            worker.ready = True
        elif message == "done":
            worker.batch = None
        elif worker.batch is not None:
            for place, answer in message:
                worker.answered.add(place)
                yield worker.batch[place], answer


def _close(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.close()
    workers.clear()
