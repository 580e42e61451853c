"""`Pool`: the classifiers of a model repository, by name."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.errors import ModelError, QueryError, did_you_mean
from pytest_ensemble.networks.model import Model

__all__ = ["Pool"]


class Pool(Mapping[str, Model]):
    """Classifiers that can stand for one another: same inputs, same classes. A mapping name -> Model.

    Raises:
        ModelError: fewer than one model, two of one name or one content, or models that differ in
            input size or number of classes. The message names the files.
    """

    def __init__(self, models: Iterable[Model]) -> None:
        ordered = sorted(models, key=lambda model: model.name)
        if not ordered:
            raise ModelError("A pool needs at least one model.")
        self._models: dict[str, Model] = {}
        digests: dict[str, Model] = {}
        for model in ordered:
            if (twin := self._models.get(model.name)) is not None:
                raise ModelError(
                    f"Two models are named {model.name!r}: {_place(twin)} and {_place(model)}. "
                    "Rename one: names are file stems."
                )
            if "~" in model.name:
                raise ModelError(
                    f"{_place(model)}: a name with '~' can't be told from that of a pair. Rename it."
                )
            if (twin := digests.get(model.sha256)) is not None:
                raise ModelError(
                    f"{_place(twin)} and {_place(model)} are the same model (sha256 "
                    f"{model.sha256[:12]}...). Remove one: a copy always errs with its original."
                )
            self._models[model.name] = digests[model.sha256] = model
        self._same("input size", {m: m.input_size for m in ordered})
        self._same("number of classes", {m: m.classes for m in ordered})

    @classmethod
    def load(cls, where: str | Path) -> Pool:
        """All `*.onnx` files of a directory, or all files that a glob pattern finds.

        Raises:
            ModelError: no such folder, no model in it, or a model that can't be used.
        """
        place = Path(where)
        if place.is_dir():
            files = sorted(place.glob("*.onnx"))
            if not files:
                raise ModelError(
                    f"No *.onnx file in the folder {place}. Export models to it, as with torch.onnx.export."
                )
        else:
            found = [str(where)] if place.is_file() else glob.glob(str(where), recursive=True)
            files = sorted(map(Path, found))
            if not files:
                raise ModelError(
                    f"No model found at {where}: it is neither a folder nor a pattern that matches "
                    "files (for example 'models/*.onnx')."
                )
        stems: dict[str, Path] = {}
        for file in files:
            if file.stem in stems:
                raise ModelError(
                    f"Two models are named {file.stem!r}: {stems[file.stem]} and {file}. "
                    "Rename one: names are file stems."
                )
            stems[file.stem] = file
        return cls(Model.load(file) for file in files)

    def __getitem__(self, name: str) -> Model:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __repr__(self) -> str:
        return f"Pool({', '.join(self._models)})"

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(self._models)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return next(iter(self._models.values())).classes

    @property
    def input_size(self) -> int:
        """Number of inputs, flat."""
        return next(iter(self._models.values())).input_size

    def select(self, members: Iterable[str] | None) -> tuple[str, ...]:
        """The given names in the given order, or all of them for None.

        Raises:
            QueryError: a name that is not in the pool, or given twice.
        """
        if members is None:
            return self.names
        chosen = tuple(members)
        for name in chosen:
            if name not in self._models:
                raise QueryError(f"{name!r} is not in the pool.{did_you_mean(str(name), self)}")
        if len(set(chosen)) < len(chosen):
            twice = next(name for name in chosen if chosen.count(name) > 1)
            raise QueryError(f"{twice!r} is given twice among the members.")
        return chosen

    def _same(self, what: str, values: dict[Model, int]) -> None:
        if len(set(values.values())) > 1:
            first, *rest = values
            other = next(model for model in rest if values[model] != values[first])
            raise ModelError(
                f"Models of one pool need the same {what}: {_place(first)} has {values[first]}, "
                f"{_place(other)} has {values[other]}."
            )


def ensemble_accuracy(models: Iterable[Model], x: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Share of `x`, shape (m, ...), that the average of the models' scores labels as `y`, shape (m,)."""
    total = sum(model.scores(x) for model in models)
    return float(np.mean(np.asarray(total).argmax(axis=1) == y))


def _place(model: Model) -> str:
    return str(model.path) if model.path else repr(model.name)
