"""The picture of a failing gate in the docs: python -m benchmarks.terminal_picture

Runs the example project's legacy gate and draws what a terminal of 100 columns shows, without times.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "images" / "terminal.svg"
COLUMNS = 100


def output() -> str:
    """What pytest prints of the legacy gate, from its failures on, with colours."""
    command = [sys.executable, "-m", "pytest", "legacy", "--ensemble-pool=models/", "--ensemble-cache=off"]
    settings = {"COLUMNS": str(COLUMNS), "PYTHONIOENCODING": "utf-8", "CI": ""}
    shown = subprocess.run(
        [*command, "--color=yes", "-p", "no:randomly", "-p", "no:cacheprovider"],
        cwd=ROOT / "example_project",
        env=os.environ | settings,
        capture_output=True,
        encoding="utf-8",
    ).stdout
    lines = shown.splitlines()
    start = next(k for k, line in enumerate(lines) if " FAILURES " in line)
    end = next(k for k, line in enumerate(lines) if re.match(r"\d+ queries: ", line))
    return "\n".join(["$ pytest legacy --ensemble-pool=models/", *lines[start:end]])


def picture(text: str) -> str:
    """The same as an SVG that loads nothing."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="standard"
    )
    console.print(Text.from_ansi(text))
    template = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="pytest-ensemble", code_format=template, unique_id="terminal")


def main() -> None:
    """Write it."""
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(picture(output()), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
