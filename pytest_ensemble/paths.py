"""Paths and patterns that users write."""

from __future__ import annotations

import contextlib
import glob
from pathlib import Path

__all__ = ["path_in", "pattern_in"]


def path_in(folder: Path, text: str | Path) -> Path:
    """A path that users wrote, from the folder where it starts; "~" is their home, if they have one."""
    path = Path(text)
    with contextlib.suppress(RuntimeError):
        path = path.expanduser()
    return folder / path


def pattern_in(folder: Path, text: str | Path) -> str:
    """The same of what may be a pattern: the text may, but never the folder's own name."""
    if not glob.has_magic(str(text)) or path_in(folder, text).is_absolute() != folder.is_absolute():
        return str(path_in(folder, text))
    return str(path_in(Path(glob.escape(str(folder))), text))
