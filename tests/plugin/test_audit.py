"""--ensemble-audit: decided queries are answered again by other engines at the end; contradictions fail."""

import json
import re

import pytest

from tests.plugin.conftest import MEMBERS, said, stopped

AGAIN = "decided queries answered again"


def read(repo):
    return json.loads((repo.path / "x.json").read_text())["audit"]


@pytest.fixture
def audited(repo):
    repo.gate("min_uniqueness(0.5)")
    return repo


@pytest.fixture
def contradicted(audited):
    """The first engine says unsat to everything; 4 + 4 + 8 of its answers are wrong."""
    audited.monkeypatch.setenv("CORNER_LIES", "auto-1")
    return audited


def test_nothing_is_asked_again_by_default(audited):
    result = audited.run("--ensemble-report=x.json")
    assert read(audited) == {"asked": 0, "agreed": 0, "undecided": 0, "contradictions": []}
    assert len(audited.queries()) == 6 * 20
    assert AGAIN not in said(result)


def test_engines_that_agree(audited):
    result = audited.run("--ensemble-audit=30", "--ensemble-report=x.json")
    assert result.ret == pytest.ExitCode.OK
    assert read(audited) == {"asked": 30, "agreed": 30, "undecided": 0, "contradictions": []}
    assert len(audited.queries()) == 6 * 20 + 30
    line = "audit: 30 decided queries answered again: 30 agreed, 0 undecided, 0 contradicted"
    assert line in said(result)
    assert "contradict each other" not in said(result)


def test_ini_and_environment(audited):
    audited.ini(audit="7")
    assert "audit: 7 decided queries" in said(audited.run())
    audited.monkeypatch.setenv("PYTEST_ENSEMBLE_AUDIT", "8")
    assert "audit: 8 decided queries" in said(audited.run())
    assert "audit: 9 decided queries" in said(audited.run("--ensemble-audit=9"))
    assert AGAIN not in said(audited.run("--ensemble-audit=0"))


