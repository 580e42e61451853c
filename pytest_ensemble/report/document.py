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
                  points; unasked: those of the unknown that no engine worked on, because the budget was
                  spent or the verdict certain before (--ensemble-fail-fast)
    uniqueness    [{ensemble, epsilon, member, low, high, unasked}]  unasked: queries of its pairs
    gates         [{ensemble, test, metric, epsilon, threshold, verdict, subject, low, high, undecided,
                  partial, confidence, bound}]
                  metric: "min_uniqueness" or "max_mutual_error"; verdict: "pass", "fail" or
                  "inconclusive"; subject: the worst member "a" or pair "a~b" with its score; undecided:
                  number of undecided queries by reason, "unasked" among them; partial: true if the
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
    curves        [{ensemble, pair, points, witnessed: [number], proven: [number]}]  mutual error at every
                  epsilon: at least the share of points witnessed at a distance <= epsilon, at most one minus
                  the share proven at >= epsilon; both ascending, points with none are left out
    gallery       [{ensemble, pair, point, row, label, distance, shape, x, witness, says: {name: label},
                  scores: {name: [number]}}]  inputs that both of the worst pairs misclassify, and what each
                  member says; x, witness: flat, null where too large
    queries       {total, sat, unsat, unknown: {reason: number}, by_engine: {engine: number}, seconds,
                  stages: [{engine, stage, queries, seconds}]}
                  that were answered, each once; those that earlier runs had answered are of engine "store"
    audit         {asked, agreed, undecided, contradictions}  decided queries that others answered again
                  contradictions: [{pair, sha256, models, point, row, data, x, label, epsilon, bounds, engine,
                  outcome, second_engine, second_outcome, witness}]  with all it takes to ask both once more
    run           {command, settings: {where: text}}  settings as they were given; thresholds are in gates
    versions      {package: version}
    notes         [text]  what went wrong without touching a verdict, with the cache for example
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.analysis.scores import Interval
from pytest_ensemble.report.audit import AuditResult
from pytest_ensemble.report.entries import (
    Counterexample,
    Curve,
    Ensemble,
    Entry,
    Example,
    GateResult,
    Member,
    MutualError,
    PointSet,
    Queries,
    Run,
    Stage,
    Suggestion,
    Uniqueness,
)
from pytest_ensemble.report.ratchet import Comparison

__all__ = ["SCHEMA", "Document"]

SCHEMA = "pytest-ensemble/1"


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
    curves: tuple[Curve, ...] = ()
    gallery: tuple[Counterexample, ...] = ()
    queries: Queries = field(default_factory=Queries)
    versions: Mapping[str, str] = field(default_factory=dict)
    audit: AuditResult = field(default_factory=AuditResult)
    notes: tuple[str, ...] = ()
    run: Run = field(default_factory=Run)

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
        run: Run | None = None,
        tests: Sequence[str] = (),
    ) -> Document:
        """A document of these entries; the later of two with one key counts, tests of ensembles add up.

        But of two scores that of which less was left unasked, of two counterexamples the nearer, and curves
        add what they know.

        Args:
            tests: ids of all tests in the order in which lists are to be; others come last. Without them
                lists keep the order of the entries.
        """
        entries = list(entries)
        merged: dict[tuple[Any, ...], Entry] = {}
        for entry in entries:
            key = (type(entry), *(getattr(entry, name) for name in _IDENTITY[type(entry)]))
            if isinstance(entry, Ensemble) and isinstance(known := merged.get(key), Ensemble):
                both = tuple(sorted({*known.tests, *entry.tests}))
                entry = dataclasses.replace(entry, tests=both)
            if isinstance(entry, Curve) and isinstance(other := merged.get(key), Curve):
                entry = other.merge(entry)
            if isinstance(entry, (MutualError, Uniqueness)):
                known_score = merged.get(key)
                if isinstance(known_score, type(entry)) and known_score.unasked < entry.unasked:
                    continue
            if isinstance(entry, Counterexample):
                shown = merged.get(key)
                if isinstance(shown, Counterexample) and shown.distance <= entry.distance:
                    continue
            merged[key] = entry
        own = {
            name: [entry for entry in merged.values() if isinstance(entry, kind)]
            for name, kind in _LISTS.items()
        }
        order = _Order(tests, merged.values())
        lists = {name: tuple(sorted(found, key=order) if tests else found) for name, found in own.items()}
        return cls(
            **lists,  # type: ignore[arg-type]
            queries=queries or Queries(),
            versions=versions or {},
            audit=audit or AuditResult(),
            notes=notes,
            run=run or Run(),
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
            "run": _plain(self.run),
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
        lists = {name: value.get(name, []) if name in _LATER else value[name] for name in _LISTS}
        entries = [_read(_LISTS[name], entry) for name, found in lists.items() for entry in found]
        audit = AuditResult.from_json(value["audit"]) if "audit" in value else None
        notes = tuple(value.get("notes", ()))
        run = _read(Run, value.get("run", {"command": "", "settings": {}}))
        queries = _read(Queries, value["queries"])
        return cls.of(entries, queries, value["versions"], audit, notes, run)


class _Order:
    """Sorts entries by the first test of their ensemble, or their own, then by epsilon.

    Counterexamples and examples by pair, those that err most first. What is the same keeps its order.
    """

    def __init__(self, tests: Sequence[str], entries: Iterable[Entry]) -> None:
        self._tests = {test: place for place, test in enumerate(tests)}
        entries = list(entries)
        self._errors: Counter[Any] = Counter()
        for entry in entries:
            if isinstance(entry, MutualError):
                key = entry.ensemble, entry.pair
                self._errors[key] = max(self._errors[key], entry.sat)
        self._first = {
            entry.ensemble: min(map(self._place, entry.tests), default=len(tests))
            for entry in entries
            if isinstance(entry, Ensemble)
        }

    def __call__(self, entry: Entry) -> tuple[Any, ...]:
        if isinstance(entry, (GateResult, Comparison)):
            return (self._place(entry.test),)
        first = self._first.get(entry.ensemble, len(self._tests))
        if isinstance(entry, (MutualError, Uniqueness, Suggestion)):
            return first, entry.epsilon
        if isinstance(entry, Example):
            return first, entry.epsilon, -self._errors[entry.ensemble, entry.pair], entry.pair
        if isinstance(entry, Counterexample):
            return first, -self._errors[entry.ensemble, entry.pair], entry.pair, entry.distance, entry.point
        return (first,)

    def _place(self, test: str) -> int:
        return self._tests.get(test, len(self._tests))


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
    "curves": Curve,
    "gallery": Counterexample,
}
_LATER = (
    "baseline",
    "curves",
    "gallery",
    "unasked",
    "partial",
    "confidence",
    "bound",
    "stages",
)  # may be missing: they came later
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
    Curve: ("ensemble", "pair"),
    Counterexample: ("ensemble", "pair", "point"),
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
        if name in _LATER and name not in value:
            continue
        part = value[_AS_JSON.get(name, name)]
        if name == "verdict":
            part = Verdict(part)
        elif name.startswith("uniqueness_"):
            part = Interval(part["low"], part["high"])
        elif name == "stages":
            part = tuple(_read(Stage, stage) for stage in part)
        given[name] = _frozen(part)
    return kind(**given)


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _frozen(part) for name, part in value.items()}
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value
