"""`MilpEngine`: the query as one mixed-integer linear program, solved by HiGHS.

After MIPVerify (Tjeng, Xiao and Tedrake, "Evaluating robustness of neural networks with mixed integer
programming", ICLR 2019); HiGHS (Huangfu and Hall 2018) comes with scipy. It shares nothing with our own
branch and bound but the bounds of pre-activations, so it is a second opinion on every machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from pytest_ensemble.engines.attack import polish
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.child import Child
from pytest_ensemble.engines.milp_encoding import Program, encode
from pytest_ensemble.engines.pool import ChildPool, Loans
from pytest_ensemble.queries.answer import Answer, Outcome, Reason
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import replays

__all__ = ["MilpEngine", "serve"]

# Status codes of scipy.optimize.milp.
_OPTIMAL, _LIMIT, _INFEASIBLE = 0, 1, 2


class MilpEngine:
    """Asks HiGHS for an input on which the least of the margins is highest.

    There is none with margins above their slack (see `milp_encoding`): `unsat`. There is one, and it replays,
    perhaps after some steps of polishing: `sat`. Otherwise `unknown (boundary)`. That the program has no
    solution is what HiGHS can show most safely: it checks the dual ray of each branch it cuts off; the
    objective only leads it to inputs that replay.
    """

    name = "milp"

    def __init__(self, *, jobs: int = 1, memory: int | None = None) -> None:
        """Start nothing yet; up to `jobs` processes, of `memory` bytes each, start as they are needed.

        HiGHS can't be interrupted, and its presolve overruns its time limit; a process can be killed.
        """
        self._pool: ChildPool[Child] = ChildPool(jobs, partial(Child, f"{__name__}:serve", memory=memory))

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
        """Answer each query as soon as its answer is known; see `Engine`."""
        for query, answer in self._pool.solve(queries, budget, _ask):
            yield query, replace(answer, engine=self.name)

    def close(self) -> None:
        """Kill the processes."""
        self._pool.close()


def _ask(children: Loans[Child], query: Query, until: float | None) -> Answer:
    with children.borrow() as child:
        start = time.monotonic()
        child.wait_until_ready()
        if until is not None:  # a query that may take less than that must not have each new process killed
            until += time.monotonic() - start
        left = None if until is None else max(0.0, until - time.monotonic())
        answer: Answer = child.ask((query, left), left)
        return answer


def serve(receive: Callable[[], Any], send: Callable[[Any], None]) -> None:
    """Say "ready", then answer (query, seconds) by an Answer, for ever; see `child_main`."""
    send("ready")
    while True:
        query, seconds = receive()
        send(_solve(query, None if seconds is None else time.monotonic() + seconds))


def _unknown(reason: Reason) -> Answer:
    return Answer(Outcome.UNKNOWN, reason=reason)


@np.errstate(all="ignore")  # on some CPUs matrix products set such flags without cause
def _solve(query: Query, until: float | None) -> Answer:
    """The answer, without engine and time."""
    try:
        program = encode(query)
        if program is None:
            return Answer(Outcome.UNSAT, stage="bounds")
        if not program.is_finite():
            return _unknown("unsupported")
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            return _unknown("timeout")
        result = _run(program, left)
    except MemoryError:
        return _unknown("memory")
    if result.status == _INFEASIBLE:
        return Answer(Outcome.UNSAT, stage="program")
    if result.x is not None:
        witness = _confirm(query, np.asarray(result.x))
        if witness is not None:
            return Answer(Outcome.SAT, witness, stage="program")
    reasons: dict[int, Reason] = {_OPTIMAL: "boundary", _LIMIT: "timeout"}
    return _unknown(reasons.get(result.status, "crashed"))


def _run(program: Program, seconds: float | None) -> Any:
    objective = np.zeros(len(program.lower))
    objective[-1] = -1.0
    return milp(
        objective,
        integrality=program.binary.astype(np.intp),
        bounds=Bounds(program.lower, program.upper),
        constraints=LinearConstraint(program.matrix, -np.inf, program.limits),
        options={} if seconds is None else {"time_limit": seconds},
    )


def _confirm(query: Query, solution: Any) -> NDArray[np.float32] | None:
    """A witness that replays, shape (n,), at a solution or a few steps from there."""
    low, high = query.ball.box
    shares = solution[: len(low)]
    candidate = query.ball.project(((low + high) / 2 + (high - low) / 2 * shares)[None])
    if replays(query, candidate).all():
        return np.asarray(candidate[0])
    return polish(query, candidate)
