"""What it costs a suite that does not use the plugin to have it installed: `python -m benchmarks.startup`.

Runs of a suite of one empty test, alternately with the plugin and without (`-p no:ensemble`). Times of single
runs differ by more than the cost does: so beside the difference of medians stands that of the fastest tenth,
and, with `--instructions` and valgrind, the share of the instructions, which hardly depends on the machine.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VARIANTS = {"with": [], "without": ["-p", "no:ensemble"]}
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


def run(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    # pytest must be able to keep what it compiled, as it does for users
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONHASHSEED"] = "0"
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)


def measure(folder: Path, arguments: list[str]) -> tuple[float, float]:
    """CPU and wall milliseconds of one run."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run(folder, [*PYTEST, *arguments])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1e3 * cpu, 1e3 * (time.perf_counter() - start)


def instructions(folder: Path, arguments: list[str]) -> int:
    """Instructions of one run, by valgrind."""
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    said = run(folder, [*valgrind, *PYTEST, *arguments]).stderr
    return int(re.findall(r"Collected : (\d+)", said)[-1])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--runs", type=int, default=40, help="of each kind (default: 40)")
    parser.add_argument(
        "--instructions", type=int, default=0, help="runs to count instructions of (default: 0)"
    )
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    counts: dict[str, list[int]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_nothing.py").write_text("def test_nothing(): pass\n")
        for variant in [*VARIANTS, *(variant for _ in range(options.runs) for variant in VARIANTS)]:
            found[variant].append(measure(folder, VARIANTS[variant]))
        for variant in [variant for _ in range(options.instructions) for variant in VARIANTS]:
            counts[variant].append(instructions(folder, VARIANTS[variant]))
    for k, kind in enumerate(("CPU", "wall")):
        for what, best in (
            ("median", statistics.median),
            ("fastest tenth", lambda times: statistics.quantiles(times, n=10)[0]),
        ):
            with_it, without = (best([times[k] for times in found[variant][1:]]) for variant in VARIANTS)
            print(f"{kind}, {what}: {without:.1f} ms without the plugin, {with_it - without:+.1f} ms with it")
    if options.instructions:
        with_it, without = (statistics.median(counts[variant]) for variant in VARIANTS)
        share = with_it / without - 1
        time_without = statistics.median(wall for _, wall in found["without"][1:])
        print(
            f"instructions, median: {without / 1e6:,.0f} million without the plugin, {share:+.2%} with it: "
            f"{share * time_without:+.1f} ms of the median time"
        )


if __name__ == "__main__":
    main()
