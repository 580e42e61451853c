"""The ratchet in a session: the baseline is read by every process, and written by the controller."""

from __future__ import annotations

import datetime
import hashlib
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from pytest_ensemble.analysis.baseline import LOST, Baseline, BaselineError, Move
from pytest_ensemble.errors import reason
from pytest_ensemble.plugin.settings import Settings
from pytest_ensemble.report.ratchet import Comparison
from pytest_ensemble.report.write import replace_file

__all__ = ["keep_baseline", "read_baseline"]


def read_baseline(settings: Settings) -> Baseline | None:
    """The baseline of the settings, None without one; empty where it is to be made.

    Raises:
        pytest.UsageError: no such file, or none that can be used.
    """
    path, source = settings.baseline, settings.sources.get("baseline")
    making = settings.baseline_update or settings.baseline_accept is not None
    if path is None:
        if making:
            name = "update" if settings.baseline_update else "accept"
            raise pytest.UsageError(
                f"--ensemble-baseline-{name} needs a baseline: add --ensemble-baseline=FILE."
            )
        return None
    if not path.exists():
        if not path.parent.is_dir():
            raise pytest.UsageError(f"{source}: there is no folder {path.parent}. Make it first.")
        if not settings.baseline_update:
            raise pytest.UsageError(
                f"{source}: there is no file {path}. Add --ensemble-baseline-update once to make it."
            )
        return Baseline()
    if not path.is_file():
        raise pytest.UsageError(f"{source}: {path} can't be read: it is no regular file.")
    return _read(path, f"{source}: {path}")


def _read(path: Path, where: str) -> Baseline:
    try:
        return Baseline.from_text(path.read_text(encoding="utf-8"))
    except BaselineError as error:
        raise pytest.UsageError(f"{where} {error}") from None
    except OSError as error:
        raise pytest.UsageError(f"{where} can't be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise pytest.UsageError(f"{where} is not JSON: {reason(error)}.") from None


def keep_baseline(settings: Settings, found: tuple[Comparison, ...]) -> bool:
    """Write what the settings let be written; whether anything was.

    Raises:
        OSError, pytest.UsageError: the file can't be read again or written.
    """
    path = settings.baseline
    better, why = settings.baseline_update, settings.baseline_accept
    wanted = {Move.NEW, Move.BETTER} if better else set()
    if why is not None:
        wanted |= LOST
    changes = [one.change for one in found if one.move in wanted]
    if path is None or not changes:
        return False
    name = hashlib.sha256(str(path.absolute()).encode(errors="surrogateescape")).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir()) / f"pytest-ensemble-{name}.lock", timeout=60):
        before = _read(path, str(path)) if path.exists() else Baseline()  # as it is now
        after = before.updated(changes, better=better, reason=why, date=datetime.date.today().isoformat())
        if after == before:
            return False
        replace_file(path, after.to_text())
    return True
