"""The section "ensemble gates" of the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.text import Text

from pytest_ensemble.analysis.baseline import Move
from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.errors import printable
from pytest_ensemble.plugin.state import State
from pytest_ensemble.report.audit import audit_line, contradiction_lines
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.drawing import Style, draw, gate_table
from pytest_ensemble.report.heatmap import heatmaps
from pytest_ensemble.report.lines import gate_line, queries_line
from pytest_ensemble.report.lost import loss_line, worst_losses
from pytest_ensemble.report.ratchet import counts_line
from pytest_ensemble.report.terminal import swap_lines

__all__ = ["append_step_summary", "encodable", "style_of", "write_summary"]

Markup = dict[str, bool]
_COLOURS: dict[Verdict, Markup] = {
    Verdict.PASS: {"green": True},
    Verdict.FAIL: {"red": True},
    Verdict.INCONCLUSIVE: {"yellow": True},
}


def style_of(writer: Any) -> Style | None:
    """How to draw on what pytest writes to; None where that is no terminal, nor told to be coloured."""
    file = writer._file
    if not (writer.hasmarkup or (hasattr(file, "isatty") and file.isatty())):
        return None
    try:
        "─█…→".encode(getattr(file, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return Style(writer.fullwidth, writer.hasmarkup, unicode=False)
    return Style(writer.fullwidth, writer.hasmarkup, unicode=True)


def encodable(line: str, writer: Any) -> str:
    """The line, with what the terminal's encoding has not written as Python would escape it."""
    encoding = getattr(writer._file, "encoding", None) or "ascii"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def write_summary(state: State, reporter: Any, exitstatus: int) -> None:
    """A line for each gate, then the queries and the reports; nothing where the plugin is not used."""
    writer, quiet = reporter._tw, reporter.verbosity < 0
    style = style_of(writer)
    found = state.document()
    gates, rest = (
        list(_gates(state, found, style, quiet=quiet)),
        list(_rest(state, found, exitstatus, quiet=quiet)),
    )
    if gates or rest:
        reporter.write_sep("=", "ensemble gates")
    if reporter.verbosity > 0:
        for text in heatmaps(found, style or Style()):
            for line in [*text.splitlines(), ""]:
                reporter.write_line(encodable(line, writer))
    for line, markup in gates:
        reporter.write_line(encodable(line, writer), **markup)
    for text, markup in rest:
        for line in [text] if style is None else draw([Text(text)], style).splitlines():
            reporter.write_line(encodable(line, writer), **markup)
    audit = list(_audit(found))
    if audit:
        reporter.write_sep("=", "ensemble audit: engines contradict each other", red=True)
    for line in audit:
        reporter.write_line(line)


def _gates(
    state: State, found: Document, style: Style | None, *, quiet: bool
) -> Iterator[tuple[str, Markup]]:
    """A table on terminals, else a line for each gate with the whole name of its test."""
    gates = [gate for gate in found.gates if not quiet or gate.verdict is not Verdict.PASS]
    if style is not None and gates:
        yield from ((line, {}) for line in gate_table(gates, style).splitlines())
    for gate in gates:
        if style is None:
            yield gate_line(gate), _COLOURS[gate.verdict]
        if state.settings.suggest == "always" and gate.verdict is Verdict.PASS:
            for text in swap_lines(found, gate):
                yield f"{'':<14}suggestion: {text}", {}
    for worst, more in worst_losses(found):
        line = loss_line(worst, more)
        colour = _COLOURS[Verdict.FAIL if worst.move == Move.WORSE else Verdict.INCONCLUSIVE]
        for part in [line] if style is None else draw([Text(line)], style).splitlines():
            yield part, colour


def _rest(state: State, found: Document, exitstatus: int, *, quiet: bool) -> Iterator[tuple[str, Markup]]:
    used = bool(found.gates or found.ensembles)
    for worker in state.lost if used or state.settings.pool else ():
        yield (
            f"Worker {worker} ended without a report: what its tests checked counts as not checked.",
            {"red": True},
        )
    if not quiet and found.queries.total:
        yield queries_line(found.queries), {}
    if not quiet:
        yield from ((printable(note), {"yellow": True}) for note in found.notes)
    if found.audit.contradictions or (found.audit.asked and not quiet):
        yield audit_line(found.audit), {"red": True} if found.audit.contradictions else {}
    if state.settings.baseline is not None and used and not quiet:
        update = state.settings.baseline_update
        where = str(state.settings.baseline)
        kept = set() if state.baseline is None else set(state.baseline.scores)
        unmeasured = len(kept - {one.change.place for one in found.baseline})
        written = state.baseline_written
        yield counts_line(found.baseline, where, written=written, better=update, unmeasured=unmeasured), {}
    if not used and exitstatus in (0, 1, 5) and state.settings.sources.get("pool") == "--ensemble-pool":
        yield (
            "--ensemble-pool is given, but no selected test declares a gate. Mark one with "
            "@pytest.mark.ensemble(...) and @pytest.mark.ensemble_min_uniqueness(...), and call "
            "ensemble_gate.check() in it; see pytest --markers.",
            {"yellow": True},
        )
    for path in () if quiet else state.settings.report:
        if not any(failed.startswith(str(path)) for failed in state.failed_reports):
            yield printable(f"report: {path}"), {}
    for failed in state.failed_reports:
        yield printable(f"report: {failed}"), {"red": True}


def _audit(document: Document) -> Iterator[str]:
    """Every query on which an audit contradicts the first answer, and how to ask it again."""
    found = document.audit.contradictions
    if not found:
        return
    yield "At least one engine is wrong: please report it with the models and the data. To ask again:"
    yield "    import numpy as np"
    yield "    from pytest_ensemble import decide"
    for entry in found:
        yield from contradiction_lines(entry)


def append_step_summary(state: State, found: Document, path: Path) -> None:
    """Append the Markdown report to the summary of a job on GitHub; it fails no run."""
    from pytest_ensemble.report.markdown import append

    if not found.gates and not found.ensembles:
        return
    try:
        append(found, path)
    except OSError as problem:
        state.failed_reports.append(f"{path} (GITHUB_STEP_SUMMARY) could not be written: {problem}")
