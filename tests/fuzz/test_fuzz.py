"""The fuzzer runs, agrees with the engines, and would notice if they were wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.cascade import Cascade
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.query import Query
from tests.fuzz.__main__ import main
from tests.fuzz.cases import MAKERS
from tests.fuzz.examine import Engines, examine
from tests.fuzz.planted import planted


def test_nobody_disagrees(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--cases",
        "5",
        "--seed",
        "3",
        "--kinds",
        "planted",
        "tiny",
        "twins",
        "wide",
        "architectures",
    ]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "DISAGREEMENT" not in text
    total = next(line.split() for line in text.splitlines() if line.startswith("all "))
    cases, _, queries, sat, unsat, *_ = (int(number.replace(",", "")) for number in total[1:])
    assert cases == 5
    assert queries >= sat + unsat > 100
    assert min(sat, unsat) > 10


@pytest.mark.parametrize("kind", MAKERS)
def test_a_case_is_the_same_for_a_seed(kind: str) -> None:
    one, other = (MAKERS[kind](np.random.default_rng(1)) for _ in range(2))
    assert [query.key for query in one.queries] == [query.key for query in other.queries]
    np.testing.assert_array_equal(one.truth, other.truth)


class Liar:
    """Turns some answers of our own engine."""

    name = "native"

    def __init__(self, *, said: Outcome, instead: Outcome) -> None:
        self.said, self.instead = said, instead

    def solve(self, queries: Sequence[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
        for query, answer in Cascade().solve(queries, budget):
            if answer.outcome is self.said:
                answer = replace(answer, outcome=self.instead, witness=query.ball.center)
            yield query, answer

    def close(self) -> None:
        pass


@pytest.mark.parametrize("said", [Outcome.SAT, Outcome.UNSAT])
def test_lies_are_found(said: Outcome) -> None:
    (instead,) = {Outcome.SAT, Outcome.UNSAT} - {said}
    rng = np.random.default_rng(1)
    case = planted(rng)
    lies = sum(answer.outcome is said for _, answer in Cascade().solve(case.queries, Budget(5.0)))
    engines = Engines(Liar(said=said, instead=instead))
    tally = examine(case, engines, rng)
    engines.close()
    found = {text.partition(" (")[0] for text in tally.disagreements}
    assert lies > 10
    assert len(found) >= 0.9 * lies  # beside ties nobody can be sure
