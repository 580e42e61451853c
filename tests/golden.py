"""Texts that are compared with files as a whole.

After a change that is meant: WRITE_GOLDEN=1 python -m pytest tests/report, then look at the diff.
"""

import os
from pathlib import Path


def same_as(path: Path, text: str) -> bool:
    """Whether the file holds this text; with WRITE_GOLDEN=1 it is written first."""
    if os.environ.get("WRITE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
    return True
