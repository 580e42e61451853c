"""Time against one thing at a time: networks, points, epsilon, width, depth, and a convolution.

The first four axes are whole analyses by the native engine, around a base case of ten networks 784-30-10,
100 agreement points of label 0 and 6 epsilons. Depth and the convolution are single pair queries, each asked
cold. Balls are clipped to [0, 1].
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from benchmarks.report import CONSOLE, Meter, datasets_of, distribution, duration, parser, save, show
from benchmarks.workloads import CLIP, EPSILONS, Workload, load_workload, pair_queries
from pytest_ensemble.analysis.analysis import Analysis
from pytest_ensemble.engines import make_engine
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.queries.answer import Outcome

Measured = list[dict[str, Any]]


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write; returns what was written."""
    options = parser("scaling", __doc__)
    options.add_argument(
        "--only", nargs="+", choices=AXES, default=list(AXES), metavar="AXIS", help=", ".join(AXES)
    )
    options.add_argument("--networks", nargs="+", type=int, default=[5, 10, 20])
    options.add_argument("--points", nargs="+", type=int, default=[50, 100, 200])
    options.add_argument("--epsilons", nargs="+", type=float, default=list(EPSILONS))
    options.add_argument("--widths", nargs="+", type=int, default=[30, 100, 256])
    options.add_argument("--depths", nargs="+", type=int, default=[1, 2, 4], help="hidden layers")
    options.add_argument("--depth-width", type=int, default=256)
    options.add_argument("--base-networks", type=int, default=10)
    options.add_argument("--base-points", type=int, default=100)
    options.add_argument("--deadline", type=float, default=60.0, help="seconds for one analysis")
    options.add_argument("--singles", type=int, default=12, help="single queries for each epsilon")
    options.add_argument("--single-epsilons", nargs="+", type=float, default=[0.02, 0.03])
    options.add_argument("--timeout", type=float, default=10.0, help="seconds for a single query")
    options.add_argument("--jobs", type=int, default=2, help="of analyses; single queries have one")
    arguments = options.parse_args(argv)
    result: dict[str, Any] = {}
    for dataset in datasets_of(arguments):
        result[dataset] = {}
        for axis in arguments.only:
            CONSOLE.print(f"{dataset}, {axis} ...")
            result[dataset][axis] = AXES[axis](dataset, arguments)
            _print(dataset, axis, result[dataset][axis])
    save(arguments.json, arguments, result)
    CONSOLE.print(f"Written to {arguments.json}")
    return result


# --- whole analyses -------------------------------------------------------------------------------


def _networks(dataset: str, arguments: argparse.Namespace) -> Measured:
    most = max(arguments.networks)
    # the same points for all: those on which the largest pool agrees
    everything = load_workload(dataset, arguments.mnist, networks=most, points=arguments.base_points)
    return [
        _analyse(count, everything.part(networks=count), arguments.epsilons, arguments)
        for count in arguments.networks
    ]


def _points(dataset: str, arguments: argparse.Namespace) -> Measured:
    most = max(arguments.points)
    everything = load_workload(dataset, arguments.mnist, networks=arguments.base_networks, points=most)
    return [
        _analyse(count, everything.part(points=count), arguments.epsilons, arguments)
        for count in arguments.points
    ]


def _epsilon(dataset: str, arguments: argparse.Namespace) -> Measured:
    base = load_workload(
        dataset, arguments.mnist, networks=arguments.base_networks, points=arguments.base_points
    )
    return [_analyse(epsilon, base, [epsilon], arguments) for epsilon in arguments.epsilons]


