"""A process that solves batches of queries for its parent; see `workers` and `child_main`."""

from __future__ import annotations

import contextlib
import pickle
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.cascade import Cascade

__all__ = ["serve"]

_SEND = 0.2  # seconds between two messages with answers


def serve(
    receive: Callable[[], Any], send: Callable[[Any], None], limit: int | None, certificates: Path | None
) -> None:
    """Answer batches for ever.

    A batch is (queries, timeout, deadline), as in `Budget`. First "ready" is sent; for each batch
    [(place of the query, answer)] as answers come, ("doing", text), then "done". Meanwhile "give"
    may come: others have nothing to do.

    Args:
        limit: of nodes, as that of `Cascade`.
        certificates: folder, or None.
    """
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(receive, inbox), daemon=True).start()
    send("ready")
    while True:
        message = inbox.get()
        if message is None:
            raise EOFError
        if not isinstance(message, tuple):  # it came too late
            continue
        queries, timeout, deadline = message
        place = {id(query): index for index, query in enumerate(queries)}

        def wanted() -> bool:
            said = False
            while not inbox.empty():
                said |= inbox.get() == "give"
            return said

        doing = [""]
        budget = Budget(timeout, deadline, tell=partial(doing.__setitem__, 0))
        solved: list[Any] = []
        sent, said = time.monotonic(), ""
        for answers in Cascade(limit=limit, certificates=certificates).steps(budget, queries, wanted):
            solved += [(place[id(query)], answer) for query, answer in answers]
            if time.monotonic() - sent > _SEND:
                send(solved)
                if doing[0] != said:
                    send(("doing", said := doing[0]))
                solved, sent = [], time.monotonic()
        send(solved)
        send("done")


def _read(receive: Callable[[], Any], inbox: queue.SimpleQueue[Any]) -> None:
    """Runs in a thread: messages may come while a batch is solved."""
    with contextlib.suppress(EOFError, OSError, ValueError, pickle.UnpicklingError):
        while True:
            inbox.put(receive())
    inbox.put(None)
