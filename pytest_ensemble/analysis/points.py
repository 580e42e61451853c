"""Agreement points: inputs that every network of the pool labels correctly."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.errors import DataError, QueryError
from pytest_ensemble.files import read_arrays
from pytest_ensemble.networks.pool import Pool
from pytest_ensemble.queries.ball import Ball, Bounds

__all__ = ["Count", "Data", "Label", "Points", "agreement_points", "check_points", "load_data"]

_MANY = 100  # rows, from which on an accuracy says more than chance does

Count = int | Literal["all"]
Label = int | Literal["best"] | None


@dataclass(frozen=True, eq=False)
class Data:
    """Labelled inputs: `x` float32 of shape (m, ...), `y` int64 of shape (m,), and where they are from."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    source: str = "the data"


@dataclass(frozen=True, eq=False)
class Points:
    """Agreement points.

    Attributes:
        x: float32, shape (m, ...) as in the data.
        labels: int64, shape (m,): the label that all networks of the pool give, which is the right one.
        indices: int64, shape (m,): their places in the data.
        data: the data they were taken from.
    """

    x: NDArray[np.float32]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    data: Data

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def sha256(self) -> str:
        """Hex digest of points and labels."""
        digest = hashlib.sha256(np.ascontiguousarray(self.x).tobytes())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()


def load_data(path: str | Path) -> Data:
    """Read an .npz with `x`, shape (m, ...), and `y`, integer labels of shape (m,). Never unpickles.

    Raises:
        DataError: no such file, not an .npz, or without usable `x` and `y`; too many numbers.
    """
    arrays = read_arrays(path, ("x", "y"))
    return read_data(arrays["x"], arrays["y"], str(path))


def read_data(x: Any, y: Any, source: str = "the data") -> Data:
    """Check inputs and labels and bring them to float32 and int64.

    Raises:
        DataError: not numbers, NaN, sizes that differ, labels that are not whole numbers >= 0.
    """
    inputs, labels = np.asarray(x), np.asarray(y)
    if inputs.dtype.kind not in "fiub":
        raise DataError(f"{source}: x must hold numbers; its dtype is {inputs.dtype}.")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or inputs.ndim < 2 or len(inputs) != len(labels):
        raise DataError(
            f"{source}: x must have shape (m, ...) and y (m,); they have {inputs.shape} and {labels.shape}."
        )
    if not len(labels):
        raise DataError(f"{source}: is empty.")
    finite = np.isfinite(inputs.reshape(len(inputs), -1)).all(axis=1)
    if not finite.all():
        raise DataError(f"{source}: x has NaN or infinite values, first in row {int(finite.argmin())}.")
    if labels.dtype.kind not in "iu" and not (
        labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.floor(labels)).all()
    ):
        raise DataError(f"{source}: y must hold whole numbers, the classes; got dtype {labels.dtype}.")
    with np.errstate(over="ignore"):
        cast = inputs.astype(np.float32)
    if not np.isfinite(cast).all():
        raise DataError(f"{source}: x has values beyond float32.")
    if (abs(labels.astype(np.float64)) >= 2.0**62).any():
        raise DataError(f"{source}: y has values that are no class.")
    return Data(cast, labels.astype(np.int64), source)


def check_data(pool: Pool, data: Data) -> None:
    """Refuse data that does not fit the pool.

    Raises:
        DataError: inputs of another size, labels that are no class, or a model no better than chance.
    """
    size = int(np.prod(data.x.shape[1:]))
    if size != pool.input_size:
        raise DataError(
            f"{data.source}: has {size} numbers a sample (shape {data.x.shape[1:]}); the models take "
            f"{pool.input_size}."
        )
    bad = (data.y < 0) | (data.y >= pool.classes)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{data.source}: the label {data.y[row]} in row {row} is not a class of the models, "
            f"0..{pool.classes - 1}."
        )
    for name, model in pool.items():
        accuracy, chance = float(np.mean(model.predict(data.x) == data.y)), 1.0 / pool.classes
        # labels in any order are above chance half of the time, but hardly ever by three deviations
        luck = 3 * math.sqrt(chance * (1 - chance) / len(data.y)) if len(data.y) >= _MANY else 0.0
        if accuracy <= min(chance + luck, (1 + chance) / 2):
            raise DataError(
                f"{data.source}: {name} is right on {accuracy:.1%} of it, no better than chance "
                f"({chance:.1%}, give or take {luck:.1%}). Usual causes: inputs not normalised as in "
                "training (0..255 instead of 0..1, mean and std), axes in another order (channels first or "
                "last), labels in another order."
            )


