"""Read a gate file: TOML to `EnsembleGates`, or an error that names file, line and key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pytest_ensemble.analysis.gates import Gate
from pytest_ensemble.errors import EnsembleError, did_you_mean
from pytest_ensemble.gatefile import positions
from pytest_ensemble.gatefile.keys import ENSEMBLE, NAME, PREPROCESSING, THRESHOLDS, Key, KeyProblem
from pytest_ensemble.networks.steps import Steps
from pytest_ensemble.paths import path_in, pattern_in

__all__ = ["Defaults", "EnsembleGates", "GateFileError", "read_gate_file"]


class GateFileError(EnsembleError, ValueError):
    """A gate file that can't be used; the message says where and why."""


@dataclass(frozen=True)
class Defaults:
    """What holds for ensembles that don't say, as the ini has it."""

    points: int | Literal["all"] = 200
    bounds: Any = None
    epsilon: tuple[float, ...] | None = None


@dataclass(frozen=True)
class EnsembleGates:
    """One `[ensemble.NAME]` table.

    Attributes:
        name: of the ensemble.
        lines: in which line of the file each of its keys stands; "" for its own.
        pool: folder or glob pattern, None for that of the settings.
        data: path of the .npz, None for that of the settings.
        preprocessing: by name of a model; under "" for all others.
        gates: at least one.
        others as in the marker `ensemble`.
    """

    name: str
    lines: Mapping[str, int]
    pool: str | None
    data: Path | None
    members: tuple[str, ...] | None
    points: int | Literal["all"]
    label: int | Literal["best"] | None
    bounds: Any
    epsilons: tuple[float, ...]
    preprocessing: Mapping[str, Steps]
    gates: tuple[Gate, ...]


