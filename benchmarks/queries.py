"""The same random pair queries asked of every engine.

Fashion-MNIST (and MNIST with --mnist), ten networks 784-30-10, the first 200 agreement points of label 0,
the ball clipped to [0, 1]; for each epsilon some random (pair, point). "native" and the outside engines are
asked one query at a time, cold, by an engine that has been started; "analysis" is native given all queries
of a data set at once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.adjudication import adjudicate, agreement, contradicts
from benchmarks.report import CONSOLE, datasets_of, distribution, duration, parser, save, show
from benchmarks.workloads import CLIP, EPSILONS, PairQuery, load_workload, pair_queries
from pytest_ensemble.engines import ENGINES, make_engine
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.marabou_process import available
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.query import Query, make_query

Asked = list[PairQuery]
Timed = list[tuple[Answer, float]]  # in the order of the queries

ANALYSIS = "analysis"
REFERENCE = "marabou"


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write; returns what was written."""
    arguments = _options(argv)
    asked: Asked = []
    digests = {}
    for dataset in datasets_of(arguments):
        workload = load_workload(
            dataset, arguments.mnist, networks=arguments.networks, points=arguments.points
        )
        digests[dataset] = workload.digest
        asked += pair_queries(workload, arguments.epsilons, arguments.per_epsilon, arguments.seed)
    if arguments.limit is not None and arguments.limit < len(asked):
        # evenly over data sets and epsilons
        asked = [asked[k] for k in np.linspace(0, len(asked) - 1, arguments.limit).round().astype(int)]
    CONSOLE.print(f"{len(asked)} queries, {arguments.timeout:g} s each at most")
    result: dict[str, Any] = {"digests": digests, "queries": [_describe(entry) for entry in asked]}
    given: dict[str, Timed] = {}
    for engine in arguments.engines:
        given[engine] = _ask(engine, asked, arguments)
        result.update(_summarise(asked, given, arguments))
        save(arguments.json, arguments, result)  # a run of hours that is broken off leaves what it had
    _print(result)
    CONSOLE.print(f"Written to {arguments.json}")
    return result


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    options = parser("queries", __doc__)
    default = ["native", ANALYSIS, *(["milp"] if "milp" in ENGINES else []), *(["marabou"] * available())]
    options.add_argument("--engines", nargs="+", choices=[*ENGINES, ANALYSIS], default=default)
    options.add_argument("--timeout", type=float, default=60.0, help="seconds for one query")
    options.add_argument("--epsilons", nargs="+", type=float, default=list(EPSILONS))
    options.add_argument("--per-epsilon", type=int, default=20, help="(pair, point) for each epsilon")
    options.add_argument("--networks", type=int, default=10)
    options.add_argument("--points", type=int, default=200)
    options.add_argument("--limit", type=int, metavar="N", help="ask only N of the queries, evenly chosen")
    options.add_argument(
        "--jobs", type=int, default=1, help="of the analysis; and outside engines are asked so many at a time"
    )
    return options.parse_args(argv)


# --- asking ---------------------------------------------------------------------------------------


def _ask(name: str, asked: Asked, arguments: argparse.Namespace) -> Timed:
    """Answers and seconds of one engine, which is started, and warmed up, before."""
    jobs = 1 if name in ("native", "auto") else arguments.jobs
    engine = make_engine("native" if name == ANALYSIS else name, jobs=jobs)
    budget = Budget(arguments.timeout)
    queries = [entry.query for entry in asked]
    try:
        _warm_up(engine, queries[0])
        if name == ANALYSIS:
            return _at_once(engine, asked, budget)
        if jobs > 1:
            answers = _answers(engine, queries, budget, name)
            return [(answer, answer.seconds) for answer in answers]
        timed = []
        with CONSOLE.status("") as status:
            for number, query in enumerate(queries):
                status.update(f"{name}: query {number + 1} of {len(queries)}")
                start = time.perf_counter()
                deadline = time.monotonic() + arguments.timeout
                ((_, answer),) = engine.solve([query], Budget(arguments.timeout, deadline))
                timed.append((answer, time.perf_counter() - start))
        return timed
    finally:
        engine.close()


def _warm_up(engine: Any, query: Query) -> None:
    """Imports and child processes: a query that is none of those measured."""
    list(engine.solve([_with_epsilon(query, 1e-3)], Budget(10.0)))


def _with_epsilon(query: Query, epsilon: float) -> Query:
    return make_query(query.models, query.ball.center, query.label, epsilon, CLIP)


