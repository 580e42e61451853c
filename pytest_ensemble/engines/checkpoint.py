"""Long calculations that end in time: they call `checkpoint` in their loops, and whoever started them says
when to stop. Like the cancel scopes of trio, for plain functions: no signature in between has to change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

__all__ = ["OutOfTime", "checkpoint", "stopping"]

_stop: ContextVar[Callable[[], bool] | None] = ContextVar("stop", default=None)


class OutOfTime(Exception):
    """Raised by `checkpoint`; what was being calculated is lost, what was finished before is not."""


@contextlib.contextmanager
def stopping(when: Callable[[], bool]) -> Iterator[None]:
    """Within, in this thread, `checkpoint` raises as soon as `when()` is true. Must not span a `yield`."""
    token = _stop.set(when)
    try:
        yield
    finally:
        _stop.reset(token)


def checkpoint() -> None:
    """To be called at least every tenth of a second by what takes long.

    Raises:
        OutOfTime: nobody waits for the result any more.
    """
    stop = _stop.get()
    if stop is not None and stop():
        raise OutOfTime
