"""Linear-relaxation bounds of margins, for one network or for several that must err on one input.

Of a row with weights w_i >= 0 that sum to one, the maximum over the box of `sum_i w_i * margin_i(x)` is
bounded: if it is negative, no x makes all margins >= 0. Every ReLU is replaced by lines:
an unstable one, with pre-activation z in [l, u], by its chord above and by `alpha * z` below (CROWN, Zhang
et al. 2018; alpha-CROWN, Xu et al. 2021); one that branching has fixed adds `beta * z` or `-beta * z`
(beta-CROWN, Wang et al. 2021). What is left is affine, and its maximum over a box is closed form. The bound
holds for any w, any alpha in [0, 1] and any beta >= 0, so soundness never depends on the optimiser; the
minimum over all three at once is the dual of the triangle relaxation with the error constraints of all
networks.

No automatic differentiation: by the envelope theorem (Danskin) the gradients are products of the backward
coefficients with one forward pass of the linearised networks at the maximising vertex x*.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.engines.adam import Adam
from pytest_ensemble.engines.chains import Array, Boxes, Chains, Groups, Index, groups_of, slab_size
from pytest_ensemble.engines.checkpoint import checkpoint
from pytest_ensemble.networks.network import Float

__all__ = [
    "Linear",
    "Peaks",
    "Rows",
    "certify",
    "exact_values",
    "linearise",
    "magnitude",
    "optimise",
    "root_rows",
    "weights_of",
]

_SLAB = 512  # rows that are certified at a time
W_RANGE = 3.0  # logits of w stay within this: saturated ones stall the dual


@dataclass
class Rows:
    """A batch of relaxations, sorted by team: B rows; K networks; N hidden neurons.

    Attributes:
        team: (B,), which team.
        box: (B,), which box.
        label: (B,), the label l.
        target: (B, K), the class p of each network.
        lower, upper: (B, N), bounds of pre-activations, valid for all x that could err in this row.
        side: (B, N) int8: +1 where branching has fixed z >= 0, -1 for z <= 0, else 0.
        alpha, beta: (B, N), the multipliers.
        omega: (B, K), logits of w.
        value: (B,), the bound; infinite before it was computed.
    """

    team: Index
    box: Index
    label: Index
    target: Index
    lower: Array
    upper: Array
    side: NDArray[np.int8]
    alpha: Array
    beta: Array
    omega: Array
    value: Array

    def __len__(self) -> int:
        return len(self.box)

    def take(self, which: Any) -> Rows:
        """Some of the rows: an index array or a mask."""
        return Rows(*(getattr(self, field.name)[which] for field in fields(self)))

    def cast(self, dtype: Any) -> Rows:
        """The same numbers in another dtype."""
        names = ("lower", "upper", "alpha", "beta", "omega", "value")
        return replace(self, **{name: getattr(self, name).astype(dtype) for name in names})

    @staticmethod
    def concatenate(parts: list[Rows]) -> Rows:
        """All rows of the parts."""
        return Rows(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Rows)))


def root_rows(team: Index, box: Index, label: Index, target: Index, lower: Array, upper: Array) -> Rows:
    """Rows before branching, with CROWN's slopes (0 or 1, whichever leaves less area) and equal weights."""
    dtype = lower.dtype
    return Rows(
        team,
        box,
        label,
        target,
        lower,
        upper,
        np.zeros(lower.shape, np.int8),
        (upper > -lower).astype(dtype),
        np.zeros_like(lower),
        np.zeros(target.shape, dtype),
        np.full(len(box), np.inf, dtype),
    )


class _Lines(NamedTuple):
    """The lines that bound each activation h, shape (B, N): `alpha * z <= h <= slope * z + offset`."""

    slope: Array
    offset: Array
    unstable: NDArray[np.bool_]


