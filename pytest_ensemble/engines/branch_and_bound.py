"""Branch and bound on ReLUs, over the nodes of many queries in one batch.

A node is a row of `bounds.Rows`. It is closed when its bound, certified in float64, is negative. Otherwise
its neurons' bounds are tightened by the cut that the bound itself gives, and it is branched on the ReLU whose
relaxation adds most to the bound at the maximising vertex x* (the score of Bunel et al. 2020, "BaBSR", with
the value at x* for the estimate over the box). Both children start from their parent's multipliers. Each x*
is tried as a witness. A node without unstable ReLUs is a linear program, solved by HiGHS, whose multipliers
must certify in turn. A branch fixes one ReLU, so the search ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.bounds import Rows, certify, linearise, optimise
from pytest_ensemble.engines.chains import Array, Frame
from pytest_ensemble.engines.leaf import solve_leaf
from pytest_ensemble.engines.tightening import tighten

__all__ = ["Search", "branch_and_bound"]

_ROOT_STEPS = 30
_STEPS = 7  # of the optimiser for a child
_BATCH = 384  # nodes branched at a time
_ROUNDS = 3  # of tightening before branching

Offer = Callable[[NDArray[np.intp], Array], NDArray[np.bool_]]
Attack = Callable[[Rows, NDArray[np.intp], Array], NDArray[np.intp]]
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

    @staticmethod
    def open(owners: int) -> Search:
        """Nothing is known yet."""
        sat, boundary, cut = (np.zeros(owners, np.bool_) for _ in range(3))
        return Search(sat, boundary, cut, np.zeros(owners, np.int64))

    @property
    def unsat(self) -> NDArray[np.bool_]:
        """Owners all of whose nodes were closed with proof."""
        return ~(self.sat | self.boundary | self.cut)


@dataclass
class _Nodes:
    rows: Rows
    owner: NDArray[np.intp]
    gap: Array

    def take(self, which: Any) -> _Nodes:
        return _Nodes(self.rows.take(which), self.owner[which], self.gap[which])

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
    attack: Attack | None = None,
    any_label: bool = True,
    limit: int | None = None,
    timeout: float | None = None,
    stop: Stop = lambda: False,
) -> Search:
    """Settle whether the rows of each owner hold an input that makes all networks err.

    Args:
        frame: the networks and boxes.
        rows: float32 rows, one per choice of target classes, before branching; changed in place.
        owner: (B,), whose row it is, 0..owners-1: usually a query.
        offer: takes owners, shape (m,), and inputs, shape (m, n), that seem to make all networks err;
            tells which owners are settled as sat.
        attack: tries harder for witnesses before branching, from rows, owners and x*, shape (B, n); offers
            what it finds.
        any_label: whether any wrong label is an error, or only a row's targets.
        limit, timeout: nodes and seconds an owner may take, None for no limit. A batch's time is shared by
            its nodes.
        stop: asked between batches; all that is open is cut when it says yes.
    """
    result = Search.open(owners)
    tree = _Tree(frame, result, offer, any_label)
    nodes = _Nodes(rows, owner, np.zeros_like(rows.lower))
    nodes = tree.bound(nodes, steps=_ROOT_STEPS, look=5, attack=attack)
    for _ in range(_ROUNDS):
        nodes = tree.bound(tree.tightened(nodes), steps=10, look=5)
    stack = [nodes]
    seconds = np.zeros(owners)
    while stack:
        start = time.perf_counter()
        nodes = _pop(stack, result)
        if not len(nodes):
            continue
        if stop():
            for part in (nodes, *stack):
                result.cut[part.owner] = True
            break
        nodes = tree.tightened(nodes)
        pick = tree.choose(nodes)
        leaf = pick < 0
        tree.settle_leaves(nodes.take(leaf))
        nodes, pick = nodes.take(~leaf), pick[~leaf]
        if not len(nodes):
            continue
        children = tree.bound(_branch(nodes, pick), steps=_STEPS, look=_STEPS + 1)
        share = np.bincount(nodes.owner, minlength=owners) / len(nodes)
        seconds += share * (time.perf_counter() - start)
        if limit is not None:
            result.cut |= result.nodes > limit
        if timeout is not None:
            result.cut |= seconds > timeout
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


def _branch(nodes: _Nodes, pick: NDArray[np.intp]) -> _Nodes:
    """Both children of each node: z_pick >= 0, then z_pick <= 0."""
    rows = Rows.concatenate([nodes.rows, nodes.rows])
    active = np.arange(len(pick)), pick
    inactive = np.arange(len(pick), 2 * len(pick)), pick
    rows.side[active], rows.side[inactive] = 1, -1
    rows.lower[active], rows.upper[inactive] = 0, 0
    return _Nodes(rows, np.concatenate([nodes.owner, nodes.owner]), np.concatenate([nodes.gap, nodes.gap]))


@dataclass
class _Tree:
    """What the steps of one search share."""

    frame: Frame
    result: Search
    offer: Offer
    any_label: bool

    def bound(self, nodes: _Nodes, *, steps: int, look: int, attack: Attack | None = None) -> _Nodes:
        """Bound nodes, offer what errs, and keep the nodes that stay open."""
        if not len(nodes):
            return nodes
        frame, result = self.frame, self.result
        result.nodes += np.bincount(nodes.owner, minlength=len(result.nodes))
        peaks = optimise(
            frame.fast,
            frame.fast_boxes,
            nodes.rows,
            steps=steps,
            look=look,
            any_label=self.any_label,
            keep_last=attack is not None,
        )
        nodes.gap = peaks.gap
        self._offer(nodes.owner[peaks.erring], peaks.x)
        negative = np.flatnonzero(nodes.rows.value < 0)
        proven = certify(frame.exact, frame.exact_boxes, nodes.rows.take(negative))
        keep = ~result.sat[nodes.owner]
        keep[negative[proven]] = False
        nodes = nodes.take(keep)
        if attack is not None and len(nodes):
            result.sat[attack(nodes.rows, nodes.owner, peaks.last[keep])] = True
            nodes = nodes.take(~result.sat[nodes.owner])
        return nodes

    def _offer(self, owner: NDArray[np.intp], x: Array) -> None:
        if len(owner):
            self.result.sat[owner[self.offer(owner, x)]] = True

    def tightened(self, nodes: _Nodes) -> _Nodes:
        """The nodes with tighter neurons, their values to be computed anew; without those proven empty."""
        if not len(nodes):
            return nodes
        fast, boxes = self.frame.fast, self.frame.fast_boxes
        empty = tighten(fast, boxes, nodes.rows, linearise(fast, nodes.rows))
        nodes.rows.value[:] = np.inf
        return nodes.take(~empty)

    def choose(self, nodes: _Nodes) -> NDArray[np.intp]:
        """The ReLU to branch on, shape (B,); -1 where none is unstable."""
        rows = nodes.rows
        unstable = self.frame.fast.relu & (rows.lower < 0) & (rows.upper > 0)
        # x* may lie outside of a neuron's tightened bounds: there its gap can be negative
        gap = np.maximum(nodes.gap, 0) + 1e-6 * np.minimum(-rows.lower, rows.upper)
        score = np.where(unstable, gap, -1)
        return np.where(unstable.any(axis=1), score.argmax(axis=1), -1)

    def settle_leaves(self, leaves: _Nodes) -> None:
        """Nodes in which all networks are affine: by more steps, else by linear programs."""
        leaves = self.bound(leaves, steps=40, look=10)
        for row in range(len(leaves)):
            owner = leaves.owner[[row]]
            if self.result.sat[owner[0]]:
                continue
            x, multipliers = solve_leaf(self.frame, leaves.rows.take([row]))
            if x is not None:
                self._offer(owner, x[None].astype(np.float32))
            if multipliers is None or not certify(self.frame.exact, self.frame.exact_boxes, multipliers)[0]:
                self.result.boundary[owner] = True
