"""`Race`: the same query asked of several engines side by side."""

from __future__ import annotations

import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.engines.threads import Stopped, spread
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.query import Query

__all__ = ["Race"]

Answered = tuple[Query, list[Answer], float]  # with the seconds that all engines took

_GRACE = 1.0  # seconds in which the others may contradict the first decisive answer
_WAIT = 0.05  # seconds between two looks at whether anyone still waits


class Race:
    """The first decisive answer counts, unless another engine contradicts it at about the same time.

    Then the answer is `unknown (disagreement)`, with a warning. Engines that are left behind are told so
    by `Budget.cancelled`.
    """

    name = "race"

    def __init__(self, makers: Sequence[Callable[[int], Engine]], *, jobs: int = 1) -> None:
        """Make nothing yet.

        Args:
            makers: take a number of jobs and give an engine, made when the first query comes.
            jobs: solver processes or threads, of all engines together; at least one of each.
        """
        self._makers = list(makers)
        self._lanes = max(1, jobs // len(self._makers))
        self._processes = min(jobs, len(self._makers))  # of a query, at a time
        self._engines: list[Engine] = []

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
        """Answer each query as soon as its answer is known; see `Engine`."""
        if not self._engines:
            self._engines = [make(self._lanes) for make in self._makers]

        def work(query: Query, stopped: Stopped) -> list[Answered]:
            start = time.monotonic()
            answers = self._race(query, budget, stopped)
            return [(query, answers, (time.monotonic() - start) * self._processes)]

        for query, answers, seconds in spread(queries, work, min(self._lanes, len(queries))):
            yield query, replace(_verdict(query, answers, budget), seconds=seconds)

    def close(self) -> None:
        """Close the engines."""
        for engine in self._engines:
            engine.close()

    def _race(self, query: Query, budget: Budget, stopped: Stopped) -> list[Answer]:
        """What the engines say, in the order in which they say it."""
        own = replace(budget, cancelled=threading.Event())
        said: queue.SimpleQueue[Answer | BaseException] = queue.SimpleQueue()

        def ask(engine: Engine) -> None:
            try:
                for _, answer in engine.solve([query], own):
                    said.put(answer)
            except BaseException as error:
                said.put(error)

        for engine in self._engines:
            threading.Thread(target=ask, args=(engine,), daemon=True).start()
        answers: list[Answer] = []
        until: float | None = None
        try:
            while len(answers) < len(self._engines) and not (stopped() or budget.abandoned()):
                try:
                    answer = said.get(timeout=_WAIT)
                except queue.Empty:
                    if until is not None and time.monotonic() > until:
                        break
                    continue
                if isinstance(answer, BaseException):
                    raise answer
                answers.append(answer)
                if until is None and answer.outcome is not Outcome.UNKNOWN:
                    until = time.monotonic() + _GRACE
        finally:
            assert own.cancelled is not None
            own.cancelled.set()
        return answers


def _verdict(query: Query, answers: list[Answer], budget: Budget) -> Answer:
    decisive = [answer for answer in answers if answer.outcome is not Outcome.UNKNOWN]
    if len({answer.outcome for answer in decisive}) > 1:
        said = " but ".join(f"{answer.engine} says {answer.outcome}" for answer in decisive)
        warnings.warn(
            f"Two engines contradict each other: {said} of {query.describe()}. It counts as unknown; "
            "please report it with the models.",
            RuntimeWarning,
            stacklevel=2,
        )
        names = "+".join(answer.engine for answer in decisive)
        return Answer(Outcome.UNKNOWN, reason="disagreement", engine=names, stage="race")
    if decisive:
        return decisive[0]
    # more time is what may help
    late = [answer for answer in answers if answer.reason in ("timeout", "budget")] or answers
    if late:
        return late[0]
    return Answer(Outcome.UNKNOWN, reason=budget.why(0.0, asked=False), engine=Race.name)
