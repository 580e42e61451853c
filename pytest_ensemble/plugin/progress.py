"""Where progress is said: one live line on a terminal, else a plain line now and then.

While queries are solved, pytest captures what is written; so `Screen` keeps a duplicate of the descriptor
that pytest itself writes to. A live line stands below the one that pytest is writing
("tests/test_x.py .."), and leaves nothing behind: it is erased, and the cursor goes back to where it was.
A thread draws it, so that it moves while no answer comes; it lives only while queries are solved.

Under pytest-xdist the controller writes to the terminal at any time, also into a live line. So workers write
plain lines, to the standard error that they inherit, each more rarely the more of them there are.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_ensemble.plugin.settings import Settings
from pytest_ensemble.runtime.progress import Progress, progress_line

__all__ = ["Screen", "screen_of"]

PATIENCE = 1.0  # seconds that solving takes before a live line appears
REDRAW = 0.5  # seconds between two looks at the counts
FIRST = 4.0  # seconds before the first plain line
EVERY = 30.0  # seconds between two plain lines


def screen_of(config: pytest.Config, settings: Settings) -> Screen | None:
    """Where to say progress in this process; None where nobody wants it, or nobody could see it."""
    if settings.progress == "off" or config.option.verbose < 0:
        return None
    capture = config.pluginmanager.get_plugin("capturemanager")
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        return Screen(None, capture, prefix=f"[{worker['workerid']}] ", every=EVERY * worker["workercount"])
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return None if reporter is None else Screen(reporter, capture)


class Screen:
    """What pytest writes to, reached from within a test; without a reporter standard error.

    Args:
        capture: pytest's, or None.
        prefix: of plain lines.
        every: seconds between two plain lines.
    """

    def __init__(self, reporter: Any, capture: Any, *, prefix: str = "", every: float | None = None) -> None:
        self._reporter, self._capture = reporter, capture
        self._prefix, self._every = prefix, EVERY if every is None else every
        self._file: int | None = None

    @contextlib.contextmanager
    def following(self, progress: Progress) -> Iterator[None]:
        """Show it from the moment that something is said to be done, until the end of the block."""
        threads: list[threading.Thread] = []
        end = threading.Event()

        def begin() -> None:
            follow = self._live if self._open() else self._plain
            threads.append(threading.Thread(target=follow, args=(progress, end), daemon=True))
            threads[0].start()

        progress.begin = begin
        try:
            yield
        finally:
            progress.begin = None
            end.set()
            for thread in threads:
                thread.join()

    def close(self) -> None:
        """Give the descriptor back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> bool:
        """Make sure that there is a descriptor; whether it is a terminal that can erase lines."""
        if self._file is None:
            away = self._capture.global_and_fixture_disabled() if self._capture else contextlib.nullcontext()
            with away, contextlib.suppress(OSError, ValueError, AttributeError):  # an in-memory file
                if self._reporter is None:
                    self._file = os.dup(2)
                else:
                    self._reporter.flush()
                    self._file = os.dup(self._reporter._tw._file.fileno())
        live = self._reporter is not None and os.environ.get("TERM") != "dumb"
        return live and self._file is not None and os.isatty(self._file)

    def _write(self, text: str) -> None:
        # one call, so that nothing comes in between; nobody must fail because a terminal has gone
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.write(self._file, text.encode("ascii", "backslashreplace"))

    def _live(self, progress: Progress, end: threading.Event) -> None:
        if end.wait(PATIENCE):
            return
        column = self._reporter._tw.width_of_current_line
        start = "\n"
        width = 80
        while True:
            with contextlib.suppress(OSError):
                width = os.get_terminal_size(self._file or 0).columns or 80
            # a line as wide as the terminal would wrap
            self._write(f"{start}{progress_line(progress, time.monotonic(), width - 1)}")
            start = "\r\x1b[K"
            if end.wait(REDRAW):
                break
        # with -s nobody knows where the cursor was: stay on the line below
        column %= width
        uncaptured = self._reporter.config.getoption("capture", "fd") == "no"
        back = "" if uncaptured else "\x1b[A" + (f"\x1b[{column}C" if column else "")
        self._write(f"\r\x1b[K{back}")

    def _plain(self, progress: Progress, end: threading.Event) -> None:
        wait = min(FIRST, self._every)
        while not end.wait(wait):
            self._write(f"\n{self._prefix}{progress_line(progress, time.monotonic())}\n")
            wait = self._every
