"""Make a witness easy to look at: nearer to its point, with fewer inputs changed, while it replays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.errors import QueryError
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import margins, replays

__all__ = ["shrink"]

_RADII = 16  # tried in one run, 4 times: the distance is right to 16 ** -4 of itself
_ROUNDS = 4
_PASSES = 8  # over the inputs that are changed, 3 runs each
_BATCH = 256  # inputs of one run, at most


def shrink(query: Query, witness: NDArray[np.float32]) -> NDArray[np.float32]:
    """A witness that is no farther, and differs from the point in no more inputs, than the given one.

    First its differences are cut to the smallest radius at which it still replays, then inputs are set back
    to the point's own values, those first that matter least. Each model's file is run at most 32 times.

    Args:
        query: what it is a witness of.
        witness: float32, of as many numbers as the point.

    Returns:
        float32 of shape (n,).

    Raises:
        QueryError: the witness does not replay.
    """
    best = np.asarray(witness, np.float32).reshape(-1)
    if best.shape != query.ball.center.shape or not replays(query, best[None])[0]:
        raise QueryError("Only a witness that replays can be made smaller.")
    return _fewer(query, _nearer(query, best))


def _nearer(query: Query, best: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut all differences to the smallest radius that is found."""
    ball, low = query.ball, 0.0
    for _ in range(_ROUNDS):
        high = float(ball.distance(best)[0])
        radii = np.linspace(low, high, _RADII, endpoint=False)
        cut = np.stack([Ball(ball.center, float(r), ball.bounds).project(best[None])[0] for r in radii])
        good = np.flatnonzero(replays(query, cut))
        if len(good):
            best = cut[good[0]]
        below = good[0] - 1 if len(good) else _RADII - 1
        low = float(radii[max(below, 0)])
    return best


def _fewer(query: Query, best: NDArray[np.float32]) -> NDArray[np.float32]:
    """Set inputs back, as many at a time as replay allows."""
    center = query.ball.center
    for _ in range(_PASSES):
        changed = np.flatnonzero(best != center)
        groups = np.array_split(changed, min(len(changed), _BATCH)) if len(changed) else []
        if not groups:
            return best
        alone = np.repeat(best[None], len(groups), axis=0)
        for row, group in zip(alone, groups, strict=True):
            row[group] = center[group]
        left = np.min([margins(model, alone, query.label) for model in query.models], axis=0)
        order = np.argsort(-left, kind="stable")
        # so many of them at once, on a grid first and then between its last good step and the next
        low, high = 0, len(groups)
        while high > low:
            counts = np.unique(np.linspace(low, high, 17).astype(int))[1:]
            together = np.repeat(best[None], len(counts), axis=0)
            for row, count in zip(together, counts, strict=True):
                for k in order[:count]:
                    row[groups[k]] = center[groups[k]]
            good = np.flatnonzero(replays(query, together))
            if not len(good):
                high = int(counts[0]) - 1
                continue
            last = int(good[-1])
            found, low = together[last], int(counts[last])
            high = int(counts[last + 1]) - 1 if last + 1 < len(counts) else low
        if not low:
            return best
        best = found
    return best
