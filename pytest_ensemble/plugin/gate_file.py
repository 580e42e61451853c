"""`ensemble.toml`, collected: its gates are test items, `ensemble.toml::NAME[min-uniqueness-eps0.02]`.

The file in the rootdir is a test file like any other: it is collected where its folder is, or where it is
named itself. As no Python folder holds it, it also belongs to what a plain `pytest` runs where the ini has
`testpaths`. `--ensemble-gates=FILE` takes another one instead, and adds it to whatever else is run. Any
other gate file can be named on the command line, as `pytest other.toml`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ensemble.analysis.gates import Gate
from pytest_ensemble.plugin import GATE_FILE, MARKS, state_of
from pytest_ensemble.plugin.markers import Marks
from pytest_ensemble.plugin.settings import Settings

if TYPE_CHECKING:
    from pytest_ensemble.gatefile.read import EnsembleGates

__all__ = ["GateFile", "GateItem", "add_gate_file", "collect_gate_file"]


def _gate_file(config: pytest.Config, settings: Settings) -> Path:
    return settings.gates or config.rootpath / GATE_FILE


def add_gate_file(config: pytest.Config, settings: Settings) -> None:
    """Have the gate file collected where no folder that is run holds it, but it was asked for.

    Raises:
        pytest.UsageError: the settings name a file that does not exist.
    """
    path = _gate_file(config, settings)
    if not path.is_file():
        if settings.gates is not None:
            raise pytest.UsageError(f"{settings.sources['gates']}: there is no file {path}.")
        return
    here = config.invocation_params.dir
    asked = settings.sources.get("gates", "").startswith(("--", "environment"))
    named = [here / argument.partition("::")[0] for argument in config.args]
    ignored = [here / argument for argument in config.getoption("ignore") or ()]
    plain = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if (plain or asked) and path not in named and path not in ignored:
        config.args.append(str(path))


def collect_gate_file(file_path: Path, parent: pytest.Collector) -> GateFile | None:
    """The collector of a gate file; None for all other files."""
    path = _gate_file(parent.config, state_of(parent.config).settings)
    if not file_path.is_file():  # a pipe may never end
        return None
    if parent.session.isinitpath(file_path) or (path.is_file() and file_path.samefile(path)):
        file: GateFile = GateFile.from_parent(parent, path=file_path)
        return file
    return None


class GateFile(pytest.File):
    """A gate file; what is wrong with it is an error of the collection."""

    def collect(self) -> Iterator[GateItem]:
        """An item for each gate of each ensemble."""
        from pytest_ensemble.gatefile.read import Defaults, GateFileError, read_gate_file

        settings = state_of(self.config).settings
        try:
            ensembles = read_gate_file(
                self.path, Defaults(settings.points, settings.bounds, settings.epsilon)
            )
        except GateFileError as error:
            raise self.CollectError(str(error)) from None
        for ensemble in ensembles:
            for gate in ensemble.gates:
                name = f"{ensemble.name}[{_parameters(gate)}]"
                # given as text, pytest tells the name from what is in brackets, as where it reads one again
                yield GateItem.from_parent(
                    self, name=name, nodeid=f"{self.nodeid}::{name}", ensemble=ensemble, gate=gate
                )


def _parameters(gate: Gate) -> str:
    short = f"{gate.epsilon:g}"
    epsilon = short if float(short) == gate.epsilon else repr(gate.epsilon)
    return f"{gate.metric.replace('_', '-')}-eps{epsilon}"


class GateItem(pytest.Item):
    """One gate of a gate file. All of an ensemble share an analysis, which the first of them solves for all.

    Attributes:
        ensemble: what the file says of it.
    """

    def __init__(self, *, ensemble: EnsembleGates, gate: Gate, **kwargs: Any) -> None:
        """Use `from_parent`."""
        super().__init__(**kwargs)
        self.ensemble = ensemble
        self.add_marker(pytest.mark.ensemble)
        self.stash[MARKS] = Marks(None, (gate,))

    def runtest(self) -> None:
        """Check the gate."""
        from pytest_ensemble.plugin.gate import EnsembleGate
        from pytest_ensemble.plugin.session import plain_failures, session_of
        from pytest_ensemble.plugin.setup import set_up_gates

        session = session_of(self.config)
        with plain_failures():
            ensemble = set_up_gates(self.nodeid, self.path.name, session, self.ensemble)
        EnsembleGate(self, session, ensemble, self._selected()).check()

    def _selected(self) -> list[Gate]:
        """The gates of this ensemble that this session runs."""
        others = (item for item in self.session.items if isinstance(item, GateItem))
        return [
            gate
            for item in others
            if (item.path, item.ensemble.name) == (self.path, self.ensemble.name)
            for gate in item.stash[MARKS].gates
        ]

    def reportinfo(self) -> tuple[Path, int, str]:
        """The file, the line (from 0) of the gate's threshold, and the name of the gate."""
        (gate,) = self.stash[MARKS].gates
        return self.path, self.ensemble.lines[gate.metric] - 1, self.name
