"""`MarabouEngine`: the paper's paired query, solved by Marabou in child processes."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.marabou_encoding import WITNESS, Encoding, encode
from pytest_ensemble.engines.marabou_process import Child, Status, available, missing
from pytest_ensemble.networks.network import Float
from pytest_ensemble.networks.rounding import margin_rounding
from pytest_ensemble.queries.answer import Answer, Outcome, Reason
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import replays

__all__ = ["MarabouEngine", "available"]

# Balls smaller than this share of the point's largest coordinate are not asked about: Marabou's
# tolerances are absolute, and it has been wrong on them.
SMALLEST = 1e-4
_WAIT = 0.05  # seconds between two looks at whether anyone still waits


class MarabouEngine:
    """Marabou 2.0 (Wu et al. 2024) on the query of Amir et al. 2022.

    Each query is asked as: is there an input with margins >= -m, with m a little more than rounding
    and Marabou's tolerances can move them? No: `unsat`. Yes, and the input replays, perhaps after
    some steps of polishing: `sat`. Otherwise again with margins above zero, for an input that replays
    more easily; if there is none, `unknown (boundary)`.
    """

    name = "marabou"

    def __init__(self, *, jobs: int = 1) -> None:
        """Start nothing yet; up to `jobs` processes are started as they are needed.

        Raises:
            EngineError: maraboupy is not installed.
        """
        if not available():
            raise missing()
        self._jobs = jobs
        # On Linux a child dies with the thread that made it; these threads live until `close`.
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="marabou")
        self._idle: list[Child] = []
        self._finalizer = weakref.finalize(self, _close, self._threads, self._idle)

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
        """Answer each query as soon as its answer is known; see `Engine`.

        When the iterator is closed early, or interrupted, the processes are killed at once.
        """
        waiting = iter(queries)
        running: dict[Future[Answer], Query] = {}
        children = _Loans(self._idle)

        def start(count: int) -> None:
            for query in islice(waiting, count):
                running[self._threads.submit(_answer, children, query, budget)] = query

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
                    answer = done.result()
                    start(1)
                    yield query, answer
        finally:
            children.stop()
            wait(running)

    def close(self) -> None:
        """Kill the processes."""
        self._finalizer()


def _close(threads: ThreadPoolExecutor, idle: list[Child]) -> None:
    threads.shutdown(wait=False, cancel_futures=True)
    for child in idle:
        child.close()
    idle.clear()


class _Stopped(Exception):
    """The iterator of answers was closed; nobody waits for this one."""


class _Loans:
    """The children that one call of `solve` uses: taken from the idle ones, or new."""

    def __init__(self, idle: list[Child]) -> None:
        self._idle = idle
        self._busy: set[Child] = set()
        self._stopped = False
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Child]:
        """A child that is alive, for one problem."""
        child = self._take() or Child()
        with self._lock:
            self._busy.add(child)
            if self._stopped:
                child.kill()
        try:
            yield child
        finally:
            with self._lock:
                self._busy.remove(child)
                if child.alive() and not self._stopped:
                    self._idle.append(child)
                else:
                    child.close()

    def _take(self) -> Child | None:
        with self._lock:
            if self._stopped:
                raise _Stopped
            while self._idle:
                child = self._idle.pop()
                if child.alive():
                    return child
                child.close()
        return None

    def stop(self) -> None:
        """Kill what is in use, and lend nothing more."""
        with self._lock:
            self._stopped = True
            for child in self._busy:
                child.kill()


@np.errstate(all="ignore")  # on some CPUs matrix products set such flags without cause
def _answer(children: _Loans, query: Query, budget: Budget) -> Answer:
    """The answer with its time; runs in a thread."""
    start = time.monotonic()
    limit = budget.for_query()
    if limit == 0:
        answer = _unknown("timeout")
    elif query.ball.epsilon == 0:
        answer = _at_center(query)
    elif query.ball.epsilon < SMALLEST * float(abs(query.ball.center).max(initial=0)):
        answer = _unknown("unsupported")
    else:
        answer = _ask(children, query, None if limit is None else start + limit)
    return replace(answer, engine=MarabouEngine.name, seconds=time.monotonic() - start)


def _unknown(reason: Reason, stage: str = "") -> Answer:
    return Answer(Outcome.UNKNOWN, reason=reason, stage=stage)


def _at_center(query: Query) -> Answer:
    """The answer for a ball of one point."""
    center = query.ball.center
    if replays(query, center[None]).all():
        return Answer(Outcome.SAT, center, stage="point")
    exact = center[None].astype(np.float64)
    for model in query.models:
        rounding = margin_rounding(model.network, exact, exact, np.array([query.label]))[0]
        margins = model.network.margins(query.label).evaluate(exact)[0]
        if (margins < -np.delete(rounding, query.label)).all():
            return Answer(Outcome.UNSAT, stage="point")
    return _unknown("boundary", "point")


def _ask(children: _Loans, query: Query, until: float | None) -> Answer:
    """Ask for margins >= -m, then, while no solution of that replays, for larger and larger ones."""
    for margin in (0.0, *WITNESS):
        stage = "witness query" if margin else "query"
        status, x = _solve(children, encode(query, margin=margin), until)
        if status == "bounds" or status == "unsat":
            if margin:
                return _unknown("boundary", stage)
            return Answer(Outcome.UNSAT, stage="bounds" if status == "bounds" else stage)
        if status != "sat" or x is None:
            return _unknown("crashed" if status == "sat" else status, stage)
        witness = _confirm(query, x)
        if witness is not None:
            return Answer(Outcome.SAT, witness, stage=stage)
    return _unknown("boundary", stage)


def _solve(
    children: _Loans, encoding: Encoding, until: float | None
) -> tuple[Status | Literal["bounds", "unsupported"], Float | None]:
    """What Marabou says, with the input, shape (n,), if that is "sat"."""
    problem = encoding.problem
    if problem is None:
        return "bounds", None
    if not problem.disjunctions:
        return "sat", encoding.middle
    if not problem.is_finite():
        return "unsupported", None
    with children.borrow() as child:
        seconds = None if until is None else max(0.0, until - time.monotonic())
        status, values = child.solve(problem, seconds)
    return status, None if values is None else encoding.decode(values)


def _confirm(query: Query, x: Float) -> NDArray[np.float32] | None:
    """A witness that replays, shape (n,), at x or a few steps from there."""
    from pytest_ensemble.engines.attack import polish

    candidate = query.ball.project(x[None])
    if replays(query, candidate).all():
        witness: NDArray[np.float32] = candidate[0]
        return witness
    return polish(query, candidate)
