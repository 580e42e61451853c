"""What the lists of a document hold: one small dataclass for each kind of entry. See `document.py`."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_ensemble.analysis.gates import Metric, Verdict
from pytest_ensemble.analysis.scores import Interval
from pytest_ensemble.report.ratchet import Comparison

__all__ = [
    "STORED",
    "Counterexample",
    "Curve",
    "Ensemble",
    "Entry",
    "Example",
    "GateResult",
    "Member",
    "MutualError",
    "PointSet",
    "Queries",
    "Run",
    "Stage",
    "Suggestion",
    "Uniqueness",
]

STORED = "store"  # stands for an engine where earlier runs had answered


@dataclass(frozen=True)
class Ensemble:
    """Members that were judged together, around one set of points.

    Attributes:
        ensemble: content key of pool, data, points, bounds, engine and members.
        tests: ids of the tests that asked.
        members: names.
        candidates: the rest of the pool.
        bounds: None, or (low, high), each a number or one number per input.
        engine: its name.
    """

    ensemble: str
    tests: tuple[str, ...]
    members: tuple[str, ...]
    candidates: tuple[str, ...]
    bounds: tuple[Any, Any] | None
    engine: str


@dataclass(frozen=True)
class Member:
    """A network of the pool; its accuracy is on the labelled data."""

    ensemble: str
    name: str
    sha256: str
    accuracy: float


@dataclass(frozen=True)
class PointSet:
    """The agreement points; `indices` are rows of the labelled data, `label` is None for any."""

    ensemble: str
    count: int
    label: int | None
    indices: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class MutualError:
    """The score of a pair, and the numbers of points behind it."""

    ensemble: str
    epsilon: float
    pair: tuple[str, str]
    low: float
    high: float
    sat: int
    unsat: int
    unknown: int
    unasked: int = 0

    @property
    def score(self) -> Interval:
        """`low` and `high` as one value."""
        return Interval(self.low, self.high)


@dataclass(frozen=True)
class Uniqueness:
    """The score of a member within its ensemble."""

    ensemble: str
    epsilon: float
    member: str
    low: float
    high: float
    unasked: int = 0

    @property
    def score(self) -> Interval:
        """`low` and `high` as one value."""
        return Interval(self.low, self.high)


@dataclass(frozen=True)
class GateResult:
    """The verdict on one gate of one test; `subject` is the worst member or pair, None if unchecked."""

    ensemble: str | None
    test: str
    metric: Metric
    epsilon: float
    threshold: float
    verdict: Verdict
    subject: str | None
    low: float
    high: float
    undecided: Mapping[str, int] = field(default_factory=dict)
    partial: bool = False
    confidence: float | None = None
    bound: float | None = None

    @property
    def score(self) -> Interval:
        """`low` and `high` as one value."""
        return Interval(self.low, self.high)


@dataclass(frozen=True)
class Suggestion:
    """One swap of the iterative selection: `out` leaves, `into` takes its place ("in" as JSON)."""

    ensemble: str
    epsilon: float
    out: str
    into: str
    uniqueness_before: Interval
    uniqueness_after: Interval
    accuracy_before: float
    accuracy_after: float


@dataclass(frozen=True)
class Example:
    """An input near agreement point number `point` that both members of a pair misclassify.

    So many of its `values` numbers are `changed`, none by more than `distance`.
    """

    ensemble: str
    epsilon: float
    pair: tuple[str, str]
    point: int
    row: int
    label: int
    says: Mapping[str, int]
    distance: float
    changed: int | None = None
    values: int | None = None


@dataclass(frozen=True)
class Curve:
    """The mutual error of a pair at every epsilon: a step function, from what is known of each point.

    Attributes:
        points: how many.
        witnessed: distances of the nearest known witnesses, ascending; points without one are left out.
        proven: largest epsilons with a proof, ascending; likewise.
    """

    ensemble: str
    pair: tuple[str, str]
    points: int
    witnessed: tuple[float, ...]
    proven: tuple[float, ...]

    def at(self, epsilon: float) -> Interval:
        """Between the share of points witnessed within `epsilon`, and that of points not proven at it."""
        sat = bisect.bisect_right(self.witnessed, epsilon)
        unsat = len(self.proven) - bisect.bisect_left(self.proven, epsilon)
        return Interval(sat / self.points, max(sat, self.points - unsat) / self.points)

    def merge(self, other: Curve) -> Curve:
        """What both know: at every epsilon the higher low end and the lower high end."""
        nearest = _longest(self.witnessed, other.witnessed, min)
        farthest = _longest(self.proven[::-1], other.proven[::-1], max)
        return Curve(self.ensemble, self.pair, self.points, nearest, farthest[::-1])


def _longest(
    a: tuple[float, ...], b: tuple[float, ...], better: Callable[[float, float], float]
) -> tuple[float, ...]:
    """The better of the two at each place; where one has ended, the other."""
    shared = min(len(a), len(b))
    return (*map(better, a, b), *a[shared:], *b[shared:])


@dataclass(frozen=True)
class Counterexample:
    """An input that both of a pair misclassify, with all it takes to show it.

    Attributes:
        point, row, label: number among the agreement points; row in the data; the right answer.
        distance: from the point, L-infinity.
        shape: of one input.
        x, witness: the point and the input, flat; None where they are too large to keep.
        says: label that each member of the ensemble gives to the witness, as onnxruntime computes it.
        scores: class scores behind it.
    """

    ensemble: str
    pair: tuple[str, str]
    point: int
    row: int
    label: int
    distance: float
    shape: tuple[int, ...]
    x: tuple[float, ...] | None
    witness: tuple[float, ...] | None
    says: Mapping[str, int]
    scores: Mapping[str, tuple[float, ...]]


Entry = (
    Ensemble
    | Member
    | PointSet
    | MutualError
    | Uniqueness
    | GateResult
    | Suggestion
    | Example
    | Curve
    | Counterexample
    | Comparison
)


@dataclass(frozen=True)
class Stage:
    """Queries that one stage of an engine answered, and the seconds it took."""

    engine: str
    stage: str
    queries: int
    seconds: float


@dataclass(frozen=True)
class Run:
    """How it was run: the command, and the settings as they were given, by where."""

    command: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Queries:
    """What was given to engines: how many, by outcome and by engine, and how long they took."""

    total: int = 0
    sat: int = 0
    unsat: int = 0
    unknown: Mapping[str, int] = field(default_factory=dict)
    by_engine: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    stages: tuple[Stage, ...] = ()

    def __add__(self, other: Queries) -> Queries:
        return Queries(
            self.total + other.total,
            self.sat + other.sat,
            self.unsat + other.unsat,
            _sum(self.unknown, other.unknown),
            _sum(self.by_engine, other.by_engine),
            round(self.seconds + other.seconds, 3),
            _added((*self.stages, *other.stages)),
        )


def _sum(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {name: a.get(name, 0) + b.get(name, 0) for name in sorted({*a, *b})}


def _added(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """One for each engine and stage, the slowest first."""
    total: dict[tuple[str, str], Stage] = {}
    for one in stages:
        known = total.get((one.engine, one.stage), Stage(one.engine, one.stage, 0, 0.0))
        queries, seconds = known.queries + one.queries, round(known.seconds + one.seconds, 6)
        total[one.engine, one.stage] = Stage(one.engine, one.stage, queries, seconds)
    return tuple(sorted(total.values(), key=lambda one: (-one.seconds, one.engine, one.stage)))
