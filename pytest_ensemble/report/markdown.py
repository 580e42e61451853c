"""The document as Markdown, for pull requests and the summary of a job on GitHub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pytest_ensemble.analysis.baseline import Move
from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.errors import printable
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.entries import GateResult
from pytest_ensemble.report.lines import queries_line
from pytest_ensemble.report.ratchet import baseline_counts
from pytest_ensemble.report.terminal import worst_pair
from pytest_ensemble.report.terms import how_far
from pytest_ensemble.report.words import (
    assured_text,
    headline,
    losses,
    overall,
    range_text,
    remark,
    score_text,
    worst_first,
)

__all__ = ["LIMIT", "append", "as_markdown", "code", "table", "text"]

LIMIT = 1024 * 1024  # bytes of a job's summary, by GitHub's rules
_MOST_ROWS = 50
_MARKS = {Verdict.PASS: "✅ pass", Verdict.FAIL: "❌ FAIL", Verdict.INCONCLUSIVE: "❔ inconclusive"}


def as_markdown(document: Document, room: int = LIMIT) -> str:
    """Verdict, gates, the pairs behind those that don't hold, swaps, and how it was run.

    Args:
        room: bytes; of what is longer, whole sections at the end are left out.
    """
    kept: list[str] = []
    left = room - 200  # for the note
    for section in _sections(document):
        size = len(section.encode()) + 1
        if size > left:
            kept.append("_More was left out: it is too long. The JSON and HTML reports have all of it._\n")
            break
        kept.append(section)
        left -= size
    return "\n".join(kept) if room > 400 else ""


def append(document: Document, path: Path) -> None:
    """Append to a file what its limit of 1 MiB leaves room for.

    Raises:
        OSError: it can't be written.
    """
    room = LIMIT - (path.stat().st_size if path.exists() else 0)
    drawn = as_markdown(document, room - 1)
    if drawn:
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + drawn)


def _sections(document: Document) -> Iterator[str]:
    verdict = overall(document)
    word = "no gates" if verdict is None else _MARKS[verdict]
    yield f"## Ensemble gates: {word}\n\n{text(headline(document))}\n"
    ordered = worst_first(document)
    if ordered:
        yield "\n".join(_gates(ordered))
    if any(one.move not in (Move.SAME, Move.NEW) for one in document.baseline):
        yield "\n".join(_baseline(document))
    for gate in ordered:
        if gate.verdict is not Verdict.PASS and gate.subject is not None:
            yield "\n".join(_behind(document, gate))
    if document.suggestions:
        yield "\n".join(_swaps(document))
    yield "\n".join(_about(document))


def _gates(ordered: Sequence[GateResult]) -> Iterator[str]:
    rows = (
        (
            _MARKS[gate.verdict],
            code(gate.test),
            _noun(gate),
            f"{gate.epsilon:g}",
            code(gate.subject) if gate.subject else "not checked",
            f"{score_text(gate)} ({assured_text(gate)})" if assured_text(gate) else score_text(gate),
            f"{'≥' if gate.metric == 'min_uniqueness' else '≤'} {gate.threshold:g}",
        )
        for gate in ordered[:_MOST_ROWS]
    )
    yield from table(("verdict", "test", "score of", "epsilon", "worst", "score", "needs"), rows, "lllrlrr")
    if len(ordered) > _MOST_ROWS:
        yield f"\n… and {len(ordered) - _MOST_ROWS} more gates."
    yield ""


def _baseline(document: Document) -> Iterator[str]:
    """What is not as it was, losses first."""
    lost = losses(document)
    rest = [one for one in document.baseline if one not in lost and one.move not in (Move.SAME, Move.NEW)]
    yield f"### Baseline\n\n{text(baseline_counts(document.baseline))}.\n"
    rows = (
        (
            f"{one.move} (accepted: {text(one.reason)})" if one.reason else str(one.move),
            code(one.test),
            text(one.noun),
            f"{one.epsilon:g}",
            "–" if one.change.before is None else range_text(one.change.before),
            range_text(one.change.now),
        )
        for one in [*lost, *rest][:_MOST_ROWS]
    )
    yield from table(("", "test", "score", "epsilon", "baseline", "now"), rows, "lllrrr")
    if len(lost) + len(rest) > _MOST_ROWS:
        yield f"\n… and {len(lost) + len(rest) - _MOST_ROWS} more."
    yield ""


def _behind(document: Document, gate: GateResult) -> Iterator[str]:
    """The pairs of a gate that does not hold, the worst first."""
    entries = sorted(document.pairs(gate).items(), key=lambda item: (-item[1].high, -item[1].low, item[0]))
    if gate.metric == "min_uniqueness":
        entries = [(pair, entry) for pair, entry in entries if gate.subject in pair]
    if not entries:
        return
    whose = f" of {gate.subject}" if gate.metric == "min_uniqueness" else ""
    summary = _plain(_line(f"Mutual errors{whose} at epsilon {gate.epsilon:g}, {gate.test}"))
    yield f"<details><summary>{summary}</summary>\n"
    if remark(gate):
        yield f"{text(remark(gate)).capitalize()}.\n"
    rows = (
        (code("~".join(pair)), score_text(gate, entry.score), str(entry.sat), str(entry.unknown))
        for pair, entry in entries[:_MOST_ROWS]
    )
    yield from table(("pair", "mutual error", "inputs that fool both", "undecided"), rows, "lrrr")
    if len(entries) > _MOST_ROWS:
        yield f"\n… and {len(entries) - _MOST_ROWS} more pairs."
    for example in document.examples:
        pair = worst_pair(document, gate)
        if (example.ensemble, example.epsilon, example.pair) == (gate.ensemble, gate.epsilon, pair):
            says = ", ".join(f"{code(name)} says {label}" for name, label in example.says.items())
            where = f"row {example.row} of the data, label {example.label}"
            yield f"\nFor example {where}: {says}; {how_far(example)}."
    yield "\n</details>\n"


def _swaps(document: Document) -> Iterator[str]:
    yield "### Suggested swaps\n"
    rows = (
        (
            f"{swap.epsilon:g}",
            code(swap.out),
            code(swap.into),
            range_text(swap.uniqueness_before),
            range_text(swap.uniqueness_after),
            f"{swap.accuracy_before:.3f} → {swap.accuracy_after:.3f}",
        )
        for swap in document.suggestions[:_MOST_ROWS]
    )
    names = ("epsilon", "out", "in", "uniqueness before", "after", "ensemble accuracy")
    yield from table(names, rows, "rllrrr")
    yield ""


def _about(document: Document) -> Iterator[str]:
    yield "<details><summary>How it was run</summary>\n"
    if document.run.command:
        yield f"{code(document.run.command)}\n"
    yield f"{text(queries_line(document.queries))}\n"
    if document.audit.asked:
        audit = document.audit
        yield (
            f"Audit: of {audit.asked} answers that other engines checked, {audit.agreed} agreed and "
            f"{len(audit.contradictions)} were contradicted.\n"
        )
    for note in document.notes:
        yield f"{text(note)}\n"
    members = {(member.name, member.sha256): member for member in document.members}
    yield from table(
        ("model", "accuracy", "sha256"),
        (
            (code(m.name), f"{m.accuracy:.3f}", code(m.sha256[:12]))
            for m in list(members.values())[:_MOST_ROWS]
        ),
        "lrl",
    )
    yield ""
    yield ", ".join(f"{text(name)} {text(version)}" for name, version in document.versions.items())
    yield "\n</details>\n"


def _noun(gate: GateResult) -> str:
    return "every member's uniqueness" if gate.metric == "min_uniqueness" else "every pair's mutual error"


# --- Markdown -------------------------------------------------------------------------------------


def table(names: Sequence[str], rows: Iterable[Sequence[str]], aligned: str) -> Iterator[str]:
    """Rows of cells that are Markdown; `aligned` has "l" or "r" for each column."""
    yield f"| {' | '.join(names)} |"
    yield f"| {' | '.join('---:' if side == 'r' else '---' for side in aligned)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def text(value: str) -> str:
    """Any text as it is: nothing in it is markup, a link or a mention."""
    escaped = re.sub(r"([\\`*_{}\[\]|~])", r"\\\1", _plain(_line(value)))
    return re.sub(r"(@|#|:(?=//)|www(?=\.))", r"\1<!-- -->", escaped)  # GitHub links what follows these


def code(value: str) -> str:
    """Any text as code, in a table as well: names mention nobody, and stay in their cell."""
    inside = _line(value).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", inside)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if inside.startswith("`") or inside.endswith("`") or not inside.strip() else ""
    return f"{fence}{pad}{inside or ' '}{pad}{fence}"


def _plain(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _line(value: str) -> str:
    return printable(" ".join(value.split()))