def _at_once(engine: Any, asked: Asked, budget: Budget) -> Timed:
    """One call for each data set; its wall time is shared evenly by its queries."""
    timed: Timed = []
    for dataset in dict.fromkeys(entry.dataset for entry in asked):
        queries = [entry.query for entry in asked if entry.dataset == dataset]
        start = time.perf_counter()
        answers = _answers(engine, queries, budget, f"{ANALYSIS}, {dataset}")
        each = (time.perf_counter() - start) / len(queries)
        timed += [(answer, each) for answer in answers]
    return timed


def _answers(engine: Any, queries: Sequence[Query], budget: Budget, name: str) -> list[Answer]:
    answers: dict[int, Answer] = {}
    with CONSOLE.status("") as status:
        for query, answer in engine.solve(queries, budget):
            answers[id(query)] = answer
            status.update(f"{name}: {len(answers)} of {len(queries)} answered")
    return [answers[id(query)] for query in queries]


# --- results --------------------------------------------------------------------------------------


def _describe(asked: PairQuery) -> dict[str, Any]:
    query = asked.query
    return {
        "dataset": asked.dataset,
        "pair": "~".join(model.name for model in query.models),
        "point": asked.point,
        "label": query.label,
        "epsilon": query.ball.epsilon,
    }


def _summarise(asked: Asked, given: dict[str, Timed], arguments: argparse.Namespace) -> dict[str, Any]:
    datasets = list(dict.fromkeys(entry.dataset for entry in asked))
    groups = {name: [k for k, entry in enumerate(asked) if entry.dataset == name] for name in datasets}
    if len(datasets) > 1:
        groups["all"] = list(range(len(asked)))
    scores = {
        group: {
            engine: _score([timed[k] for k in rows], arguments.timeout) for engine, timed in given.items()
        }
        for group, rows in groups.items()
    }
    for by_engine in scores.values():
        for score in by_engine.values():
            score["marabou_times"] = _ratios(by_engine.get(REFERENCE), score)
    answers = [{engine: timed[k][0] for engine, timed in given.items()} for k in range(len(asked))]
    disputes = [
        {"query": k, **adjudicate(asked[k].query, answers[k], 10 * arguments.timeout)}
        for k in range(len(asked))
        if contradicts(answers[k])
    ]
    return {
        "scores": scores,
        "agreement": agreement(answers),
        "disagreements": disputes,
        "answers": {
            engine: [[str(answer.outcome), answer.reason or answer.stage, spent] for answer, spent in timed]
            for engine, timed in given.items()
        },
    }


def _score(timed: Timed, timeout: float) -> dict[str, Any]:
    """Of one engine. PAR-2: the mean, where what is not solved in time counts twice the limit."""
    known = [answer.outcome is not Outcome.UNKNOWN for answer, _ in timed]
    in_time = [solved and spent <= timeout for solved, (_, spent) in zip(known, timed, strict=True)]
    seconds = [spent for _, spent in timed]
    par2 = [spent if solved else 2 * timeout for solved, spent in zip(in_time, seconds, strict=True)]
    outcomes = [answer.outcome for answer, _ in timed]
    return {
        "queries": len(timed),
        "solved": sum(in_time),
        "late": sum(known) - sum(in_time),
        "unknown": len(timed) - sum(known),
        "sat": outcomes.count(Outcome.SAT),
        "unsat": outcomes.count(Outcome.UNSAT),
        **distribution(seconds),
        "par2": float(np.mean(par2)),
    }


def _ratios(reference: dict[str, Any] | None, score: dict[str, Any]) -> dict[str, float] | None:
    """How many times as long Marabou takes."""
    if reference is None:
        return None
    return {key: reference[key] / max(score[key], 1e-9) for key in ("median", "mean", "par2")}


def _print(result: dict[str, Any]) -> None:
    columns = ["engine", "solved", "unknown", "late", "median", "mean", "p99", "max", "PAR-2"]
    columns += ["Marabou's median", "mean", "PAR-2"]
    for group, by_engine in result["scores"].items():
        rows = []
        for engine, score in by_engine.items():
            times = [duration(score[key]) for key in ("median", "mean", "p99", "max", "par2")]
            ratios = score["marabou_times"] or {}
            compared = [f"{ratios[key]:,.3g}x" if ratios else "-" for key in ("median", "mean", "par2")]
            solved = f"{score['solved']}/{score['queries']}"
            rows.append([engine, solved, score["unknown"], score["late"], *times, *compared])
        show(group, columns, rows)
    show(
        "Verdicts of two engines, where both have one",
        ["engines", "both", "agree"],
        [[entry["engines"], entry["both"], entry["agree"]] for entry in result["agreement"]],
    )
    for dispute in result["disagreements"]:
        CONSOLE.print(f"Disagreement on query {dispute['query']}: {dispute}")
    if result["agreement"] and not result["disagreements"]:
        CONSOLE.print("No disagreements.")


if __name__ == "__main__":
    main()
