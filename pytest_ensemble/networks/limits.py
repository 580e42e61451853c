"""How much one model file may ask for: it comes from anywhere, and a few bytes can ask for 10**12 numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = [
    "CLASSES",
    "FILE_BYTES",
    "LARGEST",
    "STEP",
    "TERM",
    "WORK",
    "TooLarge",
    "check_size",
    "limited",
    "spend",
]

FILE_BYTES = 1 << 27  # of a model file: 33 million float32 weights
LARGEST = 1 << 20  # numbers in a tensor
CLASSES = 1 << 12
WORK = 1 << 27  # multiplications, and numbers stored, in all that lowering a file takes
STEP = 1 << 12  # what a step costs in itself
TERM = 1 << 9  # and what each sparse matrix in it does

_left: ContextVar[list[int] | None] = ContextVar("left", default=None)


class TooLarge(ValueError):
    """A file asks for more than it may."""


def check_size(size: int) -> None:
    """Refuse tensors that are too large to be verified.

    Raises:
        TooLarge: more than `LARGEST` numbers.
    """
    if size > LARGEST:
        raise TooLarge(f"a tensor of {size} numbers is too large; {LARGEST} are allowed")


@contextmanager
def limited() -> Iterator[None]:
    """Within it, `spend` refuses what adds up to more than `WORK`."""
    token = _left.set([WORK])
    try:
        yield
    finally:
        _left.reset(token)


def spend(numbers: int, *, step: int = STEP) -> None:
    """Announce a step, before it is made, that multiplies or stores so many numbers.

    Raises:
        TooLarge: more than the file has left.
    """
    left = _left.get()
    if left is None:
        return
    left[0] -= int(numbers) + step
    if left[0] < 0:
        raise TooLarge(f"the network is too large: more than {WORK} multiplications, or {WORK // STEP} steps")
