"""The fenced blocks of a Markdown page, with the comments that say what to do with them.

A comment on the line before a block speaks of that block:

    <!-- exit 1 -->             the last command of the block ends with this status (else 0)
    <!-- file: NAME -->         the block is a file of the project: it is written there
    <!-- needs MODULE -->       only where that module is
    <!-- not run: WHY -->       can't be run here
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

_COMMENT = re.compile(r"<!-- (exit|file|needs|not run):? ?(.*) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it begins in, and what comments say of it."""

    language: str
    text: str
    line: int
    comments: dict[str, str]

    @property
    def runs(self) -> bool:
        """Whether it can be run here."""
        needed = self.comments.get("needs")
        return "not run" not in self.comments and (needed is None or there_is(needed))


def there_is(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found: list[Block] = []
    comments: dict[str, str] = {}
    language: str | None = None
    inside: list[str] = []
    start = 0
    for number, line in enumerate(text.splitlines(), start=1):
        fence = re.fullmatch(r"```(\w*)", line)
        if language is not None and fence:
            found.append(Block(language, "".join(f"{one}\n" for one in inside), start, comments))
            language, inside, comments = None, [], {}
        elif language is not None:
            inside.append(line)
        elif fence:
            language, start = fence[1], number
        elif match := _COMMENT.fullmatch(line):
            comments[match[1]] = match[2]
        elif line.strip():
            comments = {}
    if language is not None:
        raise ValueError(f"The block that begins in line {start} does not end.")
    return found


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """(command, lines of output that the page shows) of a console block."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found and found[-1][0].endswith("\\") and not found[-1][1]:
            found[-1] = (found[-1][0][:-1] + line.strip(), [])
        elif found:
            found[-1][1].append(line)
        else:
            raise ValueError(f"line {block.line}: a console block begins with a command, '$ ...'.")
    return found


def missing(shown: list[str], output: str) -> list[str]:
    """The lines of a page that are not in the output, in this order.

    `...` stands for anything; spaces and numbers of seconds are ignored.
    """
    rest = [_plain(line) for line in output.splitlines()]
    absent = []
    for line in shown:
        if line.strip() in ("", "..."):
            continue
        pattern = ".*".join(map(re.escape, _plain(line).split("...")))
        place = next((k for k, one in enumerate(rest) if re.fullmatch(pattern, one)), None)
        if place is None:
            absent.append(line)
        else:
            rest = rest[place + 1 :]
    return absent


def _plain(line: str) -> str:
    line = re.sub(r"\b\d+(\.\d+)? ?s\b", "# s", line)
    return " ".join(re.sub(r"={3,}|-{3,}", "==", line).split())
