"""The document: merging, its JSON, and writing it."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_ensemble.analysis.scores import Interval
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.entries import MutualError, Queries, Suggestion
from pytest_ensemble.report.write import write
from tests.report.examples import ENSEMBLE, GATE, document


def test_json_and_back():
    whole = document()
    text = json.dumps(whole.to_json(), allow_nan=False)
    assert Document.from_json(json.loads(text)) == whole


def test_in_is_the_json_name_of_into():
    (swap,) = document().to_json()["suggestions"]
    assert (swap["out"], swap["in"]) == ("m2", "m5")
    assert "into" not in swap


def test_another_schema_is_refused():
    with pytest.raises(ValueError, match="pytest-ensemble/1"):
        Document.from_json({**document().to_json(), "schema": "pytest-ensemble/9"})


def test_unknown_fields_are_left_out():
    value = document().to_json()
    value["gates"][0]["colour"] = "red"
    value["weather"] = "fine"
    assert Document.from_json(value) == document()


def test_reports_from_before_fail_fast_can_be_read():
    value = document().to_json()
    for entry in (*value["mutual_error"], *value["uniqueness"]):
        del entry["unasked"]
    del value["gates"][0]["partial"]
    assert Document.from_json(value) == document()


def test_of_two_scores_that_with_less_unasked_counts():
    whole = MutualError("e", 0.1, ("a", "b"), 0.1, 0.1, 1, 9, 0)
    partial = replace(whole, high=0.5, unsat=5, unknown=4, unasked=4)
    for entries in ([whole, partial], [partial, whole]):
        assert Document.of(entries).mutual_error == (whole,)


def test_epsilons_are_all_that_were_asked():
    entries = [MutualError("e", epsilon, ("a", "b"), 0, 0, 0, 1, 0) for epsilon in (0.2, 0.1, 0.2)]
    assert Document.of([*entries, replace(GATE, epsilon=0.3)]).epsilons == (0.1, 0.2, 0.3)


def test_the_later_of_two_entries_counts():
    (gate,) = Document.of([GATE, replace(GATE, low=0.1)]).gates
    assert gate.low == 0.1


def test_gates_of_different_thresholds_are_different():
    assert len(Document.of([GATE, replace(GATE, threshold=0.2)]).gates) == 2


def test_tests_of_one_ensemble_add_up():
    (ensemble,) = Document.of([ENSEMBLE, replace(ENSEMBLE, tests=("b", "a"))]).ensembles
    assert ensemble.tests == ("a", "b", "tests/test_release.py::test_it")


def test_queries_add_up():
    a = Queries(3, 1, 1, {"timeout": 1}, {"auto": 3}, 1.5)
    b = Queries(2, 0, 0, {"timeout": 1, "crashed": 1}, {"marabou": 2}, 0.5)
    assert a + b == Queries(5, 1, 1, {"timeout": 2, "crashed": 1}, {"auto": 3, "marabou": 2}, 2.0)


def test_swaps_keep_their_order():
    one, half = Interval(1, 1), Interval(0.5, 0.5)
    swaps = [Suggestion("e", 0.1, out, into, half, one, 0.9, 0.9) for out, into in (("z", "y"), ("a", "b"))]
    assert [swap.out for swap in Document.of(swaps).suggestions] == ["z", "a"]


def test_write_replaces_the_file_at_once(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("old")
    reader = path.open()
    write(document(), path)
    assert reader.read() == "old"  # whoever had it open still has the old one whole
    reader.close()
    assert Document.from_json(json.loads(path.read_text())) == document()
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_report_is_as_readable_as_other_files(tmp_path):
    (tmp_path / "other").touch()
    write(document(), tmp_path / "x.json")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    path.write_text("old")

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write(document(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_entry_is_a_line(tmp_path):
    write(document(), tmp_path / "x.json")
    lines = (tmp_path / "x.json").read_text().splitlines()
    assert sum('"sat"' in line and '"pair"' in line for line in lines) == len(document().mutual_error)
