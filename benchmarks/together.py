"""Together must never be worse than one by one: gates at several epsilons against single queries.

Four pools of four networks for Fashion-MNIST, as people deploy them, and a gate's epsilons for each, some of
them hopeless. All queries of the pairs of a pool around its first agreement points are answered

- one by one, each cold and with a time limit of its own, in as many processes as there are cores,
- together, those of the epsilon looked at alone,
- together with those of the gate's other epsilons.

The share that is decided is looked at as time goes by. Balls are clipped to [0, 1]; the engine is native.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from benchmarks.report import CONSOLE, parser, save, show
from benchmarks.workloads import CLIP, load_workload
from pytest_ensemble.engines import make_engine
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.query import Query, make_query

MARKS = (5, 10, 20, 40, 60, 90, 120)  # seconds at which shares are looked at


@dataclass(frozen=True)
class Gate:
    """A pool, the epsilon looked at, and the others that the gate has."""

    kind: str
    adversarial: bool
    epsilon: float
    others: tuple[float, ...]

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.kind}{', adversarial' * self.adversarial}, {self.epsilon:g}"


GATES = (
    Gate("dense", True, 0.02, (0.01, 0.05, 0.08)),
    Gate("strided", False, 0.02, (0.01, 0.05)),
    Gate("strided", True, 0.02, (0.01, 0.05, 0.08)),
    Gate("dense", False, 0.02, (0.005, 0.01, 0.05)),
)


@dataclass(frozen=True)
class Log:
    """When which queries were decided.

    Attributes:
        queries: how many were asked.
        decided: (epsilon, seconds since the start) of those that were.
        wall: seconds until the last answer.
        spent: seconds of work that the answers say they took.
    """

    queries: int
    decided: list[tuple[float, float]]
    wall: float
    spent: float

    def share(self, second: float, epsilon: float, of: int) -> float:
        """Of the queries of an epsilon, how many were decided by then."""
        return sum(own == epsilon and when <= second for own, when in self.decided) / of


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write; returns what was written."""
    options = parser("together", __doc__)
    options.add_argument("--only", nargs="+", type=int, default=range(len(GATES)), metavar="ROW")
    options.add_argument("--points", type=int, default=50)
    options.add_argument("--networks", type=int, default=4)
    options.add_argument("--timeout", type=float, default=2.0, help="seconds for a query asked alone")
    options.add_argument("--budget", type=float, default=120.0, help="seconds for each way")
    options.add_argument("--jobs", type=int, default=2, help="cores")
    arguments = options.parse_args(argv)
    result: dict[str, Any] = {}
    for row in arguments.only:
        gate = GATES[row]
        CONSOLE.print(f"{gate.name} ...")
        result[gate.name] = _measure(gate, arguments)
        _print(gate.name, result[gate.name])
    save(arguments.json, arguments, result)
    CONSOLE.print(f"Written to {arguments.json}")
    return result


def _measure(gate: Gate, arguments: argparse.Namespace) -> dict[str, Any]:
    workload = load_workload(
        "fashion",
        None,
        deployed=(gate.kind, gate.adversarial),
        networks=arguments.networks,
        points=arguments.points,
        label=None,
    )
    points, pairs = workload.points, list(combinations(workload.pool.values(), 2))

    def queries(epsilons: Sequence[float]) -> list[Query]:
        return [
            make_query(pair, x, int(label), epsilon, CLIP)
            for pair in pairs
            for x, label in zip(points.x, points.labels, strict=True)
            for epsilon in epsilons
        ]

    looked, all_ = queries([gate.epsilon]), queries(sorted((gate.epsilon, *gate.others)))
    logs = {
        "one by one": _one_by_one(looked, arguments),
        "together": _together(looked, arguments),
        "one by one, all epsilons": _one_by_one(all_, arguments),
        "together, all epsilons": _together(all_, arguments),
    }
    count = len(looked)
    marks = [second for second in MARKS if second <= arguments.budget]
    shares = {
        f"{way}: {'all' if epsilon is None else f'{epsilon:g}'}": [
            np.mean([log.share(second, own, count) for own in epsilons]) for second in marks
        ]
        for way, log in logs.items()
        for epsilon, epsilons in _looks(gate, "all" in way)
    }
    alone, both = logs["one by one"], logs["together, all epsilons"]
    return {
        "digest": workload.digest,
        "queries": count,
        "marks": marks,
        "shares": shares,
        # a hopeless epsilon costs the others at most a third of the budget
        "with the others, by two thirds of the time": all(
            both.share(second, gate.epsilon, count) >= alone.share(second * 2 / 3, gate.epsilon, count)
            for second in marks
        ),
        "open": {way: 1 - log.share(arguments.budget, gate.epsilon, count) for way, log in logs.items()},
        "seconds of answers by wall time and cores": {
            way: log.spent / (log.wall * arguments.jobs) for way, log in logs.items() if "together" in way
        },
    }


def _looks(gate: Gate, several: bool) -> Iterator[tuple[float | None, tuple[float, ...]]]:
    """Each epsilon alone, and all of them."""
    if not several:
        yield gate.epsilon, (gate.epsilon,)
        return
    epsilons = tuple(sorted((gate.epsilon, *gate.others)))
    yield from ((epsilon, (epsilon,)) for epsilon in epsilons)
    yield None, epsilons


def _together(queries: list[Query], arguments: argparse.Namespace) -> Log:
    engine = make_engine("native", jobs=arguments.jobs)
    start = time.monotonic()
    budget = Budget(deadline=start + arguments.budget)
    decided, spent = [], 0.0
    for query, answer in engine.solve(queries, budget):
        spent += answer.seconds
        if answer.outcome is not Outcome.UNKNOWN:
            decided.append((query.ball.epsilon, time.monotonic() - start))
    wall = time.monotonic() - start
    engine.close()
    return Log(len(queries), decided, wall, spent)


_asked: list[Query] = []  # what the processes that are forked ask about


def _one_by_one(queries: list[Query], arguments: argparse.Namespace) -> Log:
    _asked[:] = queries
    decided, spent = [], 0.0
    with ProcessPoolExecutor(arguments.jobs, multiprocessing.get_context("fork")) as processes:
        list(processes.map(_nothing, range(arguments.jobs)))
        start = time.monotonic()
        deadline = start + arguments.budget
        running = {
            processes.submit(_answer, k, arguments.timeout, deadline): query
            for k, query in enumerate(queries)
        }
        for done in as_completed(running):
            answer = done.result()
            spent += answer.seconds
            if answer.outcome is not Outcome.UNKNOWN:
                decided.append((running[done].ball.epsilon, time.monotonic() - start))
        wall = time.monotonic() - start
    return Log(len(queries), decided, wall, spent)


def _nothing(_: int) -> None:
    """Start a process."""
    time.sleep(0.1)


def _answer(number: int, timeout: float, deadline: float) -> Answer:
    engine = make_engine("native")
    ((_, answer),) = engine.solve([_asked[number]], Budget(timeout, deadline))
    return answer


def _print(name: str, measured: dict[str, Any]) -> None:
    columns = ["decided, %", *(f"{second} s" for second in measured["marks"])]
    rows = [[way, *(f"{100 * share:.1f}" for share in shares)] for way, shares in measured["shares"].items()]
    show(f"{name}: {measured['queries']} queries of an epsilon", columns, rows)
    for text in ("with the others, by two thirds of the time", "seconds of answers by wall time and cores"):
        CONSOLE.print(f"{text}: {measured[text]}")


if __name__ == "__main__":
    main()
