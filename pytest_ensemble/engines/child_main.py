"""The start of every solver process: `python -I child_main.py PARENT`, as a script.

It takes pickled messages on stdin and answers on what was stdout. The first message says what to serve:
(import path, "module:function", bytes of memory or None, arguments). Then "ready" goes back, and
`function(receive, send, *arguments)` serves until `receive` raises EOFError. Solvers print to stdout, hold
the GIL for minutes, exhaust the memory or crash: all of that ends with this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import pickle
import select
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1
_LOOK = 0.5  # seconds between two looks at whether the parent lives, where the system does not tell


def main() -> None:
    """Serve until stdin ends. Argument: the parent's process id."""
    die_with(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, who kills us
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)

    def receive() -> Any:
        return pickle.load(sys.stdin.buffer)

    def send(message: Any) -> None:
        pickle.dump(message, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()

    with contextlib.suppress(EOFError):
        sys.path[:], service, memory, arguments = receive()
        module, function = service.split(":")
        serve = getattr(importlib.import_module(module), function)
        limit_memory(memory)
        try:
            serve(receive, send, *arguments)
        except MemoryError:
            limit_memory(None)
            send("memory")


def die_with(parent: int) -> None:
    """Die when the parent does, be it by kill -9, and whatever holds the GIL here then."""
    if not _told_by_the_system():
        _watch()
    if os.getppid() != parent:  # it died before we could ask for that
        os._exit(1)


def _told_by_the_system() -> bool:
    """On Linux the system kills us when the thread that started us ends; see `child.spawner`."""
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def _watch() -> None:
    """Start a process that kills this one when nobody can write to its stdin any more; it ends with it."""
    server = os.getpid()
    if os.fork():
        return
    os.closerange(1, 1 << 10)
    stdin = select.poll()
    stdin.register(0, 0)
    while os.getppid() == server:
        if any(event & select.POLLHUP for _, event in stdin.poll(1000 * _LOOK)):
            os.kill(server, signal.SIGKILL)
    os._exit(0)


def limit_memory(size: int | None) -> None:
    """Let allocations beyond so many bytes of data fail (Linux; elsewhere the system has no such limit)."""
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = hard if size is None else size
        resource.setrlimit(resource.RLIMIT_DATA, (soft if hard < 0 else min(soft, hard), hard))


if __name__ == "__main__":
    main()
