"""From a test's marks and fixtures, or from a gate file, to its ensemble."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from pytest_ensemble.errors import EnsembleError, QueryError
from pytest_ensemble.gatefile.read import EnsembleGates
from pytest_ensemble.plugin import MARKS
from pytest_ensemble.plugin.markers import EnsembleMark, id_of
from pytest_ensemble.plugin.session import Session
from pytest_ensemble.plugin.under_test import EnsembleUnderTest

__all__ = ["set_up", "set_up_gates"]


def set_up(item: pytest.Item, session: Session, pool: Any, data: Any, members: Any) -> EnsembleUnderTest:
    """The ensemble of a test; what overridden fixtures gave is checked here.

    Raises:
        EnsembleError: whatever is wrong with the pool, the data, the members or the mark.
    """
    marks = item.stash.get(MARKS, None)
    if marks is None or marks.ensemble is None:
        raise QueryError(
            "The fixture ensemble needs a mark that says which: @pytest.mark.ensemble(members=[...], "
            "epsilon=...) on the test, its class or its module."
        )
    if isinstance(members, str) or not (members is None or isinstance(members, Iterable)):
        raise QueryError(f"The fixture ensemble_members must give names, or None; it gave {members!r}.")
    known = session.read_pool(pool)
    names = known.select(members)
    subject = session.subject(known, session.read_data(data), marks.ensemble)
    return EnsembleUnderTest(session, subject, names, marks.ensemble.epsilons, id_of(item))


def set_up_gates(test: str, file: str, session: Session, gates: EnsembleGates) -> EnsembleUnderTest:
    """The ensemble of a gate file.

    Args:
        test: id of the item that asks.
        file: name of the gate file, for messages.

    Raises:
        EnsembleError: whatever is wrong with the pool, the data or the members; says in which line of the
            file that stands.
    """

    @contextlib.contextmanager
    def at(key: str) -> Iterator[None]:
        try:
            yield
        except EnsembleError as error:
            line = gates.lines.get(key, gates.lines[""])
            where = f"ensemble.{gates.name}" + (f".{key}" if key in gates.lines and key else "")
            raise type(error)(f"{error} ({file}, line {line}: {where})") from None

    with at("pool"):
        pool = session.default_pool() if gates.pool is None else session.read_pool(gates.pool)
    with at("preprocessing"):
        pool = session.prepared(pool, gates.preprocessing)
    with at("data"):
        data = session.default_data() if gates.data is None else session.read_data(gates.data)
    with at("members"):
        members = pool.select(gates.members)
    with at(""):
        mark = EnsembleMark(members, gates.epsilons, gates.points, gates.label, gates.bounds)
        return EnsembleUnderTest(session, session.subject(pool, data, mark), members, gates.epsilons, test)
