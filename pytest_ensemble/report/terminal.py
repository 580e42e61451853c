"""How a gate failed, in words, from a document.

Everything here is a pure function of the document; `drawing` puts it on a terminal. Names of models are names
of files, which may hold anything: all texts are `printable`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypedDict

from pytest_ensemble.analysis.gates import Gate, Verdict
from pytest_ensemble.analysis.scores import Interval
from pytest_ensemble.analysis.statistics import points_needed
from pytest_ensemble.errors import printable
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.entries import GateResult
from pytest_ensemble.report.terms import (
    Digits,
    assured,
    counts_text,
    how_far,
    noun,
    opposite,
    percent,
    queries_of,
    relation,
    sample_of,
    severity,
    title_of,
)

__all__ = ["Block", "Fact", "blocks", "fact", "swap_lines", "worst_pair"]

MOST_ROWS = 15
MOST_PARTNERS = 5
MOST_SWAPS = 3
_ADVICE = {
    "timeout": "raise --ensemble-timeout; if that does not help, lower epsilon",
    "budget": "raise --ensemble-budget or --ensemble-jobs; if that does not help, lower epsilon",
    "unasked": "--ensemble-budget was spent before their turn; raise it, or ask about fewer points",
    "boundary": "scores are too close to a tie to tell; move epsilon a little",
    "unsupported": "this engine can't answer them; use --ensemble-engine=auto",
    "crashed": "the solver crashed on them; use --ensemble-engine=auto, or give it more memory",
    "memory": "give the solver more memory, or lower --ensemble-jobs",
    "disagreement": "two engines contradict each other; please report this with the models",
}


class Fact(TypedDict):
    """Something named; its texts stand side by side, as many as a line takes."""

    name: str
    texts: list[str]
    between: str


class Block(TypedDict):
    """What is said of one gate: plain lists and texts, which pytest-xdist can send.

    Attributes:
        headline: one line.
        verdict: "fail" or "inconclusive".
        table: the header, then a row for each member or pair; the last cell starts with its verdict.
        notes: lines below the table.
        facts: what explains and mends it.
    """

    headline: str
    verdict: str
    table: list[list[str]]
    notes: list[str]
    facts: list[Fact]


def blocks(
    document: Document, gates: Sequence[GateResult], rerun: str, *, suggested: bool = True
) -> list[Block]:
    """What to say of a test whose gates don't hold, the worst first; the first headline stands for all.

    Args:
        document: with the scores of the gates' ensemble.
        gates: those that fail or are inconclusive, at least one.
        rerun: command that runs this test again.
        suggested: whether better members were looked for.
    """
    ordered = sorted(gates, key=severity)
    more = len(ordered) - 1
    found: list[Block] = []
    for k, gate in enumerate(ordered):
        said = any(other.epsilon == gate.epsilon for other in ordered[:k])
        facts = [*_facts(document, gate), *(() if said else _suggestion(document, gate, suggested))]
        headline = _headline(document, gate)
        if k == 0 and more:
            headline += f" (+{more} more gate{'s'[: more > 1]})"
        table, notes = _table(document, gate)
        found.append(
            Block(
                headline=printable(headline),
                verdict=str(gate.verdict),
                table=[[printable(cell) for cell in row] for row in table],
                notes=notes,
                facts=facts,
            )
        )
    found[-1]["facts"].append(fact("rerun", [rerun]))
    return found


def _headline(document: Document, gate: GateResult) -> str:
    """One plain line: it is all that short summaries and annotations show."""
    show = Digits(gate, [gate.score])
    title, what = title_of(gate.test), f"{gate.subject} {noun(gate)} {show(gate.score)}"
    if gate.verdict is Verdict.INCONCLUSIVE:
        total = sum(entry.unknown for entry in document.pairs(gate).values())
        reasons = counts_text(gate.undecided) or "reasons unknown"
        need = show(gate.threshold)
        if gate.confidence is not None:
            return (
                f"{title}: inconclusive: {what}, {assured(gate, show)}, needs {relation(gate)} {need} at "
                f"epsilon {gate.epsilon:g} ({sample_of(document, gate).points} points, {total} undecided)"
            )
        return (
            f"{title}: inconclusive: {what}, needs {relation(gate)} {need} at epsilon {gate.epsilon:g} "
            f"({total} undecided: {reasons})"
        )
    line = f"{title}: {what} {opposite(gate)} {show(gate.threshold)} at epsilon {gate.epsilon:g}"
    if gate.metric == "max_mutual_error":
        entry = next(entry for entry in document.pairs(gate).values() if "~".join(entry.pair) == gate.subject)
        return f"{line} ({entry.sat} of {queries_of(entry)} points)"
    partners = _partners(document, gate)
    name, worst = max(partners.items(), key=lambda item: _error(gate, item[1]))
    return f"{line} (worst pair {gate.subject}~{name}, mutual error {worst})"


def _facts(document: Document, gate: GateResult) -> Iterator[Fact]:
    if gate.metric == "min_uniqueness" and gate.subject is not None:
        partners = _partners(document, gate)
        shown = dict(sorted(partners.items(), key=lambda item: item[1], reverse=True)[:MOST_PARTNERS])
        texts = [f"{name} {score}" for name, score in partners.items() if name in shown]
        if len(partners) > len(shown):
            texts.append(f"... and {len(partners) - len(shown)} less")
        yield fact(f"{gate.subject} errs with", texts)
    for example in document.examples:
        if (example.ensemble, example.epsilon) == (gate.ensemble, gate.epsilon) and worst_pair(
            document, gate
        ) == example.pair:
            says = ", ".join(f"{name} says {label}" for name, label in example.says.items())
            what = f"point {example.point} (row {example.row} of the data), label {example.label}: {says}"
            yield fact("example", [what, f"{how_far(example)}; replayed in onnxruntime"])
    if gate.verdict is Verdict.INCONCLUSIVE:
        if gate.confidence is not None:
            yield fact("what to do", [f"points: {_more_points(document, gate)}"])
        for reason in gate.undecided:
            yield fact("what to do", [f"{reason}: {_ADVICE.get(reason, 'try another --ensemble-engine')}"])


def _suggestion(document: Document, gate: GateResult, suggested: bool) -> Iterator[Fact]:
    swaps = list(swap_lines(document, gate))
    if swaps:
        for k, text in enumerate(swaps):
            yield fact("" if k else "suggestion", text.split("; "), "; ")
    elif suggested and gate.verdict is Verdict.FAIL and not gate.partial:
        yield fact("suggestion", [_no_swap(document, gate)])
    elif suggested and gate.verdict is Verdict.FAIL:
        yield fact("suggestion", ["not looked for; add --ensemble-suggest=always"])


def swap_lines(document: Document, gate: GateResult) -> Iterator[str]:
    """The suggested swaps at the gate's epsilon, in the order to make them."""
    swaps = [
        swap
        for swap in document.suggestions
        if (swap.ensemble, swap.epsilon) == (gate.ensemble, gate.epsilon)
    ]
    for k, swap in enumerate(swaps[:MOST_SWAPS]):
        yield printable(
            f"{'then ' if k else ''}replace {swap.out} with {swap.into}: "
            f"uniqueness {swap.uniqueness_before} -> {swap.uniqueness_after}; "
            f"ensemble accuracy {swap.accuracy_before:.3f} -> {swap.accuracy_after:.3f}"
        )
    if len(swaps) > MOST_SWAPS:
        yield f"... and {len(swaps) - MOST_SWAPS} more; ensemble.suggest() gives them all"


