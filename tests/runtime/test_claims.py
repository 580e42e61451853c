"""Claims: nobody solves what somebody alive is solving, and claims end with their owners."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from pathlib import Path

import pytest

from pytest_ensemble.engines.base import Budget
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.runtime import cached
from pytest_ensemble.runtime.cached import CachedEngine
from pytest_ensemble.runtime.store import Store
from tests.runtime.questions import Known, question, truth

QUERIES = [question(point, 0.05) for point in range(20)]


def test_claims_are_exclusive_until_they_are_released(tmp_path: Path) -> None:
    with contextlib.closing(Store(tmp_path)) as one, contextlib.closing(Store(tmp_path)) as other:
        assert one.claim(QUERIES[:12]) == QUERIES[:12]
        assert one.claim(QUERIES[:12]) == QUERIES[:12]
        assert other.claim(QUERIES) == QUERIES[12:]
        one.release()
        assert other.claim(QUERIES) == QUERIES
        assert one.claim(QUERIES) == []
    assert not list((tmp_path / "owners").iterdir())


def test_an_easy_epsilon_does_not_wait_for_a_hard_one(tmp_path: Path) -> None:
    with contextlib.closing(Store(tmp_path)) as one, contextlib.closing(Store(tmp_path)) as other:
        one.claim([question(0, 0.05)])
        hard, easy = question(0, 0.05), question(0, 0.01)
        assert other.claim([hard, easy]) == [easy]


def claim_and_hang(folder: Path, ready: multiprocessing.synchronize.Event) -> None:
    store = Store(folder)
    store.claim(QUERIES)
    ready.set()
    time.sleep(60)


def test_claims_of_a_killed_process_are_void(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    owner = context.Process(target=claim_and_hang, args=(tmp_path, ready))
    owner.start()
    try:
        with contextlib.closing(Store(tmp_path)) as store:
            assert ready.wait(30)
            assert store.claim(QUERIES) == []
            owner.kill()
            owner.join()
            assert store.claim(QUERIES) == QUERIES
    finally:
        owner.kill()


class Slow(Known):
    """Takes its time, so that others come meanwhile."""

    def solve(self, queries, budget):
        for solved in super().solve(queries, budget):
            time.sleep(0.005)
            yield solved


@pytest.mark.parametrize("shared", [False, True])
def test_what_others_solve_is_waited_for(tmp_path: Path, shared: bool) -> None:
    engines = [Slow() for _ in range(4)]
    outcomes: dict[int, list[Outcome]] = {}

    def run(number: int) -> None:
        with contextlib.closing(Store(tmp_path, shared=shared)) as store:
            solved = CachedEngine(engines[number], store).solve(QUERIES[:: 1 + number % 2], Budget())
            outcomes[number] = [answer.outcome for _, answer in solved]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(outcomes[number]) for number in range(4)] == [20, 10, 20, 10]
    asked = [query for engine in engines for query in engine.asked]
    assert len(asked) == len(set(asked)) == 20


class Stubborn(Known):
    """Some queries take for ever, and their whole portion with them."""

    def __init__(self, hard: set[str]) -> None:
        super().__init__()
        self.hard, self.turns = hard, []

    def solve(self, queries, budget):
        self.turns.append({query.key for query in queries})
        if any(query.key in self.hard for query in queries):
            time.sleep(max(0.0, (budget.deadline or 0.0) - time.monotonic()))
            yield from ((query, Answer(Outcome.UNKNOWN, reason="budget", seconds=0.01)) for query in queries)
        else:
            yield from super().solve(queries, budget)


def test_a_hard_portion_does_not_hold_back_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "_SLICE", 0.05)
    monkeypatch.setattr(cached, "_LEAST", 1)
    engine = Stubborn({QUERIES[0].key})
    with contextlib.closing(Store(tmp_path, shared=True)) as store:
        budget = Budget(deadline=time.monotonic() + 1.0)
        answers = dict(CachedEngine(engine, store).solve(QUERIES, budget))
    assert len(answers) == 20
    decided = [query for query, answer in answers.items() if answer.outcome is not Outcome.UNKNOWN]
    assert len(decided) >= 14  # all portions but that of the hard one
    assert answers[QUERIES[0]].reason == "budget"
    assert sum(QUERIES[0].key in turn for turn in engine.turns) > 1


def test_waiting_is_within_the_budget(tmp_path: Path) -> None:
    with contextlib.closing(Store(tmp_path)) as other, contextlib.closing(Store(tmp_path)) as store:
        other.claim(QUERIES)
        engine = Known()
        solved = CachedEngine(engine, store).solve(QUERIES, Budget(deadline=time.monotonic() + 0.3))
        assert {(a.outcome, a.reason) for _, a in solved} == {(Outcome.UNKNOWN, "unasked")}
        assert not engine.asked


def test_who_does_nothing_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "_PATIENCE", 0.3)
    with contextlib.closing(Store(tmp_path)) as other, contextlib.closing(Store(tmp_path)) as store:
        other.claim(QUERIES)
        answers = dict(CachedEngine(Known(), store).solve(QUERIES, Budget()))
    assert [answers[query].outcome for query in QUERIES] == [truth(query).outcome for query in QUERIES]
