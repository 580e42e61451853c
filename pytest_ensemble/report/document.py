"""`Document`: what a session found, as plain data. Every report is drawn from it, nothing else.

As JSON (`--ensemble-report=x.json`) it is one object. A session can gate several ensembles, so every entry
of every list says which one it is of, by the `ensemble` that identifies it; with one ensemble the lists can
be read as they are. Scores are intervals `low .. high`: the ends differ where queries are undecided.

::

    schema        "pytest-ensemble/1". The number rises when a field is removed or changes its meaning;
                  new fields may come without that: ignore what you don't know.
    ensembles     [{ensemble, tests, members, candidates, bounds, engine}]
                  bounds: null, or [low, high], each a number or a list of numbers
    members       [{ensemble, name, sha256, accuracy}]  of the whole pool, candidates included; accuracy on
                  the labelled data
    points        [{ensemble, count, label, indices, sha256}]  indices: rows of the labelled data;
                  label: null for points of any label
    epsilons      [number]  all radii that scores were asked for
    mutual_error  [{ensemble, epsilon, pair: [a, b], low, high, sat, unsat, unknown, unasked}]  numbers of
                  points; unasked: those of the unknown that no engine was asked about (--ensemble-fail-fast)
    uniqueness    [{ensemble, epsilon, member, low, high, unasked}]  unasked: queries of its pairs
    gates         [{ensemble, test, metric, epsilon, threshold, verdict, subject, low, high, undecided,
                  partial, confidence, bound}]
                  metric: "min_uniqueness" or "max_mutual_error"; verdict: "pass", "fail" or
                  "inconclusive"; subject: the worst member "a" or pair "a~b" with its score; undecided:
                  number of undecided queries by reason, "not asked" among them; partial: true if the
                  verdict was certain before all was asked (--ensemble-fail-fast): low .. high is wider than
                  it would be, the verdict is the same. confidence, bound: null, or what the gate asks for and
                  where the worst end is with it. The lists may know more, from other tests. A gate
                  that was declared and never checked (test skipped, or its process crashed) is inconclusive
                  between 0 and 1, its subject and ensemble are null.
    suggestions   [{ensemble, epsilon, out, in, uniqueness_before, uniqueness_after, accuracy_before,
                  accuracy_after}]  swaps in the order to make them; uniqueness: {low, high}
    examples      [{ensemble, epsilon, pair, point, row, label, says, distance}]  inputs on which both of a
                  failing gate's worst pair err; point: number among the agreement points; row: in the data;
                  says: the label that each gives it, as onnxruntime computes it; distance: from the point
    baseline      [{test, metric, epsilon, subject, move, low, high, before, reason}]  see
                  report/ratchet.py; before: null or [low, high]; reason: why a loss was accepted, or null
    queries       {total, sat, unsat, unknown: {reason: number}, by_engine: {engine: number}, seconds}
                  that were answered, each once; those that earlier runs had answered are of engine "store"
    audit         {asked, agreed, undecided, contradictions}  decided queries that others answered again
                  contradictions: [{pair, sha256, models, point, row, data, x, label, epsilon, bounds, engine,
                  outcome, second_engine, second_outcome, witness}]  with all it takes to ask both once more
    versions      {package: version}
    notes         [text]  what went wrong without touching a verdict, with the cache for example
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_ensemble.analysis.gates import Metric, Verdict
from pytest_ensemble.analysis.scores import Interval
from pytest_ensemble.report.audit import AuditResult
from pytest_ensemble.report.ratchet import Comparison

__all__ = [
    "SCHEMA",
    "STORED",
    "Document",
    "Ensemble",
    "Entry",
    "Example",
    "GateResult",
    "Member",
    "MutualError",
    "PointSet",
    "Queries",
    "Suggestion",
    "Uniqueness",
]

SCHEMA = "pytest-ensemble/1"
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
    """An input near agreement point number `point` that both members of a pair misclassify."""

    ensemble: str
    epsilon: float
    pair: tuple[str, str]
    point: int
    row: int
    label: int
    says: Mapping[str, int]
    distance: float


Entry = (
    Ensemble | Member | PointSet | MutualError | Uniqueness | GateResult | Suggestion | Example | Comparison
)


@dataclass(frozen=True)
class Queries:
    """What was given to engines: how many, by outcome and by engine, and how long they took."""

    total: int = 0
    sat: int = 0
    unsat: int = 0
    unknown: Mapping[str, int] = field(default_factory=dict)
    by_engine: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def __add__(self, other: Queries) -> Queries:
        return Queries(
            self.total + other.total,
            self.sat + other.sat,
            self.unsat + other.unsat,
            _sum(self.unknown, other.unknown),
            _sum(self.by_engine, other.by_engine),
            self.seconds + other.seconds,
        )


def _sum(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {name: a.get(name, 0) + b.get(name, 0) for name in sorted({*a, *b})}


@dataclass(frozen=True)
class Document:
    """All that reports are drawn from; see the module for the fields."""

    ensembles: tuple[Ensemble, ...] = ()
    members: tuple[Member, ...] = ()
    points: tuple[PointSet, ...] = ()
    mutual_error: tuple[MutualError, ...] = ()
    uniqueness: tuple[Uniqueness, ...] = ()
    gates: tuple[GateResult, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    examples: tuple[Example, ...] = ()
    baseline: tuple[Comparison, ...] = ()
    queries: Queries = Queries()
    versions: Mapping[str, str] = field(default_factory=dict)
    audit: AuditResult = field(default_factory=AuditResult)
    notes: tuple[str, ...] = ()

    @property
    def epsilons(self) -> tuple[float, ...]:
        """All radii that scores were asked for."""
        return tuple(sorted({e.epsilon for e in self.mutual_error} | {e.epsilon for e in self.gates}))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything in the lists."""
        return tuple(entry for name in _LISTS for entry in getattr(self, name))

    def ensemble(self, gate: GateResult) -> Ensemble | None:
        """The ensemble that a gate judged."""
        return next((entry for entry in self.ensembles if entry.ensemble == gate.ensemble), None)

    def pairs(self, gate: GateResult) -> dict[tuple[str, str], MutualError]:
        """Mutual errors of the gate's ensemble at its epsilon, by pair."""
        return {
            entry.pair: entry
            for entry in self.mutual_error
            if (entry.ensemble, entry.epsilon) == (gate.ensemble, gate.epsilon)
        }

    @classmethod
    def of(
        cls,
        entries: Iterable[Entry],
        queries: Queries | None = None,
        versions: Mapping[str, str] | None = None,
        audit: AuditResult | None = None,
        notes: tuple[str, ...] = (),
    ) -> Document:
        """A document of these entries; the later of two with one key counts, tests of ensembles add up.

        But of two scores that of which less was left unasked.
        """
        merged: dict[tuple[Any, ...], Entry] = {}
        for entry in entries:
            key = (type(entry), *(getattr(entry, name) for name in _IDENTITY[type(entry)]))
            if isinstance(entry, Ensemble) and isinstance(known := merged.get(key), Ensemble):
                tests = tuple(sorted({*known.tests, *entry.tests}))
                entry = dataclasses.replace(entry, tests=tests)
            if isinstance(entry, (MutualError, Uniqueness)):
                known_score = merged.get(key)
                if isinstance(known_score, type(entry)) and known_score.unasked < entry.unasked:
                    continue
            merged[key] = entry
        lists = {
            name: tuple(entry for entry in merged.values() if isinstance(entry, kind))
            for name, kind in _LISTS.items()
        }
        return cls(
            **lists,  # type: ignore[arg-type]
            queries=queries or Queries(),
            versions=versions or {},
            audit=audit or AuditResult(),
            notes=notes,
        )

    def to_json(self) -> dict[str, Any]:
        """As a JSON object of the documented schema."""
        lists = {name: [_plain(entry) for entry in getattr(self, name)] for name in _LISTS}
        head = {name: lists.pop(name) for name in ("ensembles", "members", "points")}
        return {
            "schema": SCHEMA,
            **head,
            "epsilons": list(self.epsilons),
            **lists,
            "queries": _plain(self.queries),
            "audit": self.audit.to_json(),
            "versions": dict(self.versions),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Document:
        """Read what `to_json` gives.

        Raises:
            ValueError: a document of another schema.
        """
        if value.get("schema") != SCHEMA:
            raise ValueError(f"A report of schema {SCHEMA!r} is needed; this is {value.get('schema')!r}.")
        entries = [_read(kind, entry) for name, kind in _LISTS.items() for entry in value.get(name, ())]
        audit = AuditResult.from_json(value["audit"]) if "audit" in value else None
        notes = tuple(value.get("notes", ()))
        return cls.of(entries, _read(Queries, value["queries"]), value["versions"], audit, notes)


_LISTS: dict[str, type[Entry]] = {
    "ensembles": Ensemble,
    "members": Member,
    "points": PointSet,
    "mutual_error": MutualError,
    "uniqueness": Uniqueness,
    "gates": GateResult,
    "suggestions": Suggestion,
    "examples": Example,
    "baseline": Comparison,
}
# What makes two entries the same one.
_IDENTITY: dict[type[Entry], tuple[str, ...]] = {
    Ensemble: ("ensemble",),
    Member: ("ensemble", "name"),
    PointSet: ("ensemble",),
    MutualError: ("ensemble", "epsilon", "pair"),
    Uniqueness: ("ensemble", "epsilon", "member"),
    GateResult: ("test", "metric", "epsilon", "threshold", "confidence"),
    Suggestion: ("ensemble", "epsilon", "out", "into"),
    Example: ("ensemble", "epsilon", "pair"),
    Comparison: ("test", "metric", "epsilon", "subject"),
}
_AS_JSON = {"into": "in"}  # a keyword of Python


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        names = [part.name for part in dataclasses.fields(value)]
        return {_AS_JSON.get(name, name): _plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    return value


def _read(kind: type[Any], value: Mapping[str, Any]) -> Any:
    """An instance of the dataclass; unknown fields are left out, and those that came later may be missing."""
    given: dict[str, Any] = {}
    for name in (part.name for part in dataclasses.fields(kind)):
        if name in ("unasked", "partial", "confidence", "bound") and name not in value:
            continue
        part = value[_AS_JSON.get(name, name)]
        if name == "verdict":
            part = Verdict(part)
        elif name.startswith("uniqueness_"):
            part = Interval(part["low"], part["high"])
        given[name] = _frozen(part)
    return kind(**given)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value
