"""Kill runs at random moments and resume them: `python -m tests.kills --times 20`.

Each run of pytest is killed with SIGKILL, alone: its children must notice. The next run goes on from what
the store has. At the end the scores must be those of a run that nobody disturbed, nothing that was in the
store may have been solved again, and no process may be left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parent.parent / "example_project"
_MARK = "TESTS_KILLS_RUN"  # in the environment of all processes of one trial
_TEST = """
import pytest

@pytest.mark.ensemble(epsilon={epsilons}, points={points})
@pytest.mark.ensemble_max_mutual_error(1.0)
def test_everything(ensemble_gate):
    ensemble_gate.check()
"""


@dataclass(frozen=True)
class Found:
    """What a trial saw: kills that came in time, what the store knew after each run, and what was wrong."""

    kills: int
    known: tuple[int, ...]
    problems: tuple[str, ...]


def trial(
    times: int,
    *,
    points: int = 300,
    epsilons: tuple[float, ...] = (0.02, 0.04, 0.06),
    jobs: int = 2,
    seed: int = 0,
) -> Found:
    """Kill so many runs, and compare what comes out at last."""
    rng, problems, known = random.Random(seed), [], []
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        shutil.copytree(
            EXAMPLE, project, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests", "legacy")
        )
        (project / "test_all.py").write_text(_TEST.format(epsilons=list(epsilons), points=points))
        begun = time.monotonic()
        undisturbed = _finish(project, jobs, "--ensemble-cache=off")
        seconds = time.monotonic() - begun
        kills = 0
        for _ in range(times):
            process = _start(project, jobs)
            try:
                process.wait(rng.uniform(0.2, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
            left = _left_after(5.0)
            if left:
                problems.append(f"{len(left)} processes were left: {left}")
            known.append(_known(project))
            if known[-1] == undisturbed["queries"]["total"]:
                shutil.rmtree(project / ".ensemble_cache")  # from the beginning
        before = _known(project)
        resumed = _finish(project, jobs)
    solved = resumed["queries"]["total"] - resumed["queries"]["by_engine"].get("store", 0)
    if solved != undisturbed["queries"]["total"] - before:
        problems.append(f"{solved} queries were solved where {before} of all were known")
    for name in ("mutual_error", "uniqueness"):
        if resumed[name] != undisturbed[name]:
            problems.append(f"{name} differs from that of an undisturbed run")
    return Found(kills, tuple(known), tuple(problems))


def _start(project: Path, jobs: int, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--ensemble-pool=models"]
    return subprocess.Popen(
        [*command, f"--ensemble-jobs={jobs}", "--ensemble-report=report.json", *arguments, "test_all.py"],
        cwd=project,
        env=os.environ | {_MARK: _RUN},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


_RUN = uuid.uuid4().hex


def _finish(project: Path, jobs: int, *arguments: str) -> dict[str, Any]:
    process = _start(project, jobs, *arguments)
    assert process.wait(600) == 0
    report: dict[str, Any] = json.loads((project / "report.json").read_text())
    return report


def _known(project: Path) -> int:
    """How many of all queries the store decides."""
    from pytest_ensemble import Pool, agreement_points
    from pytest_ensemble.analysis.points import load_data
    from pytest_ensemble.analysis.scores import pairs_of
    from pytest_ensemble.queries.answer import Outcome
    from pytest_ensemble.queries.query import make_query
    from pytest_ensemble.runtime.store import Store, Stored

    marks = (project / "test_all.py").read_text()
    epsilons = json.loads(marks.partition("epsilon=")[2].partition("]")[0] + "]")
    count = int(marks.partition("points=")[2].partition(")")[0])
    pool = Pool.load(project / "models")
    points = agreement_points(pool, load_data(project / "data" / "validation.npz"), count=count)
    store = Store(project / ".ensemble_cache", "ro")
    queries = [
        make_query((pool[a], pool[b]), x, int(label), epsilon, (0, 1))
        for a, b in pairs_of(tuple(pool))
        for x, label in zip(points.x, points.labels, strict=True)
        for epsilon in epsilons
    ]
    found = store.read(queries, "auto")
    store.close()
    none = Stored()
    return sum(
        found.get(query.key, none).bracket.outcome(query.ball.epsilon) is not Outcome.UNKNOWN
        or query.ball.epsilon in found.get(query.key, none).efforts
        for query in queries
    )


def _left_after(seconds: float) -> list[str]:
    """Command lines of processes of this trial that are still there after so many seconds."""
    end = time.monotonic() + seconds
    while (left := _ours()) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def _ours() -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{_MARK}={_RUN}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it ended, or is somebody else's
            continue
    return found


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__.split("\n\n")[0])
    parser.add_argument("--times", type=int, default=20, help="runs to kill (default: 20)")
    parser.add_argument("--points", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = trial(options.times, points=options.points, jobs=options.jobs, seed=options.seed)
    print(f"{found.kills} of {options.times} runs were killed before their end.")
    print(f"Queries that the store decided after each: {', '.join(map(str, found.known))}")
    for problem in found.problems:
        print(f"PROBLEM: {problem}")
    if not found.problems:
        print(
            "The scores are those of an undisturbed run; nothing known was solved again; no process was left."
        )
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
