"""The store of this process: in the folder of the settings, or in one that workers share for a run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from pytest_ensemble.plugin.settings import Settings
from pytest_ensemble.runtime.store import Store

__all__ = ["cache_folder", "lend", "store_of"]

_INPUT = "pytest_ensemble_cache"  # our key among what a worker of pytest-xdist is given


def cache_folder(config: pytest.Config, settings: Settings) -> Path:
    """Where answers are kept."""
    return settings.cache_dir or config.rootpath / ".ensemble_cache"


def store_of(config: pytest.Config, settings: Settings) -> Store | None:
    """The store of this process; None where nothing shall be kept."""
    given: dict[str, Any] = getattr(config, "workerinput", {})
    shared = int(given.get("workercount", 1)) > 1
    if _INPUT in given:
        return Store(Path(given[_INPUT]), shared=shared)
    if settings.cache == "off":
        return None
    return Store(cache_folder(config, settings), settings.cache, shared=shared)


def lend(node: Any, settings: Settings, folder: Path | None) -> Path | None:
    """Where nothing may be written, give a worker of pytest-xdist a folder that they share for this run.

    Args:
        folder: the one that others were given, if any.

    Returns:
        The folder; None where workers use that of the settings. Whoever calls removes it at the end.
    """
    if settings.cache == "rw":
        return None
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="pytest-ensemble-"))
        if settings.cache == "ro":
            Store(cache_folder(node.config, settings), "ro").copy_to(folder)
    node.workerinput[_INPUT] = str(folder)
    return folder
