"""A query as Marabou gets it: variables with bounds, equations, ReLUs and disjunctions, all of order one.

The query is the paper's: the networks side by side over one shared input box, and for each of them
the disjunction "the label is not maximal" (Amir et al. 2022). It is normalised, since Marabou fixes
every variable whose range is below 1e-5 at its lower bound, and is then wrong on ordinary networks:

- inputs, and neurons without an unstable ReLU, are written `middle + scale * variable`, with the
  variable in [-1, 1]; unstable neurons are scaled only, since `relu(s z) = s relu(z)` for s > 0;
- neurons that contribute next to nothing become their middle, a constant. What that may change is
  a *slack*; since ReLUs never widen a difference, it reaches the margins through |weights| alone.

With `e` the slack of a margin, "some x has margin >= 0" implies "some encoded x has margin >= -e".
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pytest_ensemble.engines.checkpoint import checkpoint
from pytest_ensemble.networks.network import Float, Layer, Network, Weight, dense
from pytest_ensemble.networks.rounding import margin_rounding
from pytest_ensemble.queries.query import Query

__all__ = ["Encoding", "Problem", "encode"]

# Margins that a witness is asked to have so that it replays, as shares of their summands and widths. The
# larger ones are for when the first did not help: Marabou lets a ReLU be wrong by up to 1e-3.
WITNESS = (1e-5, 1e-3, 1e-2)
# What Marabou's tolerances may move a variable in [-1, 1]; it takes ranges up to 1e-5 for points.
SOLVER = 2e-5
# A neuron that makes up less than this of the width of everything it feeds is taken for a constant.
NEGLIGIBLE = 1e-6
# An unstable ReLU that is active on less than this share of its range is taken for a constant.
BARELY_ACTIVE = 1e-8


@dataclass
class Problem:
    """What is sent to the solver: plain lists, variables are their indices, inputs come first.

    Attributes:
        inputs: number of input variables.
        lower, upper: bounds of all variables.
        equations: (variables, coefficients, scalar): the sum of the products equals the scalar.
        relus: (a, b): variable b is max(variable a, 0).
        disjunctions: each a list of (variable, bound), of which one `variable >= bound` must hold.
    """

    inputs: int = 0
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    equations: list[tuple[list[int], list[float], float]] = field(default_factory=list)
    relus: list[tuple[int, int]] = field(default_factory=list)
    disjunctions: list[list[tuple[int, float]]] = field(default_factory=list)

    def variable(self, low: float, high: float) -> int:
        """A new variable with its bounds."""
        self.lower.append(low)
        self.upper.append(high)
        return len(self.lower) - 1

    def equation(self, terms: list[int], coefficients: Float, minus: int, scalar: float) -> None:
        """`coefficients . terms - minus = scalar`."""
        self.equations.append(([*terms, minus], [*coefficients.tolist(), -1.0], float(scalar)))

    def is_finite(self) -> bool:
        """Whether all numbers are: Marabou answers sat to anything that is not."""
        numbers = [*self.lower, *self.upper]
        numbers += [bound for options in self.disjunctions for _, bound in options]
        numbers += [value for _, row, scalar in self.equations for value in (*row, scalar)]
        return bool(np.isfinite(numbers).all())


@dataclass(frozen=True)
class Encoding:
    """A problem, and how to read its solutions.

    Attributes:
        problem: for the solver; None if some network can't err on any input, as its bounds say.
        middle, scale: an input is `middle + scale * variable`, float64 of shape (n,).
        kept: indices of the inputs that are variables, in order; the others are constants.
    """

    problem: Problem | None
    middle: Float
    scale: Float
    kept: NDArray[np.intp]

    def decode(self, values: list[float]) -> Float:
        """The input, shape (n,), of the values of the input variables."""
        x = self.middle.copy()
        x[self.kept] += self.scale[self.kept] * np.asarray(values)
        return x


@dataclass(frozen=True)
class _Values:
    """The values of a layer: `middle + scale * variable`, give or take `slack`; all of shape (size,).

    Where `variable` is -1 the value is the constant `middle`. Otherwise it lies in [low, high].
    """

    variable: NDArray[np.intp]
    middle: Float
    scale: Float
    low: Float
    high: Float
    slack: Float

    def without(self, negligible: NDArray[np.bool_]) -> _Values:
        """The same with some values replaced by their middles, and slack for that."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return _Values(
            np.where(negligible, -1, self.variable),
            np.where(negligible, middle, self.middle),
            np.where(negligible, 0.0, self.scale),
            np.where(negligible, middle, self.low),
            np.where(negligible, middle, self.high),
            self.slack + np.where(negligible, half, 0.0),
        )


@dataclass(frozen=True)
class _Sums:
    """Pre-activations of a layer: `weight @ values + bias`, in [low, high] give or take `slack`."""

    weight: Weight
    constant: Float
    values: _Values
    low: Float
    high: Float
    slack: Float

    def add_to(self, problem: Problem, row: int, middle: float, scale: float) -> int:
        """A new variable v with `middle + scale * v` equal to the sum of that row."""
        checkpoint()
        low, high = (self.low[row] - middle) / scale, (self.high[row] - middle) / scale
        variable = problem.variable(float(low), float(high))
        weights = dense(self.weight[[row]])[0] * self.values.scale
        used = np.flatnonzero((weights != 0) & (self.values.variable >= 0))
        terms = self.values.variable[used].tolist()
        problem.equation(terms, weights[used] / scale, variable, (middle - self.constant[row]) / scale)
        return variable


