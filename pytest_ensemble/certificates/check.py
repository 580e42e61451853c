"""Check a certificate: no float32 input makes all networks err, as executed, in any ball it speaks of.

Of every leaf, a box and the signs of some ReLUs: each ReLU keeps between two lines, its chord or its fixed
side above and `alpha * z` below, so the weighted sum of the margins, plus `beta * z` of what is fixed, keeps
below an affine function of the input. If the highest value of that over the box is negative even with all
that float32 rounding may add, no input there makes all margins positive. The leaves of a fact must hold
every input: they form a tree, in which some ReLU is fixed to either side in all leaves below a node. Facts
must rule out every choice of classes: a class that one network never reaches rules out all choices with it.

All in midpoint-radius arithmetic; what is said of pre-activations is recomputed first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.certificates.intervals import Approx, Float, affine, exact, middle_of
from pytest_ensemble.certificates.rounding import rounding_of
from pytest_ensemble.networks.network import Layer, Network, dense

__all__ = ["FORMAT", "Content", "check"]

FORMAT = "pytest-ensemble certificate 1"
_SLAB = 2048
_LEAF = ("side", "alpha", "beta", "weight", "lower", "upper")

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Content:
    """What a file says: its arrays, and the networks it speaks of."""

    arrays: dict[str, NDArray[Any]]
    networks: Sequence[Network]
    queries: Sequence[Sequence[int]]


@np.errstate(all="ignore")
def check(content: Content) -> list[bool]:
    """Which of the queries surely have no error.

    Raises:
        KeyError, ValueError, IndexError: arrays are missing, or of other shapes.
    """
    balls = _Balls(content.arrays)
    for query in content.queries:
        balls.check(np.array([query[-2:]], np.intp))
    members = [
        _Member(network, content.arrays, f"model{k}", balls) for k, network in enumerate(content.networks)
    ]
    held: dict[tuple[tuple[int, ...], int], list[tuple[int, tuple[int, ...]]]] = {}
    number = 0
    while f"team{number}.members" in content.arrays:
        team = _Team(content.arrays, f"team{number}.", members, balls)
        for row in np.flatnonzero(team.holds()).tolist():
            point, level, *classes = team.facts[row].tolist()
            held.setdefault((team.indices, point), []).append((level, tuple(classes)))
        number += 1
    classes = content.networks[0].output_size
    return [_rules_out(query, held, classes, int(balls.label[query[-2]])) for query in content.queries]


def _rules_out(query: Sequence[int], held: Any, classes: int, label: int) -> bool:
    """Whether facts rule out every choice of classes for the networks of a query."""
    *indices, point, level = query
    left = []
    for index in indices:
        never = {choice[0] for at, choice in held.get(((index,), point), ()) if at >= level}
        left.append([p for p in range(classes) if p != label and p not in never])
    joint = {choice for at, choice in held.get((tuple(indices), point), ()) if at >= level}
    return all(choice in joint for choice in product(*left))


class _Balls:
    """Balls by point and level."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.center = np.asarray(arrays["center"], np.float64)
        self.label = np.asarray(arrays["label"], np.intp)
        self.epsilon = np.asarray(arrays["epsilon"], np.float64)
        self.low, self.high = (np.asarray(arrays[name], np.float64) for name in ("low", "high"))
        ordered = (np.diff(self.epsilon) > 0).all() and (self.epsilon >= 0).all()
        if not (ordered and np.isfinite(self.center).all()):
            raise ValueError("points or epsilons are not in order")

    def check(self, boxes: Index) -> Index:
        """Boxes (point, level), refused where there are no such."""
        shape = len(self.center), len(self.epsilon)
        if boxes.shape[1] != 2 or ((boxes < 0) | (boxes >= shape)).any():
            raise ValueError("a point or an epsilon that is not there")
        return boxes

    def corners(self, boxes: Index) -> tuple[Float, Float]:
        """Of boxes (point, level), shape (Q, 2): outwards, shapes (Q, n)."""
        point, level = boxes.T
        center, epsilon = self.center[point], self.epsilon[level][:, None]
        low = np.where(epsilon > 0, np.nextafter(center - epsilon, -np.inf), center)
        high = np.where(epsilon > 0, np.nextafter(center + epsilon, np.inf), center)
        return np.maximum(low, self.low[point]), np.minimum(high, self.high[point])

    def middle(self, boxes: Index) -> tuple[Float, Float]:
        """Centers and radii of boxes that hold these, shapes (Q, n)."""
        return middle_of(*self.corners(boxes))


