"""A process that solves batches of queries for its parent; see `workers`. Run as a script.

Messages are pickled. On stdin: the import path, then (queries, limit of nodes, timeout, seconds left, folder
for certificates). On what was stdout: "ready"; [(place of the query, answer)] as answers come; "done" after
each batch.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from typing import Any


def main() -> None:
    """Serve until stdin ends. Argument: the parent's process id."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, who kills us
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path[:] = pickle.load(sys.stdin.buffer)
    from pytest_ensemble.engines.base import Budget
    from pytest_ensemble.engines.cascade import Cascade
    from pytest_ensemble.engines.marabou_child import die_with_parent

    die_with_parent(int(sys.argv[1]))

    def send(message: Any) -> None:
        pickle.dump(message, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()

    send("ready")
    while True:
        try:
            queries, limit, timeout, seconds, certificates = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        place = {id(query): index for index, query in enumerate(queries)}
        budget = Budget(timeout, None if seconds is None else time.monotonic() + seconds)
        solved: list[Any] = []
        sent = time.monotonic()
        for query, answer in Cascade(limit=limit, certificates=certificates).solve(queries, budget):
            solved.append((place[id(query)], answer))
            if time.monotonic() - sent > 0.2:
                send(solved)
                solved, sent = [], time.monotonic()
        send(solved)
        send("done")


if __name__ == "__main__":
    main()
