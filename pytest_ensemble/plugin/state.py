"""`State`: what one pytest process knows of its gates."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ensemble.analysis.baseline import Baseline
from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.plugin import MARKS
from pytest_ensemble.plugin.markers import id_of
from pytest_ensemble.plugin.settings import Settings
from pytest_ensemble.report.audit import AuditResult
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.entries import Entry, GateResult, Queries, Run
from pytest_ensemble.report.terms import severity

if TYPE_CHECKING:
    from pytest_ensemble.plugin.session import Session

__all__ = ["State", "declared_gates"]

_PACKAGES = ("pytest-ensemble", "pytest", "numpy", "scipy", "onnx", "onnxruntime", "maraboupy")


@dataclass
class State:
    """Settings, and what was found so far.

    Attributes:
        settings: of this session.
        entries: what tests of this process found.
        declared: gates of the tests that were selected, in their order, as not checked.
        tests: ids of the selected tests that use the plugin, in their order.
        workers: documents of pytest-xdist's workers, by worker.
        lost: workers that ended without saying what they found.
        session: what tests share; None until one uses the plugin.
        lent: a folder that workers share for this run.
        baseline: scores that were reached, before this run.
        baseline_written: whether this run changed them.
        failed_reports: why reports could not be written.
    """

    settings: Settings
    baseline: Baseline | None = None
    entries: list[Entry] = field(default_factory=list)
    declared: list[GateResult] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    workers: dict[str, Document] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    session: Session | None = None
    lent: Path | None = None
    failed_reports: list[str] = field(default_factory=list)
    baseline_written: bool = False

    def document(self) -> Document:
        """All that is known, workers included. Gates that nothing is known of are inconclusive."""
        found = [*self.entries, *(entry for part in self.workers.values() for entry in part.entries)]
        checked: dict[Any, GateResult] = {}
        for part in (self.entries, *(part.entries for part in self.workers.values())):
            # of one process the last result counts, of several that had the same test the worst
            own = {_identity(gate): gate for gate in part if isinstance(gate, GateResult) and gate.subject}
            for key, gate in own.items():
                checked[key] = min(gate, checked.get(key, gate), key=severity)
        unchecked = [*self.declared, *(entry for entry in found if isinstance(entry, GateResult))]
        gates = {_identity(gate): gate for gate in unchecked} | checked
        others = [entry for entry in found if not isinstance(entry, GateResult)]
        queries = sum((part.queries for part in self.workers.values()), Queries())
        audit = sum((part.audit for part in self.workers.values()), AuditResult())
        if self.session is not None:
            queries += self.session.queries()
            audit += self.session.audited
        notes = [note for part in self.workers.values() for note in part.notes]
        if self.session is not None and self.session.store is not None:
            notes += self.session.store.notes
        unique = tuple(dict.fromkeys(notes))
        run = Run(self.settings.command, self.settings.given)
        return Document.of([*others, *gates.values()], queries, versions(), audit, unique, run, self.tests)


def _identity(gate: GateResult) -> tuple[str, str, float, float, float | None]:
    return gate.test, gate.metric, gate.epsilon, gate.threshold, gate.confidence


def declared_gates(items: Iterable[pytest.Item]) -> list[GateResult]:
    """The gates of these tests, as not checked yet: between 0 and 1, which decides nothing."""
    return [
        GateResult(
            None,
            id_of(item),
            gate.metric,
            gate.epsilon,
            gate.threshold,
            Verdict.INCONCLUSIVE,
            None,
            0.0,
            1.0,
            confidence=gate.confidence,
        )
        for item in items
        if (marks := item.stash.get(MARKS, None)) is not None
        for gate in marks.gates
    ]


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what gave the verdicts."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
