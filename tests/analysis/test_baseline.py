"""The ratchet's arithmetic, and its file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ensemble.analysis.baseline import (
    WORST,
    Accepted,
    Baseline,
    BaselineError,
    Change,
    Move,
    Place,
    with_worst,
)
from pytest_ensemble.analysis.scores import Interval

POINTS = 10
INTERVALS = st.lists(st.integers(0, POINTS), min_size=2, max_size=2).map(
    lambda ends: Interval(min(ends) / POINTS, max(ends) / POINTS)
)
METRICS = st.sampled_from(["min_uniqueness", "max_mutual_error"])
PLACES = st.builds(
    Place,
    st.sampled_from(["tests/a.py::t", 'é"\\']),
    METRICS,
    st.sampled_from([0.0, 0.1, 1e-5]),
    st.sampled_from(["a", "a~b", WORST]),
)
TEXTS = st.text(min_size=1, max_size=5)
BASELINES = st.builds(
    Baseline,
    st.dictionaries(PLACES, INTERVALS, max_size=5),
    st.lists(st.builds(Accepted, TEXTS, TEXTS, PLACES, INTERVALS, INTERVALS), max_size=3).map(tuple),
)


def goodness(metric, score):
    return score if metric == "min_uniqueness" else -score


@given(METRICS, INTERVALS, INTERVALS, st.data())
def test_moves_are_what_no_truth_contradicts(metric, before, now, data):
    """What was reached is the worst end; any true score of now may be anywhere in its interval."""
    move = Change(Place("t", metric, 0.1, "a"), before, now).move
    reached = min(goodness(metric, end) for end in (before.low, before.high))
    ends = [goodness(metric, end) for end in (now.low, now.high)]
    truth = data.draw(st.sampled_from(ends))
    if move is Move.WORSE:
        assert truth < reached
    elif move in (Move.SAME, Move.BETTER):
        assert truth >= reached
        assert (move is Move.BETTER) == (min(ends) > reached)
    else:
        assert move is Move.OPEN
        assert min(ends) < reached <= max(ends)


@given(BASELINES)
def test_files_keep_everything(baseline):
    assert Baseline.from_text(baseline.to_text()) == baseline
    lines = baseline.to_text().splitlines()
    assert len(lines) >= len(baseline.scores) + len(baseline.accepted)


@given(BASELINES, st.lists(st.tuples(PLACES, INTERVALS), max_size=5), st.booleans())
def test_without_a_reason_no_worst_end_ever_moves_the_wrong_way(baseline, found, better):
    changes = [baseline.compare(place, now) for place, now in found]
    after = baseline.updated(changes, better=better)
    assert after.accepted == baseline.accepted
    assert set(after.scores) >= set(baseline.scores)
    for place, before in baseline.scores.items():
        gained = goodness(place.metric, place.worst(after.scores[place])) - goodness(
            place.metric, place.worst(before)
        )
        assert gained >= 0
    if not better:
        assert after == baseline


def test_a_reason_is_kept_with_date_and_old_value():
    place = Place("t", "max_mutual_error", 0.1, "a~b")
    baseline = Baseline({place: Interval(0.1, 0.1)})
    worse = baseline.compare(place, Interval(0.2, 0.3))
    assert baseline.updated([worse], better=True) == baseline
    after = baseline.updated([worse], better=False, reason="new data", date="2026-01-02")
    assert after.scores[place] == Interval(0.2, 0.3)
    (accepted,) = after.accepted
    assert accepted == Accepted("2026-01-02", "new data", place, Interval(0.1, 0.1), Interval(0.2, 0.3))


def test_what_another_run_wrote_meanwhile_is_not_undone():
    place = Place("t", "max_mutual_error", 0.1, "a~b")
    seen = Baseline({place: Interval(0.5, 0.5)}).compare(place, Interval(0.4, 0.4))
    meanwhile = Baseline({place: Interval(0.1, 0.1)})
    assert meanwhile.updated([seen], better=True) == meanwhile


@given(METRICS, st.dictionaries(st.sampled_from("abc"), INTERVALS, min_size=1))
def test_the_worst_stands_for_all(metric, scores):
    worst = with_worst(metric, scores)[WORST]
    for end in ("low", "high"):
        ends = [goodness(metric, getattr(score, end)) for score in scores.values()]
        assert goodness(metric, getattr(worst, end)) == min(ends)


ENTRY = {"test": "t", "metric": "min_uniqueness", "epsilon": 0.1, "subject": "a", "low": 0.5, "high": 0.6}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": ""}, 'text "test"'),
        ({"subject": 1}, 'text "subject"'),
        ({"metric": "accuracy"}, '"metric", min_uniqueness or max_mutual_error'),
        ({"epsilon": -1}, '"epsilon", a number >= 0'),
        ({"epsilon": float("inf")}, '"epsilon", a number >= 0'),
        ({"low": 0.7}, '0 <= "low" <= "high" <= 1'),
        ({"high": float("nan")}, '"high" <= 1'),
        ({"low": True}, '"low"'),
    ],
)
def test_malformed_entries_are_shown(change, message):
    text = json.dumps({"schema": "pytest-ensemble-baseline/1", "scores": [ENTRY | change], "accepted": []})
    with pytest.raises(BaselineError, match=f"has an entry that needs .*{message}.*: {{"):
        Baseline.from_text(text)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is no baseline"),
        ('{"schema": "pytest-ensemble/1"}', "is no baseline"),
        ('{"schema": "pytest-ensemble-baseline/1"}', 'must have a list "scores"'),
        ('{"schema": "pytest-ensemble-baseline/1", "scores": [1]}', 'a list "scores" of objects'),
        ("[" * 100000, "is not JSON"),
        (
            json.dumps({"schema": "pytest-ensemble-baseline/1", "scores": [ENTRY, ENTRY], "accepted": []}),
            "two scores of the same",
        ),
    ],
)
def test_malformed_files(value, message):
    with pytest.raises(BaselineError, match=message):
        Baseline.from_text(value)
