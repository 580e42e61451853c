"""`ensemble.toml`: its gates as tests, without Python."""

import json

import pytest

from pytest_ensemble.certificates.__main__ import main
from tests.plugin.conftest import MEMBERS, said, stopped

RELEASE = f"""
[ensemble.release]
members = {MEMBERS}
epsilon = [0.01, 0.1]
min_uniqueness = 0.8
max_mutual_error = {{"0.1" = 0.4}}
"""
STRICT = RELEASE.replace("release", "strict").replace("0.8", "0.9")
IDS = [
    f"ensemble.toml::release[{gate}]"
    for gate in ("min-uniqueness-eps0.01", "min-uniqueness-eps0.1", "max-mutual-error-eps0.1")
]


@pytest.fixture
def gates(repo):
    def write(text=RELEASE, path="ensemble.toml"):
        file = repo.path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    return write


def collected(result):
    return [line for line in result.outlines if "::" in line]


def test_gates_pass_and_are_solved_in_one_go(repo, gates):
    gates()
    result = repo.run("--ensemble-report=x.json", "--ensemble-cache=off")
    result.assert_outcomes(passed=3)
    assert len(repo.queries()) == 2 * 6 * 20  # each once
    report = json.loads((repo.path / "x.json").read_text())
    assert [gate["test"] for gate in report["gates"]] == IDS
    assert [gate["verdict"] for gate in report["gates"]] == ["pass"] * 3
    assert "pass          ensemble.toml::release[min-uniqueness-eps0.1]  uniqueness at eps" in said(result)


def test_a_failing_gate_says_what_a_failing_test_says(repo, gates):
    gates(RELEASE + STRICT)
    result = repo.run()
    result.assert_outcomes(passed=5, failed=1)
    text = said(result)
    first = "strict: m2 uniqueness 0.800 < 0.900 at epsilon 0.1 (worst pair m2~m3, mutual error 0.400)"
    assert first in text
    assert 'rerun            pytest "ensemble.toml::strict[min-uniqueness-eps0.1]"' in text
    assert "Traceback" not in text
    repo.run("ensemble.toml::strict[min-uniqueness-eps0.1]").assert_outcomes(failed=1)


def test_selection(repo, gates):
    gates(RELEASE + STRICT)
    assert collected(repo.run("--collect-only", "-q"))[:3] == IDS
    assert not repo.queries()
    repo.run("ensemble.toml::release").assert_outcomes(passed=3)
    repo.run("-k", "strict and eps0.1").assert_outcomes(passed=1, failed=1, deselected=4)
    repo.run("-x").assert_outcomes(passed=4, failed=1)
    repo.run("-m", "not ensemble").assert_outcomes(deselected=6)
    repo.run("--deselect", IDS[0]).assert_outcomes(passed=4, failed=1, deselected=1)


def test_last_failed(repo, gates):
    gates(RELEASE + STRICT)
    repo.test("ensemble(['m1', 'm4'], 0.1)\nensemble_min_uniqueness(1)")
    cache = ("-p", "cacheprovider")
    repo.pytester.runpytest_inprocess(*_plugins(), *cache).assert_outcomes(passed=6, failed=1)
    repo.pytester.runpytest_inprocess(*_plugins(), *cache, "--lf").assert_outcomes(failed=1)


def _plugins():
    return "-p", "pytest_ensemble.plugin", "-W", "ignore::pytest.PytestAssertRewriteWarning"


def test_xdist_says_the_same(repo, gates):
    pytest.importorskip("xdist")
    gates(RELEASE + STRICT)
    alone = repo.run("--ensemble-report=x.json", "--ensemble-cache=off", subprocess=True)
    asked = len(repo.queries())
    spread = repo.run("--ensemble-report=y.json", "-n2", subprocess=True)
    for result in (alone, spread):
        result.assert_outcomes(passed=5, failed=1)
    x, y = (json.loads((repo.path / name).read_text()) for name in ("x.json", "y.json"))
    assert x["gates"] == y["gates"]
    assert len(repo.queries()) - asked <= asked + 20  # shared between the workers


def test_with_testpaths_a_plain_run_collects_it(repo, gates):
    gates()
    repo.test("ensemble(['m1', 'm4'], 0.1)\nensemble_min_uniqueness(1)")
    with (repo.path / "tox.ini").open("a") as ini:
        ini.write("\ntestpaths = tests\n")
    repo.run().assert_outcomes(passed=4)
    repo.run("tests").assert_outcomes(passed=1)
    repo.run(".").assert_outcomes(passed=4)
    repo.run("ensemble.toml").assert_outcomes(passed=3)
    repo.run("--ignore=ensemble.toml").assert_outcomes(passed=1)


