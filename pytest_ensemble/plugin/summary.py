"""The section "ensemble gates" of the terminal, as lines with their markup."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.plugin.state import State
from pytest_ensemble.report.audit import audit_line, contradiction_lines
from pytest_ensemble.report.ratchet import counts_line
from pytest_ensemble.report.terminal import gate_line, queries_line, swap_lines

__all__ = ["append_step_summary", "audit_lines", "summary_lines"]

Markup = dict[str, bool]
_COLOURS: dict[Verdict, Markup] = {
    Verdict.PASS: {"green": True},
    Verdict.FAIL: {"red": True},
    Verdict.INCONCLUSIVE: {"yellow": True},
}


def summary_lines(state: State, exitstatus: int, *, quiet: bool) -> Iterator[tuple[str, Markup]]:
    """A line for each gate, then the queries and the reports; nothing where the plugin is not used."""
    found = state.document()
    for gate in found.gates:
        if quiet and gate.verdict is Verdict.PASS:
            continue
        yield gate_line(gate), _COLOURS[gate.verdict]
        if state.settings.suggest == "always" and gate.verdict is Verdict.PASS:
            for text in swap_lines(found, gate):
                yield f"{'':<14}suggestion: {text}", {}
    used = bool(found.gates or found.ensembles)
    for worker in state.lost if used or state.settings.pool else ():
        yield (
            f"Worker {worker} ended without a report: what its tests checked counts as not checked.",
            {"red": True},
        )
    if not quiet and found.queries.total:
        yield queries_line(found.queries), {}
    if not quiet:
        yield from ((note, {"yellow": True}) for note in found.notes)
    if found.audit.contradictions or (found.audit.asked and not quiet):
        yield audit_line(found.audit), {"red": True} if found.audit.contradictions else {}
    if state.settings.baseline is not None and used and not quiet:
        update = state.settings.baseline_update
        where = str(state.settings.baseline)
        yield counts_line(found.baseline, where, written=state.baseline_written, better=update), {}
    if not used and exitstatus in (0, 1, 5) and state.settings.sources.get("pool") == "--ensemble-pool":
        yield (
            "--ensemble-pool is given, but no selected test declares a gate. Mark one with "
            "@pytest.mark.ensemble(...) and @pytest.mark.ensemble_min_uniqueness(...), and call "
            "ensemble_gate.check() in it; see pytest --markers.",
            {"yellow": True},
        )
    for path in () if quiet else state.settings.report:
        if not any(failed.startswith(str(path)) for failed in state.failed_reports):
            yield f"report: {path}", {}
    for failed in state.failed_reports:
        yield f"report: {failed}", {"red": True}


def audit_lines(state: State) -> Iterator[str]:
    """Every query on which an audit contradicts the first answer, and how to ask it again."""
    found = state.document().audit.contradictions
    if not found:
        return
    yield "At least one engine is wrong: please report it with the models and the data. To ask again:"
    yield "    import numpy as np"
    yield "    from pytest_ensemble import decide"
    for entry in found:
        yield from contradiction_lines(entry)


def append_step_summary(state: State, path: Path) -> None:
    """Append the Markdown report to the summary of a job on GitHub; it fails no run."""
    from pytest_ensemble.report.markdown import append

    found = state.document()
    if not found.gates and not found.ensembles:
        return
    try:
        append(found, path)
    except OSError as problem:
        state.failed_reports.append(f"{path} (GITHUB_STEP_SUMMARY) could not be written: {problem}")
