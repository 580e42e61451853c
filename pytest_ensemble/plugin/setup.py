"""From a test's marks and fixtures to its ensemble."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from pytest_ensemble.errors import QueryError
from pytest_ensemble.plugin.keys import MARKS
from pytest_ensemble.plugin.session import Session
from pytest_ensemble.plugin.under_test import EnsembleUnderTest

__all__ = ["set_up"]


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
    return EnsembleUnderTest(session, subject, names, marks.ensemble.epsilons, item.nodeid)
