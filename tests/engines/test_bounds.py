"""Bounds must hold for every input of the box, at any multipliers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pytest_ensemble.engines.bounds import Rows, certify, linearise, optimise, root_rows
from pytest_ensemble.engines.chains import Chains, Frame, axis_of
from pytest_ensemble.engines.preactivations import hidden_bounds
from pytest_ensemble.engines.tightening import tighten
from pytest_ensemble.networks.network import Layer, Network

SEEDS = st.integers(0, 2**32 - 1)


def random_network(rng: np.random.Generator, inputs: int, hidden: list[int], classes: int) -> Network:
    sizes = [inputs, *hidden, classes]
    layers = []
    for k in range(len(sizes) - 1):
        relu = rng.random(sizes[k + 1]) < (0.8 if k < len(hidden) else 0.0)
        weight = rng.normal(size=(sizes[k + 1], sizes[k])) / np.sqrt(sizes[k])
        layers.append(Layer(weight, rng.normal(size=sizes[k + 1]) / 2, relu))
    return Network(tuple(layers))


class Case:
    """A few networks over a few boxes, a row for each, and inputs of each box."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        inputs, self.classes = int(rng.integers(1, 5)), int(rng.integers(2, 5))
        depth = int(rng.integers(0, 4))
        self.networks = [
            random_network(rng, inputs, [int(n) for n in rng.integers(1, 7, size=depth)], self.classes)
            for _ in range(int(rng.integers(1, 4)))
        ]
        exact = Chains([self.networks])
        fast = exact.cast(np.float32)
        center = rng.normal(size=(3, inputs))
        radius = np.abs(rng.normal(size=(3, inputs))) * 10.0 ** rng.uniform(-3, 1)
        self.low, self.high = center - radius, center + radius
        self.frame = Frame(fast, fast.boxes(self.low, self.high), exact, exact.boxes(self.low, self.high))
        lower, upper = self.hidden()
        box = rng.integers(0, 3, size=8)
        label = rng.integers(0, self.classes, size=8)
        target = (label[:, None] + rng.integers(1, self.classes, size=(8, len(self.networks)))) % self.classes
        lower = np.nextafter(lower.astype(np.float32), np.float32(-np.inf))
        upper = np.nextafter(upper.astype(np.float32), np.float32(np.inf))
        self.rows = root_rows(np.zeros(8, np.intp), box, label, target, lower[box], upper[box])

    def columns(self) -> list[np.ndarray]:
        axis = axis_of(tuple(self.networks))
        return [axis.columns_of((index,)) for index in range(len(self.networks))]

    def hidden(self, *, refine: bool = False) -> tuple[np.ndarray, np.ndarray]:
        chains = self.frame.exact
        lower, upper = np.empty((3, chains.neurons)), np.empty((3, chains.neurons))
        for network, columns in zip(self.networks, self.columns(), strict=True):
            own = Chains([[network]])
            lower[:, columns], upper[:, columns] = hidden_bounds(
                network, own.boxes(self.low, self.high), refine=refine
            )
        return lower, upper

    def inputs(self, box: int, count: int = 200) -> np.ndarray:
        """Inputs of a box, corners and edges among them."""
        share = self.rng.uniform(-0.5, 1.5, size=(count, self.low.shape[1])).clip(0, 1)
        return self.low[box] + share * (self.high[box] - self.low[box])

    def preactivations(self, x: np.ndarray) -> np.ndarray:
        out = np.empty((len(x), self.frame.exact.neurons))
        for network, columns in zip(self.networks, self.columns(), strict=True):
            value, found = x, []
            hidden = network.layers[:-1] or network.layers
            for layer in hidden:
                z = layer.affine(value)
                found.append(z)
                value = layer.activate(z)
            out[:, columns] = np.concatenate(found, axis=1)
        return out

    def margins(self, x: np.ndarray, row: int) -> np.ndarray:
        """(m, k): margins of a row's targets."""
        label, target = self.rows.label[row], self.rows.target[row]
        values = [network.evaluate(x) for network in self.networks]
        return np.stack([v[:, p] - v[:, label] for v, p in zip(values, target, strict=True)], axis=1)

    def randomise(self) -> None:
        """Any multipliers, and some ReLUs fixed."""
        rows, rng = self.rows, self.rng
        relu = self.frame.fast.relu
        rows.side[:] = np.where(relu[rows.team], rng.choice([-1, 0, 0, 1], size=rows.side.shape), 0)
        rows.lower[rows.side > 0] = np.maximum(rows.lower[rows.side > 0], 0)
        rows.upper[rows.side < 0] = np.minimum(rows.upper[rows.side < 0], 0)
        rows.alpha[:] = rng.random(rows.alpha.shape)
        rows.beta[:] = rng.exponential(size=rows.beta.shape)
        rows.omega[:] = rng.normal(size=rows.omega.shape)

    def weighted(self, x: np.ndarray, row: int) -> np.ndarray:
        share = np.exp(self.rows.omega[row].astype(np.float64))
        return self.margins(x, row) @ (share / share.sum())

    def inside(self, x: np.ndarray, row: int) -> np.ndarray:
        """Inputs on the sides that branching has fixed, and within the row's own bounds."""
        z, side = self.preactivations(x), self.rows.side[row]
        return ((side <= 0) | (z >= 0)).all(axis=1) & ((side >= 0) | (z <= 0)).all(axis=1)