@pytest.mark.parametrize("value", ["-1", "some", "1.5", ""])
def test_a_bad_number(audited, value):
    result = audited.run(f"--ensemble-audit={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert stopped(result, f"--ensemble-audit: {value!r} is not a number of queries", "whole number >= 0")


def test_a_contradiction_fails_a_run_whose_tests_pass(contradicted):
    result = contradicted.run("--ensemble-audit=1000", "--ensemble-report=x.json")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    audit = read(contradicted)
    assert (audit["asked"], audit["agreed"], audit["undecided"]) == (120, 104, 0)
    assert len(audit["contradictions"]) == 16
    text = said(result)
    assert "= ensemble audit: engines contradict each other =" in text
    assert text.count("auto-1 says unsat, ") == 16
    assert "At least one engine is wrong" in text
    line = "audit: 120 decided queries answered again: 104 agreed, 0 undecided, 16 contradicted"
    assert line in text


def test_every_field_of_a_contradiction(contradicted):
    contradicted.run("--ensemble-audit=1000", "--ensemble-report=x.json")
    entries = {
        (tuple(entry["pair"]), entry["point"]): entry for entry in read(contradicted)["contradictions"]
    }
    entry = entries[("m2", "m3"), 4]
    assert [len(digest) for digest in entry.pop("sha256")] == [64, 64]
    assert len(entry.pop("x")) == len(entry.pop("witness")) == 5
    assert entry.pop("second_engine") in ("marabou-1", "milp-1")
    assert entry == {
        "pair": ["m2", "m3"],
        "models": [str(contradicted.path / "models" / f"{name}.onnx") for name in ("m2", "m3")],
        "point": 4,
        "row": 4,
        "data": str(contradicted.path / "data.npz"),
        "label": 0,
        "epsilon": 0.1,
        "bounds": None,
        "engine": "auto-1",
        "outcome": "unsat",
        "second_outcome": "sat",
    }


def replay(text):
    """Run the printed code with real engines; what each of the two calls gives."""
    code = re.sub(r"engine='\w+-1'", "engine='native'", text.partition("To ask again:\n")[2])
    *setup, first, last = [line.strip() for line in code.splitlines() if line.startswith("    ")][:5]
    names = {}
    exec("\n".join([*setup, f"outcomes = [{first.partition('  #')[0]}, {last.partition('  #')[0]}]"]), names)
    return [str(answer.outcome) for answer in names["outcomes"]]


@pytest.mark.parametrize("more", ["", ", bounds=(-1, 1)", ", bounds=(-10, float('inf'))"])
def test_the_printed_code_asks_the_query_again(repo, more):
    repo.monkeypatch.setenv("CORNER_LIES", "auto-1")
    repo.gate("min_uniqueness(0.5)", more=more)
    text = said(repo.run("--ensemble-audit=1000"))
    assert "# unsat\n" in text
    assert "# sat\n" in text
    assert replay(text) == ["sat", "sat"]


def test_the_printed_code_holds_the_point_where_the_data_has_no_file(contradicted):
    contradicted.conftest("""
        import corner, pytest
        @pytest.fixture(scope="session")
        def ensemble_data(): return corner.data()
    """)
    text = said(contradicted.run("--ensemble-audit=1000"))
    assert "x = np.array([" in text
    assert replay(text) == ["sat", "sat"]


def test_a_second_engine_that_errs_is_reported_too(audited):
    """Whoever is wrong: the first answers are right here."""
    audited.monkeypatch.setenv("CORNER_LIES", "milp-1")
    audited.monkeypatch.setattr("pytest_ensemble.analysis.analysis.available", lambda: False)
    result = audited.run("--ensemble-audit=1000", "--ensemble-report=x.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    entries = read(audited)["contradictions"]
    assert {(entry["outcome"], entry["second_outcome"]) for entry in entries} == {("sat", "unsat")}
    assert len(entries) == 16


def test_each_analysis_is_audited(repo):
    repo.gate("min_uniqueness(0.5)", name="test_a")
    repo.gate("min_uniqueness(0.5)", name="test_b", more=", points=10")
    repo.run("--ensemble-audit=7", "--ensemble-report=x.json")
    assert read(repo)["asked"] == 14


def test_a_suite_that_solved_nothing(repo):
    repo.test(f"skip\nensemble({MEMBERS}, 0.1)\nensemble_min_uniqueness(0.5)")
    result = repo.run("--ensemble-audit=7")
    assert result.ret == pytest.ExitCode.OK
    assert AGAIN not in said(result)


def test_failing_tests_are_audited_and_stay_failed(repo):
    repo.gate("min_uniqueness(0.9)")
    result = repo.run("--ensemble-audit=7", "--ensemble-report=x.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert read(repo)["asked"] == 7


def test_quiet_says_nothing_unless_contradicted(audited):
    assert AGAIN not in said(audited.run("-q", "--ensemble-audit=7", "--ensemble-cache=off"))
    audited.monkeypatch.setenv("CORNER_LIES", "auto-1")
    assert "16 contradicted" in said(audited.run("-q", "--ensemble-audit=1000"))


def test_audits_are_within_the_budget(audited):
    result = audited.run("--ensemble-audit=7", "--ensemble-budget=1e-9")
    assert AGAIN not in said(result)  # nothing was decided


def test_workers_of_xdist_audit_their_own(contradicted):
    pytest.importorskip("xdist")
    contradicted.gate("min_uniqueness(0.5)", name="test_other", more=", points=10")
    result = contradicted.run("-n2", "--ensemble-audit=1000", "--ensemble-report=x.json", subprocess=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2)
    audit = read(contradicted)
    assert (audit["asked"], len(audit["contradictions"])) == (180, 32)
    assert said(result).count("= ensemble audit: engines contradict each other =") == 1
