"""Sentences that HTML and Markdown share, for readers who never read the paper."""

from __future__ import annotations

from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.analysis.scores import Interval
from pytest_ensemble.report.document import Document, Ensemble, GateResult
from pytest_ensemble.report.terms import Digits, severity, title_of

__all__ = [
    "count_of",
    "demand",
    "explanation",
    "headline",
    "overall",
    "remark",
    "score_text",
    "title",
    "worst_first",
]


def overall(document: Document) -> Verdict | None:
    """The verdict on all gates together; None if there are none."""
    found = {gate.verdict for gate in document.gates}
    if document.audit.contradictions:
        return Verdict.FAIL
    return next((v for v in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS) if v in found), None)


def worst_first(document: Document) -> list[GateResult]:
    """The gates, those that fail first; else in their order."""
    return sorted(document.gates, key=lambda gate: severity(gate)[0])


def headline(document: Document) -> str:
    """The verdict in a sentence or two."""
    verdict, count = overall(document), len(document.gates)
    if document.audit.contradictions:
        return "Two engines contradict each other, so no verdict of this run can be trusted."
    if verdict is None:
        return "No gate was declared; this report only shows scores."
    worst = min(document.gates, key=severity)
    reason = explanation(document, worst)
    if verdict is Verdict.PASS:
        holds = "The gate holds" if count == 1 else f"All {count} gates hold"
        return f"{holds}. Closest to its limit: {reason}"
    number = sum(gate.verdict is verdict for gate in document.gates)
    which = "The gate" if count == 1 else f"{number} of {count} gates"
    verb = "fails" if number == 1 else "fail"
    if verdict is Verdict.INCONCLUSIVE:
        verb = "is undecided" if number == 1 else "are undecided"
    return f"{which} {verb}: {reason}"


def explanation(document: Document, gate: GateResult) -> str:
    """What the worst member or pair of a gate does, and what is demanded."""
    if gate.subject is None:
        return "it was not checked, because its test was skipped or its process ended early."
    change = f"of at most {gate.epsilon:g} per value"
    if gate.metric == "max_mutual_error":
        entry = next((e for p, e in document.pairs(gate).items() if "~".join(p) == gate.subject), None)
        names = gate.subject if entry is None else " and ".join(entry.pair)
        where = (
            f"a share of {score_text(gate)} of the test inputs"
            if entry is None
            else count_of(entry.sat, entry.unknown, entry.sat + entry.unsat + entry.unknown)
        )
        return f"near {where}, one and the same change {change} fools both {names}; {demand(gate)}."
    return (
        f"{gate.subject} has a uniqueness of {score_text(gate)} under changes {change} (1: it never errs "
        f"together with another member); {demand(gate)}."
    )


def count_of(sat: int, unknown: int, total: int) -> str:
    """Numbers of points as text."""
    some = f"{sat}" if not unknown else f"{sat} to {sat + unknown}"
    return f"{some} of {total} test inputs"


def demand(gate: GateResult) -> str:
    """What a gate asks for."""
    if gate.metric == "max_mutual_error":
        return f"at most {gate.threshold * 100:g} % are allowed"
    return f"at least {gate.threshold:g} is required"


def remark(gate: GateResult) -> str:
    """Why a gate's score is a range: what is undecided, and whether solving stopped early."""
    open_ones = ", ".join(f"{count} {reason}" for reason, count in gate.undecided.items())
    stopped = "stopped early, when the verdict was certain" if gate.partial else ""
    return "; ".join(part for part in (f"undecided: {open_ones}" if open_ones else "", stopped) if part)


def title(test: str | Ensemble) -> str:
    """What a test, or the tests of an ensemble, are about."""
    if isinstance(test, Ensemble):
        return ", ".join(dict.fromkeys(title_of(one) for one in test.tests)) or test.ensemble
    return title_of(test)


def score_text(gate: GateResult, score: Interval | None = None) -> str:
    """A score, the gate's by default; what misses the threshold does not look equal to it."""
    score = gate.score if score is None else score
    return " to ".join(map(Digits(gate, [score]), dict.fromkeys((score.low, score.high))))