@given(SEEDS)
def test_hidden_bounds_hold(seed: int) -> None:
    case = Case(seed)
    for refine in (False, True):
        lower, upper = case.hidden(refine=refine)
        for box in range(3):
            z = case.preactivations(case.inputs(box))
            assert (z >= lower[box]).all()
            assert (z <= upper[box]).all()


@given(SEEDS)
def test_affine_bounds_hold_at_any_multipliers(seed: int) -> None:
    case = Case(seed)
    case.randomise()
    rows = case.rows.cast(np.float64)
    linear = linearise(case.frame.exact, case.frame.exact_boxes, rows)
    chains = case.frame.exact
    for row in range(len(rows)):
        x = case.inputs(int(rows.box[row]))
        x = x[case.inside(x, row)]
        first = x @ chains.first[0].T + chains.first_bias[0]
        bound = linear.constant[row] + first @ linear.preactivation[row, : chains.width]
        real = case.weighted(x, row)
        assert (bound >= real - 1e-9 * (1 + np.abs(bound))).all()


@given(SEEDS)
def test_what_is_certified_has_no_error(seed: int) -> None:
    case = Case(seed)
    optimise(case.frame.fast, case.frame.fast_boxes, case.rows, steps=20)
    proven = certify(case.frame.exact, case.frame.exact_boxes, case.rows)
    for row in np.flatnonzero(proven):
        margins = case.margins(case.inputs(int(case.rows.box[row])), row)
        assert (margins.min(axis=1) < 0).all()


@given(SEEDS)
def test_what_errs_is_found_at_real_inputs(seed: int) -> None:
    case = Case(seed)
    peaks = optimise(case.frame.fast, case.frame.fast_boxes, case.rows, steps=10)
    for row, x in zip(peaks.erring, peaks.x.astype(np.float64), strict=True):
        label = case.rows.label[row]
        for network in case.networks:
            values = network.evaluate(x[None])[0]
            assert np.delete(values, label).max() > values[label] - 1e-4 * (1 + np.abs(values).max())


@given(SEEDS)
def test_optimising_only_improves(seed: int) -> None:
    case = Case(seed)
    optimise(case.frame.fast, case.frame.fast_boxes, case.rows, steps=0)
    before = case.rows.value.copy()
    optimise(case.frame.fast, case.frame.fast_boxes, case.rows, steps=15)
    assert (case.rows.value <= before).all()


@given(SEEDS)
def test_tightened_bounds_keep_every_error(seed: int) -> None:
    case = Case(seed)
    fast, boxes = case.frame.fast, case.frame.fast_boxes
    optimise(fast, boxes, case.rows, steps=5)
    rows = case.rows.take(slice(None))
    empty = tighten(case.frame, rows)
    for row in range(len(rows)):
        x = case.inputs(int(rows.box[row]))
        x = x[(case.margins(x, row) >= 0).all(axis=1)]
        assert not (empty[row] and len(x))
        z = case.preactivations(x)
        assert (z >= rows.lower[row]).all()
        assert (z <= rows.upper[row]).all()


def test_the_joint_weight_is_stronger_than_either_alone() -> None:
    """Margins x and -x - 0.1 can't both be positive; each alone can."""
    relu = np.zeros(1, bool)

    def network(slope: float, offset: float) -> Network:
        last = Layer(np.array([[0.0], [1.0]]), np.zeros(2), np.zeros(2, bool))
        return Network((Layer(np.array([[slope]]), np.array([offset]), relu), last))

    chains = Chains([[network(1.0, 0.0), network(-1.0, -0.1)]])
    fast = chains.cast(np.float32)
    low, high = np.array([[-1.0]]), np.array([[1.0]])
    lower, upper = np.full((1, 2), -2, np.float32), np.full((1, 2), 2, np.float32)
    rows = root_rows(np.array([0]), np.array([0]), np.array([0]), np.array([[1, 1]]), lower, upper)
    for omega in ([9.0, -9.0], [-9.0, 9.0]):
        alone = Rows(**vars(rows) | {"omega": np.array([omega], np.float32)})
        assert not certify(chains, chains.boxes(low, high), alone)[0]
    optimise(fast, fast.boxes(low, high), rows, steps=30)
    assert certify(chains, chains.boxes(low, high), rows)[0]
