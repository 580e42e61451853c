"""Write a document to a file; the suffix says how."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # every suite imports this, for the names of formats
    from pytest_ensemble.report.document import Document

__all__ = ["FORMATS", "replace_file", "write"]


def as_json(document: Document) -> str:
    """The document as JSON of its schema, an entry of a list in a line."""

    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    from pytest_ensemble.report.words import overall

    content = document.to_json()
    content = {"schema": content.pop("schema"), "verdict": overall(document), **content}
    parts = []
    for name, value in content.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            inside = ",\n  ".join(text(entry) for entry in value)
            parts.append(f"{text(name)}: [\n  {inside}\n ]")
        else:
            parts.append(f"{text(name)}: {text(value)}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def _html(document: Document) -> str:
    from pytest_ensemble.report.html import as_html

    return as_html(document)


def _markdown(document: Document) -> str:
    from pytest_ensemble.report.markdown import as_markdown

    return as_markdown(document)


# What draws is imported when it is needed: options are checked against the suffixes in every suite.
FORMATS: dict[str, Callable[[Document], str]] = {".json": as_json, ".html": _html, ".md": _markdown}


def write(document: Document, path: Path) -> None:
    """Write a document in the format of the path's suffix.

    Raises:
        OSError: the file can't be written.
    """
    replace_file(path, FORMATS[path.suffix.lower()](document))


def replace_file(path: Path, text: str) -> None:
    """Write a text file; readers see the old one or the new one whole.

    Raises:
        OSError: it can't be written.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        # names of files may hold bytes that are no text: JSON has the same escapes for them
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        # mkstemp makes files private; a report is as readable as any new file
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