def agreement_points(
    pool: Pool,
    x: NDArray[Any] | Data,
    y: NDArray[Any] | None = None,
    *,
    count: Count,
    label: Label = None,
    start: int = 0,
) -> Points:
    """The first `count` inputs, in order from row `start`, that every network classifies correctly.

    Args:
        pool: the networks that must agree, members and candidates alike.
        x: inputs, shape (m, ...), or a Data.
        y: labels, shape (m,).
        count: how many points, or "all" there are.
        label: only this label; "best" for the one that the pool classifies most accurately, as in the
            paper; None for any.
        start: first row to look at.

    Raises:
        DataError: bad data, or fewer than `count` agreement points.
    """
    data = x if isinstance(x, Data) else read_data(x, y)
    check_data(pool, data)
    if not (isinstance(count, str) and count == "all") and not (_is_whole(count) and count >= 1):
        raise DataError(f"points must be a number >= 1 or 'all'; got {count!r}.")
    if not (_is_whole(start) and start >= 0):
        raise DataError(f"start must be a row of the data, 0 or more; got {start!r}.")
    correct = np.stack([model.predict(data.x) == data.y for model in pool.values()])
    wanted = np.arange(len(data.y)) >= start
    if label == "best":
        label = _best_label(correct, data.y)
    if label is not None:
        if not _is_whole(label):
            raise DataError(f"label must be None, a class, or 'best'; got {label!r}.")
        if not 0 <= label < pool.classes:
            raise DataError(f"label {label} is not a class of the models, 0..{pool.classes - 1}.")
        wanted &= data.y == label
    found = np.flatnonzero(correct.all(axis=0) & wanted)
    if count != "all":
        if len(found) < count:
            raise _too_few(pool, correct, wanted, len(found), count, label, data.source)
        found = found[:count]
    if not len(found):
        raise _too_few(pool, correct, wanted, 0, 1, label, data.source)
    return Points(data.x[found], data.y[found], found.astype(np.int64), data)


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _best_label(correct: NDArray[np.bool_], y: NDArray[np.int64]) -> int:
    present = np.unique(y)
    accuracy = [correct[:, y == label].mean() for label in present]
    return int(present[int(np.argmax(accuracy))])


def _too_few(
    pool: Pool,
    correct: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    found: int,
    count: int,
    label: Label,
    source: str,
) -> DataError:
    of_label = "" if label is None else f" of label {label}"
    message = (
        f"{source}: {count} agreement points{of_label} were asked for; {found} of the {int(wanted.sum())} "
        "samples are classified correctly by every network of the pool."
    )
    if len(pool) > 1:
        wrong = ~correct & wanted
        alone = wrong & (wrong.sum(axis=0) == 1)
        worst = max(range(len(pool)), key=lambda k: (int(alone[k].sum()), int(wrong[k].sum())))
        if wrong[worst].any():
            message += (
                f" {pool.names[worst]} disagrees most: it is wrong on {int(wrong[worst].sum())}, on "
                f"{int(alone[worst].sum())} of them alone."
            )
        if wrong[worst].any():
            return DataError(f"{message} Ask for fewer points, give more data, or leave that model out.")
    return DataError(f"{message} Ask for fewer points, or give more data.")


def check_points(points: Points, pool: Pool, bounds: Bounds | None) -> None:
    """Refuse at once what would be refused when the first query is made.

    Raises:
        QueryError: points of another size than the models take, outside the bounds, or without a class.
    """
    flat = points.x.reshape(len(points), -1)
    if flat.shape[1] != pool.input_size:
        raise QueryError(f"The points have {flat.shape[1]} numbers each; the models take {pool.input_size}.")
    if not ((points.labels >= 0) & (points.labels < pool.classes)).all():
        raise QueryError(f"The points have labels that are no classes of the models, 0..{pool.classes - 1}.")
    for center in flat:
        Ball(center, 0.0, bounds)
