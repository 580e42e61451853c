"""Workers of pytest-xdist whose controller is gone: execnet lets them go on for five seconds."""

from __future__ import annotations

import os
import signal
import threading
import time

__all__ = ["end_with_parent"]

_LOOK = 0.3  # seconds between two looks
_PATIENCE = 1.5  # seconds to end by oneself


def end_with_parent() -> None:
    """Interrupt this process, and in the end exit, when the one that started it has died."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_PATIENCE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="orphans").start()
