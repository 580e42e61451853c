"""A leaf of branch and bound: every ReLU is fixed, so the question is a linear program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pytest_ensemble.engines.bounds import Rows
from pytest_ensemble.engines.chains import Array, Chains, Frame
from pytest_ensemble.networks.network import Float, dense

__all__ = ["solve_leaf"]


def solve_leaf(frame: Frame, row: Rows) -> tuple[Array | None, Rows | None]:
    """The best input of a leaf and the multipliers that bound it.

    Maximises t over the box, with all margins >= t and every ReLU on its side.

    Args:
        frame: the networks and boxes.
        row: one row without unstable neurons.

    Returns:
        (x, row): x, shape (n,), if some input reaches t > 0, else None; and a float64 row whose
        multipliers are the program's duals, or None if the program has no solution to go by.
    """
    chains, boxes = frame.exact, frame.exact_boxes
    box, relu = int(row.box[0]), chains.relu[row.team[0]]
    center, radius = boxes.center[box], boxes.radius[box]
    matrix, offset, margins, bias = _affine(chains, row)
    offset = offset + matrix @ center  # as functions of u in [-1, 1]^n: x = center + radius * u
    bias = bias + margins @ center
    rounding = chains.rounding(boxes, row.box, row.team, row.target)
    if rounding is not None:
        bias = bias + rounding[0]
    matrix, margins = matrix * radius, margins * radius
    active = row.lower[0] >= 0
    reach = np.abs(matrix).sum(axis=1)
    free = relu & np.where(active, offset - reach < 0, offset + reach > 0)
    sign = np.where(active, 1.0, -1.0)[free]
    k, n = margins.shape
    # variables (u, t): t - margin_i <= 0 and -sign * z <= 0
    rows = np.vstack(
        [
            np.hstack([-margins, np.ones((k, 1))]),
            np.hstack([-sign[:, None] * matrix[free], np.zeros((len(sign), 1))]),
        ]
    )
    limits = np.concatenate([bias, sign * offset[free]])
    ends = [(-1.0, 1.0)] * n + [(-np.inf, np.inf)]
    program = _minimise(np.append(np.zeros(n), -1.0), rows, limits, ends)
    if program.status == 2:  # no input on these sides: whatever the margins, multiples of z prove it
        program = _farthest(rows[k:], limits[k:], ends)
        if program.status != 0:
            return None, None
        duals = np.concatenate([np.full(k, 1e-9), 1e9 * -program.ineqlin.marginals])
        return None, _with_duals(row, duals, free, active, k)
    if program.status != 0:
        return None, None
    x = center + radius * np.asarray(program.x)[:-1] if program.fun is not None and program.fun < 0 else None
    return x, _with_duals(row, -program.ineqlin.marginals, free, active, k)


def _farthest(rows: Float, limits: Float, ends: list[tuple[float, float]]) -> Any:
    """Minimise the largest violation of `rows @ (u, 0) <= limits`."""
    slack = rows.copy()
    slack[:, -1] = -1.0
    objective = np.zeros(rows.shape[1])
    objective[-1] = 1.0
    return _minimise(objective, slack, limits, ends)


def _minimise(objective: Float, rows: Float, limits: Float, ends: list[tuple[float, float]]) -> Any:
    from scipy.optimize import linprog  # a quarter of a second to import, and most runs reach no leaf

    return linprog(objective, rows, limits, bounds=ends, method="highs")


def _with_duals(row: Rows, duals: Float, free: Array, active: Array, k: int) -> Rows:
    row = row.cast(np.float64)
    beta = np.zeros_like(row.beta)
    beta[0, free] = np.maximum(duals[k:], 0)
    side = np.where(free, np.where(active, 1, -1), 0).astype(np.int8)[None]
    omega = np.log(np.maximum(duals[:k], 1e-12))[None]
    return replace(row, beta=beta, side=side, omega=omega)


def _affine(chains: Chains, row: Rows) -> tuple[Float, Float, Float, Float]:
    """Pre-activations and margins as affine functions of the input, on the sides of the row."""
    team = int(row.team[0])
    on = np.where(chains.relu[team], row.lower[0] >= 0, True)
    matrix, offset = np.empty((chains.neurons, chains.inputs)), np.empty(chains.neurons)
    matrix[: chains.width], offset[: chains.width] = dense(chains.first[team]), chains.first_bias[team]
    for part in chains.parts:
        weight = part.weight[team]
        matrix[part.outputs] = weight @ (on[part.inputs, None] * matrix[part.inputs])
        offset[part.outputs] = weight @ (on[part.inputs] * offset[part.inputs]) + part.bias[team]
    margins, bias = np.empty((chains.k, chains.inputs)), np.empty(chains.k)
    for i, (weights, biases, place) in enumerate(chains.last):
        p, label = row.target[0, i], row.label[0]
        direction = (weights[team, p] - weights[team, label]) * on[place]
        margins[i] = direction @ matrix[place]
        bias[i] = direction @ offset[place] + biases[team, p] - biases[team, label]
    return matrix, offset, margins, bias
