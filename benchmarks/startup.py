"""What it costs a suite that does not use the plugin to have it installed: `python -m benchmarks.startup`.

Runs of a suite of one empty test, alternately with the plugin and without (`-p no:ensemble`). The cost is the
difference of medians of the CPU time, which other programs on the machine disturb least; wall time beside it.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VARIANTS = {"with": [], "without": ["-p", "no:ensemble"]}


def measure(folder: Path, arguments: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of one run."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - start


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--runs", type=int, default=40, help="of each kind (default: 40)")
    runs = parser.parse_args().runs
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_nothing.py").write_text("def test_nothing(): pass\n")
        for name in [*VARIANTS, *(name for _ in range(runs) for name in VARIANTS)]:
            found[name].append(measure(Path(folder), VARIANTS[name]))
    for k, kind in enumerate(("CPU", "wall")):
        with_it, without = (statistics.median(run[k] for run in found[name][1:]) for name in VARIANTS)
        print(
            f"{kind}: {1e3 * with_it:.1f} ms with the plugin, {1e3 * without:.1f} ms without: "
            f"{1e3 * (with_it - without):+.1f} ms"
        )


if __name__ == "__main__":
    main()
