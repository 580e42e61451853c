"""Under pytest-xdist: one report and one summary, from what all workers found."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.plugin.state import State
from tests.plugin.conftest import MEMBERS, said
from tests.report.examples import GATE, document

pytest.importorskip("xdist")


TESTS = ("test_a", "test_b", "test_c")


def both(repo):
    repo.gate("min_uniqueness(0.9)", name="test_a")
    repo.gate("max_mutual_error(0.5)", epsilon=0.01, name="test_b")
    repo.gate("min_uniqueness(0.5)", name="test_c", more=", points=10")
    repo.test(f"ensemble({MEMBERS}, 0.1)", fixture="ensemble", body="ensemble.uniqueness()", name="test_d")


def without(report, *names):
    """A report but for some fields."""
    return {name: value for name, value in report.items() if name not in names}


def test_reports_and_summary_are_the_same_and_come_once(repo):
    both(repo)
    alone = repo.run("--ensemble-report=x.json", "--ensemble-cache=off", subprocess=True)
    spread = repo.run("--ensemble-report=y.json", "-n2", subprocess=True)
    for result in (alone, spread):
        result.assert_outcomes(passed=3, failed=1)
    x, y = (json.loads((repo.path / name).read_text()) for name in ("x.json", "y.json"))
    mine = ("queries", "run")  # who solved what, and the commands
    assert without(x, *mine) == without(y, *mine)
    assert [gate["test"] for gate in y["gates"]] == [f"tests/test_release.py::{name}" for name in TESTS]

    def lines(result):
        section = said(result).partition("= ensemble gates =")[2].partition("= short test summary")[0]
        return [line for line in section.splitlines()[1:] if "queries" not in line and "report: " not in line]

    assert lines(alone) == lines(spread)
    assert said(spread).count("ensemble gates") == 1
    first = "release: m2 uniqueness 0.800 < 0.900 at epsilon 0.1 (worst pair m2~m3, mutual error 0.400)\n"
    assert first in said(spread)
    assert "  m2 errs with     m1 0.200   m3 0.400   m4 0.000\n" in said(spread)
    by_engine = y["queries"]["by_engine"]
    assert by_engine["auto-1"] == len(repo.queries()) - x["queries"]["total"]
    # of all queries two test files ask for, each was solved by one worker only
    assert by_engine["auto-1"] == len(set(repo.queries()[x["queries"]["total"] :]))


def test_gates_of_a_crashed_worker_are_not_claimed_to_pass(repo):
    repo.monkeypatch.setenv("CORNER_CRASH", "m5")
    repo.gate("min_uniqueness(0.5)", name="test_fine")
    repo.test("ensemble(['m1', 'm5'], 0.1)\nensemble_min_uniqueness(0.1)", name="test_crash")
    result = repo.run("-n1", "--max-worker-restart=1", "--ensemble-report=x.json", subprocess=True)
    assert result.ret != 0
    gates = {
        gate["test"].partition("::")[2]: gate
        for gate in json.loads((repo.path / "x.json").read_text())["gates"]
    }
    assert gates["test_crash"]["verdict"] == "inconclusive"
    assert gates["test_fine"]["verdict"] == "inconclusive"  # what it found went down with the worker
    assert "Worker gw0 ended without a report" in said(result)
    assert "test_release.py::test_crash  uniqueness at epsilon 0.1: not checked" in said(result)


def test_a_pool_that_does_not_exist_is_one_message(repo):
    both(repo)
    result = repo.run("-n2", "--ensemble-pool=nowhere", subprocess=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said(result).count("does not exist") == 1


def test_everything_works_without_xdist(repo):
    both(repo)
    result = repo.run("-p", "no:xdist", subprocess=True)
    result.assert_outcomes(passed=3, failed=1)
    assert "= ensemble gates =" in said(result)


def test_a_suite_without_gates(repo):
    """It says nothing, but for the pool that was given for nothing."""
    repo.test(fixture="", body="pass")
    result = repo.run("-n2", "--ensemble-pool=models", subprocess=True)
    result.assert_outcomes(passed=1)
    section = said(result).partition("= ensemble gates =")[2].splitlines()
    assert "no selected test declares a gate" in section[1]
    assert "1 passed" in section[2]


@pytest.mark.parametrize("order", [1, -1])
def test_of_workers_that_had_the_same_test_the_worst_counts(order):
    state = State(SimpleNamespace(command="pytest", given={}))
    holds = replace(GATE, verdict=Verdict.PASS, low=0.95, high=0.95)
    for number, gate in enumerate([GATE, holds][::order]):
        state.workers[f"gw{number}"] = document(gate)
    assert [gate.verdict for gate in state.document().gates] == [Verdict.FAIL]
    state.workers["gw0"] = replace(state.workers["gw0"], gates=(GATE, holds))  # run again there
    state.workers["gw1"] = document(holds)
    assert [gate.verdict for gate in state.document().gates] == [Verdict.PASS]
