"""Commands on a terminal: a real pseudo-terminal, and what its user sees."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import time

import pyte


def _attach() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # shells have their background ignore it


class Terminal:
    """A terminal of so many columns and lines, on which one command runs.

    Attributes:
        raw: bytes that were written.
        seen: texts of the line with the cursor, one for each time something was written.
    """

    def __init__(self, columns=80, lines=200):
        self.columns, self.lines = columns, lines
        self.raw = b""
        self.seen = []
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)

    def run(self, command, *, cwd, env=None, interrupt_at=None, seconds=60):
        """Run it to its end; the exit code. `interrupt_at`: a text; Ctrl-C is typed when it is seen."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", self.lines, self.columns, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name not in _ABOUT_COLOUR}
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment | {"TERM": "xterm-256color"} | (env or {}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_attach,
        )
        os.close(theirs)
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                try:
                    part = os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
                self.raw += part
                self._stream.feed(part)
                self.seen.append(self._screen.display[self._screen.cursor.y].rstrip())
                if interrupt_at is not None and any(interrupt_at in line for line in self._screen.display):
                    interrupt_at = None
                    os.write(ours, b"\x03")
            return process.wait(timeout=max(1, until - time.monotonic()))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            os.close(ours)

    def text(self):
        """What stands on the screen."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()


_ABOUT_COLOUR = {"NO_COLOR", "FORCE_COLOR", "PY_COLORS", "COLUMNS", "LINES", "TERM", "CI", "BUILD_NUMBER"}
