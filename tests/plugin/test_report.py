"""--ensemble-report: the JSON file, its schema, and when it is written."""

import json

import pytest

from pytest_ensemble.report.document import Document
from tests.plugin.conftest import MEMBERS, said


def read(repo, name="x.json"):
    return json.loads((repo.path / name).read_text())


@pytest.fixture
def failing(repo):
    repo.gate("min_uniqueness(0.9)", epsilon=[0.01, 0.1])
    repo.run("--ensemble-report=x.json").assert_outcomes(failed=1)
    return read(repo)


def test_all_fields_of_the_schema(failing):
    assert list(failing) == [
        "schema",
        "verdict",
        "ensembles",
        "members",
        "points",
        "epsilons",
        "mutual_error",
        "uniqueness",
        "gates",
        "suggestions",
        "examples",
        "baseline",
        "curves",
        "gallery",
        "queries",
        "audit",
        "run",
        "versions",
        "notes",
    ]
    assert failing["schema"] == "pytest-ensemble/1"
    assert failing["epsilons"] == [0.01, 0.1]
    (ensemble,) = failing["ensembles"]
    assert ensemble["members"] == MEMBERS
    assert ensemble["candidates"] == ["m5"]
    assert ensemble["tests"] == ["tests/test_release.py::test_it"]
    key = ensemble["ensemble"]

    assert [member["name"] for member in failing["members"]] == ["m1", "m2", "m3", "m4", "m5"]
    assert all(len(member["sha256"]) == 64 for member in failing["members"])
    assert {member["accuracy"] for member in failing["members"]} == {24 / 25}
    (points,) = failing["points"]
    assert (points["count"], points["label"], points["indices"]) == (20, None, list(range(20)))
    assert len(points["sha256"]) == 64
    assert {
        "ensemble": key,
        "epsilon": 0.1,
        "pair": ["m2", "m3"],
        "low": 0.4,
        "high": 0.4,
        "sat": 8,
        "unsat": 12,
        "unknown": 0,
        "unasked": 0,
    } in failing["mutual_error"]
    assert len(failing["mutual_error"]) == 2 * 6
    score = {"ensemble": key, "epsilon": 0.1, "member": "m2", "low": 0.8, "high": 0.8, "unasked": 0}
    assert score in failing["uniqueness"]
    assert len(failing["uniqueness"]) == 2 * 4
    assert failing["gates"] == [
        {
            "ensemble": key,
            "test": "tests/test_release.py::test_it",
            "metric": "min_uniqueness",
            "epsilon": epsilon,
            "threshold": 0.9,
            "verdict": verdict,
            "subject": subject,
            "low": score,
            "high": score,
            "undecided": {},
            "partial": False,
            "confidence": None,
            "bound": None,
        }
        for epsilon, verdict, subject, score in ((0.01, "pass", "m1", 1.0), (0.1, "fail", "m2", 0.8))
    ]
    assert failing["suggestions"] == [
        {
            "ensemble": key,
            "epsilon": 0.1,
            "out": "m2",
            "in": "m5",
            "uniqueness_before": {"low": 0.8, "high": 0.8},
            "uniqueness_after": {"low": 1.0, "high": 1.0},
            "accuracy_before": 1.0,
            "accuracy_after": 1.0,
        }
    ]
    (example,) = failing["examples"]
    assert example["pair"] == ["m2", "m3"]
    assert example["says"] == {"m2": 1 - example["label"], "m3": 1 - example["label"]}
    assert 0.04 < example["distance"] <= 0.1
    queries = failing["queries"]
    assert queries["total"] == queries["sat"] + queries["unsat"] == sum(queries["by_engine"].values())
    assert queries["unknown"] == {}
    assert {"python", "numpy", "onnx", "onnxruntime", "pytest"} <= set(failing["versions"])


def test_a_report_reads_back(failing):
    assert {**Document.from_json(failing).to_json(), "verdict": "fail"} == failing