class _Member:
    """One network: its hidden layers, its last one, and its pre-activations in the boxes that matter."""

    def __init__(self, network: Network, arrays: dict[str, NDArray[Any]], name: str, balls: _Balls) -> None:
        *hidden, last = network.layers
        if not hidden:  # an affine network
            size = last.size
            hidden, last = [last], Layer(np.eye(size), np.zeros(size), np.zeros(size, np.bool_))
        self.hidden, self.last, self.network = hidden, last, network
        ends = np.cumsum([0, *(layer.size for layer in hidden)])
        self.places = [slice(int(start), int(end)) for start, end in pairwise(ends)]
        self.relu = np.concatenate([layer.relu for layer in hidden])
        self.balls = balls
        boxes = balls.check(np.asarray(arrays.get(f"{name}.boxes", np.zeros((0, 2))), np.intp))
        self._row = {(point, level): row for row, (point, level) in enumerate(boxes.tolist())}
        shape = len(boxes), len(self.relu)
        self.lower, self.upper = (
            np.asarray(arrays.get(f"{name}.{side}", np.zeros(shape)), np.float64).reshape(shape)
            for side in ("lower", "upper")
        )
        self.trusted = self._bounds_hold(boxes) if len(boxes) else np.zeros(0, np.bool_)
        low, high = balls.corners(boxes)
        self.rounding = rounding_of(network, low, high, balls.label[boxes[:, 0]])

    def rows_of(self, boxes: Index) -> Index:
        """Where boxes, (B, 2), stand in the arrays."""
        return np.array([self._row[tuple(box)] for box in boxes.tolist()], np.intp)

    def _bounds_hold(self, boxes: Index) -> NDArray[np.bool_]:
        """(Q,): boxes in which pre-activations surely keep to their bounds, by intervals or else by CROWN."""
        center, radius = self.balls.middle(boxes)
        good = np.ones(len(boxes), np.bool_)
        middle, half = center, radius
        for depth, (layer, place) in enumerate(zip(self.hidden, self.places, strict=True)):
            z = affine(exact(middle), layer)
            reach = exact(half).product(abs(layer.weight).T).high
            above, below = z.widened(reach).high, (-z).widened(reach).high
            claimed = self.lower[:, place], self.upper[:, place]
            for sign, missed in ((1.0, above > claimed[1]), (-1.0, below > -claimed[0])):
                good &= self._crown(depth, sign, missed, self.lower, self.upper, center, radius)
            middle, half = middle_of(*(np.where(layer.relu, np.maximum(side, 0), side) for side in claimed))
        return good & (self.lower <= self.upper).all(axis=1)

    def narrowed(
        self, leaf: dict[str, NDArray[Any]], lower: Float, upper: Float, center: Float, radius: Float
    ) -> NDArray[np.bool_]:
        """Narrow bounds, (B, N), to what leaves say of deeper layers, in place; whether that holds, (B,)."""
        good = np.ones(len(lower), np.bool_)
        deeper = slice(self.places[0].stop, None)
        good &= ~np.isnan(leaf["lower"]).any(axis=1) & ~np.isnan(leaf["upper"]).any(axis=1)
        narrow_lower, narrow_upper = lower.copy(), upper.copy()
        narrow_lower[:, deeper] = np.maximum(lower[:, deeper], leaf["lower"])
        narrow_upper[:, deeper] = np.minimum(upper[:, deeper], leaf["upper"])
        for depth, place in enumerate(self.places[1:], 1):
            above = narrow_upper[:, place] < upper[:, place]
            below = narrow_lower[:, place] > lower[:, place]
            for sign, narrowed in ((1.0, above), (-1.0, below)):
                good &= self._crown(depth, sign, narrowed, narrow_lower, narrow_upper, center, radius)
        lower[:], upper[:] = narrow_lower, narrow_upper
        return good

    def _crown(
        self,
        depth: int,
        sign: float,
        which: NDArray[np.bool_],
        lower: Float,
        upper: Float,
        center: Float,
        radius: Float,
    ) -> NDArray[np.bool_]:
        """(Q,): whether some neurons of a layer keep to one of their bounds, by lines of the layers below.

        Args:
            depth: the layer.
            sign: 1 for their upper bounds, -1 for the lower ones.
            which: (Q, width of the layer).
            lower, upper: (Q, N), bounds that are to hold.
            center, radius: (Q, n), of boxes.
        """
        layer, place = self.hidden[depth], self.places[depth]
        good, places = np.ones(len(which), np.bool_), np.argwhere(which)
        for start in range(0, len(places), _SLAB):
            box, neuron = places[start : start + _SLAB].T
            low, high = lower[box], upper[box]
            lines = _lines(self.relu, low, high, alpha=(high > -low).astype(np.float64))
            rows, bias = exact(sign * dense(layer.weight[neuron])), exact(sign * layer.bias[neuron])
            most = self.highest(depth, rows, bias, lines, None, center[box], radius[box])
            claimed = (high if sign > 0 else -low)[np.arange(len(box)), place.start + neuron]
            good[box[~(most <= claimed)]] = False
        return good

    def linear(
        self, depth: int, coefficient: Approx, constant: Approx, lines: _Lines, beta: Float | None
    ) -> tuple[Approx, Approx]:
        """What a sum of activations below layer `depth` is at most: coefficients of the inputs, constant."""
        for below in range(depth - 1, -1, -1):
            layer, place = self.hidden[below], self.places[below]
            slope, offset, gap = lines.take(place, coefficient.middle > 0)
            constant = constant + coefficient.dot(offset)
            # where the sign of a coefficient is not sure the other line may be meant
            constant = constant.widened((coefficient.radius * gap).sum(axis=-1) * (1 + 1e-9))
            coefficient = coefficient.times(slope)
            if beta is not None:
                coefficient = coefficient + exact(beta[:, place])
            constant = constant + coefficient.dot(np.broadcast_to(layer.bias, coefficient.middle.shape))
            coefficient = coefficient.product(layer.weight)
        return coefficient, constant

    def highest(
        self,
        depth: int,
        coefficient: Approx,
        constant: Approx,
        lines: _Lines,
        beta: Float | None,
        center: Float,
        radius: Float,
    ) -> Float:
        """Upper bounds of such a sum over boxes, one a row."""
        coefficient, constant = self.linear(depth, coefficient, constant, lines, beta)
        return (constant + coefficient.dot(center) + exact(coefficient.size).dot(radius)).high