def test_another_file_instead(repo, gates):
    gates()
    gates(STRICT, "more/g.toml")
    repo.test("ensemble(['m1', 'm4'], 0.1)\nensemble_min_uniqueness(1)")
    repo.run().assert_outcomes(passed=4)
    repo.run("--ensemble-gates=more/g.toml").assert_outcomes(passed=3, failed=1)
    repo.run("tests", "--ensemble-gates=more/g.toml").assert_outcomes(passed=3, failed=1)
    repo.run("more/g.toml::strict[min-uniqueness-eps0.01]", "--ensemble-gates=more/g.toml").assert_outcomes(
        passed=1
    )
    repo.run("more/g.toml").assert_outcomes(passed=2, failed=1)
    repo.ini(gates="more/g.toml")
    repo.run().assert_outcomes(passed=3, failed=1)
    assert stopped(repo.run("--ensemble-gates=no.toml"), "--ensemble-gates: there is no file", "no.toml")


def test_pool_and_data_are_relative_to_the_file(repo, gates):
    repo.ini(pool=None, data=None)
    gates(RELEASE + 'pool = "../models"\ndata = "../data.npz"\n', "more/ensemble.toml")
    repo.run("more/ensemble.toml").assert_outcomes(passed=3)
    gates()
    result = repo.run("ensemble.toml")
    result.assert_outcomes(failed=3)
    assert stopped(result, "No pool was given", "(ensemble.toml, line 2: ensemble.release)")


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("pool = 'nowhere'", ["nowhere", "line 7: ensemble.release.pool"]),
        ("data = 'no.npz'", ["no.npz: no such file", "line 7: ensemble.release.data"]),
        ("bounds = [5, 6]", ["outside the bounds", "line 2: ensemble.release)"]),
        ("points = 21", ["21 agreement points", "line 2: ensemble.release)"]),
        ("preprocessing.m6.scale = 2", ["'m6'", "Valid: m1, m2", "line 7: ensemble.release.preprocessing"]),
    ],
)
def test_what_is_wrong_with_what_it_names_fails_its_gates(repo, gates, line, parts):
    gates(RELEASE + line)
    result = repo.run()
    result.assert_outcomes(failed=3)
    assert stopped(result, *parts)


def test_unknown_members(repo, gates):
    gates(RELEASE.replace("'m4'", "'m44'"))
    assert stopped(
        repo.run(), "'m44' is not in the pool. Did you mean 'm4'?", "line 3: ensemble.release.members"
    )


def test_a_bad_file_is_an_error_of_the_collection(repo, gates):
    gates(RELEASE + "membres = ['m1']")
    result = repo.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert stopped(result, "ensemble.toml, line 7: there is no key 'membres'", "Did you mean 'members'?")


def test_inconclusive_gates_and_budget(repo, gates):
    repo.monkeypatch.setenv("CORNER_UNKNOWN", "m1~m2=timeout")
    gates(RELEASE.replace("0.4}", "0.9}"))
    result = repo.run()
    assert result.parseoutcomes() == {"inconclusive": 3}
    assert "release: inconclusive: " in said(result)


def test_preprocessing_puts_data_into_the_models_units(repo, gates):
    """Data 10 times as large: with the scale, all scores are as before at 10 times the radius."""
    import numpy as np

    with np.load(repo.path / "data.npz") as data:
        np.savez(repo.path / "large.npz", x=data["x"] * 10, y=data["y"])
    large = RELEASE.replace("0.1", "1.0").replace("0.01", "0.1").replace("1.01", "0.1")
    large += 'data = "large.npz"\npreprocessing = {std = 10}\n'
    gates(RELEASE + large.replace("release", "large"))
    repo.run("--ensemble-report=x.json").assert_outcomes(passed=6)
    report = json.loads((repo.path / "x.json").read_text())
    assert len(report["ensembles"]) == 2
    small, other = ([g["low"] for g in report["gates"] if name in g["test"]] for name in ("release", "large"))
    assert small == other


def test_proofs_about_prepared_models_can_be_checked(repo, gates):
    gates(RELEASE + "points = 2\npreprocessing = {std = 2}\n")
    repo.pytester.runpytest_inprocess(
        *_plugins(), "--ensemble-certificates=proofs", "--ensemble-engine=native", "-p", "no:cacheprovider"
    )
    assert list((repo.path / "proofs" / "models").glob("m1-*.onnx"))
    assert main([str(repo.path / "proofs")]) == 0


def test_a_suite_without_one_imports_nothing(repo):
    (repo.path / "test_it.py").write_text(
        "import sys\n\ndef test_it():\n    assert not {'numpy', 'pytest_ensemble.gatefile.read'} "
        "& set(sys.modules)\n"
    )
    result = repo.pytester.runpytest_subprocess("-p", "pytest_ensemble.plugin")
    result.assert_outcomes(passed=1)
