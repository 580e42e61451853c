"""Branch and bound on ReLUs, over the nodes of many queries in one batch.

A node is a row of `bounds.Rows`. It is closed when its bound, certified in float64, is negative. Otherwise its
neurons' bounds are tightened by the cut that the bound itself gives, and it is branched on the ReLU whose
relaxation adds most to the bound at the maximising vertex x* (the score of Bunel et al. 2020, "BaBSR",
with the value at x* for the estimate over the box). Both children start from their parent's multipliers. Each x* is
tried as a witness. A node without unstable ReLUs is a linear program, solved by HiGHS, whose multipliers must
certify in turn. A branch fixes one ReLU, so the search ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.bounds import Peaks, Rows, certify, linearise, optimise
from pytest_ensemble.engines.chains import Array, Frame
from pytest_ensemble.engines.leaf import solve_leaf
from pytest_ensemble.engines.tightening import tighten

__all__ = ["Search", "branch_and_bound"]

_STEPS = 7  # of the optimiser for a child
_BATCH = 384  # nodes branched at a time
_ROUNDS = 3  # of tightening before branching

Offer = Callable[[NDArray[np.intp], Array], NDArray[np.bool_]]
Stop = Callable[[], bool]


@dataclass
class Search:
    """What became of each owner of nodes, shape (O,).

    Attributes:
        sat: a witness was found and confirmed.
        boundary: a leaf could neither be proven nor refuted; matters if nothing is sat.
        cut: nodes were left when the limit was reached.
        nodes: how many were bounded.

    An owner with none of the first three is proven: it has no error.
    """

    sat: NDArray[np.bool_]
    boundary: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    nodes: NDArray[np.int64] = field(repr=False)

    @property
    def unsat(self) -> NDArray[np.bool_]:
        """Owners all of whose nodes were closed with proof."""
        return ~(self.sat | self.boundary | self.cut)


@dataclass
class _Nodes:
    rows: Rows
    owner: NDArray[np.intp]
    gap: Array

    def take(self, which: object) -> _Nodes:
        return _Nodes(self.rows.take(which), self.owner[which], self.gap[which])  # type: ignore[index]

    def __len__(self) -> int:
        return len(self.owner)


def _join(parts: list[_Nodes]) -> _Nodes:
    return _Nodes(
        Rows.concatenate([part.rows for part in parts]),
        np.concatenate([part.owner for part in parts]),
        np.concatenate([part.gap for part in parts]),
    )


def branch_and_bound(
    frame: Frame,
    rows: Rows,
    owner: NDArray[np.intp],
    owners: int,
    *,
    offer: Offer,
    limit: int | None = None,
    stop: Stop = lambda: False,
) -> Search:
    """Settle whether the rows of each owner hold an input that makes all networks err.

    Args:
        frame: the networks and boxes.
        rows: float32 rows, one per choice of target classes, before branching; changed in place.
        owner: (B,), whose row it is, 0..owners-1: usually a query.
        offer: takes owners, shape (m,), and inputs, shape (m, n), that seem to make all networks err;
            tells which owners are settled as sat.
        limit: nodes an owner may take, None for no limit.
        stop: asked between batches; all that is open is cut when it says yes.
    """
    result = Search(*(np.zeros(owners, np.bool_) for _ in range(3)), np.zeros(owners, np.int64))
    nodes = _Nodes(rows, owner, np.zeros_like(rows.lower))
    nodes = _bound(frame, nodes, result, offer, steps=30, look=5)
    for _ in range(_ROUNDS):
        nodes = _tightened(frame, nodes)
        nodes = _bound(frame, nodes, result, offer, steps=10, look=5)
    stack = [nodes]
    while stack:
        nodes = _pop(stack, result)
        if not len(nodes):
            continue
        if stop():
            for part in (nodes, *stack):
                result.cut[part.owner] = True
            break
        nodes = _tightened(frame, nodes)
        pick = _choose(frame, nodes)
        leaf = pick < 0
        for row in np.flatnonzero(leaf):
            _settle_leaf(frame, nodes, row, result, offer)
        nodes, pick = nodes.take(~leaf), pick[~leaf]
        if not len(nodes):
            continue
        children = _branch(nodes, pick)
        children = _bound(frame, children, result, offer, steps=_STEPS, look=_STEPS + 1)
        if limit is not None:
            result.cut |= (result.nodes > limit) & ~result.sat
        # depth first, the least promising child deepest in the stack: sat ends early, memory stays small
        stack.append(children.take(np.argsort(children.rows.value)))
    result.cut &= ~result.sat
    result.boundary &= ~result.sat
    return result


def _pop(stack: list[_Nodes], result: Search) -> _Nodes:
    """A batch from the top of the stack, without the nodes of owners that are settled."""
    parts: list[_Nodes] = []
    while stack and sum(map(len, parts)) < _BATCH:
        part = stack.pop()
        parts.insert(0, part.take(~(result.sat | result.cut)[part.owner]))
    nodes = _join(parts)
    if len(nodes) > _BATCH:
        stack.append(nodes.take(slice(0, -_BATCH)))
        nodes = nodes.take(slice(-_BATCH, None))
    return nodes


def _bound(
    frame: Frame, nodes: _Nodes, result: Search, offer: Offer, *, steps: int, look: int
) -> _Nodes:
    """Bound nodes, offer what errs, and keep the nodes that stay open."""
    if not len(nodes):
        return nodes
    result.nodes += np.bincount(nodes.owner, minlength=len(result.nodes))
    peaks = optimise(frame.fast, frame.fast_boxes, nodes.rows, steps=steps, look=look)
    _offer(peaks, nodes, result, offer)
    nodes.gap = peaks.gap
    negative = np.flatnonzero(nodes.rows.value < 0)
    proven = certify(frame.exact, frame.exact_boxes, nodes.rows.take(negative))
    open_ = ~result.sat[nodes.owner]
    open_[negative[proven]] = False
    return nodes.take(open_)


def _offer(peaks: Peaks, nodes: _Nodes, result: Search, offer: Offer) -> None:
    if len(peaks.erring):
        owners = nodes.owner[peaks.erring]
        result.sat[owners[offer(owners, peaks.x)]] = True


def _tightened(frame: Frame, nodes: _Nodes) -> _Nodes:
    if not len(nodes):
        return nodes
    linear = linearise(frame.fast, nodes.rows)
    empty = tighten(frame.fast, frame.fast_boxes, nodes.rows, linear)
    nodes.rows.value[:] = np.inf
    return nodes.take(~empty)


def _choose(frame: Frame, nodes: _Nodes) -> NDArray[np.intp]:
    """The ReLU to branch on, shape (B,); -1 where none is unstable."""
    rows = nodes.rows
    unstable = frame.fast.relu & (rows.lower < 0) & (rows.upper > 0)
    score = np.where(unstable, nodes.gap + 1e-6 * np.minimum(-rows.lower, rows.upper), -1)
    pick = score.argmax(axis=1)
    return np.where(unstable.any(axis=1), pick, -1)


def _branch(nodes: _Nodes, pick: NDArray[np.intp]) -> _Nodes:
    """Both children of each node: z_pick >= 0, then z_pick <= 0."""
    rows = Rows.concatenate([nodes.rows, nodes.rows])
    active = np.arange(len(pick)), pick
    inactive = np.arange(len(pick), 2 * len(pick)), pick
    rows.side[active], rows.side[inactive] = 1, -1
    rows.lower[active], rows.upper[inactive] = 0, 0
    return _Nodes(
        rows, np.concatenate([nodes.owner, nodes.owner]), np.concatenate([nodes.gap, nodes.gap])
    )


def _settle_leaf(frame: Frame, nodes: _Nodes, row: int, result: Search, offer: Offer) -> None:
    """A node in which all networks are affine: by more steps, else by a linear program."""
    owner = nodes.owner[[row]]
    if result.sat[owner[0]]:
        return
    leaf = nodes.take([row])
    leaf.rows.value[:] = np.inf
    if not len(_bound(frame, leaf, result, offer, steps=40, look=10)):
        return
    x, multipliers = solve_leaf(frame, leaf.rows)
    if x is not None and offer(owner, x[None])[0]:
        result.sat[owner] = True
    elif multipliers is None or not certify(frame.exact, frame.exact_boxes, multipliers)[0]:
        result.boundary[owner] = True
