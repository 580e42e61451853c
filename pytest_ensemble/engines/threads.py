"""Work that is spread over threads, with results as they come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

__all__ = ["spread"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Stopped = Callable[[], bool]


def spread(
    items: Iterable[Item],
    work: Callable[[Item, Stopped], Iterable[Result]],
    threads: int,
) -> Iterator[Result]:
    """All results of `work(item, stopped)` on all items, by so many threads; the first error is raised.

    When the iterator is closed early, `stopped()` becomes true for those that still work; they are waited
    for.
    """
    results: queue.SimpleQueue[tuple[Result] | BaseException | None] = queue.SimpleQueue()
    todo = iter(items)
    lock, stopped = threading.Lock(), threading.Event()

    def run() -> None:
        try:
            while not stopped.is_set():
                with lock:
                    taken = list(islice(todo, 1))
                if not taken:
                    break
                for result in work(taken[0], stopped.is_set):
                    results.put((result,))
        except BaseException as error:
            results.put(error)
        results.put(None)

    workers = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    running = len(workers)
    try:
        while running:
            got = results.get()
            if got is None:
                running -= 1
            elif isinstance(got, BaseException):
                raise got
            else:
                yield got[0]
    finally:
        stopped.set()
        for worker in workers:
            worker.join()
