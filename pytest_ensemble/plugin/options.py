"""The settings, as one list: command line > environment PYTEST_ENSEMBLE_* > ini > default.

Thresholds are no settings: what a gate demands stands beside its test, and nowhere else. What a gate is
asked on by default (points, bounds, epsilon) stands in the ini, not on the command line.

Every suite imports this where the plugin is installed: it must take next to no time.
"""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from pytest_ensemble.engines import ENGINES
from pytest_ensemble.report.write import FORMATS

__all__ = ["SETTINGS", "WORDS", "Setting", "add_options"]


class Setting(NamedTuple):
    """One setting, and the three places where it can be given.

    Attributes:
        name: "engine" is --ensemble-engine, PYTEST_ENSEMBLE_ENGINE and ensemble_engine in the ini.
        help: what it does, for `pytest --help`.
        parse: value of a text; relative paths start at the folder. ValueError says what would be valid.
        default: where it is given nowhere.
        check: refuses values that were given for this very run (not those of the ini: a suite that does
            not use the plugin must not need what the ini names).
        several: the option can be repeated; the ini takes several words, the environment separates them
            like PATH.
        ini_only: not an option: a default for markers, or a matter of the machine.
        flag: the option takes no value and means "true".
        option_only: for a single run; neither in the environment nor in the ini.
    """

    name: str
    help: str
    parse: Callable[[str, Path], Any]
    default: Any = None
    metavar: str = "X"
    check: Callable[[Any], None] | None = None
    several: bool = False
    ini_only: bool = False
    flag: bool = False
    option_only: bool = False

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return f"--ensemble-{self.name.replace('_', '-')}"

    @property
    def ini(self) -> str:
        """Its name in the ini, and where pytest keeps the option's value."""
        return f"ensemble_{self.name}"

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"PYTEST_ENSEMBLE_{self.name.upper()}"


_SMALLEST = 512 << 20  # bytes in which a solver can start


# --- values of texts ------------------------------------------------------------------------------


def _pool(text: str, folder: Path) -> str:
    return str(folder / Path(text).expanduser())


def _path(text: str, folder: Path) -> Path:
    return folder / Path(text).expanduser()


def _one_of(*names: str) -> Callable[[str, Path], str]:
    def parse(text: str, folder: Path) -> str:
        if text not in names:
            from pytest_ensemble.errors import did_you_mean

            raise ValueError(f"is not a valid value.{did_you_mean(text, names)}")
        return text

    return parse


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
        from pytest_ensemble.errors import did_you_mean

        raise ValueError(f"has no known suffix.{did_you_mean(path.suffix.lower(), FORMATS)}")
    if not path.parent.is_dir():
        raise ValueError(f"can't be written: there is no folder {path.parent}. Make it first.")
    if path.is_dir():
        raise ValueError("can't be written: it is a folder.")
    return path


def _image_shape(text: str, folder: Path) -> tuple[int, ...] | None:
    from pytest_ensemble.report.layout import image_layout

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


# --- values given for this run --------------------------------------------------------------------


def _check_pool(where: str) -> None:
    if not Path(where).is_dir() and not glob.glob(where, recursive=True):
        raise ValueError("does not exist. Valid: a folder of *.onnx files, or a pattern that finds some.")


def _check_data(path: Path) -> None:
    if not path.is_file():
        raise ValueError("does not exist. Valid: an .npz file with arrays x and y.")


