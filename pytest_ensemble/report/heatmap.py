"""A small heatmap for terminals: the mutual error of every pair, members first."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pytest_ensemble.errors import printable
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.drawing import Style, cut, draw
from pytest_ensemble.report.entries import Ensemble, MutualError

__all__ = ["heatmaps"]

MOST_NAMES = 24
_LEVELS = (0.0, 0.05, 0.1, 0.2)  # a shade stands for scores up to these, the last for all above
_SHADES = {True: " ░▒▓█", False: " .:+#"}
# Text on a ground, from light to dark; numbers tell the same without colours.
_COLOURS = ("", "black on white", "black on yellow", "black on magenta", "bold white on red")
_CELL = 6  # columns, gap included


def heatmaps(document: Document, style: Style) -> Iterator[str]:
    """A heatmap for each ensemble and epsilon that scores are known of."""
    for ensemble in document.ensembles:
        own = [entry for entry in document.mutual_error if entry.ensemble == ensemble.ensemble]
        for epsilon in sorted({entry.epsilon for entry in own}):
            yield _heatmap(ensemble, epsilon, [entry for entry in own if entry.epsilon == epsilon], style)


def _heatmap(ensemble: Ensemble, epsilon: float, entries: list[MutualError], style: Style) -> str:
    scores = {frozenset(entry.pair): entry for entry in entries}
    names = [n for n in (*ensemble.members, *ensemble.candidates) if any(n in pair for pair in scores)]
    undecided = any(entry.unknown for entry in entries)
    numbers = f"{len(names)}"
    longest = max(len(printable(name)) for name in names)
    label = min(longest, max(8, style.width // 4))
    room = min(MOST_NAMES, max(2, (style.width - 2 - len(numbers) - 2 - label) // _CELL + 1))
    shown = _worst(names, entries, room)
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(justify="right")
    table.add_column(min_width=label, max_width=label, no_wrap=True, overflow="ellipsis")
    for _ in shown[:-1]:
        table.add_column(justify="right", min_width=_CELL - 1, no_wrap=True)
    table.add_row("", "", *(Text(str(k), "dim") for k in range(1, len(shown))))
    for row, name in enumerate(shown):
        cells = [_cell(scores.get(frozenset((name, other))), style, undecided) for other in shown[:row]]
        table.add_row(Text(str(row + 1), "dim"), Text(cut(printable(name), label, style)), *cells)
    parts: list[RenderableType] = [Text(f"mutual error at epsilon {epsilon:g}"), Padding(table, (0, 0, 0, 2))]
    if len(shown) < len(names):
        parts.append(Text(f"  the {len(shown)} that err most of {len(names)}"))
    parts.append(_legend(style))
    if undecided:
        parts.append(Text("  ?: undecided queries counted as errors"))
    return draw(parts, style)


def _legend(style: Style) -> Text:
    text = Text("  ")
    words = [*(f"to {level:.2f}" for level in _LEVELS[1:]), "above"]
    for shade, colour, word in zip(_SHADES[style.unicode][1:], _COLOURS[1:], words, strict=True):
        text.append("  " if style.colour else shade, colour).append(f" {word}   ")
    return text


def _worst(names: list[str], entries: list[MutualError], count: int) -> list[str]:
    """So many names, in their order: those in the pairs that err most."""
    if len(names) <= count:
        return names
    kept: list[str] = []
    for entry in sorted(entries, key=lambda entry: entry.high, reverse=True):
        kept += [name for name in entry.pair if name not in kept]
    return [name for name in names if name in kept[:count]]


def _cell(entry: MutualError | None, style: Style, undecided: bool) -> Text:
    if entry is None:
        return Text("-", "dim")
    level = sum(entry.high > limit for limit in _LEVELS)
    shade = "" if style.colour else _SHADES[style.unicode][level]
    mark = "?" if entry.unknown else " " if undecided else ""
    return Text(f"{shade}{entry.high:.2f}{mark}", _COLOURS[level])
