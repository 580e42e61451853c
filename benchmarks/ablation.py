"""Does the joint weight matter? One branch and bound with w optimised, with w in {0, 1}, and with w = 0.5.

The native engine solves an analysis; the queries that its joint bounds and attacks leave open, the truly
joint ones, are recorded and searched again from their roots in three ways. With w in {0, 1} each network is
bounded on its own at every node, and the better bound counts, as in a verifier that takes the conjunction
apart; all else (slopes, branching constraints of both networks, tightening, leaves) stays. That takes two
passes a node over both networks where two over one network each would do: its seconds are up to twice what
they need be. No attack runs in the searches: only the maximising vertices find witnesses.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.joint import Joint, branch, copied, record, sample
from benchmarks.report import CONSOLE, datasets_of, duration, parser, save, show
from benchmarks.workloads import EPSILONS, load_workload
from pytest_ensemble.engines import bounds, branch_and_bound
from pytest_ensemble.engines.bounds import Peaks, Rows, optimise
from pytest_ensemble.engines.branch_and_bound import BranchAndBound
from pytest_ensemble.engines.chains import Array, Index
from pytest_ensemble.engines.leaf import solve_leaf

FAR = 20.0  # logits of a w that is 0 and 1 in float32


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write; returns what was written."""
    options = parser("ablation", __doc__)
    options.add_argument("--networks", type=int, default=10)
    options.add_argument("--points", type=int, default=50)
    options.add_argument("--epsilons", nargs="+", type=float, default=list(EPSILONS))
    options.add_argument(
        "--queries", type=int, default=100, help="truly joint queries for each data set, at most"
    )
    options.add_argument("--limit", type=int, default=2000, help="nodes for one query")
    options.add_argument("--timeout", type=float, default=30.0, help="seconds for a query, on average")
    arguments = options.parse_args(argv)
    result: dict[str, Any] = {}
    for dataset in datasets_of(arguments):
        workload = load_workload(
            dataset, arguments.mnist, networks=arguments.networks, points=arguments.points
        )
        CONSOLE.print(f"{dataset}: looking for truly joint queries ...")
        joints = sample(record(workload, arguments.epsilons), arguments.queries, arguments.seed)
        outcome = {"digest": workload.digest, **compare(joints, arguments)}
        result[dataset] = outcome
        _print(dataset, outcome)
    save(arguments.json, arguments, result)
    CONSOLE.print(f"Written to {arguments.json}")
    return result


# --- three searches -------------------------------------------------------------------------------


def independent(chains: Any, boxes: Any, rows: Rows, **options: Any) -> Peaks:
    """`optimise` for each network on its own; rows get the multipliers of the better one."""
    peaks, tried = [], []
    for network in range(chains.k):
        own = copied(rows)
        own.omega[:] = -FAR
        own.omega[:, network] = FAR
        peaks.append(optimise(chains, boxes, own, **options))
        tried.append(own)
    best = np.argmin([own.value for own in tried], axis=0)
    gap = peaks[0].gap
    for network, own in enumerate(tried):
        mine = best == network
        for name in ("alpha", "beta", "omega", "value"):
            getattr(rows, name)[mine] = getattr(own, name)[mine]
        gap[mine] = peaks[network].gap[mine]
    erring = np.concatenate([peak.erring for peak in peaks])
    return Peaks(gap, erring, np.concatenate([peak.x for peak in peaks]), peaks[0].last)


# range of the logits of w, and what bounds the nodes
WAYS: dict[str, tuple[float, Any]] = {
    "w optimised": (bounds.W_RANGE, optimise),
    "w in {0, 1}": (FAR, independent),
    "w = 0.5": (0.0, optimise),
}


@dataclass
class Found:
    """What a way found: nodes, (Q,), and whether it settled each query, (Q,); linear programs and seconds."""

    nodes: NDArray[np.int64]
    solved: NDArray[np.bool_]
    leaves: int
    seconds: float


def compare(joints: list[Joint], arguments: argparse.Namespace) -> dict[str, Any]:
    """Nodes and seconds of each way."""
    unsat = np.concatenate([joint.unsat for joint in joints]) if joints else np.zeros(0, np.bool_)
    found = {}
    for way in WAYS:
        CONSOLE.print(f"{len(unsat)} queries, {way} ...")
        found[way] = _search(joints, way, arguments)
    solved_by_all = np.all([own.solved for own in found.values()], axis=0)
    groups = {"unsat": unsat, "sat": ~unsat}
    ways: dict[str, dict[str, Any]] = {}
    for way, own in found.items():
        total = int(own.nodes.sum())
        ways[way] = {
            "seconds": own.seconds,
            "leaf_programs": own.leaves,
            "seconds_per_1000_nodes": 1000 * own.seconds / total if total else None,
        }
        for group, members in groups.items():
            both = members & solved_by_all
            ways[way][group] = {
                "solved": int((members & own.solved).sum()),
                "nodes": int(own.nodes[members].sum()),
                "nodes_where_all_solve": int(own.nodes[both].sum()),
                "median_nodes_where_all_solve": float(np.median(own.nodes[both])) if both.any() else None,
            }
    counts = {group: int(members.sum()) for group, members in groups.items()}
    return {"queries": counts, "solved_by_all": int(solved_by_all.sum()), "ways": ways}


def _search(joints: list[Joint], way: str, arguments: argparse.Namespace) -> Found:
    reach, bound = WAYS[way]
    nodes, solved = [np.zeros(0, np.int64)], [np.zeros(0, np.bool_)]
    with (
        threadpool_limits(1, user_api="blas"),
        mock.patch.object(bounds, "W_RANGE", reach),
        mock.patch.object(branch_and_bound, "optimise", bound),
        mock.patch.object(branch_and_bound, "solve_leaf", wraps=solve_leaf) as leaves,
    ):
        start = time.perf_counter()
        for joint in joints:
            sat = np.zeros(len(joint.unsat), np.bool_)

            def offer(owner: Index, x: Array, sat: NDArray[np.bool_] = sat) -> NDArray[np.bool_]:
                sat[owner] = True  # all networks err on x, in the search's own arithmetic
                return sat

            search = BranchAndBound(joint.frame, len(sat), offer)
            search.start(copied(joint.rows), joint.owner)
            branch(search, arguments.limit, arguments.timeout)
            nodes.append(search.nodes)
            solved.append(np.where(joint.unsat, search.unsat, search.sat))
        seconds = time.perf_counter() - start
    return Found(np.concatenate(nodes), np.concatenate(solved), leaves.call_count, seconds)


# --- printing -------------------------------------------------------------------------------------


def _print(dataset: str, outcome: dict[str, Any]) -> None:
    counts = outcome["queries"]
    columns = [
        "",
        "unsat solved",
        "unsat nodes",
        "where all solve",
        "sat solved",
        "sat nodes",
        "where all solve",
    ]
    columns += ["leaf LPs", "seconds", "1000 nodes"]
    rows = []
    for way, measured in outcome["ways"].items():
        cells: list[object] = [way]
        for group in ("unsat", "sat"):
            own = measured[group]
            cells += [f"{own['solved']}/{counts[group]}", f"{own['nodes']:,}"]
            cells.append(f"{own['nodes_where_all_solve']:,}")
        each = measured["seconds_per_1000_nodes"]
        rows.append([*cells, measured["leaf_programs"], duration(measured["seconds"]), duration(each)])
    show(f"{dataset}: truly joint queries; nodes of unsolved ones count up to the limit", columns, rows)


if __name__ == "__main__":
    main()