def encode(query: Query, *, margin: float = 0.0) -> Encoding:
    """The query for Marabou.

    Args:
        query: any number of networks.
        margin: 0: if there is no solution, then no input makes all networks err, by a margin that
            covers rounding and slack. Above: a solution has margins of that share, to replay.
    """
    low, high = query.ball.box
    middle, half = (low + high) / 2, (high - low) / 2
    label = np.array([query.label])
    rounding = [
        np.delete(margin_rounding(model.network, low[None], high[None], label)[0], query.label)
        for model in query.models
    ]
    networks = [model.network.margins(query.label) for model in query.models]
    shares = [_share(network.layers[0].weight, half) for network in networks]
    variables = np.max(shares, axis=0) > NEGLIGIBLE
    kept = np.flatnonzero(variables)
    problem = Problem(inputs=len(kept), lower=[-1.0] * len(kept), upper=[1.0] * len(kept))
    index = np.full(len(middle), -1)
    index[kept] = np.arange(len(kept))
    inputs = _Values(index, middle, half, low, high, np.zeros(len(middle)))
    inputs = inputs.without(~variables)
    for network, error in zip(networks, rounding, strict=True):
        if margin:
            error = np.full_like(error, margin * _summand_size(network, query.ball.center))
        options = _add_network(problem, network, inputs, error, margin)
        if options == []:
            return Encoding(None, middle, half, kept)
        if options is not None:
            problem.disjunctions.append(options)
    return Encoding(problem, middle, half, kept)


def _share(weight: Weight, half: Float) -> Float:
    """What each value makes up of the width of what it feeds, at most: shape (in,)."""
    size = abs(weight)
    width = size @ half
    inverse = np.divide(1.0, width, out=np.zeros_like(width), where=width > 0)
    return dense((sp.diags_array(inverse) @ size).max(axis=0)).reshape(-1) * half


def _add_network(
    problem: Problem, network: Network, values: _Values, rounding: Float, margin: float
) -> list[tuple[int, float]] | None:
    """Add a network of margins; its options to err: none if it can't, None if it always does."""
    for layer in network.layers[:-1]:
        values = _activate(problem, layer, _sums(layer, values))
    last = network.layers[-1]
    sums = _sums(last, values)
    middle, half = (sums.low + sums.high) / 2, (sums.high - sums.low) / 2
    needed = rounding + sums.slack + max(margin, SOLVER) * half
    if not margin:
        needed = -needed
    if (sums.low >= needed).any():
        return None
    return [
        (sums.add_to(problem, int(p), middle[p], half[p]), float((needed[p] - middle[p]) / half[p]))
        for p in np.flatnonzero(sums.high >= needed)
    ]


def _summand_size(network: Network, x: NDArray[np.float32]) -> float:
    """The largest sum of absolute terms in a last neuron at x, shape (n,): what rounding is relative to."""
    value = x.astype(np.float64)[None]
    for layer in network.layers[:-1]:
        value = layer.activate(layer.affine(value))
    last = network.layers[-1]
    return float((abs(last.weight) @ abs(value[0]) + abs(last.bias)).max())


def _sums(layer: Layer, values: _Values) -> _Sums:
    """Interval bounds of a layer's pre-activations, with negligible values taken for constants."""
    half = (values.high - values.low) / 2
    values = values.without(_share(layer.weight, half) <= NEGLIGIBLE)
    constant = layer.bias + layer.weight @ values.middle
    size = abs(layer.weight)
    center = layer.bias + layer.weight @ ((values.low + values.high) / 2)
    radius = size @ ((values.high - values.low) / 2)
    return _Sums(layer.weight, constant, values, center - radius, center + radius, size @ values.slack)


def _activate(problem: Problem, layer: Layer, sums: _Sums) -> _Values:
    """Add a hidden layer: unstable ReLUs as such, the rest as linear neurons or constants."""
    off = layer.relu & (sums.high <= 0)
    low = np.where(layer.relu, np.maximum(sums.low, 0.0), sums.low)
    high = np.where(off, 0.0, sums.high)
    unstable = layer.relu & (sums.low < 0) & ~off
    middle = np.where(unstable, 0.0, (low + high) / 2)
    scale = np.where(unstable, _relu_scale(sums.low, sums.high), (high - low) / 2)
    variable = np.full(layer.size, -1)
    slack = np.where(off, np.maximum(sums.high + sums.slack, 0.0), sums.slack)
    values = _Values(variable, middle, scale, low, high, slack)
    barely = unstable & (sums.high <= BARELY_ACTIVE * -sums.low)
    values = values.without((high <= low) | barely)
    for row in np.flatnonzero(values.high > values.low):
        variable[row] = sums.add_to(problem, int(row), middle[row], scale[row])
        if unstable[row]:
            output = problem.variable(0.0, float(high[row] / scale[row]))
            problem.relus.append((int(variable[row]), output))
            variable[row] = output
    return _Values(variable, values.middle, values.scale, values.low, values.high, values.slack)


def _relu_scale(low: Float, high: Float) -> Float:
    """Scales of unstable ReLUs: neither inputs nor outputs far from one, however lopsided they are."""
    high = np.maximum(high, np.finfo(float).tiny)
    return np.sqrt(high * np.maximum(-low, high))
