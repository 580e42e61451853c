"""What is worked on next, told by a clock and by tasks that only pretend to work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ensemble.engines.scheduler import Lane, Scheduler, Turns

HOPELESS = math.inf
STEP = 0.05  # seconds of a step
TURN = 0.1  # of a first turn
COSTS = [0.05 * 2 ** (k % 6) for k in range(60)]  # seconds, of questions as they are in practice


class Clock:
    """Stands still but when somebody works."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Work:
    """Questions by name: (lane, seconds until it is answered)."""

    clock: Clock
    questions: dict[str, tuple[Lane, float]]
    turn: float = TURN
    step_seconds: float = STEP
    had: dict[str, float] = field(default_factory=dict)
    end: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)  # when
    last: str = ""
    steps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.had = dict.fromkeys(self.questions, 0.0)
        self.end = dict.fromkeys(self.questions, self.turn)

    def open(self, lane: Lane) -> list[str]:
        return [
            name for name, (own, _) in self.questions.items() if own == lane and name not in self.answered
        ]

    def turns(self) -> Mapping[Lane, Turns]:
        lanes = {lane: self.open(lane) for lane, _ in self.questions.values()}
        return {
            lane: Turns(min(self.end[name] for name in names), len(names))
            for lane, names in lanes.items()
            if names
        }

    def step(self, lane: Lane) -> int:
        self.last = min(self.open(lane), key=lambda name: (self.end[name], -self.had[name]))
        self.steps.append(self.last)
        left = self.questions[self.last][1] - self.had[self.last]
        self.clock.now += min(left, self.step_seconds)
        if left > self.step_seconds:
            return 0
        self.answered[self.last] = self.clock.now
        return 1

    def charge(self, seconds: float) -> None:
        self.had[self.last] += seconds
        if self.had[self.last] >= self.end[self.last]:
            self.end[self.last] = 2 * self.had[self.last]


def run(*works: Work, until: float = math.inf) -> None:
    clock = works[0].clock
    for _ in Scheduler(works, clock).run():
        if clock.now >= until:
            return


def work(questions: dict[str, tuple[Lane, float]], clock: Clock | None = None, **options: float) -> Work:
    return Work(clock or Clock(), questions, **options)


def test_it_ends_when_all_is_answered() -> None:
    done = work({"a": (0.1, 1.0), "b": (0.2, 3.0), "c": (None, 2.0)})
    run(done)
    assert set(done.answered) == {"a", "b", "c"}
    assert done.clock.now == pytest.approx(6.0)


def test_what_is_answered_is_not_asked_again() -> None:
    done = work({str(k): (0.1, 0.01 * (k + 1)) for k in range(40)})
    run(done)
    assert len(done.answered) == 40
    for name in done.questions:
        assert done.had[name] == pytest.approx(done.questions[name][1])


def test_cheap_answers_come_first_whoever_stands_first_in_the_list() -> None:
    clock = Clock()
    costly = work({f"costly {k}": (0.1, 60.0) for k in range(5)}, clock, turn=2.0)
    cheap = work({f"cheap {k}": (0.1, 0.01) for k in range(100)}, clock)
    run(costly, cheap, until=5)
    assert max(cheap.answered.values()) == pytest.approx(1.0)
    assert sum(costly.had.values()) > 3


def test_no_number_of_hopeless_questions_holds_back_an_easy_one() -> None:
    """Each of them gets as much as the easy one needs, and at most twice that, before it is answered."""
    both = work({**{f"hopeless {k}": (0.1, HOPELESS) for k in range(50)}, "easy": (0.1, 1.0)})
    run(both, until=200)
    assert both.answered["easy"] <= 1.0 + 50 * 2.0


def test_single_and_joint_searches_stand_side_by_side() -> None:
    """Two tasks of the same questions: what one of them can't do does not keep the other from it."""
    clock = Clock()
    joint, single = work({"pair": (0.1, HOPELESS)}, clock), work({"member": (0.1, 1.0)}, clock)
    run(joint, single, until=10)
    assert single.answered["member"] <= 3.0


def test_a_turn_is_not_interrupted_by_those_that_are_not_before_it() -> None:
    """Who has begun goes on: otherwise nobody would be answered before all have begun."""
    both = work({f"{k}": (0.1, 0.09) for k in range(20)}, step_seconds=0.03)
    run(both)
    assert both.steps == [str(k) for k in range(20) for _ in range(3)]


