"""How failing gates look among pytest's failures: a plugin of its own, registered when the tests have ended.

Reports keep their plain text, which JUnit files and logs show. While pytest prints its summary to a terminal
the text is drawn instead, at its width. Tests with inconclusive gates stand among the failures then, so that
they are shown wherever failures are (`--tb`, `-r`, `--no-summary`), and are counted apart afterwards.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

import pytest

from pytest_ensemble.plugin import BLOCKS
from pytest_ensemble.plugin.summary import encodable, style_of
from pytest_ensemble.report.terminal import Block

__all__ = ["Failure", "pytest_terminal_summary"]


class Failure(NamedTuple):
    """Why the gates of a test failed it.

    Attributes:
        message: as plain text.
        blocks: the same, to be drawn.
        inconclusive: whether none of them fails for sure.
    """

    message: str
    blocks: list[Block]
    inconclusive: bool


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around that of pytest, which prints the failures
def pytest_terminal_summary(terminalreporter: Any) -> Generator[None, None, None]:
    """Show drawn messages, and inconclusive tests behind the failed ones."""
    stats = terminalreporter.stats
    failed, inconclusive = stats.get("failed", []), stats.pop("inconclusive", [])
    if failed or inconclusive:
        stats["failed"] = [*failed, *inconclusive]
    texts = [(report, report.longrepr) for report in stats.get("failed", ())]
    for report, text in texts:
        if BLOCKS in report.__dict__ and str(text).strip() == _plain(report.__dict__[BLOCKS]).strip():
            report.longrepr = _Drawn(text, report.__dict__[BLOCKS])
    try:
        return (yield)
    finally:
        for report, text in texts:
            report.longrepr = text
        stats.pop("failed", None)
        stats.update({"failed": failed} if failed else {})
        stats.update({"inconclusive": inconclusive} if inconclusive else {})


def _plain(blocks: list[Block]) -> str:
    from pytest_ensemble.report.drawing import failure

    return failure(blocks)


class _Drawn:
    """Text of a report that is drawn where pytest writes it to a terminal."""

    def __init__(self, text: Any, blocks: list[Block]) -> None:
        self._text, self._blocks = text, blocks

    def __str__(self) -> str:
        return str(self._text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._text, name)

    def toterminal(self, writer: Any) -> None:
        """Write it; as it is where that is no terminal."""
        style = style_of(writer)
        if style is None:
            self._text.toterminal(writer)
            return
        from pytest_ensemble.report.drawing import failure

        for line in failure(self._blocks, style).splitlines():
            writer.line(encodable(line, writer))
