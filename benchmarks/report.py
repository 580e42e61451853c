"""What the benchmarks share: options, measuring, tables and JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.workloads import DATASETS

__all__ = [
    "CONSOLE",
    "Meter",
    "datasets_of",
    "distribution",
    "duration",
    "parser",
    "save",
    "show",
    "significant",
]

RESULTS = Path(__file__).parent / "results"
CONSOLE = Console()


# --- options --------------------------------------------------------------------------------------


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Options that all benchmarks have."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    made.add_argument("--mnist", type=Path, metavar="FOLDER", help="with the idx files of MNIST; adds MNIST")
    made.add_argument(
        "--datasets", nargs="+", choices=DATASETS, help="default: fashion, and mnist with --mnist"
    )
    made.add_argument("--json", type=Path, default=RESULTS / f"{name}.json", metavar="PATH")
    made.add_argument("--seed", type=int, default=0)
    return made


def datasets_of(arguments: argparse.Namespace) -> list[str]:
    """The data sets that are asked for."""
    if arguments.datasets:
        return list(arguments.datasets)
    return ["fashion", "mnist"] if arguments.mnist else ["fashion"]


# --- measuring ------------------------------------------------------------------------------------


class Meter:
    """Wall and CPU seconds of what is done within, and the peak memory.

    Attributes:
        wall, cpu: seconds; CPU includes children that have ended.
        peak, children: MiB: peak resident size of this process (since the start of the measurement, where
            Linux lets it be reset), and of the largest child that has ended.
    """

    wall = cpu = peak = children = 0.0

    def __enter__(self) -> Meter:
        with contextlib.suppress(OSError):  # the peak is then that of the whole process
            Path("/proc/self/clear_refs").write_text("5")
        self._start = time.perf_counter(), _cpu_seconds()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wall = time.perf_counter() - self._start[0]
        self.cpu = _cpu_seconds() - self._start[1]
        self.peak = _mebibytes(resource.RUSAGE_SELF)
        self.children = _mebibytes(resource.RUSAGE_CHILDREN)

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return {
            "wall_seconds": self.wall,
            "cpu_seconds": self.cpu,
            "peak_mib": self.peak,
            "largest_child_mib": self.children,
        }


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _mebibytes(who: int) -> float:
    unit = 2**20 if platform.system() == "Darwin" else 2**10
    return resource.getrusage(who).ru_maxrss * unit / 2**20


def distribution(seconds: Sequence[float]) -> dict[str, float]:
    """Median, mean, p95, p99 and max."""
    if not len(seconds):
        return {}
    median, p95, p99 = np.percentile(seconds, [50, 95, 99]).tolist()
    return {
        "median": median,
        "mean": float(np.mean(seconds)),
        "p95": p95,
        "p99": p99,
        "max": float(np.max(seconds)),
    }


# --- printing -------------------------------------------------------------------------------------


def duration(seconds: float | None) -> str:
    """Three digits: 180 us, 33.1 ms, 1.40 s."""
    if seconds is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= factor or unit == "us":
            value = seconds / factor
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    raise AssertionError


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; the first column is text, the others are numbers."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    CONSOLE.print(table)


# --- JSON -----------------------------------------------------------------------------------------


def save(path: Path, arguments: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write a result with the machine and the options, but no folders, that it was measured with."""
    options = {key: value for key, value in vars(arguments).items() if key not in ("json", "mnist")}
    content = {"machine": _machine(), "options": options, **result}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_pretty(significant(content), "") + "\n")


def significant(value: Any, digits: int = 4) -> Any:
    """Numbers rounded to significant digits, so that files stay small; what holds them, likewise."""
    if isinstance(value, dict):
        return {str(key): significant(entry, digits) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [significant(entry, digits) for entry in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.{digits}g}")
    return int(value) if isinstance(value, np.integer) else value


def _pretty(value: Any, indent: str) -> str:
    """JSON with one line for each list or object that holds no other."""
    inner = indent + "  "
    entries = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(value, (dict, list)) or not any(isinstance(entry, (dict, list)) for entry in entries):
        return json.dumps(value)
    lines = [_pretty(entry, inner) for entry in entries]
    if isinstance(value, dict):
        lines = [f"{json.dumps(key)}: {line}" for key, line in zip(value, lines, strict=True)]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return opening + "\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}{closing}"


def _machine() -> dict[str, Any]:
    packages: dict[str, str | None] = {}
    for name in ("pytest-ensemble", "numpy", "scipy", "onnxruntime", "maraboupy"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "packages": packages,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
