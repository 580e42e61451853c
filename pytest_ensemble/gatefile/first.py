"""Write a first gate file for a pool and its data, with thresholds from what is measured now."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytest_ensemble.analysis.analysis import Analysis
from pytest_ensemble.analysis.points import Data, agreement_points, load_data
from pytest_ensemble.errors import QueryError
from pytest_ensemble.gatefile.keys import ENSEMBLE, NAME
from pytest_ensemble.networks.pool import Pool
from pytest_ensemble.queries.ball import read_bounds

__all__ = ["Wish", "first_gate_file"]

MOST_MEMBERS = 8
POINTS = 100
_TRIAL = 40  # points that radii are tried on
_ENOUGH = 0.02  # mean mutual error at the radius that is gated
_OPEN = 0.2  # share of undecided queries from which on larger radii are not tried
_TIMEOUT = 10.0  # seconds for a query
_GRID = tuple(digit * 10.0**power for power in range(-4, 0) for digit in (1, 2, 5))  # times the data's range
_MARGIN = 0.01  # at least, between what was measured and the thresholds


@dataclass(frozen=True)
class Wish:
    """What the file shall say; None for what is to be found out.

    Attributes:
        name: of the ensemble.
        members: names in the pool.
        epsilons: radii, in the units of the data.
        points: how many agreement points at most.
        bounds: (low, high).
    """

    name: str = "release"
    members: tuple[str, ...] | None = None
    epsilons: tuple[float, ...] | None = None
    points: int | None = None
    bounds: tuple[float, float] | None = None


def first_gate_file(pool: str, data: Path, folder: Path, wish: Wish) -> str:
    """The text of a commented gate file that holds now.

    Solves with our own engine, up to some minutes for networks that are hard to verify.

    Args:
        pool: folder or glob pattern of ONNX files.
        data: .npz with x and y.
        folder: where the file will stand; paths in it are relative to that.

    Raises:
        EnsembleError: models or data that can't be used, or a wish that can't be met.
    """
    if not re.fullmatch(NAME, wish.name) or not wish.name.isprintable():
        raise QueryError(f"{wish.name!r} can't name an ensemble: no spaces, brackets, colons or slashes.")
    models, labelled = Pool.load(pool), load_data(data)
    available = len(agreement_points(models, labelled, count="all"))
    count = min(wish.points or POINTS, available)
    points = agreement_points(models, labelled, count=count)
    members = models.select(wish.members or _members(models, labelled))
    if len(members) < 2:
        raise QueryError(f"An ensemble needs at least two members; the pool has {len(members)}.")
    bounds = wish.bounds or _bounds(labelled)
    read_bounds(bounds, models.input_size)  # refused before anything is solved
    epsilons = wish.epsilons
    if epsilons is None:
        few = agreement_points(models, labelled, count=min(_TRIAL, count))
        low, high = bounds or (float(labelled.x.min()), float(labelled.x.max()))
        grid = [float(f"{step * (high - low):.1g}") for step in _GRID]
        analysis = Analysis(models, few, epsilons=grid, bounds=bounds, engine="native", timeout=_TIMEOUT)
        epsilons = _epsilons(analysis, members)
        analysis.close()
    analysis = Analysis(models, points, epsilons=epsilons, bounds=bounds, engine="native", timeout=_TIMEOUT)
    analysis.solve(members)
    errors, uniqueness = {}, {}
    for epsilon in analysis.epsilons:
        pairs = analysis.mutual_error(epsilon=epsilon, members=members)
        unique = analysis.uniqueness(epsilon=epsilon, members=members)
        errors[epsilon] = max(score.high for score in pairs.values())
        uniqueness[epsilon] = min(score.low for score in unique.values())
    analysis.close()
    places = (_relative(pool, folder), _relative(str(data), folder))
    return "\n".join(_lines(wish.name, places, members, count, bounds, errors, uniqueness)) + "\n"


# --- what is not said -----------------------------------------------------------------------------


def _members(pool: Pool, data: Data) -> tuple[str, ...]:
    """All, or the most accurate ones of many."""
    accuracy = {name: float(np.mean(model.predict(data.x) == data.y)) for name, model in pool.items()}
    best = sorted(pool, key=lambda name: -accuracy[name])[:MOST_MEMBERS]
    return tuple(sorted(best))


def _bounds(data: Data) -> tuple[float, float] | None:
    """Those of images, where all the data keeps to them and fills most of them."""
    low, high = float(data.x.min()), float(data.x.max())
    for largest in (1.0, 255.0):
        if low >= 0 and largest / 2 < high <= largest:
            return 0.0, largest
    return None


def _epsilons(analysis: Analysis, members: Sequence[str]) -> tuple[float, ...]:
    """The first radius of the grid at which a few percent of the pairs err, and the one before it."""
    tried: list[float] = []
    for epsilon in analysis.epsilons:
        tallies = analysis.tallies(epsilon=epsilon, members=members).values()
        total = sum(tally.total for tally in tallies)
        if tried and sum(tally.unknown for tally in tallies) > _OPEN * total:
            break
        tried.append(epsilon)
        if sum(tally.sat for tally in tallies) >= _ENOUGH * total:
            break
    return tuple(tried[-2:])


# --- the text -------------------------------------------------------------------------------------


def _lines(
    name: str,
    places: tuple[str, str],
    members: Sequence[str],
    count: int,
    bounds: tuple[float, float] | None,
    errors: dict[float, float],
    uniqueness: dict[float, float],
) -> Iterator[str]:
    yield "# Gates of pytest-ensemble: `pytest` runs them, as tests of this file."
    yield "# Written by `python -m pytest_ensemble init`; yours to edit. Its JSON Schema, for editors:"
    yield "# `python -m pytest_ensemble schema`."
    yield ""
    yield f"[ensemble.{name if re.fullmatch('[A-Za-z0-9_-]+', name) else _quoted(name)}]"
    yield from _entry("pool", _quoted(places[0]))
    yield from _entry("data", _quoted(places[1]))
    yield from _entry("members", f"[{', '.join(map(_quoted, members))}]")
    yield from _entry("points", str(count))
    yield from _entry(
        "bounds", '"none"' if bounds is None else f"[{_number(bounds[0])}, {_number(bounds[1])}]"
    )
    yield from _entry("epsilon", f"[{', '.join(map(_number, errors))}]")
    lowest = {
        epsilon: max(0.0, math.floor((score - _MARGIN) * 100) / 100) for epsilon, score in uniqueness.items()
    }
    highest = {
        epsilon: min(1.0, math.ceil((score + _MARGIN) * 100) / 100) for epsilon, score in errors.items()
    }
    yield from _entry("min_uniqueness", _table(lowest), f"Lowest now: {_found(uniqueness)}.")
    yield from _entry("max_mutual_error", _table(highest), f"Highest now: {_found(errors)}.")
    for key in ("label", "confidence", "preprocessing"):
        yield from _entry(key, "")


def _entry(key: str, value: str, more: str = "") -> Iterator[str]:
    """A key with its meaning; without a value as a comment."""
    yield ""
    words = f"# {ENSEMBLE[key].help} {more}".split()
    line = ""
    for word in words:
        if len(line) + len(word) > 98:
            yield line
            line = "#"
        line = f"{line} {word}" if line else word
    yield line
    yield f"{key} = {value}" if value else f"# {ENSEMBLE[key].example}"


def _number(epsilon: float) -> str:
    return repr(epsilon).removesuffix(".0")


def _table(scores: dict[float, float]) -> str:
    if len(set(scores.values())) == 1:
        return f"{next(iter(scores.values())):.2f}"
    return "{" + ", ".join(f'"{_number(epsilon)}" = {score:.2f}' for epsilon, score in scores.items()) + "}"


def _found(scores: dict[float, float]) -> str:
    return ", ".join(f"{score:.3f} at epsilon {epsilon:g}" for epsilon, score in scores.items())


def _quoted(text: str) -> str:
    """As TOML: its basic strings are written as those of JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _relative(place: str, folder: Path) -> str:
    return Path(os.path.relpath(place, folder)).as_posix()
