"""Where the plugin keeps what it knows in pytest's stashes; made only in suites that use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_ensemble.plugin.failures import Failure
    from pytest_ensemble.plugin.markers import Marks
    from pytest_ensemble.plugin.state import State

__all__ = [
    "BLOCKS",
    "CHECKED",
    "FAILURE",
    "GATE_FILE",
    "INCONCLUSIVE",
    "MARKS",
    "NODES",
    "STATE",
    "state_of",
]

GATE_FILE = "ensemble.toml"  # in the rootdir, if there is one

STATE: pytest.StashKey[State] = pytest.StashKey()
MARKS: pytest.StashKey[Marks] = pytest.StashKey()
CHECKED = pytest.StashKey[bool]()  # of an item: ensemble_gate.check() was called
NODES = pytest.StashKey[list[Any]]()  # workers of pytest-xdist that have not ended
BLOCKS = "ensemble_blocks"  # of a report: `Failure.blocks`
INCONCLUSIVE = "ensemble_inconclusive"  # of a report: `Failure.inconclusive`


FAILURE: pytest.StashKey[Failure] = pytest.StashKey()  # of an item


def state_of(config: pytest.Config) -> State:
    """The state of this process, made when it is first asked for.

    Raises:
        pytest.UsageError: a bad setting.
    """
    if STATE not in config.stash:
        from pytest_ensemble.plugin.baseline import read_baseline
        from pytest_ensemble.plugin.settings import read_settings
        from pytest_ensemble.plugin.state import State

        settings = read_settings(config)
        config.stash[STATE] = State(settings, read_baseline(settings))
    return config.stash[STATE]