def read_gate_file(path: Path, defaults: Defaults) -> list[EnsembleGates]:
    """All ensembles of a gate file, in its order.

    Raises:
        GateFileError: what can't be read, an unknown key, a bad value, or an ensemble without a gate.
    """
    try:
        # as TOML wants it: no other line ends, and nothing that is not UTF-8
        text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
        content = tomllib.loads(text)
    except OSError as error:
        raise GateFileError(f"{path.name}: can't be read: {error.strerror or error}.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise GateFileError(f"{path.name}: is not TOML: {error}.") from None
    return _Reader(path, positions.lines_of(text), defaults).read(content)


@dataclass
class _Reader:
    path: Path
    lines: Mapping[positions.Path, int]
    defaults: Defaults
    _at: positions.Path = field(default=())

    def read(self, content: dict[str, Any]) -> list[EnsembleGates]:
        for name in content:
            if name != "ensemble":
                raise self._error(
                    (name,), f"there is no key {name!r} here.{did_you_mean(name, ['ensemble'])}"
                )
        ensembles = content.get("ensemble")
        if not isinstance(ensembles, dict) or not ensembles:
            raise self._error(
                ("ensemble",) if "ensemble" in content else (),
                "there is no ensemble in it. Write a table [ensemble.NAME] for each; "
                "python -m pytest_ensemble init writes a first one.",
            )
        return [self._ensemble(name, table) for name, table in ensembles.items()]

    def _ensemble(self, name: str, table: Any) -> EnsembleGates:
        path = ("ensemble", name)
        if not isinstance(table, dict):
            if name in ENSEMBLE:
                raise self._error(path, f"the key {name!r} belongs into a table [ensemble.NAME].")
            raise self._error(path, f"ensemble.{name} must be a table; got {table!r}.")
        if not re.fullmatch(NAME, name) or not name.isprintable():
            raise self._error(
                path,
                f"the ensemble's name {name!r} can't be part of test ids. Valid: no spaces, brackets, colons "
                "or slashes.",
            )
        values = self._values(path, table, ENSEMBLE)
        epsilons, gates = self._gates(path, values)
        folder = self.path.parent
        pool, data = values.get("pool"), values.get("data")
        return EnsembleGates(
            name,
            {"": self.lines.get(path, 1), **{key: self.lines.get((*path, key), 1) for key in table}},
            None if pool is None else pattern_in(folder, pool),
            None if data is None else path_in(folder, data),
            values.get("members"),
            values.get("points", self.defaults.points),
            values.get("label"),
            values.get("bounds", self.defaults.bounds),
            epsilons,
            self._preprocessing((*path, "preprocessing"), values.get("preprocessing")),
            gates,
        )

    def _values(self, path: positions.Path, table: dict[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
        values = {}
        for name, value in table.items():
            if name not in keys:
                raise self._error(
                    (*path, name), f"there is no key {name!r} in [{_dotted(path)}].{did_you_mean(name, keys)}"
                )
            try:
                values[name] = keys[name].read(value)
            except KeyProblem as problem:
                raise self._error((*path, name), f"{name} {problem}") from None
        return values

    def _gates(
        self, path: positions.Path, values: Mapping[str, Any]
    ) -> tuple[tuple[float, ...], tuple[Gate, ...]]:
        """The radii of the ensemble, and its gates: by metric, then by radius."""
        thresholds = {name: values[name] for name in THRESHOLDS if name in values}
        if not thresholds:
            raise self._error(
                path, f"[{_dotted(path)}] demands nothing. Give it {' or '.join(THRESHOLDS)}, or both."
            )
        own, named = values.get("epsilon"), set[float]()
        for name, by_epsilon in thresholds.items():
            if not isinstance(by_epsilon, dict):
                continue
            named |= set(by_epsilon)
            beyond = [] if own is None else sorted(set(by_epsilon) - set(own))
            if beyond:
                raise self._error(
                    (*path, name),
                    f"{name} is for epsilon {beyond[0]:g}, which is not among the ensemble's. Valid: "
                    f"{', '.join(f'{one:g}' for one in own or ())}.",
                )
        plain = next((name for name, score in thresholds.items() if not isinstance(score, dict)), None)
        if plain is not None:  # it holds at the ini's radii, too, where the ensemble has none
            named |= set(self.defaults.epsilon or ())
        epsilons: Any = own if own is not None else tuple(sorted(named)) or self.defaults.epsilon
        if epsilons is None:
            raise self._error(
                (*path, plain or ""),
                f"epsilon is missing in [{_dotted(path)}]: give the radius of the balls, epsilon = 0.02 for "
                "example, or set ensemble_epsilon in the ini.",
            )
        gates = []
        for metric in (name for name in THRESHOLDS if name in thresholds):
            score = thresholds[metric]
            for epsilon in epsilons:
                if not isinstance(score, dict) or epsilon in score:
                    threshold = score[epsilon] if isinstance(score, dict) else score
                    gates.append(Gate(metric, threshold, epsilon, values.get("confidence")))
        return epsilons, tuple(gates)

    def _preprocessing(self, path: positions.Path, table: dict[str, Any] | None) -> dict[str, Steps]:
        if not table:
            return {}
        own = {name: part for name, part in table.items() if isinstance(part, dict)}
        common = {name: part for name, part in table.items() if name not in own}
        found = {"": self._steps(path, common)} if common else {}
        return found | {name: self._steps((*path, name), part) for name, part in own.items()}

    def _steps(self, path: positions.Path, table: dict[str, Any]) -> Steps:
        steps = Steps(**self._values(path, table, PREPROCESSING))
        if steps.model_axes and not steps.data_axes:
            raise self._error((*path, "model_axes"), "model_axes needs data_axes beside it.")
        if sorted(steps.data_axes or "") != sorted(steps.model_axes or steps.data_axes or ""):
            raise self._error(
                (*path, "model_axes"),
                f"model_axes must have the letters of data_axes, {steps.data_axes!r}; got "
                f"{steps.model_axes!r}.",
            )
        return steps

    def _error(self, path: positions.Path, message: str) -> GateFileError:
        while path and path not in self.lines:
            path = path[:-1]
        line = f", line {self.lines[path]}" if path else ""
        return GateFileError(f"{self.path.name}{line}: {message}")


def _dotted(path: positions.Path) -> str:
    return ".".join(path)