@dataclass(frozen=True)
class _Lines:
    """Lines above and below ReLUs, (B, N): `under * z <= relu(z) <= over * z + offset`.

    `gap`: how far a ReLU may be from either.
    """

    over: Float
    offset: Float
    under: Float
    gap: Float

    def take(self, place: slice, above: NDArray[np.bool_]) -> tuple[Float, Float, Float]:
        """Slope, offset and gap of some neurons, from the line above where asked, else from that below."""
        slope = np.where(above, self.over[:, place], self.under[:, place])
        return slope, np.where(above, self.offset[:, place], 0.0), self.gap[:, place]


def _lines(relu: NDArray[np.bool_], lower: Float, upper: Float, alpha: Float) -> _Lines:
    unstable = relu & (lower < 0) & (upper > 0)
    width = np.where(unstable, upper - lower, 1.0)
    # a little steeper and higher, so that the chord passes above both ends of the ReLU after rounding
    chord = np.where(unstable, upper / width, 0.0) * (1 + 2.0**-50)
    passes = (~relu | (lower >= 0)).astype(np.float64)
    offset = np.where(unstable, -chord * lower * (1 + 2.0**-50), 0.0)
    gap = np.where(unstable, 2 * width, 0.0)
    return _Lines(np.where(unstable, chord, passes), offset, np.where(unstable, alpha, passes), gap)


