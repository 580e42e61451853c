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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.bounds import Rows, certify, optimise
from pytest_ensemble.engines.chains import Array, Frame, Index
from pytest_ensemble.engines.checkpoint import OutOfTime, checkpoint
from pytest_ensemble.engines.leaf import solve_leaf
from pytest_ensemble.engines.tightening import NEURONS, bound_deeper, tighten

__all__ = ["Attack", "BranchAndBound", "Offer"]

_ROOT_STEPS = 24
_STEPS = 7  # of the optimiser for a child
_BATCH = 384  # nodes branched at a time
_ROOT_NEURONS = 16  # of a layer that are tightened before branching
_ROUNDS = 1  # of tightening before branching
_TELL = 0.5  # seconds after which `branch` lets others read what is settled
_TIES = 3  # leaves that can't be decided, after which a search is given up: it can't end with a proof

Offer = Callable[[Index, Array], NDArray[np.bool_]]
Insist = Callable[[int, Array], NDArray[np.bool_]]
Attack = Callable[[Rows, Index, Array], NDArray[np.bool_]]


@dataclass
class _Nodes:
    """Open nodes: their rows, owners, the gaps of their neurons, and which row they started from."""

    rows: Rows
    owner: Index
    gap: Array
    root: Index

    def take(self, which: Any) -> _Nodes:
        return _Nodes(self.rows.take(which), self.owner[which], self.gap[which], self.root[which])

    def __len__(self) -> int:
        return len(self.owner)


