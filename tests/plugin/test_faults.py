"""Runs that are interrupted, killed, or out of memory, as real processes: nothing hangs or is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

from tests.networks.graphs import Graph

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

POINTS = 17  # three batches for two jobs
SOON = 10.0  # seconds for what takes one or two where nothing else runs
TESTS = """
import pathlib, pytest

@pytest.mark.ensemble(epsilon=0.0002)
@pytest.mark.ensemble_max_mutual_error(0.5)
def test_easy(ensemble_gate):
    ensemble_gate.check()
    pathlib.Path("easy.MARK").touch()

@pytest.mark.ensemble(epsilon=0.1)
@pytest.mark.ensemble_max_mutual_error(0.5)
def test_hard(ensemble_gate):
    pathlib.Path("hard.MARK").touch()
    ensemble_gate.check()
"""


def write_model(path: Path, seed: int) -> None:
    """Deep, wide and random, one class far ahead: at 0.1 nothing errs, but nobody can show it in time."""
    rng = np.random.default_rng(seed)
    graph = Graph(("n", 100))
    value: str = graph.x
    for _ in range(4):
        value = graph("Relu", graph("Gemm", value, rng.normal(size=(100, 100)) * 0.14, rng.normal(size=100)))
    value = graph("Gemm", value, rng.normal(size=(100, 3)) * 0.14, np.array([8.0, 0, 0]))
    path.write_bytes(graph.content(value))


def _heed_interrupts() -> None:
    """Shells have what runs in their background ignore Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Run:
    """A pytest process and all that descend from it, known by a mark in their environment."""

    def __init__(self, repo: Path, *arguments: str, ini: str = "") -> None:
        self.mark = uuid.uuid4().hex
        self.repo = repo
        self.report = repo / f"{self.mark}.json"
        (repo / "pytest.ini").write_text(
            f"[pytest]\nensemble_pool = models\nensemble_data = data.npz\nensemble_points = {POINTS}\n{ini}\n"
        )
        tests = repo / f"test_{self.mark}.py"
        tests.write_text(TESTS.replace("MARK", self.mark))
        given = ["-p", "pytest_ensemble.plugin", "-p", "no:cacheprovider", "--ensemble-timeout=none"]
        given += [f"--ensemble-report={self.report}", "--ensemble-cache=off"]
        given += ["-p", "xdist"] if any(word.startswith("-n") for word in arguments) else []
        root = str(Path(__file__).parents[2])
        environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": root, "MARK": self.mark}
        with (repo / f"{self.mark}.txt").open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", tests.name, *given, *arguments],
                cwd=repo,
                env=os.environ | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_heed_interrupts,
            )

    @property
    def output(self) -> str:
        return (self.repo / f"{self.mark}.txt").read_text()

    def processes(self) -> dict[int, str]:
        """All that still live, by id, with their command lines."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
        return found

    def children(self) -> list[int]:
        return [pid for pid, line in self.processes().items() if "child_main" in line]

    def wait_until(self, condition, what: str, seconds: float = 90.0) -> float:
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < seconds, f"never: {what}\n{self.processes()}\n{self.output}"
            time.sleep(0.02)
        return time.monotonic() - start

    def in_the_middle(self, children: int) -> None:
        """Wait until the easy query is solved and the hard one begun, with so many solver processes."""
        self.wait_until((self.repo / f"easy.{self.mark}").exists, "the easy query")
        self.wait_until((self.repo / f"hard.{self.mark}").exists, "the hard query")
        self.wait_until(lambda: len(self.children()) >= children, f"{children} children")
        time.sleep(0.7)
        assert self.process.poll() is None, self.output

    def all_gone(self) -> float:
        """Seconds until no process is left."""
        return self.wait_until(
            lambda: not self.processes() and self.process.poll() is not None, "all gone", SOON
        )

    def close(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "models").mkdir()
    for seed in range(2):
        write_model(folder / "models" / f"m{seed}.onnx", seed)
    x = np.random.default_rng(9).uniform(0, 1, size=(POINTS, 100)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, y=np.zeros(POINTS, np.int64))
    return folder


@pytest.fixture
def run(repo):
    runs = []

    def start(*arguments: str, ini: str = "") -> Run:
        runs.append(Run(repo, *arguments, ini=ini))
        return runs[-1]

    yield start
    for one in runs:
        one.close()


CASES = [
    pytest.param(("--ensemble-engine=native",), 0, id="native"),
    pytest.param(("--ensemble-engine=native", "--ensemble-jobs=2"), 1, id="native, 2 jobs"),
    pytest.param(("--ensemble-engine=milp",), 1, id="milp"),
    pytest.param(("--ensemble-engine=auto", "-n1"), 0, id="auto, xdist"),
]


@pytest.mark.parametrize(("arguments", "children"), CASES)
def test_interrupt_ends_soon_and_keeps_what_was_found(run, arguments, children) -> None:
    one = run(*arguments)
    one.in_the_middle(children)
    os.killpg(one.process.pid, signal.SIGINT)
    one.all_gone()
    assert "Traceback" not in one.output
    assert json.loads(one.report.read_text())["queries"]["unsat"] >= POINTS, one.output
    assert one.process.returncode == pytest.ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    ("how", "arguments"),
    [
        (signal.SIGTERM, ("--ensemble-engine=milp", "--ensemble-jobs=2")),
        (signal.SIGKILL, ("--ensemble-engine=milp", "--ensemble-jobs=2")),
        (signal.SIGKILL, ("--ensemble-engine=milp", "-n1")),
    ],
)
def test_children_die_with_their_parent(run, how: signal.Signals, arguments) -> None:
    """Be it pytest or the controller of pytest-xdist."""
    one = run(*arguments)
    one.in_the_middle(1)
    one.process.send_signal(how)
    one.all_gone()


def test_killed_solvers_are_unknown_and_the_run_goes_on(run) -> None:
    """The hard query kills whoever takes it: crashed, in the end, not tried for ever, and never in pytest."""
    one = run("--ensemble-engine=native", ini="ensemble_memory = 2 GiB")
    one.wait_until((one.repo / f"hard.{one.mark}").exists, "the hard query")
    killed = set()

    def finished() -> bool:
        for pid in one.children():
            if pid not in killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
        return one.process.poll() is not None

    one.wait_until(finished, "an end")
    queries = json.loads(one.report.read_text())["queries"]
    assert queries["unknown"] == {"crashed": POINTS}
    assert queries["unsat"] == POINTS
    assert one.process.returncode == pytest.ExitCode.TESTS_FAILED
