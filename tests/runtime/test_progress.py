"""One line that says how far solving is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.runtime.cached import STORED
from pytest_ensemble.runtime.progress import Progress, duration, progress_line


def progress(asked, sat=0, unsat=0, unknown=0, stored=0, what="tests/test_release.py::test_it"):
    found = Progress(what)
    found.ask(asked)
    found.start = 100.0
    for outcome, count in zip(Outcome, (sat, unsat, unknown), strict=True):
        for _ in range(count):
            found.count(Answer(outcome, reason="timeout" if outcome is Outcome.UNKNOWN else ""))
    for _ in range(stored):
        found.count(Answer(Outcome.UNSAT, stage=STORED))
    return found


def test_what_it_says():
    assert progress_line(progress(100, 2, 7, 1), 110.0) == (
        "tests/test_release.py::test_it  9/100 decided  2 sat, 7 unsat, 1 unknown  10 s, 1:30 min left"
    )


def test_no_pace_before_the_first_answer():
    assert progress_line(progress(4), 112.0).endswith("0/4 decided  0 sat, 0 unsat, 0 unknown  12 s, ? left")


def test_answers_of_earlier_runs_are_no_pace():
    """50 came at once, 10 took 20 s: the other 40 take 80 s."""
    assert progress(100, unsat=10, stored=50).seconds_left(120.0) == 80.0
    assert progress(100, stored=50).seconds_left(120.0) is None


def test_no_estimate_beyond_the_deadline():
    found = progress(100, unsat=10)
    assert found.seconds_left(110.0) == 90.0
    found.deadline = 130.0
    assert found.seconds_left(110.0) == 20.0
    assert found.seconds_left(140.0) == 0.0
    waiting = progress(100)
    waiting.deadline = 130.0
    assert waiting.seconds_left(110.0) == 20.0


def test_before_anything_is_asked_it_says_what_is_done():
    found = Progress(start=100.0)
    found.tell("reading models")
    assert progress_line(found, 103.0) == "reading models  3 s"
    assert progress_line(found, 103.0, 10) == "reading mo"


def test_what_is_being_done_stands_at_the_end_where_there_is_room():
    found = progress(100, 2, 7, 1)
    found.tell("bounds of m1")
    line = progress_line(found, 110.0)
    assert line.endswith("10 s, 1:30 min left  bounds of m1")
    assert "bounds" not in progress_line(found, 110.0, 70)


def test_it_begins_with_the_first_query():
    begun = []
    found = Progress(begin=lambda: begun.append(1))
    assert not begun
    found.ask(3)
    found.ask(4)
    found.tell("bounds")
    assert (begun, found.asked) == ([1], 7)


@given(
    st.integers(1, 10**7),
    st.tuples(*[st.integers(0, 30)] * 3),
    st.text(max_size=200),
    st.integers(20, 200),
    st.floats(0, 1e6),
)
def test_it_is_one_line_that_fits(asked, counts, what, width, seconds):
    line = progress_line(progress(asked + sum(counts), *counts, what=what), 100.0 + seconds, width)
    assert len(line) <= width
    assert line.isprintable()
    assert f"{counts[0] + counts[1]}/{asked + sum(counts)} decided"[:width] in line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (125, "2:05 min"),
        (3599.6, "1:00 h"),
        (7380, "2:03 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
