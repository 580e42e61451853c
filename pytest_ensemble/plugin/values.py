"""What the texts of settings mean: `VALUES` by kind. ValueError says what would be valid."""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_ensemble.errors import did_you_mean
from pytest_ensemble.paths import path_in, pattern_in
from pytest_ensemble.report.layout import image_layout
from pytest_ensemble.report.write import FORMATS

__all__ = ["CHECKS", "VALUES", "one_of"]

_SMALLEST = 512 << 20  # bytes in which a solver can start


def _pool(text: str, folder: Path) -> str:
    return pattern_in(folder, text)


def _path(text: str, folder: Path) -> Path:
    return path_in(folder, text)


def one_of(text: str, names: tuple[str, ...]) -> str:
    """The text, if it is one of the names."""
    if text not in names:
        raise ValueError(f"is not a valid value.{did_you_mean(text, names)}")
    return text


def _seconds(text: str, folder: Path) -> float | None:
    if text == "none":
        return None
    value = _number(text)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError("is not a number of seconds. Valid: a number > 0, or 'none'.")
    return value


def _jobs(text: str, folder: Path) -> int:
    if text == "auto":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")  # each solves by itself
        return max(1, cores // int(workers)) if workers.isdecimal() and int(workers) else cores
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("is not a number of processes. Valid: a whole number >= 1, or 'auto'.")
    return int(text)


def _count(text: str, folder: Path) -> int:
    if not text.isdecimal():
        raise ValueError("is not a number of queries. Valid: a whole number >= 0.")
    return int(text)


def _memory(text: str, folder: Path) -> int | None:
    if text == "none":
        return None
    match = re.fullmatch(r"([0-9.]+)\s*([KMGT]?)i?B?", text, re.IGNORECASE)
    size = _number(match[1]) * 1024 ** " KMGT".index(match[2].upper() or "M") if match else math.nan
    if not _SMALLEST <= size < 1 << 60:
        raise ValueError("is not a size of memory. Valid: 512 MiB or more, like '2 GiB' or '800', or 'none'.")
    return int(size)


def _flag(text: str, folder: Path) -> bool:
    if text.lower() in ("true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError("is neither yes nor no. Valid: true, false.")


def _reason(text: str, folder: Path) -> str:
    if not text.strip():
        raise ValueError("is no reason. Valid: a text that says why worse scores are fine.")
    return text.strip()


def _report(text: str, folder: Path) -> Path:
    path = _path(text, folder)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"has no known suffix.{did_you_mean(path.suffix.lower(), FORMATS)}")
    if not path.parent.is_dir():
        raise ValueError(f"can't be written: there is no folder {path.parent}. Make it first.")
    if path.is_dir():
        raise ValueError("can't be written: it is a folder.")
    return path


def _image_shape(text: str, folder: Path) -> tuple[int, ...] | None:
    if text == "none":
        return None
    sides = text.lower().split("x")
    shape = tuple(int(side) for side in sides if side.isdecimal())
    if len(shape) != len(sides) or image_layout(shape) is None:
        raise ValueError(
            "is not the shape of an image. Valid: height x width, at least 4 each, with 1 or 3 channels "
            "before or after if there are any, like 8x8, 3x32x32 or 32x32x3; or 'none'."
        )
    return shape


def _folder(text: str, folder: Path) -> Path:
    path = _path(text, folder)
    if path.exists() and not path.is_dir():
        raise ValueError("is not a folder.")
    return path


def _points(text: str, folder: Path) -> int | str:
    if text == "all":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("is not a number of points. Valid: a whole number >= 1, or 'all'.")
    return int(text)


def _bounds(text: str, folder: Path) -> tuple[float, ...] | None:
    if text == "none":
        return None
    values = tuple(_number(part) for part in text.replace(",", " ").split())
    if len(values) != 2 or not values[0] <= values[1]:
        raise ValueError("is not a pair of bounds. Valid: two numbers, low and high, or 'none'.")
    return values


def _epsilon(text: str, folder: Path) -> tuple[float, ...]:
    values = tuple(_number(part) for part in text.replace(",", " ").split())
    if not values or not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError("is not an epsilon. Valid: one or several finite numbers >= 0.")
    return tuple(sorted(set(values)))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _check_pool(where: str) -> None:
    if not Path(where).is_dir() and not glob.glob(where, recursive=True):
        raise ValueError("does not exist. Valid: a folder of *.onnx files, or a pattern that finds some.")


def _check_data(path: Path) -> None:
    if not path.is_file():
        raise ValueError("does not exist. Valid: an .npz file with arrays x and y.")


VALUES: Mapping[str, Callable[[str, Path], Any]] = MappingProxyType(
    {
        "pool": _pool,
        "path": _path,
        "folder": _folder,
        "report": _report,
        "seconds": _seconds,
        "jobs": _jobs,
        "count": _count,
        "memory": _memory,
        "flag": _flag,
        "reason": _reason,
        "image_shape": _image_shape,
        "points": _points,
        "bounds": _bounds,
        "epsilon": _epsilon,
    }
)

# By setting; of values that were given for this very run, not those of the ini: a suite that does not use
# the plugin must not need what the ini names.
CHECKS: Mapping[str, Callable[[Any], None]] = MappingProxyType({"pool": _check_pool, "data": _check_data})
