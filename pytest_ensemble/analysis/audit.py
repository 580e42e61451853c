"""Audits: decided queries are answered again, by engines that share no search with the first."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pytest_ensemble.analysis.scores import Pair
from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.query import Query

__all__ = ["Audit", "Contradiction", "Decided", "auditors", "check", "choose"]

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Decided:
    """A query of a pair around agreement point number `point`, and its answer."""

    pair: Pair
    point: int
    query: Query
    answer: Answer


@dataclass(frozen=True, eq=False)
class Contradiction(Decided):
    """A decided query that another engine decides otherwise; `second` is what that says."""

    second: Answer

    def __str__(self) -> str:
        said = f"{self.answer.engine} says {self.answer.outcome}, {self.second.engine} {self.second.outcome}"
        return f"{self.query.describe()}, point {self.point}: {said}"


@dataclass(frozen=True)
class Audit:
    """What came out.

    Attributes:
        asked: queries that were answered again.
        agreed: those with the same outcome.
        undecided: those that no other engine could decide.
        contradictions: the rest.
    """

    asked: int = 0
    agreed: int = 0
    undecided: int = 0
    contradictions: tuple[Contradiction, ...] = ()


def auditors(name: str, available: bool) -> list[str]:
    """Who audits an engine of that name: each is asked what the ones before could not decide."""
    names = (["marabou"] if available else []) + ["milp"]
    if name in ("marabou", "milp"):  # any other may have asked our own
        names.append("native")
    return [other for other in names if other != name]


def choose(known: Sequence[Item], count: int, seed: int) -> list[Item]:
    """At most `count` of these, at random."""
    return random.Random(seed).sample(known, min(count, len(known)))


def check(
    decided: Sequence[Decided], engines: Sequence[str | Engine], make: Callable[[str], Engine], budget: Budget
) -> Audit:
    """Have the engines answer these again, in order, until one decides; never who answered first.

    Args:
        decided: sat or unsat, all of them.
        engines: names or engines; those that are made here are closed here.
        make: gives an engine of a name.
        budget: as in `Engine.solve`.
    """
    left, agreed = list(decided), 0
    contradictions = []
    for given in engines:
        engine = make(given) if isinstance(given, str) else given
        asked = {id(one.query): one for one in left if one.answer.engine != engine.name}
        try:
            for query, second in engine.solve([one.query for one in asked.values()], budget) if asked else ():
                one = asked[id(query)]
                if second.outcome is Outcome.UNKNOWN:
                    continue
                left.remove(one)
                if second.outcome is one.answer.outcome:
                    agreed += 1
                else:
                    contradictions.append(Contradiction(one.pair, one.point, query, one.answer, second))
        finally:
            if isinstance(given, str):
                engine.close()
    return Audit(len(decided), agreed, len(left), tuple(contradictions))
