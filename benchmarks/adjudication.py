"""Where engines contradict each other: who is right."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

from pytest_ensemble.engines import ENGINES, make_engine
from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.errors import EngineError
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import replays

__all__ = ["adjudicate", "agreement", "contradicts"]

SECOND_OPINIONS = ("milp", "marabou", "native")


def contradicts(answers: dict[str, Answer]) -> bool:
    """Whether one engine says sat and another unsat."""
    return {Outcome.SAT, Outcome.UNSAT} <= {answer.outcome for answer in answers.values()}


def adjudicate(
    query: Query, answers: dict[str, Answer], seconds: float, make: Callable[[str], Engine] = make_engine
) -> dict[str, Any]:
    """The right verdict on contradictory answers, how it was found, and which engines were wrong.

    A witness that replays settles it; without one, engines that took no part are asked. The verdict is "open"
    if none of them knows.
    """
    said = {name: answer.outcome for name, answer in answers.items() if answer.outcome is not Outcome.UNKNOWN}
    verdict, how = _by_replay(query, answers)
    if verdict is Outcome.UNKNOWN:
        involved = {"native" if name == "analysis" else name for name in said}
        others = [name for name in SECOND_OPINIONS if name in ENGINES and name not in involved]
        verdict, how = _by_others(query, others, seconds, make)
    decided = verdict is not Outcome.UNKNOWN
    return {
        "query_text": query.describe(),
        "said": {name: str(outcome) for name, outcome in said.items()},
        "verdict": str(verdict) if decided else "open",
        "by": how,
        "wrong": [name for name, outcome in said.items() if outcome is not verdict] if decided else [],
    }


def _by_replay(query: Query, answers: dict[str, Answer]) -> tuple[Outcome, str]:
    for name, answer in answers.items():
        if answer.witness is not None and replays(query, answer.witness.reshape(1, -1))[0]:
            return Outcome.SAT, f"the witness of {name} replays"
    return Outcome.UNKNOWN, ""


def _by_others(
    query: Query, others: list[str], seconds: float, make: Callable[[str], Engine]
) -> tuple[Outcome, str]:
    for name in others:
        try:
            engine = make(name)
        except EngineError:
            continue
        try:
            ((_, answer),) = engine.solve([query], Budget(seconds))
        finally:
            engine.close()
        if answer.outcome is not Outcome.UNKNOWN:
            return answer.outcome, f"{name} was asked for a second opinion"
    return Outcome.UNKNOWN, "no witness replays, and no other engine knows"


def agreement(answers: list[dict[str, Answer]]) -> list[dict[str, Any]]:
    """For every two engines, on how many queries both have a verdict, and the same one."""
    result = []
    for a, b in combinations(answers[0], 2):
        pairs = [(each[a].outcome, each[b].outcome) for each in answers]
        both = [(x, y) for x, y in pairs if Outcome.UNKNOWN not in (x, y)]
        result.append({"engines": f"{a} ~ {b}", "both": len(both), "agree": sum(x is y for x, y in both)})
    return result