def _lines(chains: Chains, rows: Rows) -> _Lines:
    """Chords of unstable ReLUs; also sets alpha of all stable neurons, which is their slope."""
    lower, upper, relu = rows.lower, rows.upper, chains.relu[rows.team]
    unstable = relu & (lower < 0) & (upper > 0)
    width = np.where(unstable, upper - lower, 1)
    slope = np.where(unstable, upper / width, ~relu | (upper > 0)).astype(lower.dtype)
    if lower.dtype == np.float64:  # a chord that still passes above the ReLU at u after rounding
        slope[unstable] *= 1 + 2.0**-50
    np.copyto(rows.alpha, slope, where=~unstable)
    return _Lines(slope, np.where(unstable, -slope * lower, 0), unstable)


class Linear(NamedTuple):
    """Linearised networks: everything is (B, N) but the constant, (B,).

    Attributes:
        activation, preactivation: coefficients of both in the bound.
        slope, offset: the lines chosen: activation <= or >= slope * z + offset, as its sign asks.
        constant: what no coefficient covers.
    """

    activation: Array
    preactivation: Array
    slope: Array
    offset: Array
    constant: Array


class _Objective(NamedTuple):
    """Margins as functions of the last hidden activations: `rows[i]`, (B, m_i), and `bias`, (B, K)."""

    rows: list[Array]
    bias: Array

    def take(self, which: Any) -> _Objective:
        return _Objective([array[which] for array in self.rows], self.bias[which])


def _objective(chains: Chains, boxes: Boxes, rows: Rows) -> _Objective:
    """The margins as users' runtimes may compute them: in float32, at best for an error."""
    directions = []
    bias = np.empty(rows.target.shape, rows.lower.dtype)
    for i, (weight, constant, _) in enumerate(chains.last):
        directions.append(weight[rows.team, rows.target[:, i]] - weight[rows.team, rows.label])
        bias[:, i] = constant[rows.team, rows.target[:, i]] - constant[rows.team, rows.label]
    rounding = chains.rounding(boxes, rows.box, rows.team, rows.target)
    if rounding is not None:
        bias += rounding
    return _Objective(directions, bias)


def weights_of(omega: Array) -> Array:
    """The weights w, (B, K), that logits stand for."""
    share = np.exp(omega)
    return np.asarray(share / share.sum(axis=1, keepdims=True))


def _backward(
    chains: Chains, lines: _Lines, objective: _Objective, rows: Rows, w: Array, groups: Groups
) -> Linear:
    """Coefficients of the weighted margins, from the last layer to the first."""
    activation = np.zeros_like(rows.lower)
    for i, (_, _, place) in enumerate(chains.last):
        np.multiply(w[:, i, None], objective.rows[i], out=activation[:, place])
    constant = np.einsum("bi,bi->b", w, objective.bias)
    coefficient = rows.side * rows.beta
    slope, offset = np.empty_like(activation), np.empty_like(activation)

    def through(place: slice) -> None:
        above = activation[:, place] > 0
        slope[:, place] = np.where(above, lines.slope[:, place], rows.alpha[:, place])
        np.multiply(lines.offset[:, place], above, out=offset[:, place])
        coefficient[:, place] += activation[:, place] * slope[:, place]

    for part in reversed(chains.parts):
        through(part.outputs)
        activation[:, part.inputs], below = chains.back(part, coefficient[:, part.outputs], groups)
        constant += below
    through(slice(0, chains.width))
    constant += np.einsum("bn,bn->b", activation, offset)
    return Linear(activation, coefficient, slope, offset, constant)


def _forward(chains: Chains, linear: Linear, first: Array, groups: Groups) -> tuple[Array, Array]:
    """Pre-activations and activations, (B, N), of the linearised networks, from first pre-activations."""
    if not chains.parts:
        return first, linear.slope * first + linear.offset
    z, h = np.empty_like(linear.slope), np.empty_like(linear.slope)
    z[:, : chains.width] = first

    def through(place: slice) -> None:
        h[:, place] = linear.slope[:, place] * z[:, place] + linear.offset[:, place]

    through(slice(0, chains.width))
    for part in chains.parts:
        z[:, part.outputs] = chains.through(part, h[:, part.inputs], groups)
        through(part.outputs)
    return z, h