def test_undecided_queries_by_reason(repo):
    repo.monkeypatch.setenv("CORNER_UNKNOWN", "m2~m3=timeout m1~m2=boundary")
    repo.gate("min_uniqueness(0.7)")
    repo.run("--ensemble-report=x.json")
    report = read(repo)
    assert report["queries"]["unknown"] == {"timeout": 20, "boundary": 20}
    (gate,) = report["gates"]
    assert gate["verdict"] == "inconclusive"
    assert gate["undecided"] == {"boundary": 20, "timeout": 20}
    assert gate["low"] < 0.7 <= gate["high"]


def test_several_ensembles_are_told_apart(repo):
    repo.gate("min_uniqueness(0.5)", name="test_a")
    repo.gate("min_uniqueness(0.5)", name="test_b", more=", points=10, bounds=(-1, 1)")
    repo.test("ensemble(None, 0.1, label='best', points=5)\nensemble_min_uniqueness(0.5)", name="test_c")
    repo.run("--ensemble-report=x.json").assert_outcomes(passed=3)
    report = read(repo)
    by_test = {tests[-1]: entry for entry in report["ensembles"] for tests in [entry["tests"][0].split("::")]}
    assert by_test["test_b"]["bounds"] == [-1, 1]
    counts = {entry["ensemble"]: (entry["count"], entry["label"]) for entry in report["points"]}
    assert [counts[by_test[name]["ensemble"]] for name in ("test_a", "test_b", "test_c")] == [
        (20, None),
        (10, None),
        (5, 0),
    ]


def test_the_option_is_repeatable(repo):
    repo.gate("min_uniqueness(0.5)")
    (repo.path / "out").mkdir()
    text = said(repo.run("--ensemble-report=x.json", "--ensemble-report=out/y.json"))
    assert read(repo, "x.json")["gates"] == read(repo, "out/y.json")["gates"]
    assert f"report: {repo.path / 'out' / 'y.json'}" in text


def test_ini_and_environment_take_several(repo):
    repo.gate("min_uniqueness(0.5)")
    repo.ini(report="a.json b.json")
    repo.run()
    assert read(repo, "a.json")["gates"] == read(repo, "b.json")["gates"]
    repo.monkeypatch.setenv("PYTEST_ENSEMBLE_REPORT", "c.json:d.json")
    repo.run()
    assert read(repo, "c.json")["gates"] == read(repo, "d.json")["gates"]


def test_no_temporary_file_is_left(failing, repo):
    assert not list(repo.path.glob(".x.json*"))


def test_gates_that_were_not_checked_are_inconclusive(repo):
    repo.test(f"skip\nensemble({MEMBERS}, 0.1)\nensemble_min_uniqueness(0.5)")
    repo.run("--ensemble-report=x.json")
    (gate,) = read(repo)["gates"]
    assert (gate["verdict"], gate["subject"], gate["low"], gate["high"]) == ("inconclusive", None, 0.0, 1.0)


def test_a_report_of_a_suite_without_gates_is_empty(repo):
    repo.test(fixture="", body="pass")
    repo.run("--ensemble-report=x.json").assert_outcomes(passed=1)
    assert read(repo)["gates"] == []


def test_collect_only_writes_nothing(repo):
    repo.gate("min_uniqueness(0.5)")
    repo.run("--ensemble-report=x.json", "--collect-only")
    assert not (repo.path / "x.json").exists()


def test_a_report_that_cannot_be_written_fails_the_run(repo):
    (repo.path / "out").mkdir()
    repo.gate("min_uniqueness(0.5)")
    repo.conftest("""
        import shutil
        def pytest_collection_finish(): shutil.rmtree("out")
    """)
    result = repo.run("--ensemble-report=out/x.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "out/x.json could not be written: " in said(result)
    assert "Traceback" not in said(result)


def test_junit_messages_are_the_first_line(repo):
    repo.gate("min_uniqueness(0.9)")
    repo.run("--junitxml=j.xml")
    text = (repo.path / "j.xml").read_text()
    worst = "(worst pair m2~m3, mutual error 0.400)"
    assert f'message="Failed: release: m2 uniqueness 0.800 &lt; 0.900 at epsilon 0.1 {worst}"' in text
    assert "m2 errs with" in text
