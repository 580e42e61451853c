"""`--ensemble-baseline`: scores that were reached are not lost without a reason."""

import datetime
import json

import numpy as np
import pytest

from tests.plugin.conftest import said, stopped

BASE = "--ensemble-baseline=b.json"
UPDATE = "--ensemble-baseline-update"
ACCEPT = "--ensemble-baseline-accept=points were too easy"


@pytest.fixture(params=["alone", "xdist"])
def run(request, repo):
    """Run pytest with a baseline, in this process or with a worker (there is only one test)."""
    if request.param == "xdist":
        pytest.importorskip("xdist")
        return lambda *arguments: repo.run(BASE, "-n1", *arguments)
    return lambda *arguments: repo.run(BASE, *arguments)


def scores(repo):
    kept = json.loads((repo.path / "b.json").read_text())
    return {(one["subject"], one["metric"]): (one["low"], one["high"]) for one in kept["scores"]}


def fragile(repo, count, model=1):
    """Have model m2 err near so many of the points, and m3 as before."""
    x, y = repo.path / "data.npz", None
    with np.load(x) as data:
        x, y = data["x"], data["y"]
    sign = np.where(y[:20] == 1, 1, -1)
    x[:20, model] = (0.9 - np.arange(20) / 1000) * sign
    x[:count, model] = 0.05 * sign[:count]
    np.savez(repo.path / "data.npz", x=x, y=y)


def test_the_four_moves(repo, run):
    repo.gate("min_uniqueness(0)")
    assert stopped(repo.run(BASE), "--ensemble-baseline: there is no file", UPDATE)

    first = run(UPDATE)
    first.assert_outcomes(passed=1)
    assert "b.json: 5 new; written" in said(first)
    before = scores(repo)
    assert before["m2", "min_uniqueness"] == (0.8, 0.8)
    assert before["(worst)", "min_uniqueness"] == (0.8, 0.8)
    text = (repo.path / "b.json").read_text()

    same = run(UPDATE)
    same.assert_outcomes(passed=1)
    assert "b.json: 5 same" in said(same)
    assert (repo.path / "b.json").read_text() == text

    fragile(repo, 2)  # m1~m2 0.1, m2~m3 0.1
    better = run()
    better.assert_outcomes(passed=1)
    assert "1 same, 4 better; --ensemble-baseline-update keeps what is new or better" in said(better)
    assert (repo.path / "b.json").read_text() == text
    run(UPDATE).assert_outcomes(passed=1)
    assert scores(repo)["m2", "min_uniqueness"] == (56 / 60, 56 / 60)
    text = (repo.path / "b.json").read_text()

    fragile(repo, 8)
    worse = run(UPDATE)
    worse.assert_outcomes(failed=1)
    assert "release: m2 uniqueness 0.800 is worse than its baseline 0.933 at epsilon 0.1 (+3 more)" in said(
        worse
    )
    assert "m2 uniqueness      0.800   0.933          0.1   worse" in said(worse)
    assert "--ensemble-baseline-accept=" in said(worse)
    assert 'rerun            pytest "tests/test_release.py::test_it" --ensemble-baseline=b.json' in said(
        worse
    )
    assert (repo.path / "b.json").read_text() == text

    accepted = run(ACCEPT)
    accepted.assert_outcomes(passed=1)
    assert "4 worse, 4 of them accepted; written" in said(accepted)
    assert scores(repo) == before
    history = json.loads((repo.path / "b.json").read_text())["accepted"]
    (m2,) = (one for one in history if one["subject"] == "m2")
    assert (m2["reason"], m2["was"]["low"], m2["now"]["low"]) == ("points were too easy", 56 / 60, 0.8)
    assert datetime.date.today() - datetime.date.fromisoformat(m2["date"]) < datetime.timedelta(2)
    run().assert_outcomes(passed=1)


def test_undecided_queries_explain_a_loss(repo):
    repo.gate("min_uniqueness(0)")
    repo.run(BASE, UPDATE, "--ensemble-cache=off")
    repo.monkeypatch.setenv("CORNER_UNKNOWN", "m1~m4=timeout")
    result = repo.run(BASE, "--ensemble-cache=off")
    assert result.parseoutcomes() == {"inconclusive": 1}
    assert "release: inconclusive: m1 uniqueness 0.533 .. 0.867 may be worse than its baseline 0.867" in said(
        result
    )
    lenient = repo.run(
        BASE,
        "--ensemble-cache=off",
        "--ensemble-inconclusive=warn",
        "-Wdefault::pytest.PytestWarning",
        subprocess=True,
    )
    lenient.assert_outcomes(passed=1, warnings=1)


def test_a_swapped_member_does_not_undo_what_was_reached(repo):
    repo.test("ensemble(['m1', 'm4', 'm5'], 0.1)\nensemble_max_mutual_error(1)")
    repo.run(BASE, UPDATE)
    repo.path.joinpath("tests", "test_release.py").unlink()
    repo.test("ensemble(['m2', 'm3', 'm5'], 0.1)\nensemble_max_mutual_error(1)")
    result = repo.run(BASE)
    result.assert_outcomes(failed=1)
    assert "release: worst mutual error 0.400 is worse than its baseline 0.000 at epsilon 0.1" in said(result)