def _no_swap(document: Document, gate: GateResult) -> str:
    ensemble = document.ensemble(gate)
    if ensemble is not None and not ensemble.candidates:
        return "none: every network of the pool is a member; add candidates to the pool"
    return "none: no candidate is surely more unique in the weakest member's place"


def _more_points(document: Document, gate: GateResult) -> str:
    """How many points would do, if they are like these."""
    assert gate.confidence is not None
    unique = gate.metric == "min_uniqueness"
    allowed, seen = (1 - gate.threshold, 1 - gate.low) if unique else (gate.threshold, gate.high)
    if not 0 <= seen < allowed < 1:
        if gate.undecided:
            return "more of them do not help while queries are undecided"
        return "no number of them is enough: the score itself is at the threshold"
    others = sample_of(document, gate).others if unique else 1
    return f"about {points_needed(allowed, gate.confidence, seen, others)} are needed if they are like these"


# --- its table ------------------------------------------------------------------------------------


def _table(document: Document, gate: GateResult) -> tuple[list[list[str]], list[str]]:
    """Its rows, and lines below it.

    Members in their order, or pairs with the worst first; at most so many rows, passing ones go first.
    """
    rows = dict(_rows(document, gate))
    rule = Gate(gate.metric, gate.threshold, gate.epsilon, gate.confidence)
    sample = sample_of(document, gate)
    verdicts = {name: rule.verdict(score, sample) for name, (score, _, _) in rows.items()}
    sign = 1 if gate.metric == "min_uniqueness" else -1
    worst_first = sorted(
        rows,
        key=lambda name: (
            verdicts[name] is Verdict.PASS,
            sign * rows[name][0].low,
            sign * rows[name][0].high,
        ),
    )
    kept = worst_first[:MOST_ROWS]
    if gate.metric == "min_uniqueness":
        kept = [name for name in rows if name in kept]
    show = Digits(gate, [rows[name][0] for name in kept])
    column = noun(gate) + ("" if gate.confidence is None else f" (at {percent(gate.confidence)})")
    cells = [["member" if sign > 0 else "pair", column, "need", "undecided", "verdict"]]
    for name in kept:
        score, unknown, total = rows[name]
        remark = verdicts[name].value
        if verdicts[name] is Verdict.FAIL:
            miss = gate.threshold - score.high if sign > 0 else score.low - gate.threshold
            remark = f"FAIL  ({'short' if sign > 0 else 'over'} by {show(miss)})"
        text = show(score)
        if gate.confidence is not None:
            text += f" ({relation(gate)} {show(rule.bound(score, sample))})"
        cells.append([name, text, show(gate.threshold), f"{unknown}/{total}", remark])
    notes = []
    hidden = Counter(verdicts[name] for name in rows if name not in kept)
    if hidden:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(hidden.items()))
        passing = set(hidden) == {Verdict.PASS}
        notes.append(f"... and {hidden.total()} more that pass" if passing else f"... and more: {counts}")
    if gate.partial:
        pairs = document.pairs(gate).values()
        unasked, all_ = sum(entry.unasked for entry in pairs), sum(map(queries_of, pairs))
        notes.append(f"stopped early: {unasked} of {all_} queries were not asked (--ensemble-fail-fast)")
    return cells, notes


