"""`Child`: a solver process as its parent sees it. See `child_main` for the other side."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from pytest_ensemble.queries.answer import Reason

__all__ = ["GRACE", "Child", "Died"]

# Solvers look at their clock now and then only; after this many more seconds they are killed.
GRACE = 0.4
_START = 30.0  # seconds in which a process must have started
_LAST_WORDS = 1.0  # seconds for a process to end whose output has ended
# What solvers say before they end, in C++, because there is no more memory.
_EXHAUSTED = (b"bad_alloc", b"MemoryError", b"emory allocation", b"out of memory")


class Died(Exception):
    """The process is gone; `reason` for it: timeout (it was killed for that), memory, or crashed."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Child:
    """A process that serves one function. One message at a time; `kill` may come from any thread."""

    def __init__(self, service: str, *arguments: Any, memory: int | None = None, path: str = "") -> None:
        """Start it; it is not waited for.

        Args:
            service: "module:function", see `child_main`.
            arguments: of the function.
            memory: bytes that it may allocate, or None.
            path: one more folder to import from.
        """
        # what it says at its end tells why it ended
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self._reason: Reason = "crashed"
        self._ready = False
        self._ending = threading.Lock()
        self._out_of_memory = _kills_for_memory()
        self.process: subprocess.Popen[bytes] = spawner().submit(_start, self._stderr).result()
        folders = [str(Path(folder).absolute()) for folder in (*sys.path, *([path] if path else ()))]
        self.send((folders, service, memory, arguments))

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def send(self, message: Any) -> None:
        """Give it a message; that it died is noticed by `receive`."""
        with contextlib.suppress(OSError, ValueError):
            pickle.dump(message, self.process.stdin, pickle.HIGHEST_PROTOCOL)  # type: ignore[arg-type]
            self.process.stdin.flush()  # type: ignore[union-attr]

    def receive(self) -> Any:
        """Its next message.

        Raises:
            Died: there is none any more.
        """
        try:
            message = pickle.load(self.process.stdout)  # type: ignore[arg-type]
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            self._end()
            raise Died(self._reason) from None
        if isinstance(message, str) and message == "memory":
            self.close()
            raise Died("memory")
        return message

    def wait_until_ready(self) -> None:
        """Wait for the first message, "ready", of a service that sends one when it has started.

        Raises:
            Died: it did not start, or not in time.
        """
        if not self._ready:
            with _Deadline(self, _START):
                self.receive()
            self._ready = True

    def ask(self, message: Any, seconds: float | None) -> Any:
        """The answer to a message.

        Args:
            seconds: after these, and some grace, the process is killed; None for never.

        Raises:
            Died: it was killed, by us or others, or crashed.
        """
        with _Deadline(self, None if seconds is None else seconds + GRACE) as deadline:
            try:
                self.send(message)
                return self.receive()
            except Died:
                if deadline.passed:
                    raise Died("timeout") from None
                raise

    def kill(self) -> None:
        """End the process at once; whoever waits for it is told."""
        self.process.kill()

    def close(self) -> None:
        """End the process and release its pipes."""
        self.kill()
        self._end()

    def _end(self) -> None:
        """Wait for its end, which has begun, and keep why it was."""
        with self._ending:
            if self._stderr.closed:
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_LAST_WORDS)
            self.kill()
            self.process.wait()
            self._reason = self._why()
            self._stderr.close()
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError, ValueError):  # what was not flushed has no reader any more
                    pipe.close()  # type: ignore[union-attr]

    def _why(self) -> Reason:
        """Memory, if it said so or the system killed a process for it meanwhile; else crashed."""
        if self.process.returncode == -signal.SIGKILL and _kills_for_memory() > self._out_of_memory:
            return "memory"
        self._stderr.seek(0)
        said = self._stderr.read()[-4096:]
        return "memory" if any(words in said for words in _EXHAUSTED) else "crashed"


def _start(stderr: Any) -> subprocess.Popen[bytes]:
    # matrix products must not use more threads than there are jobs
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}
    return subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).with_name("child_main.py")), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=os.environ | threads,
    )


@lru_cache(maxsize=1)
def spawner() -> ThreadPoolExecutor:
    """The thread that starts all children: on Linux they die with it, so it must live as long as we do."""
    return ThreadPoolExecutor(1, thread_name_prefix="spawner")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=spawner.cache_clear)  # threads are not forked


def _kills_for_memory() -> int:
    """How many processes the system has killed because memory ran out; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


class _Deadline:
    """While entered, kills a child once `seconds` have passed (never for None)."""

    def __init__(self, child: Child, seconds: float | None) -> None:
        self._child = child
        self._timer = (
            None if seconds is None else threading.Timer(min(seconds, threading.TIMEOUT_MAX), self._pass)
        )
        self.passed = False

    def _pass(self) -> None:
        self.passed = True
        self._child.kill()

    def __enter__(self) -> _Deadline:
        if self._timer:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer.join()  # after this it will not kill the child in its next query
