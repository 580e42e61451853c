"""The whole workload of the paper, solved by the native engine in one analysis for each data set.

Ten networks 784-30-10, all 45 pairs, 200 agreement points, 6 epsilons: 54,000 queries; the ball clipped to
[0, 1]. Once with agreement points of label 0, as in the paper, and once with those of any label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.report import CONSOLE, Meter, datasets_of, duration, parser, save, show
from benchmarks.workloads import CLIP, EPSILONS, Workload, load_workload
from pytest_ensemble.analysis.analysis import Analysis
from pytest_ensemble.engines import make_engine
from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.query import Query


class Counting:
    """An engine that counts the answers of another by outcome and stage."""

    def __init__(self, engine: Engine) -> None:
        self.name = engine.name
        self.counts: Counter[tuple[Outcome, str]] = Counter()
        self._engine = engine

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
        """See `Engine`."""
        for query, answer in self._engine.solve(queries, budget):
            self.counts[answer.outcome, answer.stage or answer.reason] += 1
            yield query, answer

    def close(self) -> None:
        """See `Engine`."""
        self._engine.close()


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write; returns what was written."""
    options = parser("paper_workload", __doc__)
    options.add_argument("--labels", choices=["0", "all", "both"], default="both", help="of the points")
    options.add_argument("--networks", type=int, default=10)
    options.add_argument("--points", type=int, default=200)
    options.add_argument("--epsilons", nargs="+", type=float, default=list(EPSILONS))
    options.add_argument("--timeout", type=float, help="seconds for one query (default: none)")
    options.add_argument("--jobs", type=int, default=2)
    arguments = options.parse_args(argv)
    labels = ["0", "all"] if arguments.labels == "both" else [arguments.labels]
    runs = []
    for label in labels:
        for dataset in datasets_of(arguments):
            workload = load_workload(
                dataset,
                arguments.mnist,
                networks=arguments.networks,
                points=arguments.points,
                label=0 if label == "0" else None,
            )
            CONSOLE.print(f"{dataset}, labels: {label} ...")
            runs.append({"dataset": dataset, "labels": label, **_run(workload, arguments)})
    result = {"runs": runs, "totals": _totals(runs)}
    save(arguments.json, arguments, result)
    _print(result)
    CONSOLE.print(f"Written to {arguments.json}")
    return result


def _run(workload: Workload, arguments: Any) -> dict[str, Any]:
    with Meter() as meter:
        engine = Counting(make_engine("native", jobs=arguments.jobs))
        analysis = Analysis(
            workload.pool,
            workload.points,
            epsilons=arguments.epsilons,
            bounds=CLIP,
            engine=engine,
            timeout=arguments.timeout,
        )
        analysis.solve()
        analysis.close()
    outcomes = Counter(dict.fromkeys(Outcome, 0))
    stages: dict[str, Counter[Outcome]] = {}
    for (outcome, stage), count in engine.counts.items():
        outcomes[outcome] += count
        stages.setdefault(stage, Counter())[outcome] += count
    seconds = {stage: spent for (_, stage), spent in analysis.stats.seconds.items()}
    total = sum(outcomes.values())
    early = sum(own[Outcome.SAT] for stage, own in stages.items() if "branch" not in stage)
    return {
        "digest": workload.digest,
        "queries": total,
        **meter.as_dict(),
        "mean_seconds": meter.wall / total,
        **{str(outcome): count for outcome, count in outcomes.items()},
        "sat_before_branching": early / outcomes[Outcome.SAT] if outcomes[Outcome.SAT] else None,
        "stages": {
            stage: {
                "sat": own[Outcome.SAT],
                "unsat": own[Outcome.UNSAT],
                "unknown": own[Outcome.UNKNOWN],
                "share": own.total() / total,
                "seconds_with_answers": seconds.get(stage, 0.0),
            }
            for stage, own in stages.items()
        },
    }


def _totals(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """All data sets together, for label 0 and for all labels."""
    result = {}
    for label in dict.fromkeys(run["labels"] for run in runs):
        own = [run for run in runs if run["labels"] == label]
        summed = ("queries", "wall_seconds", "cpu_seconds", "sat", "unsat", "unknown")
        result[label] = {
            **{key: sum(run[key] for run in own) for key in summed},
            "peak_mib": max(run["peak_mib"] + run["largest_child_mib"] for run in own),
        }
    return result


def _print(result: dict[str, Any]) -> None:
    columns = ["data set, labels", "queries", "wall", "CPU", "a query", "sat", "unsat", "unknown"]
    rows = []
    for run in result["runs"]:
        early = run["sat_before_branching"]
        rows.append(
            [
                *_cells(f"{run['dataset']}, {run['labels']}", run),
                "-" if early is None else f"{early:.2%}",
                f"{run['peak_mib']:.0f} + {run['largest_child_mib']:.0f}",
            ]
        )
    for label, total in result["totals"].items():
        rows.append([*_cells(f"all data sets, {label}", total), "", f"{total['peak_mib']:.0f}"])
    columns += ["sat before branching", "peak MiB + child"]
    show("The paper's workload", columns, rows)
    stages = [
        [
            f"{run['dataset']}, {run['labels']}",
            stage,
            f"{own['share']:.2%}",
            own["sat"],
            own["unsat"],
            own["unknown"],
            duration(own["seconds_with_answers"]),
        ]
        for run in result["runs"]
        for stage, own in run["stages"].items()
    ]
    show(
        "Who decided",
        ["data set, labels", "stage", "share", "sat", "unsat", "unknown", "thread seconds"],
        stages,
    )


def _cells(name: str, run: dict[str, Any]) -> list[object]:
    each = duration(run["wall_seconds"] / run["queries"])
    times = [duration(run["wall_seconds"]), duration(run["cpu_seconds"]), each]
    return [name, f"{run['queries']:,}", *times, run["sat"], run["unsat"], run["unknown"]]


if __name__ == "__main__":
    main()
