"""Curves of mutual error over epsilon, small enough for a page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from pytest_ensemble.report.document import Document
from pytest_ensemble.report.entries import Curve, Ensemble, MutualError

__all__ = ["coarse", "curves_of", "steps"]


def curves_of(document: Document, ensemble: Ensemble, most: int) -> tuple[list[Curve], int]:
    """The curve of every pair of an ensemble, and how many of them are coarse.

    Args:
        most: steps of all together; of the pairs that err least, only what the scores say is kept.
    """
    scores: dict[tuple[str, str], list[MutualError]] = {}
    for entry in document.mutual_error:
        if entry.ensemble == ensemble.ensemble:
            scores.setdefault(entry.pair, []).append(entry)
    whole = {curve.pair: curve for curve in document.curves if curve.ensemble == ensemble.ensemble}
    worst = sorted(scores, key=lambda pair: (-max(entry.high for entry in scores[pair]), pair))
    found, left, missing = {}, most, 0
    for pair in worst:
        curve = whole.get(pair)
        size = len(steps(curve.witnessed, 1)) + len(steps(curve.proven, -1)) if curve is not None else 0
        if curve is not None and size <= left:
            found[pair], left = curve, left - size
        else:
            found[pair], missing = coarse(scores[pair]), missing + 1
    return [found[pair] for pair in scores], missing


def coarse(scores: Sequence[MutualError]) -> Curve:
    """What the scores of one pair say at every epsilon, because mutual errors are monotone in it."""
    ordered = sorted(scores, key=lambda entry: entry.epsilon)
    witnessed: list[float] = []
    proven: list[float] = []
    for entry in ordered:
        witnessed += [entry.epsilon] * int(entry.sat - len(witnessed))
    for entry in reversed(ordered):
        proven += [entry.epsilon] * int(entry.unsat - len(proven))
    first = ordered[0]
    points = int(first.sat + first.unsat + first.unknown)
    return Curve(first.ensemble, first.pair, points, tuple(witnessed), tuple(reversed(proven)))


def steps(values: Sequence[float], outward: int) -> list[tuple[float, int]]:
    """(value, how often), ascending, with six digits: rounded up for outward 1, down for -1.

    So a score that is read off is never better than what is known.
    """
    rounded = [_rounded(value, outward) for value in values]
    return [(value, len(list(group))) for value, group in itertools.groupby(rounded)]


def _rounded(value: float, outward: int) -> float:
    if value <= 0:
        return value
    unit = 10.0 ** (math.floor(math.log10(value)) - 5)
    near = float(f"{value:.6g}")
    worse = near < value if outward > 0 else near > value
    return float(f"{near + outward * unit:.6g}") if worse else near
