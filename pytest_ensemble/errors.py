"""What can go wrong, as one tree.

::

    EnsembleError
    ├── ModelError (ValueError)             a model file, or the pool of them
    │   └── UnsupportedOperatorError        an operator outside the piecewise-linear ones
    ├── DataError (ValueError)              the labelled data, or the points taken from it
    ├── QueryError (ValueError)             an epsilon, label, bound or name that can't be asked about
    └── EngineError (RuntimeError)          an engine that is missing or can't be used

Every message says what is wrong, where, what is valid and what to do. The plugin turns all of them
into `pytest.UsageError` or a plain failure: a user never sees a traceback for bad input.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "DataError",
    "EngineError",
    "EnsembleError",
    "ModelError",
    "QueryError",
    "UnsupportedOperatorError",
    "did_you_mean",
]


class EnsembleError(Exception):
    """Base of all errors that pytest-ensemble raises on purpose."""


class ModelError(EnsembleError, ValueError):
    """A model file is unreadable, not a classifier, or does not fit the others of its pool."""


class UnsupportedOperatorError(ModelError):
    """A model uses an operator that can't be written as affine layers and ReLUs."""


class DataError(EnsembleError, ValueError):
    """The labelled data is missing, malformed, or has too few agreement points."""


class QueryError(EnsembleError, ValueError):
    """A question that can't be asked: bad epsilon, label, bounds, or an unknown member."""


class EngineError(EnsembleError, RuntimeError):
    """The engine that was asked for is unknown, or not installed here."""


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The sentence to append to a message about an unknown name: a suggestion and the valid ones."""
    import difflib  # costs milliseconds that suites without errors need not pay

    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Valid: {', '.join(names) or '(none)'}."
