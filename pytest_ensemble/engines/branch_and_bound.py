"""Branch and bound on ReLUs, over the nodes of many queries in one batch.

A node is a row of `bounds.Rows`. It is closed when its bound, certified in float64, is negative. Otherwise
its neurons' bounds are tightened by the cut that the bound itself gives, and it is branched on the ReLU whose
relaxation adds most to the bound at the maximising vertex x* (the score of Bunel et al. 2020, "BaBSR", with
the value at x* for the estimate over the box). Both children start from their parent's multipliers. Each x*
is tried as a witness. A node without unstable ReLUs is a linear program, solved by HiGHS, whose multipliers
must certify in turn. A branch fixes one ReLU, so the search ends.

Whoever drives the search says before each batch which queries are to be served first, so that no hard query
holds back the others. A query's own nodes are taken depth first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.bounds import Rows, certify, optimise
from pytest_ensemble.engines.chains import Array, Frame, Index
from pytest_ensemble.engines.checkpoint import checkpoint
from pytest_ensemble.engines.leaf import solve_leaf
from pytest_ensemble.engines.nodes import AGE, OWNER, Nodes, Table
from pytest_ensemble.engines.tightening import NEURONS, bound_deeper, tighten

__all__ = ["Attack", "BranchAndBound", "Offer"]

_ROOT_STEPS = 24
_STEPS = 7  # of the optimiser for a child
_BATCH = 384  # nodes branched at a time,
_NUMBERS = 1 << 19  # and neurons of theirs, so that a batch takes a fraction of a second at most
_LEAST = 24  # nodes of a batch even so
_ROOT_NEURONS = 16  # of a layer that are tightened before branching
_ROUNDS = 1  # of tightening before branching
_MEMORY = 1 << 28  # bytes of open nodes; beyond that the searches that will be served last begin anew
_TIES = 3  # leaves that can't be decided, after which a search is given up: it can't end with a proof

Offer = Callable[[Index, Array], NDArray[np.bool_]]
Insist = Callable[[int, Array], NDArray[np.bool_]]
Attack = Callable[[Rows, Index, Array], NDArray[np.bool_]]


class BranchAndBound:
    """A search for inputs that make all networks of a row err; rows belong to owners, usually queries.

    Attributes:
        started: (O,), owners whose roots were bounded.
        sat: (O,), owners with a confirmed witness.
        boundary: (O,), owners with a leaf that could neither be proven nor refuted.
        nodes: (O,), how many were bounded.
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
        refuted: Callable[[Rows], NDArray[np.bool_]] | None = None,
        memory: int = _MEMORY,
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
        refuted: tells of rows, shape (B,), which ask for what is known to be impossible by now.
        memory: bytes that open nodes may take.
        """
        self._closed: list[tuple[Index, Index, Rows, NDArray[np.int8]]] | None = [] if record else None
        self.insist = insist
        self.frame, self.offer, self.any_label = frame, offer, any_label
        self.started, self.sat, self.boundary = (np.zeros(owners, np.bool_) for _ in range(3))
        self.nodes = np.zeros(owners, np.int64)
        self._refuted, self._memory = refuted, memory
        self._open, self._roots = Table(), Table()
        self._ties = np.zeros(owners, np.int64)
        self._attempt = np.zeros(owners, np.intp)  # how often an owner was started
        self._age = 0

    @property
    def waiting(self) -> NDArray[np.bool_]:
        """(O,), owners with nodes to branch on."""
        waiting = np.zeros(len(self.sat), np.bool_)
        waiting[self._owners()[1]] = True
        return waiting & ~self._settled

    @property
    def unsat(self) -> NDArray[np.bool_]:
        """(O,), owners all of whose nodes were closed with proof."""
        left = np.zeros(len(self.sat), np.bool_)
        left[self._owners()[1]] = True
        return self.started & ~(self.sat | self.boundary | left)

    @property
    def undecidable(self) -> NDArray[np.bool_]:
        """(O,), owners whose search has ended, or can only end, without an answer."""
        return self.boundary & ~self.sat & ~self.waiting

    @property
    def _settled(self) -> NDArray[np.bool_]:
        """(O,), owners of whom nothing more is asked."""
        return self.sat | (self._ties >= _TIES)

    def _owners(self) -> tuple[Index, Index]:
        """Places of all open nodes, and their owners."""
        places = np.flatnonzero(self._open.used)
        return places, self._open.column(OWNER)[places] if len(places) else places

    def proof(self) -> tuple[Rows, NDArray[np.int8]] | None:
        """The leaves of all owners that are unsat, and the signs that branching has fixed in them, (B, N)."""
        unsat = self.unsat
        kept = [
            (rows.take(own), branch[own])
            for owner, attempt, rows, branch in self._closed or []
            if (own := unsat[owner] & (attempt == self._attempt[owner])).any()
        ]
        if not kept:
            return None
        rows, branches = zip(*kept, strict=True)
        return Rows.concatenate(list(rows)), np.concatenate(branches)

    def _record(self, owner: Index, rows: Rows, branch: NDArray[np.int8]) -> None:
        if self._closed is not None and len(rows):
            self._closed.append((owner, self._attempt[owner], rows, branch))

    @property
    def batch(self) -> int:
        """How many nodes are branched at a time."""
        return min(_BATCH, max(_LEAST, _NUMBERS // self.frame.fast.neurons))

    def start(self, rows: Rows, owner: Index, attack: Attack | None = None) -> None:
        """Bound the roots of some owners, try their x*, and tighten what stays open.

        Args:
            rows: float32 rows sorted by team, one per choice of target classes; changed in place.
            owner: (B,), whose row it is. All rows of an owner come at once.
            attack: tries harder for witnesses, from rows, owners and x*, shape (B, n); tells which owners,
                (O,), are known to be sat after that.
        """
        owners = np.unique(owner)
        self._attempt[owners] += 1
        root = np.arange(len(rows))
        if self._closed is not None:
            root = self._roots.add([rows.lower, rows.upper])
        nodes = Nodes(rows, owner, np.zeros_like(rows.lower), root, np.zeros(len(rows), np.intp))
        nodes = self._bound(nodes, steps=_ROOT_STEPS, look=5, attack=attack)
        for _ in range(_ROUNDS):
            nodes = self._bound(self._tightened(nodes, neurons=_ROOT_NEURONS), steps=10, look=5)
        self._keep(nodes)
        self.started[owners] = True

    def choose(self, rank: Index) -> tuple[Index, Index]:
        """Places of the nodes to branch on next, and their owners: a batch.

        Args:
            rank: (O,), owners in the order in which they are served, from 0; those below 0 are not. Of each
                the youngest nodes come first.
        """
        places, owner = self._owners()
        dead = self._settled[owner]
        if dead.any():
            self._open.remove(places[dead])
            places, owner = places[~dead], owner[~dead]
        served = rank[owner] >= 0
        places, owner = places[served], owner[served]
        if len(places) > self.batch:
            key = (rank[owner] << 40) - self._open.column(AGE)[places]
            first = np.argpartition(key, self.batch)[: self.batch]
            places, owner = places[first], owner[first]
        return places, owner

    def branch(self, places: Index, rank: Index) -> None:
        """Branch on nodes at places that `choose` gave for the same ranks."""
        nodes = Nodes.of(self._open[places])
        order = np.argsort(nodes.rows.team, kind="stable")
        nodes = nodes.take(order)
        if self._refuted is not None:
            nodes = nodes.take(~self._refuted(nodes.rows))
        recorded, boundary, ties = len(self._closed or ()), self.boundary.copy(), self._ties.copy()
        try:
            children = self._expand(nodes) if len(nodes) else nodes
            self._keep(children)
        except BaseException:  # what is interrupted is still open
            del (self._closed or [])[recorded:]
            self.boundary, self._ties = boundary, ties
            raise
        self._open.remove(places)
        self._make_room(rank)

    def forget(self, owners: NDArray[np.bool_]) -> None:
        """Drop the open nodes of some owners, (O,): nothing more is asked of them, or they begin anew."""
        places, owner = self._owners()
        self._open.remove(places[owners[owner]])
        self.started[owners] = self.boundary[owners] = False
        self._ties[owners] = 0

    def _keep(self, nodes: Nodes) -> None:
        """Depth first, the least promising deepest: sat ends early, memory stays small."""
        order = np.argsort(nodes.rows.value, kind="stable")
        nodes.age[order] = np.arange(self._age, self._age + len(nodes))
        self._age += len(nodes)
        self._open.add(nodes.arrays())

    def _make_room(self, rank: Index) -> None:
        """Where open nodes take too much memory, owners served last lose theirs, and begin anew in time."""
        size = sum(array.nbytes for array in self._open[np.zeros(1, np.intp)]) if self._open.used.any() else 0
        most = self._memory // max(1, size)
        places, owner = self._owners()
        if len(places) <= most:
            return
        count = np.bincount(owner, minlength=len(rank))
        order = np.flatnonzero(count)
        order = order[np.argsort(np.where(rank[order] < 0, len(rank), rank[order]), kind="stable")]
        last = np.zeros(len(rank), np.bool_)
        last[order[1:][np.cumsum(count[order])[1:] > most]] = True
        self.forget(last)

    def _expand(self, nodes: Nodes) -> Nodes:
        """The open children of nodes; leaves are settled."""
        if self._closed is None:
            nodes = self._tightened(nodes)
        pick = self._choose(nodes)
        leaf = pick < 0
        self._settle_leaves(nodes.take(leaf))
        nodes, pick = nodes.take(~leaf), pick[~leaf]
        if not len(nodes):
            return nodes
        children = _branch(nodes, pick)
        if self._closed is not None:
            children = self._tightened(children)
        return self._bound(children, steps=_STEPS, look=_STEPS + 1)

    def _bound(self, nodes: Nodes, *, steps: int, look: int, attack: Attack | None = None) -> Nodes:
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

    def _tightened(self, nodes: Nodes, neurons: int = NEURONS) -> Nodes:
        """The nodes with tighter neurons, their values to be computed anew; without those proven empty."""
        if not len(nodes):
            return nodes
        rows = nodes.rows
        if self._closed is None:
            empty = tighten(self.frame, rows, neurons=neurons)
        else:
            lower, upper = self._roots[nodes.root]
            rows.lower = np.where(rows.side > 0, np.maximum(lower, 0), lower)
            rows.upper = np.where(rows.side < 0, np.minimum(upper, 0), upper)
            empty = bound_deeper(self.frame, rows)
            nothing = nodes.take(empty)
            self._record(nothing.owner, nothing.rows, nothing.rows.side)
        rows.value[:] = np.inf
        return nodes.take(~empty)

    def _choose(self, nodes: Nodes) -> Index:
        """The ReLU to branch on, shape (B,); -1 where none is unstable."""
        rows = nodes.rows
        unstable = self.frame.fast.relu[rows.team] & (rows.lower < 0) & (rows.upper > 0)
        # x* may lie outside of a neuron's tightened bounds: there its gap can be negative
        gap = np.maximum(nodes.gap, 0) + 1e-6 * np.minimum(-rows.lower, rows.upper)
        score = np.where(unstable, gap, -1)
        return np.where(unstable.any(axis=1), score.argmax(axis=1), -1)

    def _settle_leaves(self, leaves: Nodes) -> None:
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


def _branch(nodes: Nodes, pick: Index) -> Nodes:
    """Both children of each node, side by side: z_pick >= 0, then z_pick <= 0."""
    children = nodes.take(np.repeat(np.arange(len(nodes)), 2))
    rows = children.rows
    active = np.arange(0, len(rows), 2), pick
    inactive = np.arange(1, len(rows), 2), pick
    rows.side[active], rows.side[inactive] = 1, -1
    rows.lower[active], rows.upper[inactive] = 0, 0
    return children
