"""`Nodes` of branch and bound, and the `Table` that keeps the open ones."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pytest_ensemble.engines.bounds import Rows
from pytest_ensemble.engines.chains import Array, Index

__all__ = ["AGE", "OWNER", "Nodes", "Table"]

OWNER, AGE = len(fields(Rows)), len(fields(Rows)) + 3  # columns of a table of nodes


@dataclass
class Nodes:
    """Open nodes.

    Attributes:
        rows: their relaxations.
        owner: (B,), whose they are.
        gap: (B, N), what the relaxation of each neuron adds to the bound at x*.
        root: (B,), which root they descend from.
        age: (B,), when they were made; of two nodes of an owner the younger is branched first.
    """

    rows: Rows
    owner: Index
    gap: Array
    root: Index
    age: Index

    def __len__(self) -> int:
        return len(self.owner)

    def arrays(self) -> list[Array]:
        """All of it, as a table keeps it."""
        rows = [getattr(self.rows, field.name) for field in fields(Rows)]
        return [*rows, self.owner, self.gap, self.root, self.age]

    @staticmethod
    def of(arrays: list[Array]) -> Nodes:
        """What `arrays` gave."""
        return Nodes(Rows(*arrays[:-4]), *arrays[-4:])

    def take(self, which: Any) -> Nodes:
        """Some of the nodes: an index array or a mask."""
        return Nodes.of([array[which] for array in self.arrays()])


class Table:
    """Rows of several arrays, kept together; rows that were removed are used again.

    Attributes:
        used: (capacity,), which rows are in use.
    """

    def __init__(self) -> None:
        self.used = np.zeros(0, np.bool_)
        self._arrays: list[Array] = []

    def __getitem__(self, which: Index) -> list[Array]:
        return [array[which] for array in self._arrays]

    def column(self, number: int) -> Array:
        """One of the arrays, with what is left in rows that are not used."""
        return self._arrays[number]

    def add(self, arrays: list[Array]) -> Index:
        """Keep some rows; their places."""
        count = len(arrays[0])
        if not count:
            return np.zeros(0, np.intp)
        missing = count - int(len(self.used) - self.used.sum())
        if missing > 0:
            more = max(missing, len(self.used) // 2)
            grown = [np.zeros((more, *array.shape[1:]), array.dtype) for array in arrays]
            kept = zip(self._arrays, grown, strict=True) if self._arrays else ((new,) for new in grown)
            self._arrays = [np.concatenate(parts) for parts in kept]
            self.used = np.concatenate([self.used, np.zeros(more, np.bool_)])
        places = np.flatnonzero(~self.used)[:count]
        for own, new in zip(self._arrays, arrays, strict=True):
            own[places] = new
        self.used[places] = True
        return places

    def remove(self, places: Index) -> None:
        """Forget some rows; the memory goes with the last."""
        self.used[places] = False
        if not self.used.any():
            self.used, self._arrays = np.zeros(0, np.bool_), []