def linearise(chains: Chains, boxes: Boxes, rows: Rows) -> Linear:
    """The affine bound at the best multipliers: `constant + preactivation[:, :N1] . first(x)`."""
    lines, objective, groups = _lines(chains, rows), _objective(chains, boxes, rows), groups_of(rows.team)
    return _backward(chains, lines, objective, rows, weights_of(rows.omega), groups)


class Peaks(NamedTuple):
    """What `optimise` saw at the maximising vertices x*.

    Attributes:
        gap: (B, N), what the relaxation of each neuron adds to the bound at the last x*.
        erring: (E,), rows for which some x* made all networks err.
        x: (E, n), those x*.
        first: (B, n) the last x* of every row if asked for, else empty.
    """

    gap: Array
    erring: NDArray[np.intp]
    x: Array
    last: Array


@np.errstate(over="ignore", invalid="ignore")  # what overflows proves nothing
def optimise(
    chains: Chains,
    boxes: Boxes,
    rows: Rows,
    *,
    steps: int,
    look: int = 1,
    rate: float = 0.3,
    keep_last: bool = False,
    any_label: bool = True,
) -> Peaks:
    """Improve multipliers and values of rows, in place, by at most `steps` steps of projected Adam.

    A row is done when its value is negative, or when its x*, looked at every `look` steps and at the end,
    makes all networks err: give any wrong label, or its targets if not `any_label`.
    """
    gap = np.zeros_like(rows.lower)
    last = np.zeros((len(rows) if keep_last else 0, chains.inputs), rows.lower.dtype)
    erring: list[NDArray[np.intp]] = []
    found: list[Array] = []
    size = slab_size(rows.team)
    for start in range(0, len(rows), size):
        place = np.arange(start, min(start + size, len(rows)))
        _optimise_slab(chains, boxes, rows, place, steps, look, rate, any_label, gap, last, erring, found)
    none = np.zeros((0, chains.inputs), rows.lower.dtype)
    return Peaks(
        gap,
        np.concatenate(erring) if erring else np.zeros(0, np.intp),
        np.concatenate(found) if found else none,
        last,
    )


def _optimise_slab(
    chains: Chains,
    boxes: Boxes,
    rows: Rows,
    active: NDArray[np.intp],
    steps: int,
    look: int,
    rate: float,
    any_label: bool,
    gap: Array,
    last: Array,
    erring: list[NDArray[np.intp]],
    found: list[Array],
) -> None:
    work = rows.take(active)
    lines, objective = _lines(chains, work), _objective(chains, boxes, work)
    radius, at_center = boxes.radius[work.box], chains.at_center(boxes, work.box, work.team)
    relu, groups = chains.relu[work.team], groups_of(work.team)
    scale = sum(np.abs(array).mean(axis=1, keepdims=True) for array in objective.rows) / chains.k**2
    adam = Adam([work.alpha, work.beta, work.omega], [rate, rate * scale, rate])
    for step in range(steps + 1):
        checkpoint()
        w = weights_of(work.omega)
        linear = _backward(chains, lines, objective, work, w, groups)
        coefficient = linear.preactivation[:, : chains.width]
        move = chains.to_input(coefficient, groups)
        np.copysign(radius, move, out=move)
        first = chains.from_input(move, groups)
        first += at_center
        value = np.einsum("bn,bn->b", coefficient, first) + linear.constant
        better = value < work.value
        work.value[better] = value[better]
        place = active[better]
        rows.value[place] = value[better]
        rows.alpha[place] = work.alpha[better]
        rows.beta[place] = work.beta[better]
        rows.omega[place] = work.omega[better]
        z, h = _forward(chains, linear, first, groups)
        done = value < 0
        final = step == steps
        if final or step % look == look - 1:
            target = None if any_label else work.target
            errs = (chains.errors(first, work.team, groups, work.label, target) > 0).all(axis=1)
            if errs.any():
                erring.append(active[errs])
                found.append(boxes.center[work.box[errs]] + move[errs])
                done |= errs
        stop = done | final
        if stop.any():
            true = np.where(relu[stop], np.maximum(z[stop], 0), z[stop])
            gap[active[stop]] = linear.activation[stop] * (h[stop] - true)
            if len(last):
                last[active[stop]] = boxes.center[work.box[stop]] + move[stop]
        if stop.all():
            return
        adam.step(
            [work.alpha, work.beta, work.omega],
            [
                np.where(lines.unstable & (linear.activation < 0), linear.activation * z, 0),
                work.side * z,
                _omega_gradient(chains, objective, w, h),
            ],
            0.97**step,
        )
        np.clip(work.alpha, 0, 1, out=work.alpha)
        np.maximum(work.beta, 0, out=work.beta)
        np.clip(work.omega, -W_RANGE, W_RANGE, out=work.omega)
        if done.mean() > 0.2:
            go = ~done
            active, work, objective = active[go], work.take(go), objective.take(go)
            lines = _Lines(*(array[go] for array in lines))
            radius, at_center, relu = radius[go], at_center[go], relu[go]
            groups = groups_of(work.team)
            adam.keep(go)