class BranchAndBound:
    """A search for inputs that make all networks of a row err; rows belong to owners, usually queries.

    Attributes:
        sat: (O,), owners with a confirmed witness.
        boundary: (O,), owners with a leaf that could neither be proven nor refuted.
        cut: (O,), owners with nodes left when their limit was reached.
        nodes: (O,), how many were bounded.

    After `branch`, an owner with none of the first three is proven: it has no error.
    """

    def __init__(
        self,
        frame: Frame,
        owners: int,
        offer: Offer,
        *,
        insist: Insist | None = None,
        any_label: bool = True,
        record: bool = False,
    ) -> None:
        """Args:
        frame: the teams and boxes.
        owners: how many, O.
        offer: takes owners, shape (m,), and inputs, shape (m, n), that seem to make all networks err; tells
            which owners, shape (O,), are known to be sat after that.
        insist: the same for one owner and one input, shape (n,), that errs in real arithmetic by a hair.
        any_label: whether any wrong label is an error, or only a row's targets.
        record: whether to keep what closes nodes, for `proof`. Bounds of neurons then follow from the signs
            fixed in a node alone: a proof is its leaves, and nothing has to be believed of the way to them.
        """
        self._closed: list[tuple[Index, Rows, NDArray[np.int8]]] | None = [] if record else None
        self.insist = insist
        self.frame, self.offer, self.any_label = frame, offer, any_label
        self.sat, self.boundary, self.cut = (np.zeros(owners, np.bool_) for _ in range(3))
        self.nodes = np.zeros(owners, np.int64)
        self._stack: list[_Nodes] = []
        self._seconds = np.zeros(owners)
        self._ties = np.zeros(owners, np.int64)

    @property
    def open(self) -> NDArray[np.bool_]:
        """(O,), owners with nodes to branch on."""
        open_ = np.zeros(len(self.sat), np.bool_)
        for nodes in self._stack:
            open_[nodes.owner] = True
        return open_ & ~self._settled

    @property
    def _settled(self) -> NDArray[np.bool_]:
        """(O,), owners of whom nothing more is asked."""
        return self.sat | self.cut | (self._ties >= _TIES)

    @property
    def unsat(self) -> NDArray[np.bool_]:
        """(O,), owners all of whose nodes were closed with proof."""
        return ~(self.sat | self.boundary | self.cut | self.open)

    def proof(self) -> tuple[Rows, NDArray[np.int8]] | None:
        """The leaves of all owners that are unsat, and the signs that branching has fixed in them, (B, N)."""
        unsat = self.unsat
        kept = [
            (rows.take(own), branch[own])
            for owner, rows, branch in self._closed or []
            if (own := unsat[owner]).any()
        ]
        if not kept:
            return None
        rows, branches = zip(*kept, strict=True)
        return Rows.concatenate(list(rows)), np.concatenate(branches)

    def _record(self, owner: Index, rows: Rows, branch: NDArray[np.int8]) -> None:
        if self._closed is not None and len(rows):
            self._closed.append((owner, rows, branch))

    def start(self, rows: Rows, owner: Index, attack: Attack | None = None) -> None:
        """Bound the roots, try their x*, and tighten what stays open.

        Args:
            rows: float32 rows sorted by team, one per choice of target classes; changed in place.
            owner: (B,), whose row it is.
            attack: tries harder for witnesses, from rows, owners and x*, shape (B, n); tells which owners,
                (O,), are known to be sat after that.
        """
        self._roots = rows.take(np.arange(len(rows))) if self._closed is not None else rows
        nodes = _Nodes(rows, owner, np.zeros_like(rows.lower), np.arange(len(rows)))
        nodes = self._bound(nodes, steps=_ROOT_STEPS, look=5, attack=attack)
        for _ in range(_ROUNDS):
            nodes = self._bound(self._tightened(nodes, neurons=_ROOT_NEURONS), steps=10, look=5)
        self._stack.append(nodes)

    def branch(
        self,
        *,
        limit: int | None = None,
        timeout: float | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[None]:
        """Branch until every owner is settled or cut; yields now and then, and at the end.

        Args:
            limit, timeout: nodes and seconds an owner may take; a batch's time is shared by its nodes.
            stop: asked between batches; all that is open is cut when it says yes, or at a checkpoint.
        """
        told = time.perf_counter()
        while self._stack:
            start = time.perf_counter()
            if start - told > _TELL:
                yield
                told = time.perf_counter()
                start = told
            nodes = self._pop()
            if not len(nodes):
                continue
            share = np.bincount(nodes.owner, minlength=len(self.sat)) / len(nodes)
            try:
                if stop():
                    raise OutOfTime
                self._expand(nodes)
            except OutOfTime:
                for part in (nodes, *self._stack):
                    self.cut[part.owner] = True
                self._stack.clear()
                break
            self._seconds += share * (time.perf_counter() - start)
            if limit is not None:
                self.cut |= self.nodes > limit
            if timeout is not None:
                self.cut |= self._seconds > timeout
        self.cut &= ~self.sat
        self.boundary &= ~self.sat
        yield

    def _pop(self) -> _Nodes:
        """A batch from the top of the stack, sorted by team, without nodes of owners that are settled."""
        parts: list[_Nodes] = []
        while self._stack and sum(map(len, parts)) < _BATCH:
            part = self._stack.pop()
            parts.insert(0, part.take(~self._settled[part.owner]))
        nodes = _join(parts)
        if len(nodes) > _BATCH:
            self._stack.append(nodes.take(slice(0, -_BATCH)))
            nodes = nodes.take(slice(-_BATCH, None))
        return nodes.take(np.argsort(nodes.rows.team, kind="stable"))

    def _expand(self, nodes: _Nodes) -> None:
        """Put the open children of nodes on the stack; settle leaves."""
        if self._closed is None:
            nodes = self._tightened(nodes)
        pick = self._choose(nodes)
        leaf = pick < 0
        self._settle_leaves(nodes.take(leaf))
        nodes, pick = nodes.take(~leaf), pick[~leaf]
        if len(nodes):
            children = _branch(nodes, pick)
            if self._closed is not None:
                children = self._tightened(children)
            children = self._bound(children, steps=_STEPS, look=_STEPS + 1)
            # depth first, the least promising child deepest: sat ends early, memory stays small
            self._stack.append(children.take(np.argsort(children.rows.value)))

    def _bound(self, nodes: _Nodes, *, steps: int, look: int, attack: Attack | None = None) -> _Nodes:
        """Bound nodes, offer what errs, and keep the nodes that stay open."""
        if not len(nodes):
            return nodes
        frame = self.frame
        self.nodes += np.bincount(nodes.owner, minlength=len(self.nodes))
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
        if len(peaks.erring):
            self.sat |= self.offer(nodes.owner[peaks.erring], peaks.x)
        negative = np.flatnonzero(nodes.rows.value < 0)
        proven = certify(frame.exact, frame.exact_boxes, nodes.rows.take(negative))
        closed = nodes.take(negative[proven])
        self._record(closed.owner, closed.rows, closed.rows.side)
        keep = ~self.sat[nodes.owner]
        keep[negative[proven]] = False
        nodes = nodes.take(keep)
        if attack is not None and len(nodes):
            self.sat |= attack(nodes.rows, nodes.owner, peaks.last[keep])
            nodes = nodes.take(~self.sat[nodes.owner])
        return nodes

    def _tightened(self, nodes: _Nodes, neurons: int = NEURONS) -> _Nodes:
        """The nodes with tighter neurons, their values to be computed anew; without those proven empty."""
        if not len(nodes):
            return nodes
        rows = nodes.rows
        if self._closed is None:
            empty = tighten(self.frame, rows, neurons=neurons)
        else:
            lower, upper = self._roots.lower[nodes.root], self._roots.upper[nodes.root]
            rows.lower = np.where(rows.side > 0, np.maximum(lower, 0), lower)
            rows.upper = np.where(rows.side < 0, np.minimum(upper, 0), upper)
            empty = bound_deeper(self.frame, rows)
            nothing = nodes.take(empty)
            self._record(nothing.owner, nothing.rows, nothing.rows.side)
        rows.value[:] = np.inf
        return nodes.take(~empty)

    def _choose(self, nodes: _Nodes) -> Index:
        """The ReLU to branch on, shape (B,); -1 where none is unstable."""
        rows = nodes.rows
        unstable = self.frame.fast.relu[rows.team] & (rows.lower < 0) & (rows.upper > 0)
        # x* may lie outside of a neuron's tightened bounds: there its gap can be negative
        gap = np.maximum(nodes.gap, 0) + 1e-6 * np.minimum(-rows.lower, rows.upper)
        score = np.where(unstable, gap, -1)
        return np.where(unstable.any(axis=1), score.argmax(axis=1), -1)

    def _settle_leaves(self, leaves: _Nodes) -> None:
        """Nodes in which all networks are affine: by more steps, else by linear programs."""
        leaves = self._bound(leaves, steps=40, look=10)
        for row in range(len(leaves)):
            owner = leaves.owner[[row]]
            if self._settled[owner[0]]:
                continue
            checkpoint()
            x, multipliers = solve_leaf(self.frame, leaves.rows.take([row]))
            if x is not None:
                self.sat |= self.offer(owner, x[None].astype(np.float32))
                if self.insist is not None and not self.sat[owner[0]]:
                    self.sat |= self.insist(int(owner[0]), x)
            if multipliers is None or not certify(self.frame.exact, self.frame.exact_boxes, multipliers)[0]:
                self.boundary[owner] = True
                self._ties[owner] += 1
            else:
                self._record(owner, multipliers, leaves.rows.side[[row]])


def _join(parts: list[_Nodes]) -> _Nodes:
    return _Nodes(
        Rows.concatenate([part.rows for part in parts]),
        np.concatenate([part.owner for part in parts]),
        np.concatenate([part.gap for part in parts]),
        np.concatenate([part.root for part in parts]),
    )


def _branch(nodes: _Nodes, pick: Index) -> _Nodes:
    """Both children of each node, side by side: z_pick >= 0, then z_pick <= 0."""
    children = nodes.take(np.repeat(np.arange(len(nodes)), 2))
    rows = children.rows
    active = np.arange(0, len(rows), 2), pick
    inactive = np.arange(1, len(rows), 2), pick
    rows.side[active], rows.side[inactive] = 1, -1
    rows.lower[active], rows.upper[inactive] = 0, 0
    return children