class _Team:
    """The facts about some networks."""

    def __init__(
        self, arrays: dict[str, NDArray[Any]], prefix: str, members: list[_Member], balls: _Balls
    ) -> None:
        self.indices = tuple(np.asarray(arrays[prefix + "members"], np.intp).tolist())
        self.members = [members[index] for index in self.indices]
        self.facts = np.asarray(arrays[prefix + "facts"], np.intp).reshape(-1, 2 + len(self.indices))
        balls.check(self.facts[:, :2])
        classes = self.members[0].last.size
        if ((self.facts[:, 2:] < 0) | (self.facts[:, 2:] >= classes)).any():
            raise ValueError("a class that is not there")
        self.counts = np.asarray(arrays[prefix + "leaves"], np.intp)
        self.balls = balls
        self._leaf = [
            {name: arrays[f"{prefix}{name}{j}"] for name in _LEAF} for j in range(len(self.indices))
        ]
        if len(self.counts) != len(self.facts) or any(
            len(values) != self.counts.sum() for leaf in self._leaf for values in leaf.values()
        ):
            raise ValueError("leaves and facts don't match")

    def holds(self) -> NDArray[np.bool_]:
        """(F,): facts all leaves of which are closed, and hold every input."""
        fact = np.repeat(np.arange(len(self.facts)), self.counts)
        closed = np.concatenate(
            [self._closed(fact[start : start + _SLAB], start) for start in range(0, len(fact), _SLAB)]
            or [np.zeros(0, np.bool_)]
        )
        side = np.concatenate([leaf["side"] for leaf in self._leaf], axis=1)
        good = np.bincount(fact[~closed], minlength=len(self.facts)) == 0
        ends = np.cumsum(self.counts)
        for number in np.flatnonzero(good).tolist():
            good[number] = _everywhere(side[ends[number] - self.counts[number] : ends[number]])
        label = self.balls.label[self.facts[:, 0]]
        return np.asarray(good & (self.facts[:, 2:] != label[:, None]).all(axis=1))

    def _closed(self, fact: Index, start: int) -> NDArray[np.bool_]:
        """(B,): leaves with a negative bound, or with nothing left that a neuron can be."""
        boxes = self.facts[fact, :2]
        center, radius = self.balls.middle(boxes)
        label = self.balls.label[boxes[:, 0]]
        good, empty = np.ones(len(fact), np.bool_), np.zeros(len(fact), np.bool_)
        weights = np.zeros(len(fact))
        slopes, constant = exact(np.zeros_like(center)), exact(np.zeros(len(fact)))
        for j, member in enumerate(self.members):
            leaf = {name: values[start : start + len(fact)] for name, values in self._leaf[j].items()}
            side = leaf["side"]
            alpha, beta, w = (np.asarray(leaf[name], np.float64) for name in ("alpha", "beta", "weight"))
            row = member.rows_of(boxes)
            lower = np.where(side > 0, np.maximum(member.lower[row], 0), member.lower[row])
            upper = np.where(side < 0, np.minimum(member.upper[row], 0), member.upper[row])
            good &= member.narrowed(leaf, lower, upper, center, radius)
            empty |= (lower > upper).any(axis=1)
            good &= member.trusted[row] & (w >= 0) & ((alpha >= 0) & (alpha <= 1)).all(axis=1)
            good &= np.where(beta > 0, lower >= 0, (beta == 0) | (upper <= 0)).all(axis=1)
            good &= np.isin(side, (-1, 0, 1)).all(axis=1) & (member.relu | (side == 0)).all(axis=1)
            target, last = self.facts[fact, 2 + j], member.last
            weight = dense(last.weight)
            direction = exact(weight[target]) + exact(-weight[label])
            bias = exact(last.bias[target]) + exact(-last.bias[label])
            bias = bias + exact(member.rounding[row, target])
            column = w[:, None]
            lines = _lines(member.relu, lower, upper, alpha)
            own, more = member.linear(len(member.hidden), direction.times(column), bias.times(w), lines, beta)
            slopes, constant, weights = slopes + own, constant + more, weights + w
        highest = (constant + slopes.dot(center) + exact(slopes.size).dot(radius)).high
        return np.asarray(good & (empty | (weights > 0) & (highest < 0)))


def _everywhere(side: NDArray[np.int8]) -> bool:
    """Whether leaves, rows of signs with 0 for any, hold every choice of signs as a tree."""
    stack = [side]
    while stack:
        leaves = stack.pop()
        if (leaves == 0).all(axis=1).any():
            continue
        split = np.flatnonzero((leaves != 0).all(axis=0) & (len(leaves) > 0))
        if not len(split):
            return False
        both = [leaves[leaves[:, split[0]] == sign] for sign in (1, -1)]
        for part in both:
            part = part.copy()
            part[:, split[0]] = 0
            stack.append(part)
    return True
