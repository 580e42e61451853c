"""What users have beside this plugin keeps working: --lf, -x, -k, pytest-randomly, pytest-timeout."""

import json

import pytest

from tests.plugin.conftest import LOAD, said


@pytest.fixture
def three(repo):
    """One gate that fails and two that pass."""
    repo.gate("min_uniqueness(0.1)", name="test_a")
    repo.gate("min_uniqueness(0.9)", name="test_b")
    repo.gate("max_mutual_error(0.5)", name="test_c")
    return repo


def run(repo, *arguments):
    """Run with pytest's own cache, which `repo.run` leaves out."""
    return repo.pytester.runpytest_subprocess(*LOAD, "-p", "corner", *arguments)


def gates(repo):
    report = json.loads((repo.path / "x.json").read_text())
    return {gate["test"].rpartition("::")[2]: gate["verdict"] for gate in report["gates"]}


def test_last_failed(three):
    run(three).assert_outcomes(passed=2, failed=1)
    again = run(three, "--lf", "--ensemble-report=x.json")
    again.assert_outcomes(failed=1)
    assert gates(three) == {"test_b": "fail"}
    run(three, "--ff", "-x").assert_outcomes(failed=1)


def test_stop_at_the_first_failure(three):
    result = three.run("-x", "--ensemble-report=x.json")
    result.assert_outcomes(passed=1, failed=1)
    assert gates(three) == {"test_a": "pass", "test_b": "fail", "test_c": "inconclusive"}
    assert "test_c  mutual error at epsilon 0.1: not checked" in said(result)


def test_selection(three):
    result = three.run("-k", "test_a or test_c", "--ensemble-report=x.json")
    result.assert_outcomes(passed=2, deselected=1)
    assert gates(three) == {"test_a": "pass", "test_c": "pass"}


def test_collection_only(three):
    result = three.run("--collect-only", "--ensemble-report=x.json")
    assert not three.queries()
    assert not (three.path / "x.json").exists()
    assert "ensemble gates" not in said(result)


@pytest.mark.parametrize("more", [(), ("-n2", "-p", "xdist")])
def test_random_order(three, more):
    pytest.importorskip("pytest_randomly")
    if more:
        pytest.importorskip("xdist")
    for seed in (1, 2):
        arguments = ("-p", "pytest_randomly", f"--randomly-seed={seed}", "--ensemble-report=x.json")
        result = run(three, *arguments, *more)
        result.assert_outcomes(passed=2, failed=1)
        assert gates(three) == {"test_a": "pass", "test_b": "fail", "test_c": "pass"}


def test_a_timeout_keeps_what_was_answered(three):
    pytest.importorskip("pytest_timeout")
    three.monkeypatch.setenv("CORNER_SLOW", "0.1")
    result = run(three, "-p", "pytest_timeout", "--timeout=2", "-k", "test_b")
    result.assert_outcomes(failed=1, deselected=2)
    assert "Timeout" in said(result)
    asked = len(three.queries())
    three.monkeypatch.delenv("CORNER_SLOW")
    run(three, "-p", "pytest_timeout", "--timeout=60", "-k", "test_b", "--ensemble-suggest=never")
    assert len(three.queries()) == 120 + 1  # the one that was being answered
    assert 1 < asked < 120