SETTINGS = (
    Setting(
        "pool",
        "Folder or glob pattern of the ONNX classifiers: the members of ensembles, and the candidates.",
        _pool,
        metavar="DIR",
        check=_check_pool,
    ),
    Setting(
        "data",
        "Labelled validation data: an .npz with inputs x, shape (m, ...), and labels y, shape (m,).",
        _path,
        metavar="FILE",
        check=_check_data,
    ),
    Setting(
        "gates",
        "Gate file to run, too (default: ensemble.toml in the rootdir, if there is one).",
        _path,
        metavar="FILE",
    ),
    Setting(
        "engine",
        "Who answers the queries: "
        + "; ".join(f"{name}: {what}" for name, what in ENGINES.items())
        + " (default: auto).",
        _one_of(*ENGINES),
        "auto",
        metavar="|".join(ENGINES),
    ),
    Setting(
        "timeout",
        "Seconds for one query, or 'none'; what is not decided by then is inconclusive (default: 60).",
        _seconds,
        60.0,
        metavar="SECONDS",
    ),
    Setting(
        "budget",
        "Seconds of solving for the whole session (under pytest-xdist: of each worker), or 'none' (default).",
        _seconds,
        metavar="SECONDS",
    ),
    Setting(
        "jobs",
        "Solver processes, or 'auto' for all cores (under pytest-xdist: an equal share for each worker) "
        "(default: 1).",
        _jobs,
        1,
        metavar="N",
    ),
    Setting(
        "memory",
        "Memory of each solver process, like '2 GiB', or 'none' (default); what does not fit is unknown. "
        "Everything is solved in such processes then. Linux only.",
        _memory,
        ini_only=True,
    ),
    Setting(
        "suggest",
        "For which gates to look for better members among the candidates (default: failing).",
        _one_of("failing", "always", "never"),
        "failing",
        metavar="failing|always|never",
    ),
    Setting(
        "inconclusive",
        "What a gate does that undecided queries leave open: fail the test (default), or warn.",
        _one_of("fail", "warn"),
        "fail",
        metavar="fail|warn",
    ),
    Setting(
        "fail_fast",
        "Stop solving for a test's gates as soon as the verdicts of all of them are certain; scores are "
        "partial then, and swaps are suggested with --ensemble-suggest=always only.",
        _flag,
        False,
        flag=True,
    ),
    Setting(
        "progress",
        "Whether to show how far long solving is: auto (default): one live line on a terminal, elsewhere a "
        "line every 30 seconds, nothing with -q or under pytest-xdist; off: nothing.",
        _one_of("auto", "off"),
        "auto",
        metavar="auto|off",
    ),
    Setting(
        "report",
        f"Write what was found to this file; repeatable. Suffixes: {', '.join(FORMATS)}.",
        _report,
        (),
        metavar="PATH",
        several=True,
    ),
    Setting(
        "image_shape",
        "Shape of one input, like 8x8 or 3x32x32: reports show flat inputs as such images.",
        _image_shape,
        metavar="HxW",
    ),
    Setting(
        "step_summary",
        "Append the Markdown report to the file that GITHUB_STEP_SUMMARY names, if it is set: on (default), "
        "off.",
        _flag,
        True,
        metavar="on|off",
    ),
    Setting(
        "certificates",
        "Write proofs of what our own engine answers with 'no mutual error' to this folder; 'python -m "
        "pytest_ensemble.certificates DIR' checks them again. Solving takes longer, and nothing that was "
        "proven before is taken from the cache.",
        _folder,
        metavar="DIR",
    ),
    Setting(
        "cache",
        "What to do with answers of earlier runs, kept in ensemble_cache_dir: rw: read and write (default); "
        "ro: read only; off: solve everything anew.",
        _one_of("rw", "ro", "off"),
        "rw",
        metavar="rw|ro|off",
    ),
    Setting(
        "cache_dir",
        "Folder of the answers that are kept (default: .ensemble_cache in the rootdir).",
        _folder,
        ini_only=True,
    ),
    Setting(
        "audit",
        "Decided queries, chosen at random, that other engines answer again at the end: so many of each pool "
        "and its points (default: 0). If one contradicts the first answer, the run fails.",
        _count,
        0,
        metavar="N",
    ),
    Setting(
        "baseline",
        "Ratchet: fail if a score of a gate is worse than the one that this file keeps; see "
        "--ensemble-baseline-update.",
        _path,
        metavar="FILE",
    ),
    Setting(
        "baseline_update",
        "Keep better scores, and those of new gates, in the baseline.",
        _flag,
        False,
        flag=True,
        option_only=True,
    ),
    Setting(
        "baseline_accept",
        "Keep worse scores in the baseline, too, and with them this reason and the date.",
        _reason,
        metavar="REASON",
        option_only=True,
    ),
    Setting(
        "points", "Agreement points of ensembles that don't say (default: 200).", _points, 200, ini_only=True
    ),
    Setting("bounds", "Bounds of ensembles that don't say: 'low, high', or 'none'.", _bounds, ini_only=True),
    Setting("epsilon", "Radii of ensembles that don't say: one or several numbers.", _epsilon, ini_only=True),
)

# Several words in the ini make one value of these.
WORDS = {"bounds", "epsilon"}


def add_options(parser: pytest.Parser) -> None:
    """Declare all settings to pytest."""
    group = parser.getgroup("ensemble", "ensemble gates")
    for setting in SETTINGS:
        where = f" Also {setting.variable} and {setting.ini} in the ini."
        if setting.ini_only or setting.option_only:
            where = ""
        if not setting.ini_only:
            how: dict[str, Any] = {"action": "store", "metavar": setting.metavar}
            if setting.several:
                how["action"] = "append"
            if setting.flag:
                how = {"action": "store_const", "const": "true"}
            group.addoption(
                setting.option,
                dest=setting.ini,
                default=None,
                help=setting.help.replace("%", "%%") + where,
                **how,
            )
        kind: Literal["args", "string"] = "args" if setting.several or setting.name in WORDS else "string"
        if not setting.option_only:
            parser.addini(setting.ini, setting.help, type=kind, default=None)