def _omega_gradient(chains: Chains, objective: _Objective, w: Array, h: Array) -> Array:
    margins = objective.bias.copy()
    for i, (_, _, place) in enumerate(chains.last):
        margins[:, i] += np.einsum("bm,bm->b", objective.rows[i], h[:, place])
    return np.asarray(w * (margins - np.einsum("bi,bi->b", w, margins)[:, None]))


@np.errstate(over="ignore", invalid="ignore")
def certify(chains: Chains, boxes: Boxes, rows: Rows) -> NDArray[np.bool_]:
    """Which rows, shape (B,), surely have a negative bound: see `exact_values`."""
    return exact_values(chains, boxes, rows) < 0


def exact_values(chains: Chains, boxes: Boxes, rows: Rows) -> Float:
    """Bounds, shape (B,), that hold for real numbers: one backward pass in float64, and its rounding error.

    `chains` and `boxes` are float64 ones; the multipliers of `rows` are taken as exact numbers. The value is
    a sum of products whose absolute values add up to at most `magnitude`, each of which goes through fewer
    than `terms` roundings, so it is off by at most gamma * magnitude with u = 2^-53 and
    gamma = terms * u / (1 - terms * u) (Higham 2002, section 3.1). Coefficients that are off by rounding may
    pick the wrong one of two lines; that costs as much again. Twice that for the rounding of this estimate.
    """
    parts = [
        _exact_slab(chains, boxes, rows.take(slice(start, start + _SLAB)))
        for start in range(0, len(rows), _SLAB)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _exact_slab(chains: Chains, boxes: Boxes, rows: Rows) -> Float:
    checkpoint()
    rows = rows.cast(np.float64)
    w = weights_of(rows.omega)
    groups = groups_of(rows.team)
    linear = _backward(chains, _lines(chains, rows), _objective(chains, boxes, rows), rows, w, groups)
    coefficient = linear.preactivation[:, : chains.width]
    value = np.einsum("bn,bn->b", coefficient, chains.at_center(boxes, rows.box, rows.team))
    value += linear.constant
    value += np.einsum("bn,bn->b", np.abs(chains.to_input(coefficient, groups)), boxes.radius[rows.box])
    return np.asarray(value + 4 * chains.gamma * magnitude(chains, boxes, rows))


def magnitude(chains: Chains, boxes: Boxes, rows: Rows) -> Float:
    """What all terms of the rows' bounds add up to in absolute value, at most: shape (B,)."""
    objective, w = _objective(chains, boxes, rows), weights_of(rows.omega)
    sizes = chains.sizes(boxes, rows.box, rows.team)
    size = np.einsum("bn,bn->b", rows.beta, sizes) + np.einsum("bi,bi->b", w, np.abs(objective.bias))
    for i, (_, bias, place) in enumerate(chains.last):
        reach = np.einsum("bm,bm->b", np.abs(objective.rows[i]), sizes[:, place])
        size += w[:, i] * (2 * reach + 2 * np.abs(bias[rows.team]).max(axis=1))
    return np.asarray(size)
