"""The markers: their signatures, and what they may hold. What is wrong with them is a collection error."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

import pytest

from pytest_ensemble.analysis.gates import Gate, Metric
from pytest_ensemble.errors import did_you_mean
from pytest_ensemble.plugin.options import MARKERS
from pytest_ensemble.plugin.settings import Settings

__all__ = ["GATES", "EnsembleMark", "Marks", "check_collected", "id_of", "read_item", "read_marks"]

GATES: dict[str, Metric] = {
    "ensemble_min_uniqueness": "min_uniqueness",
    "ensemble_max_mutual_error": "max_mutual_error",
}


@dataclass(frozen=True)
class EnsembleMark:
    """What `@pytest.mark.ensemble(...)` says, with the defaults of the ini."""

    members: tuple[str, ...] | None
    epsilons: tuple[float, ...]
    points: int | Literal["all"]
    label: int | Literal["best"] | None
    bounds: Any


@dataclass(frozen=True)
class Marks:
    """The marks of one test that concern this plugin."""

    ensemble: EnsembleMark | None
    gates: tuple[Gate, ...]


class MarkError(ValueError):
    """A mark that can't be used; the message says which and why."""


def _mistyped(item: pytest.Item) -> str:
    """A hint where the name of another mark looks like "ensemble"."""
    others = {mark.name for mark in item.iter_markers()} - MARKERS.keys()
    close = difflib.get_close_matches("ensemble", others, n=1)
    return f" Is @pytest.mark.{close[0]} a misspelling of it?" if close else ""


# --- reading --------------------------------------------------------------------------------------


def read_marks(item: pytest.Item, settings: Settings) -> Marks:
    """The closest `ensemble` mark of a test, and all gates of it, its class and its module.

    Raises:
        MarkError: a bad argument, or a gate without an ensemble.
    """
    mark = item.get_closest_marker("ensemble")
    ensemble = None if mark is None else _call(mark, _Ensemble(settings).read)
    gates: dict[Gate, None] = {}
    for mark in item.iter_markers():
        if mark.name not in GATES:
            continue
        score, epsilons, confidence = _call(mark, _read_gate)
        if ensemble is None:
            raise MarkError(
                f"@pytest.mark.{mark.name} is a gate without an ensemble. Say what to judge: "
                f"@pytest.mark.ensemble(members=[...], epsilon=...).{_mistyped(item)}"
            )
        for epsilon in epsilons or ensemble.epsilons:
            gates[Gate(GATES[mark.name], score, epsilon, confidence)] = None
    return Marks(ensemble, tuple(gates))


def _call(mark: pytest.Mark, read: Callable[..., Any]) -> Any:
    """What `read` makes of the mark's arguments."""
    signature = inspect.signature(read)
    valid = list(signature.parameters)
    for name in mark.kwargs:
        if name not in valid:
            raise MarkError(f"@pytest.mark.{mark.name} has no argument {name!r}.{did_you_mean(name, valid)}")
    try:
        bound = signature.bind(*mark.args, **mark.kwargs)
    except TypeError as error:
        form = MARKERS[mark.name].partition(": ")[0]
        raise MarkError(f"@pytest.mark.{mark.name}: {error}. Its signature: {form}.") from None
    try:
        return read(*bound.args, **bound.kwargs)
    except MarkError as error:
        raise MarkError(f"@pytest.mark.{mark.name}: {error}") from None


_UNSET: Any = object()


@dataclass(frozen=True)
class _Ensemble:
    settings: Settings

    def read(
        self,
        members: Any = None,
        epsilon: Any = _UNSET,
        points: Any = _UNSET,
        label: Any = None,
        bounds: Any = _UNSET,
    ) -> EnsembleMark:
        if epsilon is _UNSET:
            if self.settings.epsilon is None:
                raise MarkError(
                    "epsilon is missing: give the radius of the balls, epsilon=0.02 for example, or set "
                    "ensemble_epsilon in the ini."
                )
            epsilon = self.settings.epsilon
        return EnsembleMark(
            _members(members),
            _epsilons(epsilon),
            self.settings.points if points is _UNSET else _points(points),
            _label(label),
            self.settings.bounds if bounds is _UNSET else _bounds(bounds),
        )


def _read_gate(
    score: Any, *, epsilon: Any = None, confidence: Any = None
) -> tuple[float, tuple[float, ...] | None, float | None]:
    if not _is(score, Real) or not 0 <= score <= 1:
        raise MarkError(f"score must be a number between 0 and 1; got {score!r}.")
    if confidence is not None and not (_is(confidence, Real) and 0 < confidence < 1):
        raise MarkError(f"confidence must be a number between 0 and 1, or None; got {confidence!r}.")
    return (
        float(score),
        None if epsilon is None else _epsilons(epsilon),
        None if confidence is None else float(confidence),
    )


