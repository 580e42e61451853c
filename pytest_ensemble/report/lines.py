"""A session's gates in a line each, as text or as cells of a table, and its queries in one."""

from __future__ import annotations

from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.errors import printable
from pytest_ensemble.report.entries import STORED, GateResult, Queries
from pytest_ensemble.report.terms import (
    Digits,
    assured,
    counts_text,
    noun,
    opposite,
    percent,
    relation,
    verdict_word,
)

__all__ = ["GATE_HEADER", "gate_cells", "gate_line", "queries_line"]


def gate_line(gate: GateResult) -> str:
    """Verdict, test, and the worst score against the threshold."""
    found = "not checked"
    if gate.subject is not None:
        show = Digits(gate, [gate.score])
        signs = {Verdict.PASS: relation(gate), Verdict.FAIL: opposite(gate)}
        sign = signs.get(gate.verdict, f"needs {relation(gate)}")
        plain = gate.confidence is None or gate.verdict is Verdict.FAIL
        bound = "" if plain else f", {assured(gate, show)},"
        found = f"{gate.subject} {show(gate.score)}{bound} {sign} {show(gate.threshold)}"
    partial = " (partial: stopped early)" if gate.partial else ""
    where = f"{noun(gate)} at epsilon {gate.epsilon:g}"
    return printable(f"{verdict_word(gate):<12}  {gate.test}  {where}: {found}{partial}")


def gate_cells(gate: GateResult) -> list[str]:
    """The same as cells of a table, under `GATE_HEADER`."""
    show = Digits(gate, [gate.score])
    score = "not checked" if gate.subject is None else show(gate.score)
    need = f"{relation(gate)} {show(gate.threshold)}"
    if gate.confidence is not None:
        need += f" at {percent(gate.confidence)}"
        if gate.subject is not None and gate.bound is not None:
            score += f" ({relation(gate)} {show(gate.bound)})"
    cells = (
        verdict_word(gate),
        gate.test,
        noun(gate),
        f"{gate.epsilon:g}",
        gate.subject or "",
        f"{score} (partial)" if gate.partial else score,
        need,
    )
    return [printable(cell) for cell in cells]


GATE_HEADER = ("", "test", "gate", "epsilon", "worst", "score", "need")


def queries_line(queries: Queries) -> str:
    """How many queries were answered, what came out, by whom and in what time."""
    unknown = sum(queries.unknown.values())
    reasons = f" ({counts_text(queries.unknown)})" if unknown else ""
    solved = {name: count for name, count in queries.by_engine.items() if name != STORED}
    by_engine = f", by {counts_text(solved, order='name first')}" if solved else ""
    stored = queries.by_engine.get(STORED, 0)
    return (
        f"{queries.total} queries: {queries.sat} sat, {queries.unsat} unsat, {unknown} unknown{reasons}"
        f"{by_engine}, in {queries.seconds:.1f} s"
        + (f"; {'all' if stored == queries.total else stored} from the cache" if stored else "")
    )
