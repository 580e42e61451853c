"""--ensemble-cache and ensemble_cache_dir: what one run found, the next one knows."""

import json
import sqlite3

import pytest

from tests.plugin.conftest import MEMBERS, said

FOLDER = ".ensemble_cache"


@pytest.fixture
def gated(repo):
    repo.gate("min_uniqueness(0.9)", epsilon=[0.01, 0.1])
    return repo


def solved(repo, *arguments, **how):
    """Run, and count the queries that engines got meanwhile."""
    before = len(repo.queries())
    result = repo.run(*arguments, **how)
    return result, len(repo.queries()) - before


def verdicts(repo, name="x.json"):
    report = json.loads((repo.path / name).read_text())
    names = ("test", "metric", "epsilon", "verdict", "subject", "low", "high")
    return [[gate[name] for name in names] for gate in report["gates"]]


def test_a_second_run_solves_nothing_and_says_so(gated):
    first, count = solved(gated, "--ensemble-report=x.json")
    assert "by auto-1 " in said(first)
    assert count
    known = verdicts(gated)
    again, count = solved(gated, "--ensemble-report=x.json")
    assert count == 0
    assert "all from the cache" in said(again)
    assert verdicts(gated) == known
    for result in (first, again):
        result.assert_outcomes(failed=1)
    assert (gated.path / FOLDER / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d17")
    assert (gated.path / FOLDER / ".gitignore").read_text() == "*\n"


def test_a_changed_model_has_its_pairs_solved_again(gated):
    gated.run("--ensemble-suggest=never")
    file = gated.path / "models" / "m4.onnx"
    import onnx

    model = onnx.load(file)
    model.doc_string = "another digest"
    onnx.save(model, file)
    before = gated.queries()
    gated.run("--ensemble-suggest=never")
    pairs = {entry[0] for entry in gated.queries()[len(before) :]}
    assert pairs == {"m1~m4", "m2~m4", "m3~m4"}


def test_other_epsilons_are_answered_from_brackets(gated):
    gated.run("--ensemble-suggest=never")
    gated.gate("max_mutual_error(0.5)", epsilon=0.005, name="test_smaller")
    _, count = solved(gated, "-k", "smaller")
    assert count == 0


@pytest.mark.parametrize("how", ["--ensemble-cache=off", "--ensemble-cache=ro"])
def test_nothing_is_written(gated, how):
    _, count = solved(gated, how)
    assert count
    assert not (gated.path / FOLDER).exists()
    assert solved(gated, how)[1] == count


def test_reading_only(gated):
    gated.run()
    result, count = solved(gated, "--ensemble-cache=ro")
    assert count == 0
    assert "all from the cache" in said(result)
    assert solved(gated, "--ensemble-cache=off")[1] > 0


def test_no_folder_where_nothing_is_solved(gated):
    gated.run("--collect-only")
    gated.run("-k", "nothing")
    assert not (gated.path / FOLDER).exists()


def test_the_folder_can_be_elsewhere(gated):
    gated.ini(cache_dir="kept/answers")
    gated.run()
    assert (gated.path / "kept" / "answers" / "brackets.sqlite").is_file()
    assert not (gated.path / FOLDER).exists()


def test_a_folder_of_the_users_keeps_its_files(gated):
    gated.ini(cache_dir=".")
    (gated.path / ".gitignore").write_text("mine")
    gated.run()
    assert (gated.path / ".gitignore").read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"garbage", b"SQLite format 3\0" + bytes(4000)])
def test_a_damaged_file_is_one_line(gated, content):
    gated.run("--ensemble-report=x.json")
    known = verdicts(gated)
    (gated.path / FOLDER / "brackets.sqlite").write_bytes(content)
    result, count = solved(gated, "--ensemble-report=x.json")
    assert count
    assert verdicts(gated) == known
    lines = [line for line in said(result).splitlines() if "cache" in line]
    assert len(lines) == 1
    assert "delete it to start anew. All is solved without it." in lines[0]
    report = json.loads((gated.path / "x.json").read_text())
    assert report["notes"] == lines


def test_a_false_row_is_dropped_with_a_warning(gated):
    gated.run()
    with sqlite3.connect(gated.path / FOLDER / "brackets.sqlite") as connection:
        connection.execute("UPDATE proofs SET epsilon = 0.5 WHERE epsilon = 0.01")
    connection.close()
    result, count = solved(gated)
    result.assert_outcomes(failed=1)
    assert count
    assert "rows were dropped: " in said(result)
    assert "that are damaged" in said(result)


def test_a_wrong_value_is_a_usage_error(gated):
    result = gated.run("--ensemble-cache=maybe")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--ensemble-cache: 'maybe' is not a valid value" in said(result)


def test_what_was_unknown_is_asked_again_with_more_time(gated):
    gated.monkeypatch.setenv("CORNER_UNKNOWN", "m1~m2=timeout m1~m3=boundary")
    gated.run("--ensemble-timeout=5", "--ensemble-suggest=never")
    assert solved(gated, "--ensemble-timeout=5", "--ensemble-suggest=never")[1] == 0
    before = len(gated.queries())
    gated.run("--ensemble-timeout=6", "--ensemble-suggest=never")
    assert {entry[0] for entry in gated.queries()[before:]} == {"m1~m2"}


def test_what_the_budget_cut_short_is_asked_again(gated):
    gated.run("--ensemble-budget=1e-9", "--ensemble-suggest=never")
    _, count = solved(gated, "--ensemble-suggest=never")
    assert count == 2 * 6 * 20


# --- under pytest-xdist ---------------------------------------------------------------------------


def several(repo):
    for k in range(4):
        repo.gate(
            "min_uniqueness(0.9)", f"max_mutual_error(0.{k + 1})", epsilon=[0.01, 0.1], name=f"test_{k}"
        )
    repo.test(f"ensemble({MEMBERS}, 0.1)", fixture="ensemble", body="ensemble.uniqueness()", name="test_d")


@pytest.mark.parametrize("how", ["rw", "off", "ro"])
def test_workers_share_and_agree(repo, how, tmp_path):
    pytest.importorskip("xdist")
    several(repo)
    repo.monkeypatch.setenv("TMPDIR", str(tmp_path))
    repo.run("--ensemble-report=x.json", "--ensemble-cache=off")
    for workers in ("-n2", "-n4") if how == "rw" else ("-n2",):
        (repo.path / "queries.log").unlink()
        more = [f"--ensemble-cache={how}", f"--ensemble-report={workers}.json", workers]
        result = repo.run(*more, subprocess=True)
        result.assert_outcomes(passed=1, failed=4)
        assert verdicts(repo, f"{workers}.json") == verdicts(repo)
        asked = repo.queries()
        assert len(asked) == len(set(asked))  # nothing was solved twice
        assert said(result).count("= ensemble gates =") == 1
    assert (repo.path / FOLDER).exists() is (how == "rw")
    assert not list(tmp_path.glob("pytest-ensemble-*"))