def _rows(document: Document, gate: GateResult) -> Iterator[tuple[str, tuple[Interval, int, int]]]:
    """(subject, (score, undecided queries, all queries)), members in their order."""
    pairs = document.pairs(gate)
    if gate.metric == "max_mutual_error":
        for entry in pairs.values():
            yield "~".join(entry.pair), (entry.score, entry.unknown, queries_of(entry))
        return
    for unique in document.uniqueness:
        if (unique.ensemble, unique.epsilon) == (gate.ensemble, gate.epsilon):
            own = [entry for pair, entry in pairs.items() if unique.member in pair]
            undecided, total = sum(entry.unknown for entry in own), sum(map(queries_of, own))
            yield unique.member, (unique.score, undecided, total)


def _partners(document: Document, gate: GateResult) -> dict[str, Interval]:
    """Mutual errors of the gate's subject with the other members, in their order."""
    ensemble = document.ensemble(gate)
    assert ensemble is not None
    scores = {
        name: entry.score
        for pair, entry in document.pairs(gate).items()
        if gate.subject in pair
        for name in pair
        if name != gate.subject
    }
    return {name: scores[name] for name in ensemble.members if name in scores}


def worst_pair(document: Document, gate: GateResult) -> tuple[str, str] | None:
    """Who errs most together, of the gate's subject and the others."""
    own = [
        entry
        for entry in document.pairs(gate).values()
        if gate.subject in entry.pair or gate.subject == "~".join(entry.pair)
    ]
    return max(own, key=lambda entry: _error(gate, entry.score)).pair if own else None


def _error(gate: GateResult, score: Interval) -> tuple[float, float]:
    """Sorts mutual errors; those that are known count first where most were not asked."""
    return (score.low, score.high) if gate.partial else (score.high, score.low)


def fact(name: str, texts: Sequence[str], between: str = "   ") -> Fact:
    """A fact with printable texts."""
    return Fact(name=printable(name), texts=[printable(text) for text in texts], between=between)
