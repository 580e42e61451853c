"""Text for a terminal, by rich: tables at its width, with or without colours and Unicode.

Texts become `rich.text.Text`, which is never parsed as markup. Imported only where something is drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pytest_ensemble.report.entries import GateResult
from pytest_ensemble.report.lines import GATE_HEADER, gate_cells
from pytest_ensemble.report.terminal import Block, Fact

__all__ = ["PLAIN", "Style", "cut", "draw", "failure", "gate_table"]

_KEY = 16  # columns of a fact's name
_COLOURS = {
    "FAIL": "red",
    "fail": "red",
    "worse": "red",
    "inconclusive": "yellow",
    "open": "yellow",
    "pass": "green",
}
_TEST, _WORST = GATE_HEADER.index("test"), GATE_HEADER.index("worst")
_LEAST = 5  # columns that a name is cut to
_LEAST_TEST = 24  # the same for a test's
_ENDLESS = 100_000  # a width that breaks nothing


class Style(NamedTuple):
    """How to draw.

    Attributes:
        width: columns.
        colour: whether escape codes are understood.
        unicode: whether lines, shades and arrows can be shown.
        wrap: whether what is wider than that is broken; else only facts are, between their texts.
    """

    width: int = 100
    colour: bool = False
    unicode: bool = False
    wrap: bool = True


PLAIN = Style(wrap=False)  # for logs, JUnit and whoever keeps it: names stay whole


def failure(blocks: Sequence[Block], style: Style = PLAIN) -> str:
    """The message of a test whose gates don't hold: the first headline, then a block for each gate."""
    parts: list[RenderableType] = []
    for block in blocks:
        colour = _COLOURS[block["verdict"]]
        facts = [part for fact in block["facts"] for part in _fact(fact, style)]
        parts += [Text("")] if parts else []
        parts += [Text(block["headline"], f"bold {colour}"), Text(""), _scores(block["table"], style)]
        parts += [Text(f"  {note}") for note in block["notes"]]
        # a short rerun of one block needs no blank line before it
        parts += [Text(""), *facts]
    return draw(parts, style)


def gate_table(gates: Iterable[GateResult], style: Style) -> str:
    """One line for each gate, and the name of its test at the first one; above it where that is too long."""
    gap = 3 if style.width >= 100 else 2
    rows = [gate_cells(gate) for gate in gates]
    widths = [max(map(cell_len, column)) for column in zip(GATE_HEADER, *rows, strict=True)]
    room = (
        style.width - gap * (len(widths) - 1) - sum(widths[k] for k in range(7) if k not in (_TEST, _WORST))
    )
    worst = max(_LEAST, min(widths[_WORST], room // 2))
    test = min(widths[_TEST], room - worst)
    above = test < min(widths[_TEST], _LEAST_TEST)
    if above:
        worst = max(_LEAST, min(widths[_WORST], room + gap))
    columns = [k for k in range(7) if not (above and k == _TEST)]
    table = _table([GATE_HEADER[k] for k in columns], style, gap)
    for column in table.columns:
        column.no_wrap = True
    tests = [row[_TEST] for row in rows]
    first = [k == 0 or tests[k - 1] != name for k, name in enumerate(tests)]
    for row, new in zip(rows, first, strict=True):
        colour = _COLOURS[row[0]]
        cells = [Text(row[0], colour), *map(Text, row[1:5]), Text(row[5], colour), Text(row[6])]
        cells[_TEST] = Text(cut(row[_TEST], test, style) if new and not above else "")
        cells[_WORST] = Text(cut(row[_WORST], worst, style))
        table.add_row(*(cells[k] for k in columns))
    lines = draw([table], style).splitlines()
    if above:
        head = len(lines) - len(rows)
        under = zip(lines[head:], tests, first, strict=True)
        lines[head:] = [
            text
            for line, name, new in under
            for text in ([cut(name, style.width, style)] if new else []) + [line]
        ]
    return "\n".join(lines)


def draw(parts: Iterable[RenderableType], style: Style) -> str:
    """The parts below each other, without blanks at the ends of lines."""
    console = Console(
        file=io.StringIO(),
        width=style.width if style.wrap else _ENDLESS,
        color_system="standard" if style.colour else None,
        force_terminal=style.colour,
        no_color=False,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _scores(rows: Sequence[Sequence[str]], style: Style) -> RenderableType:
    table = _table(rows[0], style, gap=3)
    for column in table.columns[1:]:
        column.no_wrap = True
    table.columns[3].justify = "right"
    for *cells, remark in rows[1:]:
        colour = _COLOURS[remark.split()[0]]
        name, score, *others = cells
        strong = "" if colour == "green" else colour
        table.add_row(Text(name), Text(score, strong), *map(Text, others), Text(remark, colour))
    return Padding(table, (0, 0, 0, 2))


def _table(header: Sequence[str], style: Style, gap: int) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD if style.unicode else None,
        show_edge=False,
        pad_edge=False,
        padding=(0, gap - bool(style.unicode), 0, 0),  # a box has a divider too
        header_style="dim" if style.colour else "",
        border_style="dim",
    )
    for name in header:
        table.add_column(Text(name), overflow="fold")
    return table


def _fact(fact: Fact, style: Style) -> Iterator[RenderableType]:
    """Its name, and the texts side by side in as many lines as the width takes."""
    room = style.width - 2 - _KEY - 1
    lines = [""]
    for text in fact["texts"]:
        between = fact["between"]
        if lines[-1] and len(lines[-1]) + len(between) + len(text) > room:
            lines[-1] += between
            lines.append("")
        lines[-1] += between + text if lines[-1] else text
    name = Text(fact["name"], "bold" if fact["name"] else "")
    if style.wrap and name.cell_len > _KEY:
        yield Padding(name, (0, 0, 0, 2))
        name = Text("")
    for k, line in enumerate(lines):
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(min_width=_KEY, max_width=_KEY if style.wrap else None, overflow="fold")
        grid.add_column(overflow="fold")
        if style.unicode:
            line = re.sub(r"(?<=\d) -> (?=\d)", " → ", line)
        grid.add_row(Text("") if k else name, Text(line.rstrip()))
        yield Padding(grid, (0, 0, 0, 2))


def cut(text: str, room: int, style: Style, kept: float = 0.5) -> str:
    """The text without its middle if it is too long; `kept`: the share of it before what is left out."""
    if cell_len(text) <= room:
        return text
    dots = "…" if style.unicode else "..."
    head = int(kept * (room - len(dots)))
    tail = room - len(dots) - head
    return set_cell_size(text, head) + dots + _tail(text, tail)


def _tail(text: str, room: int) -> str:
    while cell_len(text) > room:
        text = text[1:]
    return text
