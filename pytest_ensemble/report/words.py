"""Sentences that HTML and Markdown share, for readers who never read the paper."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ensemble.analysis.baseline import Move
from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.analysis.scores import Interval
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.entries import Ensemble, GateResult
from pytest_ensemble.report.ratchet import Comparison
from pytest_ensemble.report.terms import Digits, percent, severity, title_of, worst_of

__all__ = [
    "assured_text",
    "count_of",
    "demand",
    "explanation",
    "headline",
    "losses",
    "only_worse",
    "overall",
    "range_text",
    "remark",
    "score_text",
    "title",
    "worst_first",
]


def overall(document: Document) -> Verdict | None:
    """The verdict on all gates and losses against the baseline together; None if there are none."""
    found = {gate.verdict for gate in document.gates}
    found |= {Verdict.FAIL if one.move == Move.WORSE else Verdict.INCONCLUSIVE for one in losses(document)}
    if document.audit.contradictions:
        return Verdict.FAIL
    return worst_of(found)


def losses(document: Document) -> list[Comparison]:
    """Scores that are or may be worse than the baseline, and were not accepted; sure ones first."""
    lost = [one for one in document.baseline if one.lost]
    return sorted(lost, key=lambda one: one.move != Move.WORSE)


def only_worse(document: Document) -> bool:
    """Whether all that fails is worse than the baseline: no gate does."""
    return overall(document) is Verdict.FAIL and not (
        document.audit.contradictions or any(gate.verdict is Verdict.FAIL for gate in document.gates)
    )


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
    lost = losses(document)
    worst = min(document.gates, key=severity, default=None)
    if worst is None or worst.verdict is not verdict:
        return _baseline_headline(lost)
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


def _baseline_headline(lost: Sequence[Comparison]) -> str:
    """What is worse than the baseline, at least one, in a sentence."""
    first = lost[0]
    sure = sum(one.move == Move.WORSE for one in lost)
    what = f"{title_of(first.test)}: {first.noun} is {range_text(first.change.now)}"
    before = first.change.before
    was = "" if before is None else f"; it was {range_text(before)} at epsilon {first.epsilon:g}"
    number = sure or len(lost)
    verb = ("is" if number == 1 else "are") if sure else "may be"
    scores = "1 score" if number == 1 else f"{number} scores"
    return f"{scores} {verb} worse than the baseline: {what}{was}."


def explanation(document: Document, gate: GateResult) -> str:
    """What the worst member or pair of a gate does, and what is demanded."""
    if gate.subject is None:
        return "it was not checked, because its test was skipped or its process ended early."
    change = f"of at most {gate.epsilon:g} per value"
    sure = assured_text(gate)
    sure = f" ({sure})" if sure else ""
    if gate.metric == "max_mutual_error":
        entry = next((e for p, e in document.pairs(gate).items() if "~".join(p) == gate.subject), None)
        names = gate.subject if entry is None else " and ".join(entry.pair)
        where = (
            f"a share of {score_text(gate)} of the test inputs"
            if entry is None
            else count_of(entry.sat, entry.unknown, entry.sat + entry.unsat + entry.unknown)
        )
        return f"near {where}, one and the same change {change} fools both {names}{sure}; {demand(gate)}."
    return (
        f"{gate.subject} has a uniqueness of {score_text(gate)}{sure} under changes {change} (1: it never "
        f"errs together with another member); {demand(gate)}."
    )


def count_of(sat: int, unknown: int, total: int) -> str:
    """Numbers of points as text."""
    some = f"{sat}" if not unknown else f"{sat} to {sat + unknown}"
    return f"{some} of {total} test inputs"


def demand(gate: GateResult) -> str:
    """What a gate asks for."""
    sure = "" if gate.confidence is None else f" at {percent(gate.confidence)} confidence"
    if gate.metric == "max_mutual_error":
        return f"at most {percent(gate.threshold)} are allowed{sure}"
    return f"at least {gate.threshold:g} is required{sure}"


def assured_text(gate: GateResult) -> str:
    """Where the score is for all inputs like the points; empty if the gate asks for these alone."""
    if gate.confidence is None or gate.bound is None:
        return ""
    bound = Interval(gate.bound, gate.bound)
    side = "at least" if gate.metric == "min_uniqueness" else "at most"
    return f"{side} {score_text(gate, bound)} at {percent(gate.confidence)} confidence"


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


def range_text(score: Interval) -> str:
    """A score that no threshold belongs to."""
    return str(score).replace(" .. ", " to ")