@pytest.mark.parametrize("hopeless", [1, 10, 100])
def test_a_hopeless_lane_costs_the_others_a_third(hopeless: int) -> None:
    """Though all its questions have had less than those of the good one, and are as cheap to begin with."""
    clock = Clock()
    bad = work({f"bad {k}": (0.08, HOPELESS) for k in range(hopeless)}, clock)
    good = work({f"good {k}": (0.02, cost) for k, cost in enumerate(COSTS)}, clock)
    run(bad, good, until=110)
    assert max(good.answered.values()) <= sum(COSTS) * 3 / 2 + 5


def test_several_hopeless_lanes_share_that_third() -> None:
    clock = Clock()
    lanes = [work({f"{lane} {k}": (lane, HOPELESS) for k in range(30)}, clock) for lane in (0.05, 0.08, 0.1)]
    good = work({f"good {k}": (0.02, cost) for k, cost in enumerate(COSTS)}, clock)
    run(*lanes, good, until=200)
    assert max(good.answered.values()) <= sum(COSTS) * 3 / 2 + 5
    assert all(sum(lane.had.values()) > 2 for lane in lanes)


def test_the_favour_goes_where_answers_come_now() -> None:
    """The smallest epsilon has only hopeless questions left after a while."""
    clock = Clock()
    first = work({f"{k}": (0.01, 0.1 if k < 50 else HOPELESS) for k in range(60)}, clock)
    second = work({f"{k}": (0.02, cost) for k, cost in enumerate(COSTS)}, clock)
    run(first, second, until=200)
    assert max(second.answered.values()) <= (5 + sum(COSTS)) * 3 / 2 + 10


def test_a_lane_that_comes_later_has_missed_nothing() -> None:
    """Nor does it get at once what others have had before it came."""
    clock = Clock()
    early = work({f"{k}": (0.01, 10.0) for k in range(10)}, clock)
    late = work({f"{k}": (0.02, 10.0) for k in range(10)}, clock)
    scheduler = Scheduler([early], clock)
    for _ in scheduler.run():
        if clock.now > 50 and len(scheduler.tasks) == 1:
            scheduler.tasks.append(late)
            had = sum(early.had.values())
        if clock.now > 70:
            break
    assert sum(early.had.values()) - had > 5
    assert sum(late.had.values()) > 5


def test_what_serves_all_lanes_is_done_whichever_has_its_time() -> None:
    clock = Clock()
    shared = work({"shared": (None, 0.2)}, clock, turn=0.01)
    others = [work({f"{lane}": (lane, 5.0)}, clock) for lane in (0.01, 0.02, 0.05)]
    run(*others, shared)
    assert shared.answered["shared"] <= 0.2 + 3 * 3 * TURN


def test_what_an_interrupted_step_took_is_put_down() -> None:
    class Interrupted(Work):
        def step(self, lane: Lane) -> int:
            super().step(lane)
            raise KeyboardInterrupt

    clock = Clock()
    cut = Interrupted(clock, {"a": (0.1, 1.0)})
    with pytest.raises(KeyboardInterrupt):
        run(cut)
    assert cut.had["a"] == pytest.approx(STEP)
    again = Scheduler([cut], clock)
    with pytest.raises(KeyboardInterrupt):
        next(again.run())
    assert again.current is cut


questions = st.lists(
    st.tuples(st.sampled_from([0.01, 0.02, 0.05]), st.sampled_from([0.01, 0.3, 1.0, HOPELESS])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40)
@given(st.lists(questions, min_size=1, max_size=2), st.sampled_from([0.01, 0.1, 0.7]))
def test_nothing_starves(tasks: list[list[tuple[float, float]]], turn: float) -> None:
    """Whatever else is asked, what can be answered is answered, in a time that follows from its cost."""
    clock = Clock()
    works = [
        work({f"{k}.{j}": entry for j, entry in enumerate(entries)}, clock, turn=turn)
        for k, entries in enumerate(tasks)
    ]
    count = sum(map(len, tasks))
    run(*works, until=200)
    for own in works:
        for name, (_, cost) in own.questions.items():
            if cost < HOPELESS:
                # its lane may have a third, by numbers; each other gets at most twice as much, or a turn
                assert own.answered[name] <= 3 * count * (count + 1) * (2 * cost + turn + STEP)


@given(questions)
def test_seconds_add_up(entries: list[tuple[float, float]]) -> None:
    own = work({str(j): entry for j, entry in enumerate(entries)})
    run(own, until=20)
    assert sum(own.had.values()) == pytest.approx(own.clock.now)
