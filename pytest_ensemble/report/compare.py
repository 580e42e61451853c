"""What changed between two runs, as lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pytest_ensemble.analysis.scores import Interval
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.entries import GateResult
from pytest_ensemble.report.words import score_text

__all__ = ["compare"]


def compare(old: Document, new: Document) -> Iterator[str]:
    """Verdicts, scores, members and models that differ, a heading for each kind that does."""
    parts: dict[str, Callable[[Document, Document], Iterator[str]]] = {
        "Gates": _gates,
        "Members": _members,
        "Models": _models,
        "Uniqueness": _uniqueness,
        "Mutual error": _mutual_error,
    }
    said = False
    for name, part in parts.items():
        lines = list(part(old, new))
        if lines:
            if said:
                yield ""
            yield name
            yield from (f"  {line}" for line in lines)
            said = True
    if not said:
        yield "Nothing changed: verdicts, scores, members and models are the same."


def _gates(old: Document, new: Document) -> Iterator[str]:
    before, after = _by_gate(old), _by_gate(new)
    for key in dict.fromkeys([*after, *before]):
        test, metric, epsilon, _ = key
        name = f"{test} {metric} at epsilon {epsilon:g}"
        if key not in before:
            yield f"{name}: new, {_found(after[key])}"
        elif key not in after:
            yield f"{name}: gone, was {_found(before[key])}"
        elif _found(before[key]) != _found(after[key]):
            yield f"{name}: {_found(before[key])} -> {_found(after[key])}"


def _by_gate(document: Document) -> dict[tuple[str, str, float, int], GateResult]:
    """Gates by test, metric and epsilon; those that differ in their threshold only are numbered."""
    found: dict[tuple[str, str, float, int], GateResult] = {}
    for gate in document.gates:
        number = 0
        while (gate.test, gate.metric, gate.epsilon, number) in found:
            number += 1
        found[gate.test, gate.metric, gate.epsilon, number] = gate
    return found


def _found(gate: GateResult) -> str:
    if gate.subject is None:
        return f"{gate.verdict} (not checked)"
    sign = ">=" if gate.metric == "min_uniqueness" else "<="
    return f"{gate.verdict} ({gate.subject} {score_text(gate)}, needs {sign} {gate.threshold:g})"


def _members(old: Document, new: Document) -> Iterator[str]:
    before, after = _by_test(old), _by_test(new)
    for test in (test for test in after if test in before):
        gone = [name for name in before[test] if name not in after[test]]
        come = [name for name in after[test] if name not in before[test]]
        if gone or come:
            changes = [f"{name} left" for name in gone] + [f"{name} came" for name in come]
            yield f"{test}: {', '.join(changes)}"


def _by_test(document: Document) -> dict[str, tuple[str, ...]]:
    """Members by test; tests with several ensembles are numbered."""
    found: dict[str, tuple[str, ...]] = {}
    for ensemble in document.ensembles:
        for test in ensemble.tests:
            name, number = test, 1
            while name in found:
                number += 1
                name = f"{test} (ensemble {number})"
            found[name] = ensemble.members
    return found


def _models(old: Document, new: Document) -> Iterator[str]:
    before = {member.name: member for member in old.members}
    after = {member.name: member for member in new.members}
    renamed = {member.sha256: name for name, member in before.items() if name not in after}
    for name, member in after.items():
        if name not in before:
            known = renamed.pop(member.sha256, None)
            yield f"{name}: new" if known is None else f"{name}: was called {known}"
        elif before[name].sha256 != member.sha256:
            was = before[name]
            yield (
                f"{name}: another file, sha256 {was.sha256[:12]} -> {member.sha256[:12]}, "
                f"accuracy {was.accuracy:.3f} -> {member.accuracy:.3f}"
            )
    yield from (f"{name}: gone" for name in renamed.values())


def _uniqueness(old: Document, new: Document) -> Iterator[str]:
    yield from _changed(_scores(old, "uniqueness"), _scores(new, "uniqueness"))


def _mutual_error(old: Document, new: Document) -> Iterator[str]:
    yield from _changed(_scores(old, "mutual_error"), _scores(new, "mutual_error"))


def _scores(document: Document, kind: str) -> dict[tuple[str, float, str], Interval]:
    """Scores by test, epsilon, and member or pair."""
    tests = {ensemble.ensemble: ensemble.tests for ensemble in document.ensembles}
    entries = document.uniqueness if kind == "uniqueness" else document.mutual_error
    return {
        (test, entry.epsilon, getattr(entry, "member", None) or "~".join(entry.pair)): entry.score  # type: ignore[union-attr]
        for entry in entries
        for test in tests.get(entry.ensemble, ())
    }


def _changed(
    before: dict[tuple[str, float, str], Interval], after: dict[tuple[str, float, str], Interval]
) -> Iterator[str]:
    for key, score in after.items():
        test, epsilon, name = key
        if key in before and before[key] != score:
            yield f"{name} at epsilon {epsilon:g}: {before[key]} -> {score}  ({test})"