def _members(members: Any) -> tuple[str, ...] | None:
    if members is None:
        return None
    if isinstance(members, str):
        raise MarkError(
            f"members must be a list of names; got the text {members!r}. Write [{members!r}, ...]."
        )
    names = tuple(members) if isinstance(members, Iterable) else (members,)
    if not all(isinstance(name, str) for name in names):
        raise MarkError(f"members must be a list of names, or None for the whole pool; got {members!r}.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MarkError(f"members has {twice[0]!r} twice.")
    if len(names) < 2:
        raise MarkError(f"members must be at least two networks; got {len(names)}.")
    return names


def _epsilons(epsilon: Any) -> tuple[float, ...]:
    several = isinstance(epsilon, Iterable) and not isinstance(epsilon, str)
    values = list(epsilon) if several else [epsilon]
    if not values:
        raise MarkError("epsilon must be a number or several; got none.")
    for value in values:
        if not _is(value, Real) or not abs(value) <= sys.float_info.max or value < 0:
            raise MarkError(f"epsilon must be a finite number >= 0, or several; got {value!r}.")
    return tuple(sorted({float(value) for value in values}))


def _points(points: Any) -> int | Literal["all"]:
    if points == "all" and isinstance(points, str):
        return "all"
    if not _is(points, Integral) or points < 1:
        raise MarkError(f"points must be a whole number >= 1, or 'all'; got {points!r}.")
    return int(points)


def _label(label: Any) -> int | Literal["best"] | None:
    if label is None:
        return None
    if label == "best" and isinstance(label, str):
        return "best"
    if not _is(label, Integral) or label < 0:
        raise MarkError(f"label must be None, a class (a whole number >= 0), or 'best'; got {label!r}.")
    return int(label)


def _bounds(bounds: Any) -> Any:
    """Numbers are checked here, arrays when the pool says how many inputs there are."""
    if bounds is None:
        return None
    try:
        low, high = bounds
    except (TypeError, ValueError):
        low = high = None
    if low is None or high is None or isinstance(low, str) or isinstance(high, str):
        raise MarkError(f"bounds must be (low, high), each a number or an array, or None; got {bounds!r}.")
    if _is(low, Real) and _is(high, Real) and not low <= high:
        raise MarkError(f"bounds must have low <= high; got {bounds!r}.")
    return low, high


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def id_of(item: pytest.Item) -> str:
    """The id of a test, without the group that pytest-xdist appends with --dist=loadgroup."""
    name, at, group = item.nodeid.rpartition("@")
    grouped = at and "]" not in group and next(item.iter_markers("xdist_group"), None) is not None
    return name if grouped else item.nodeid


# --- checking what was collected ------------------------------------------------------------------


def check_collected(
    report: pytest.CollectReport, collector: pytest.Collector, settings: Settings, key: pytest.StashKey[Marks]
) -> pytest.CollectReport:
    """Put the marks of collected tests into their stash; a failed report where some can't be used."""
    items = [item for item in report.result if isinstance(item, pytest.Item)]
    problems = [problem for item in items for problem in read_item(item, settings, key)]
    if not problems:
        return report
    return pytest.CollectReport(collector.nodeid, "failed", "\n".join(problems), [])


def read_item(item: pytest.Item, settings: Settings, key: pytest.StashKey[Marks]) -> list[str]:
    """Put a test's marks into its stash; what is wrong with them. Tests of gate files have theirs already."""
    if key in item.stash and not isinstance(item, pytest.Function):
        return []
    uses = "ensemble_gate" in getattr(item, "fixturenames", ())
    if not uses and not any(mark.name.startswith("ensemble") for mark in item.iter_markers()):
        return []
    try:
        _check_names(item)
        marks = read_marks(item, settings)
        _check_fixtures(item, marks)
    except MarkError as error:
        return [f"{item.nodeid}: {error}"]
    item.stash[key] = marks
    return []


def _check_names(item: pytest.Item) -> None:
    for name in (mark.name for mark in item.iter_markers()):
        if not name.startswith("ensemble_") or name in MARKERS:
            continue
        declared = item.config.getini("markers")
        if name not in {line.partition(":")[0].partition("(")[0].strip() for line in declared}:
            raise MarkError(f"There is no marker {name!r}.{did_you_mean(name, MARKERS)}")


def _check_fixtures(item: pytest.Item, marks: Marks) -> None:
    """A gate that nothing would check must not pass."""
    requests = "ensemble_gate" in getattr(item, "fixturenames", ())
    if marks.gates and not requests:
        names = _names_of({gate.metric for gate in marks.gates})
        raise MarkError(
            f"it is marked with {names}, but does not use the fixture that checks gates. Give the test the "
            "argument ensemble_gate and call ensemble_gate.check() in it."
        )
    if requests and not marks.gates:
        raise MarkError(
            "it uses the fixture ensemble_gate, but no gate is declared. Mark it with "
            "@pytest.mark.ensemble(...) and one of "
            + ", ".join(f"@pytest.mark.{name}(score)" for name in GATES)
            + "; scores without a gate are in the fixture ensemble."
        )


def _names_of(metrics: Iterable[Metric]) -> str:
    names: Mapping[Metric, str] = {metric: name for name, metric in GATES.items()}
    return " and ".join(sorted(names[metric] for metric in metrics))
