"""`Works`: the work on batches of queries, from the first attack to the last search.

1. attack: the points themselves, and gradients of each network alone; every input is tried on all networks,
   at all epsilons.
2. attack of teams: from there, gradients are followed for every open cell.
3. single: which labels each network can be brought to, by CROWN and then by branch and bound on one network.
   A network that is robust settles all its pairs; labels that it can't be brought to fall away in them.
4. joint: bounds, attack, and branch and bound on both networks of a pair at once.

The last two go side by side and take turns; see `scheduler`. Each answer is used wherever it holds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ensemble.engines.attack_stages import AttackSingles, AttackTeams, Starts
from pytest_ensemble.engines.board import BOUNDARY, Board
from pytest_ensemble.engines.joint_search import SearchTeams
from pytest_ensemble.engines.proofs import Proofs
from pytest_ensemble.engines.scheduler import Lane, Scheduler, Turns
from pytest_ensemble.engines.search import FIRST_TURN
from pytest_ensemble.engines.single_search import SearchSingles
from pytest_ensemble.engines.stages import Limits, Stage
from pytest_ensemble.queries.answer import Answer, Outcome, Reason
from pytest_ensemble.queries.query import Query

__all__ = ["MOVED", "NAME", "Batch", "Solved", "Works", "stages_of"]

NAME = "native"
MOVED = "moved"  # the stage of queries that are given back, for others to answer
_TRIES = 3  # of a query that memory is too small for
_OPEN_NUMBERS = 1 << 26  # of neurons times boxes, of all batches that are worked on at the same time

Solved = tuple[Query, Answer]


def stages_of(board: Board, limits: Limits, proofs: Proofs | None = None) -> list[Stage]:
    """All work on a board, the cheapest first.

    Args:
        board: changed in place.
        limits: when to give up.
        proofs: where to keep what is proven, if anywhere. Searches are slower then.
    """
    starts = Starts(board)
    attacks = [AttackSingles(board, squad, limits, proofs, starts) for squad in board.singles]
    singles = [SearchSingles(board, squad, limits, proofs) for squad in board.singles]
    teams = [AttackTeams(board, squad, limits, proofs, starts) for squad in board.squads]
    joint = [SearchTeams(board, squad, limits, proofs, singles) for squad in board.squads]
    return [*attacks, *singles, *teams, *joint]


@dataclass(frozen=True)
class Batch:
    """Queries that share a board, and how often memory may yet be too small for them."""

    queries: list[Query]
    tries: int = _TRIES


class _Work:
    """The work on one batch."""

    def __init__(self, batch: Batch, limits: Limits, certificates: Path | None) -> None:
        self.batch = batch
        self.board = Board(batch.queries)
        self.proofs = None if certificates is None else Proofs(self.board)
        self.stages = stages_of(self.board, limits, self.proofs)
        self._certificates = certificates
        self._queries: dict[tuple[int, int], list[Query]] = {}
        for query, place in zip(batch.queries, self.board.place_of, strict=True):
            self._queries.setdefault(place, []).append(query)

    def news(self, stage: str) -> Iterator[Solved]:
        """What was settled since this was last asked, in that stage."""
        for entry in self.board.news():
            outcome = Outcome.UNSAT if entry.witness is None else Outcome.SAT
            queries = self._queries.pop((entry.cell, entry.level), [])
            for query in queries:
                seconds = float(self.board.spent[entry.cell, entry.level]) / len(queries)
                yield query, Answer(outcome, entry.witness, engine=NAME, stage=stage, seconds=seconds)

    def left(self) -> Iterator[Solved]:
        """What stays open."""
        for place, queries in self._queries.items():
            reason = self._why(place)
            seconds = float(self.board.spent[place]) / len(queries)
            for query in queries:
                yield query, Answer(Outcome.UNKNOWN, reason=reason, engine=NAME, seconds=seconds)
        self._queries.clear()

    def _why(self, place: tuple[int, int]) -> Reason:
        board, (cell, level) = self.board, place
        if board.proven[cell] >= level >= board.found[cell]:
            return "disagreement"  # with itself: never seen
        if given_up := int(board.given_up[place]):
            return "boundary" if given_up == BOUNDARY else "timeout"
        return "budget" if board.tried[place] else "unasked"

    def open_points(self) -> list[int]:
        """Numbers of points around which something is open."""
        return sorted({int(point) for point in self.board.point[self.board.open().any(axis=1)]})

    def give_back(self, points: Collection[int]) -> Iterator[Solved]:
        """Work no more on what is open around some points."""
        open_ = self.board.open()
        for place in [place for place in self._queries if open_[place]]:
            if int(self.board.point[place[0]]) in points:
                queries = self._queries.pop(place)
                seconds = float(self.board.spent[place]) / len(queries)
                unknown = Answer(Outcome.UNKNOWN, engine=NAME, stage=MOVED, seconds=seconds)
                yield from ((query, unknown) for query in queries)
                self.board.asked[place] = False
        self.board.changed()

    def unanswered(self) -> list[Query]:
        """What stays open, as queries."""
        return [query for queries in self._queries.values() for query in queries]

    def close(self) -> None:
        """Write what was proven."""
        if self.proofs is not None and self._certificates is not None:
            for stage in self.stages:
                stage.finish()
            self.proofs.write(self._certificates)


class Works:
    """The work on all batches, and the task that begins with another one.

    That is done before any question has its second turn, as far as memory allows.
    """

    def __init__(
        self,
        batches: list[Batch],
        limits: Limits,
        certificates: Path | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.scheduler: Scheduler[Any] = Scheduler([self], clock)
        self._waiting = deque(batches)
        self._open: list[_Work] = []
        self._new: _Work | None = None  # begun in the last step
        self._limits, self._certificates = limits, certificates

    def turns(self) -> Mapping[Lane, Turns]:
        """See `Task`."""
        if not self._waiting:
            return {}
        numbers = sum(work.board.geometry.numbers for work in self._open)
        return {None: Turns(FIRST_TURN)} if not self._open or numbers < _OPEN_NUMBERS else {}

    def step(self, lane: Lane) -> int:
        """See `Task`."""
        self._new = None
        self._new = _Work(self._waiting[0], self._limits, self._certificates)
        self._waiting.popleft()
        self._open.append(self._new)
        self.scheduler.tasks.extend(self._new.stages)
        return 0

    def charge(self, seconds: float) -> None:
        """See `Task`."""
        if self._new is not None:
            board = self._new.board
            board.spent += seconds / board.asked.sum() * board.asked

    def news(self) -> list[Solved]:
        """What the last step has settled."""
        task = self.scheduler.current
        if not isinstance(task, Stage):
            return []
        work = next(work for work in self._open if work.board is task.board)
        solved = list(work.news(task.name))
        self._end_if_done(work, solved)
        return solved

    def give_back(self) -> list[Solved]:
        """Give half of what is open to others: batches that wait, or else half of the points."""
        solved: list[Solved] = []
        if self._waiting:
            unknown = Answer(Outcome.UNKNOWN, engine=NAME, stage=MOVED)
            for _ in range(-(-len(self._waiting) // 2)):
                solved += [(query, unknown) for query in self._waiting.pop().queries]
            return solved
        points = [(work, point) for work in self._open for point in work.open_points()]
        given = points[-(-len(points) // 2) :]
        for work in list(self._open):
            solved += work.give_back({point for own, point in given if own is work})
            self._end_if_done(work, solved)
        return solved

    def split(self) -> list[Solved]:
        """Memory was too small for the last step: its batch is tried again in halves."""
        task = self.scheduler.current
        solved: list[Solved] = []
        work = next(
            (work for work in self._open if isinstance(task, Stage) and work.board is task.board), None
        )
        if work is None and not self._waiting:  # it was none of them; the newest takes most
            work = self._open[-1]
        if work is None:
            batch = self._waiting.popleft()
        else:
            solved += work.news(work.stages[0].name)
            batch = Batch(work.unanswered(), work.batch.tries)
            self._end(work)
        if batch.tries == 1:
            unknown = Answer(Outcome.UNKNOWN, reason="memory", engine=NAME)
            return [*solved, *((query, unknown) for query in batch.queries)]
        half = -(-len(batch.queries) // 2)
        for part in (batch.queries[half:], batch.queries[:half]):
            if part:
                self._waiting.appendleft(Batch(part, batch.tries - 1))
        return solved

    def left(self) -> list[Solved]:
        """What stays open."""
        unasked = Answer(Outcome.UNKNOWN, reason="unasked", engine=NAME)
        solved = [solved for work in self._open for solved in work.left()]
        return solved + [(query, unasked) for batch in self._waiting for query in batch.queries]

    def close(self) -> None:
        """Write what was proven."""
        for work in self._open:
            work.close()
        self._open.clear()

    def _end_if_done(self, work: _Work, solved: list[Solved]) -> None:
        if not work.board.open().any():
            solved += work.left()
            self._end(work)

    def _end(self, work: _Work) -> None:
        work.close()
        self._open.remove(work)
        self.scheduler.tasks = [task for task in self.scheduler.tasks if task not in work.stages]
