"""`Scheduler`: what is worked on next, when cheap and hopeless questions wait side by side.

A *task* is work on many questions of one kind (a network alone around a point, a pair around a point). It is
done in *steps* of a fraction of a second, each for as many questions as fit into a batch. A question has
*turns*; a turn ends when the question has been worked on for as long as the turn allows, and the next one
allows twice as much. The question whose turn ends first, in seconds, is served next: a multilevel feedback
queue (Corbato et al. 1962). So what takes a millisecond never waits for what takes a minute, nothing waits
for ever, and what a question needs is known before it is given more.

Questions stand in *lanes*, one for each epsilon. Since an epsilon at which nothing can be decided may have
any number of questions, time is shared between lanes first: two thirds go to the lane in which answers came
fastest lately, one third to the others, by how many open questions they have. Where no answers came, all
share by those numbers.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

__all__ = ["Lane", "Scheduler", "Task", "Turns"]

FAVOURED = 2 / 3  # of the time is for the lane where answers come fastest
MEMORY = 4.0, 1 / 3  # seconds of a lane's time, at least, and share of it after which what came counts half
FEW = 0.1  # answers, so counted, that are none

Lane = float | None  # None: of what is done whichever lane has its time


class Turns(NamedTuple):
    """The open questions of a task in a lane.

    Attributes:
        end: after how many seconds of work on its question the turn ends that ends first.
        questions: how many there are.
    """

    end: float
    questions: int = 1


class Task(Protocol):
    """Work that is done in steps."""

    def turns(self) -> Mapping[Lane, Turns]:
        """Of each lane with an open question: how many there are, and when the first of their turns ends."""
        ...

    def step(self, lane: Lane) -> int:
        """Work for a moment on the questions of a lane whose turns end first; how many answers it gave.

        Other lanes' questions may fill up its batch.
        """
        ...

    def charge(self, seconds: float) -> None:
        """Put down what the last step took, to the questions that it served."""
        ...


Work = TypeVar("Work", bound=Task)


@dataclass
class _Share:
    """What a lane has had.

    Attributes:
        time: seconds, divided by the share that it was entitled to: the lane with the least is next.
        had: seconds.
        recent, answers: seconds and answers, of which the older count less.
        since: seconds without an answer.
    """

    time: float
    had: float = 0.0
    recent: float = 0.0
    answers: float = 0.0
    since: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second, lately; no more than one in the time since the last."""
        if self.answers < FEW:
            return 0.0
        return min(self.answers / self.recent, 1 / self.since if self.since else math.inf)

    def add(self, seconds: float, answers: int, share: float) -> None:
        self.time += seconds / share
        self.had += seconds
        fade = 0.5 ** (seconds / max(MEMORY[0], MEMORY[1] * self.had))
        self.recent = self.recent * fade + seconds
        self.answers = self.answers * fade + answers
        self.since = 0.0 if answers else self.since + seconds


class Scheduler(Generic[Work]):
    """Runs tasks until none has an open question.

    Attributes:
        tasks: may be changed by steps and between them.
        current: who was asked or worked last.
    """

    def __init__(self, tasks: Sequence[Work], clock: Callable[[], float] = time.perf_counter) -> None:
        """Tasks earlier in the list go first where turns end at the same time."""
        self.tasks = list(tasks)
        self.current: Work | None = None
        self._clock = clock
        self._shares: dict[float, _Share] = {}
        self._waiting: set[float] = set()  # lanes that had open questions at the last step

    def run(self) -> Iterator[Work]:
        """Do one step after the other; yields the task after each of its steps."""
        begin = self._clock()
        while True:
            turns = [(task, self._turns(task)) for task in self.tasks]
            counts: Counter[float] = Counter()
            for _, own in turns:
                counts.update({lane: part.questions for lane, part in own.items() if lane is not None})
            chosen = self._next(counts)
            ready = [
                (part.end, place, task, lane)
                for place, (task, own) in enumerate(turns)
                for lane, part in own.items()
                if lane is None or lane == chosen
            ]
            if not ready:
                return
            _, _, task, lane = min(ready, key=lambda entry: entry[:2])
            self.current = task
            answers = 0
            try:
                answers = task.step(lane)
            finally:
                seconds = self._clock() - begin
                task.charge(seconds)
                if lane is not None:
                    self._shares[lane].add(seconds, answers, self._entitled(lane, counts))
            yield task
            begin = self._clock()

    def _turns(self, task: Work) -> Mapping[Lane, Turns]:
        self.current = task
        return task.turns()

    def _next(self, counts: Counter[float]) -> float | None:
        """The lane that has had least of what it is entitled to; one that comes (back) has missed nothing."""
        least = min((self._shares[lane].time for lane in counts if lane in self._waiting), default=0.0)
        for lane in counts:
            share = self._shares.setdefault(lane, _Share(least))
            if lane not in self._waiting:
                share.time = max(share.time, least)
        self._waiting = set(counts)
        # where several have had as little, the largest epsilon: what is proven there holds below
        return min(counts, key=lambda lane: (self._shares[lane].time, -lane), default=None)

    def _entitled(self, lane: float, counts: Counter[float]) -> float:
        """The share of the time that is for a lane."""
        if len(counts) == 1:
            return 1.0
        fastest = max(counts, key=lambda other: self._shares[other].rate)
        if not self._shares[fastest].rate:
            return counts[lane] / counts.total()
        if lane == fastest:
            return FAVOURED
        return (1 - FAVOURED) * counts[lane] / (counts.total() - counts[fastest])