def test_a_sure_loss_comes_before_an_open_gate(repo):
    repo.gate("min_uniqueness(0.6)")
    repo.run(BASE, UPDATE, "--ensemble-cache=off").assert_outcomes(passed=1)
    fragile(repo, 9, model=0)
    repo.monkeypatch.setenv("CORNER_UNKNOWN", "m1~m4=timeout")
    result = repo.run(BASE, "--ensemble-cache=off", "--ensemble-report=x.md")
    assert result.parseoutcomes() == {"failed": 1}
    text = said(result)
    loss, gate = "release: m1 uniqueness 0.", "release: inconclusive: m1 uniqueness "
    assert text.index("is worse than its baseline") < text.index("needs >= 0.600")
    assert text.count(loss) >= 1
    assert gate in text
    assert "Ensemble gates: ❌ FAIL" in (repo.path / "x.md").read_text()


def test_gate_files_have_baselines_too_and_failing_gates_say_both(repo):
    text = "[ensemble.r]\nmembers = ['m1', 'm2', 'm3']\nepsilon = 0.1\nmax_mutual_error = 0.3\n"
    (repo.path / "ensemble.toml").write_text(text)
    repo.run(BASE, UPDATE).assert_outcomes(failed=1)
    assert scores(repo)["m2~m3", "max_mutual_error"] == (0.4, 0.4)
    fragile(repo, 9, model=0)
    result = repo.run(BASE, "--ensemble-report=x.json")
    result.assert_outcomes(failed=1)
    assert "r: m1~m2 mutual error 0.400 > 0.300" in said(result)
    assert "r: m1~m2 mutual error 0.400 is worse than its baseline 0.200 at epsilon 0.1 (+1 more)" in said(
        result
    )
    report = json.loads((repo.path / "x.json").read_text())
    assert {one["subject"]: one["move"] for one in report["baseline"]} == {
        "(worst)": "same",
        "m1~m2": "worse",
        "m1~m3": "worse",
        "m2~m3": "same",
    }


def test_fail_fast_does_not_cut_scores_that_are_kept(repo):
    repo.gate("min_uniqueness(0.99)")
    repo.run(BASE, UPDATE, "--ensemble-fail-fast").assert_outcomes(failed=1)
    assert scores(repo)["m1", "min_uniqueness"] == (52 / 60, 52 / 60)


def test_other_tests_keep_their_scores(repo):
    repo.gate("min_uniqueness(0)", name="test_a")
    repo.gate("max_mutual_error(1)", name="test_b")
    repo.run(BASE, UPDATE)
    both = scores(repo)
    repo.run(BASE, UPDATE, "-k", "test_a").assert_outcomes(passed=1, deselected=1)
    assert scores(repo) == both
    repo.run(BASE, UPDATE, "--collect-only")
    assert scores(repo) == both


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([UPDATE], ["--ensemble-baseline-update needs a baseline", "--ensemble-baseline=FILE"]),
        ([ACCEPT], ["--ensemble-baseline-accept needs a baseline"]),
        ([BASE, "--ensemble-baseline-accept= "], ["is no reason"]),
        (["--ensemble-baseline=no/b.json", UPDATE], ["there is no folder", "Make it first"]),
        (["--ensemble-baseline=bad.json"], ["--ensemble-baseline: ", "bad.json is not JSON"]),
        (["--ensemble-baseline=models"], ["models can't be read"]),
    ],
)
def test_usage_errors(repo, arguments, parts):
    (repo.path / "bad.json").write_text("{")
    repo.gate("min_uniqueness(0)")
    result = repo.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert stopped(result, *parts)


def test_it_can_stand_in_the_ini_but_acceptance_can_not(repo):
    repo.gate("min_uniqueness(0)")
    repo.ini(baseline="b.json")
    repo.run(UPDATE).assert_outcomes(passed=1)
    repo.run().assert_outcomes(passed=1)
    repo.monkeypatch.setenv("PYTEST_ENSEMBLE_BASELINE_ACCEPT", "always")
    fragile(repo, 9, model=0)
    repo.run().assert_outcomes(failed=1)


def test_groups_of_xdist_are_no_part_of_a_tests_name(repo):
    pytest.importorskip("xdist")
    repo.test(
        f"xdist_group('onnx')\nensemble({['m1', 'm2', 'm3']}, 0.1)\nensemble_min_uniqueness(0)",
    )
    repo.run(BASE, UPDATE).assert_outcomes(passed=1)
    fragile(repo, 9, model=0)
    text = said(repo.run(BASE, "-n2", "--dist=loadgroup", subprocess=True))
    assert "m1 uniqueness" in text
    assert "is worse than its baseline" in text
    assert '"tests/test_release.py::test_it"' in text
