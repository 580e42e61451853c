"""What a failing test says of scores that are worse than their baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from pytest_ensemble.analysis.baseline import WORST, Move
from pytest_ensemble.errors import printable
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.ratchet import Comparison
from pytest_ensemble.report.terminal import Block, fact
from pytest_ensemble.report.words import losses

__all__ = ["loss_line", "lost_block", "worst_losses"]

MOST_ROWS = 15


def lost_block(lost: Sequence[Comparison], title: str, rerun: str = "") -> Block:
    """What got worse, or may have: a headline that can stand alone, then all of it.

    Args:
        lost: at least one, of one test.
        title: what the test is about.
        rerun: command that runs this test again; empty where another block names it.
    """
    ordered = sorted(lost, key=_rank)
    first, more = ordered[0], len(ordered) - 1
    what = f"{first.noun} {first.change.now}"
    if first.move == Move.WORSE:
        said = f"{what} is worse than its baseline {first.change.before}"
    else:
        said = f"inconclusive: {what} may be worse than its baseline {first.change.before}"
    headline = f"{title}: {said} at epsilon {first.epsilon:g}" + (f" (+{more} more)" if more else "")
    rows = [
        [one.noun, str(one.change.now), str(one.change.before), f"{one.epsilon:g}", one.move]
        for one in ordered[:MOST_ROWS]
    ]
    accept = 'add --ensemble-baseline-accept="REASON"; the baseline keeps the reason'
    return Block(
        headline=printable(headline),
        verdict="fail" if first.move == Move.WORSE else "inconclusive",
        table=[["score", "now", "baseline", "epsilon", "verdict"], *rows],
        notes=[f"... and {len(ordered) - MOST_ROWS} more"] if len(ordered) > MOST_ROWS else [],
        facts=[fact("to accept them", [accept]), *([fact("rerun", [rerun])] if rerun else [])],
    )


def worst_losses(document: Document) -> Iterator[tuple[Comparison, int]]:
    """Of each test with losses that nobody accepted the worst, and how many more there are."""
    for _, found in groupby(sorted(losses(document), key=_test), key=_test):
        first, *others = sorted(found, key=_rank)
        yield first, len(others)


def loss_line(worst: Comparison, more: int) -> str:
    """A line for the session's summary, like those of gates."""
    now, before = worst.change.now, worst.change.before
    word, verb = ("FAIL", "is") if worst.move == Move.WORSE else ("inconclusive", "may be")
    what = f"{worst.noun} at epsilon {worst.epsilon:g}: {now} {verb} worse than its baseline {before}"
    return printable(f"{word:<12}  {worst.test}  {what}{f' (+{more} more)' if more else ''}")


def _test(one: Comparison) -> str:
    return one.test


def _rank(one: Comparison) -> tuple[bool, bool, float]:
    """Sure losses first, names before the worst of all, the largest loss first."""
    change = one.change
    before = one.change.now if change.before is None else change.before
    loss = abs(change.place.worst(change.now) - change.place.worst(before))
    return one.move != Move.WORSE, one.subject == WORST, -loss