def _width(dataset: str, arguments: argparse.Namespace) -> Measured:
    """Half of the base case, at the smaller epsilons: wide networks are hard."""
    networks, points = max(2, arguments.base_networks // 2), max(1, arguments.base_points // 2)
    epsilons = arguments.epsilons[: max(1, len(arguments.epsilons) // 3)]
    measured = []
    for width in arguments.widths:
        workload = load_workload(dataset, arguments.mnist, hidden=(width,), networks=networks, points=points)
        measured.append(_analyse(width, workload, epsilons, arguments))
    return measured


def _analyse(
    value: float, workload: Workload, epsilons: Sequence[float], arguments: argparse.Namespace
) -> dict[str, Any]:
    with Meter() as meter:
        engine = make_engine("native", jobs=arguments.jobs)
        analysis = Analysis(workload.pool, workload.points, epsilons=epsilons, bounds=CLIP, engine=engine)
        analysis.deadline = time.monotonic() + arguments.deadline
        analysis.solve()
        analysis.close()
    stats = analysis.stats
    return {
        "value": value,
        "networks": len(workload.pool),
        "points": len(workload.points),
        "epsilons": list(epsilons),
        "queries": stats.total,
        **{str(outcome): stats.outcomes[outcome] for outcome in Outcome},
        **meter.as_dict(),
    }


# --- single queries -------------------------------------------------------------------------------


def _depth(dataset: str, arguments: argparse.Namespace) -> Measured:
    measured: Measured = []
    for depth in arguments.depths:
        hidden = (arguments.depth_width,) * depth
        measured += _singles("x".join(map(str, hidden)), dataset, hidden, arguments)
    return measured


def _conv(dataset: str, arguments: argparse.Namespace) -> Measured:
    return _singles("convolution", dataset, None, arguments)


def _singles(
    name: str, dataset: str, hidden: Sequence[int] | None, arguments: argparse.Namespace
) -> Measured:
    """Cold pair queries of three networks, one at a time."""
    workload = load_workload(
        dataset, arguments.mnist, hidden=hidden, networks=3, points=arguments.base_points
    )
    engine = make_engine("native")
    warm_up = pair_queries(workload, [1e-3], 1, arguments.seed)
    list(engine.solve([asked.query for asked in warm_up], Budget(arguments.timeout)))
    measured = []
    for epsilon in arguments.single_epsilons:
        seconds, outcomes = [], []
        for asked in pair_queries(workload, [epsilon], arguments.singles, arguments.seed):
            start = time.perf_counter()
            budget = Budget(arguments.timeout, time.monotonic() + arguments.timeout)
            ((_, answer),) = engine.solve([asked.query], budget)
            seconds.append(time.perf_counter() - start)
            outcomes.append(answer.outcome)
        known = np.array([outcome is not Outcome.UNKNOWN for outcome in outcomes])
        measured.append(
            {
                "value": name,
                "relus": workload.pool["n00"].network.relu_count,
                "epsilon": epsilon,
                "queries": len(seconds),
                **{str(outcome): outcomes.count(outcome) for outcome in Outcome},
                "within_1s": float(np.mean(known & (np.array(seconds) <= 1))),
                **distribution(seconds),
            }
        )
    engine.close()
    return measured


AXES: dict[str, Callable[[str, argparse.Namespace], Measured]] = {
    "networks": _networks,
    "points": _points,
    "epsilon": _epsilon,
    "width": _width,
    "depth": _depth,
    "conv": _conv,
}


# --- printing -------------------------------------------------------------------------------------


def _print(dataset: str, axis: str, measured: Measured) -> None:
    columns: dict[str, Callable[[dict[str, Any]], object]]
    counts = ("queries", *Outcome)
    if "within_1s" in measured[0]:
        columns = {
            "hidden": itemgetter("value"),
            "ReLUs": itemgetter("relus"),
            "epsilon": itemgetter("epsilon"),
        }
        columns |= {str(count): itemgetter(str(count)) for count in counts}
        columns["within 1 s"] = lambda case: f"{case['within_1s']:.0%}"
        columns |= {name: _seconds(name) for name in ("median", "p95", "max")}
    else:
        before = [None, *(case["wall_seconds"] for case in measured[:-1])]
        measured = [{**case, "before": earlier} for case, earlier in zip(measured, before, strict=True)]
        columns = {axis: itemgetter("value")}
        columns |= {name: itemgetter(name) for name in ("networks", "points") if name != axis}
        columns |= {str(count): itemgetter(str(count)) for count in counts}
        columns |= {"wall": _seconds("wall_seconds"), "CPU": _seconds("cpu_seconds")}
        columns["a query"] = lambda case: duration(case["wall_seconds"] / case["queries"])
        columns["x previous"] = lambda case: (
            f"{case['wall_seconds'] / case['before']:.2f}" if case["before"] else ""
        )
    rows = [[cell(case) for cell in columns.values()] for case in measured]
    show(f"{dataset}: {axis}", list(columns), rows)


def _seconds(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda case: duration(case[name])


if __name__ == "__main__":
    main()
