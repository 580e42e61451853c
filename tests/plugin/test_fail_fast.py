"""--ensemble-fail-fast: gates stop when their verdicts are certain, and say so."""

import json

import pytest

from tests.plugin.conftest import MEMBERS, said


@pytest.fixture(params=[(), ("-n2",)], ids=["alone", "xdist"])
def spread(request):
    if request.param:
        pytest.importorskip("xdist")
    return request.param


def fast(repo, *arguments):
    report = repo.path / "x.json"
    result = repo.run(
        "--ensemble-fail-fast", f"--ensemble-report={report}", *arguments, subprocess="-n2" in arguments
    )
    return result, json.loads(report.read_text())


def test_a_failing_gate_stops_early_and_says_so(repo, spread):
    repo.gate("min_uniqueness(1)")
    result, report = fast(repo, *spread)
    result.assert_outcomes(failed=1)
    asked = len(repo.queries())
    assert 0 < asked < 120
    text = said(result)
    assert f"  stopped early: {120 - asked} of 120 queries were not asked (--ensemble-fail-fast)\n" in text
    assert "  suggestion       not looked for; add --ensemble-suggest=always\n" in text
    assert "  example " in text
    assert "FAIL          tests/test_release.py::test_it" in text
    assert "(partial: stopped early)" in text

    (gate,) = report["gates"]
    assert (gate["verdict"], gate["partial"], gate["undecided"]) == ("fail", True, {"unasked": 120 - asked})
    assert gate["low"] < gate["high"] < 1
    assert sum(entry["unasked"] for entry in report["mutual_error"]) == 120 - asked
    assert all(entry["unasked"] == entry["unknown"] for entry in report["mutual_error"])
    assert sum(entry["unasked"] for entry in report["uniqueness"]) == 2 * (120 - asked)
    assert report["queries"]["total"] == asked
    assert report["suggestions"] == []


def test_a_gate_that_needs_everything_is_not_partial(repo, spread):
    repo.gate("min_uniqueness(0.8)", "max_mutual_error(0.4)")  # both exactly
    result, report = fast(repo, *spread)
    result.assert_outcomes(passed=1)
    assert len(repo.queries()) == 120
    assert [gate["partial"] for gate in report["gates"]] == [False, False]
    assert "(partial" not in said(result)


def test_verdicts_of_several_tests_are_the_same(repo, spread):
    repo.monkeypatch.setenv("CORNER_UNKNOWN", "m1~m3=timeout")
    for k, gate in enumerate(("min_uniqueness(1)", "min_uniqueness(0.75)", "max_mutual_error(0.5)")):
        repo.gate(gate, epsilon=0.1, name=f"test_{k}")
    repo.gate("min_uniqueness(0.5)", epsilon=[0.01, 0.1], name="test_several")
    _, report = fast(repo, *spread)
    whole = repo.path / "y.json"
    repo.run(f"--ensemble-report={whole}")

    def verdicts(found):
        return {(gate["test"], gate["epsilon"]): gate["verdict"] for gate in found["gates"]}

    assert verdicts(report) == verdicts(json.loads(whole.read_text()))
    assert set(verdicts(report).values()) == {"pass", "fail", "inconclusive"}
    assert not any(gate["partial"] for gate in report["gates"] if gate["verdict"] == "inconclusive")


def test_suggest_always_asks_what_it_needs(repo):
    repo.gate("min_uniqueness(0.9)")
    result, report = fast(repo, "--ensemble-suggest=always")
    result.assert_outcomes(failed=1)
    text = said(result)
    assert "replace m2 with m5: uniqueness 0.800 -> 1.000" in text
    assert "  m2       0.800        0.900        0/60   FAIL  (short by 0.100)\n" in text
    assert "stopped early" not in text
    assert not report["gates"][0]["partial"]


def test_scores_by_hand_are_whole(repo):
    repo.test(
        f"ensemble({MEMBERS}, 0.1)\nensemble_min_uniqueness(1)",
        fixture="ensemble_gate, ensemble",
        body=(
            "with pytest.raises(pytest.fail.Exception):\n        ensemble_gate.check()\n"
            "    assert ensemble.uniqueness()['m2'].exact"
        ),
    )
    result, report = fast(repo)
    result.assert_outcomes(failed=1)  # by its gate, though it went on
    assert "release: m2 uniqueness" in said(result)
    assert len(repo.queries()) == 120
    assert report["gates"][0]["partial"]
    assert not any(entry["unasked"] for entry in report["mutual_error"] + report["uniqueness"])


def test_environment_and_ini(repo):
    repo.gate("min_uniqueness(1)")

    def early(*arguments):
        return "stopped early: " in said(repo.run(*arguments))

    assert not early()
    repo.ini(fail_fast="true")
    assert early()
    repo.monkeypatch.setenv("PYTEST_ENSEMBLE_FAIL_FAST", "0")
    assert not early()
    assert early("--ensemble-fail-fast")
    repo.monkeypatch.setenv("PYTEST_ENSEMBLE_FAIL_FAST", "maybe")
    result = repo.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "environment variable PYTEST_ENSEMBLE_FAIL_FAST: 'maybe' is neither yes nor no" in said(result)
