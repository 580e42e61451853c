"""A process that solves batches of queries for its parent; see `workers` and `child_main`."""

from __future__ import annotations

import time
from collections.abc import Callable
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
    [(place of the query, answer)] as answers come, then "done".

    Args:
        limit: of nodes, as that of `Cascade`.
        certificates: folder, or None.
    """
    send("ready")
    while True:
        queries, timeout, deadline = receive()
        place = {id(query): index for index, query in enumerate(queries)}
        budget = Budget(timeout, deadline)
        solved: list[Any] = []
        sent = time.monotonic()
        for query, answer in Cascade(limit=limit, certificates=certificates).solve(queries, budget):
            solved.append((place[id(query)], answer))
            if time.monotonic() - sent > _SEND:
                send(solved)
                solved, sent = [], time.monotonic()
        send(solved)
        send("done")
