"""What can go wrong, as one tree.

::

    EnsembleError
    ├── ModelError (ValueError)             a model file, or the pool of them
    │   └── UnsupportedOperatorError        an operator outside the piecewise-linear ones
    ├── DataError (ValueError)              the labelled data, or the points taken from it
    ├── QueryError (ValueError)             an epsilon, label, bound or name that can't be asked about
    ├── ReportError (ValueError)            a report that can't be read or drawn
    └── EngineError (RuntimeError)          an engine that is missing or can't be used

Every message says what is wrong, where, what is valid and what to do. The plugin turns all of them
into `pytest.UsageError` or a plain failure: a user never sees a traceback for bad input.

Names of files, and of what is in them, come from anywhere: messages are `printable`, whoever writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = [
    "DataError",
    "EngineError",
    "EnsembleError",
    "ModelError",
    "QueryError",
    "ReportError",
    "UnsupportedOperatorError",
    "did_you_mean",
    "printable",
    "quoted",
    "reason",
]


class EnsembleError(Exception):
    """Base of all errors that pytest-ensemble raises on purpose; the message is made `printable`."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(printable(arg) for arg in args))


class ModelError(EnsembleError, ValueError):
    """A model file is unreadable, not a classifier, or does not fit the others of its pool."""


class UnsupportedOperatorError(ModelError):
    """A model uses an operator that can't be written as affine layers and ReLUs."""


class DataError(EnsembleError, ValueError):
    """The labelled data is missing, malformed, or has too few agreement points."""


class QueryError(EnsembleError, ValueError):
    """A question that can't be asked: bad epsilon, label, bounds, or an unknown member."""


class ReportError(EnsembleError, ValueError):
    """A report is missing, damaged, or of another version, or can't be drawn."""


class EngineError(EnsembleError, RuntimeError):
    """The engine that was asked for is unknown, or not installed here."""


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The sentence to append to a message about an unknown name: a suggestion and the valid ones."""
    import difflib  # costs milliseconds that suites without errors need not pay

    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Valid: {', '.join(names) or '(none)'}."


def printable(text: object, most: int = 4000) -> str:
    """Text from outside as one line that is safe to print on terminals and in CI logs.

    Whatever is not printable is written as Python would escape it: control characters (colours, newlines),
    invisible ones and those that turn the direction of writing, and bytes that are no text. So is what CI
    servers take for a command: "::" where a line starts, and "##" anywhere. The middle of very long texts is
    left out.
    """
    shown = str(text)
    if len(shown) > most:
        shown = f"{shown[: most // 2]} ... {shown[-(most // 2) :]}"
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    shown = re.sub("#(?=#)", r"\\x23", shown)
    return re.sub(r"^(\s*):(?=:)", r"\1\\x3a", shown)


def quoted(name: object) -> str:
    """A name out of a file as Python writes it; of very long ones the ends."""
    return printable(repr(name), 100)


def reason(error: BaseException) -> str:
    """What an exception of another library says, in one line that is not too long."""
    return printable(" ".join(str(error).split()) or type(error).__name__, 500)
