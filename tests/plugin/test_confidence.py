"""`confidence=`: gates for all inputs like the points."""

import json

import pytest

from tests.plugin.conftest import MEMBERS, said, stopped


def test_a_gate_that_holds_for_the_points_may_be_inconclusive(repo):
    repo.gate("max_mutual_error(0.45, confidence=0.95)")
    result = repo.run("--ensemble-report=x.json")
    assert result.parseoutcomes() == {"inconclusive": 1}
    text = said(result)
    first = (
        "release: inconclusive: m2~m3 mutual error 0.400, <= 0.606 at 95 % confidence, needs <= 0.450 at "
        "epsilon 0.1 (20 points, 0 undecided)"
    )
    assert f"\n{first}\n" in text
    assert "m2~m3   0.400 (<= 0.606)         0.450        0/20   inconclusive" in text
    assert "what to do       points: about 2" in text
    (gate,) = json.loads((repo.path / "x.json").read_text())["gates"]
    assert (gate["verdict"], gate["low"], gate["high"]) == ("inconclusive", 0.4, 0.4)
    assert (gate["confidence"], round(gate["bound"], 3)) == (0.95, 0.606)


def test_pass_and_fail(repo):
    repo.gate("max_mutual_error(0.61, confidence=0.95)", "max_mutual_error(0.61)", name="test_a")
    repo.gate("max_mutual_error(0.3, confidence=0.95)", name="test_b")
    repo.gate("min_uniqueness(0.5, confidence=0.95)", name="test_c")
    result = repo.run("--ensemble-report=x.json")
    result.assert_outcomes(passed=2, failed=1)
    text = said(result)
    assert "m2~m3 0.400, <= 0.606 at 95 % confidence, <= 0.610" in text
    assert "mutual error at epsilon 0.1: m2~m3 0.400 <= 0.610\n" in text
    assert "release: m2~m3 mutual error 0.400 > 0.300 at epsilon 0.1 (8 of 20 points)" in text
    gates = json.loads((repo.path / "x.json").read_text())["gates"]
    assert [gate["verdict"] for gate in gates] == ["pass", "pass", "fail", "pass"]
    assert [gate["confidence"] for gate in gates] == [None, 0.95, 0.95, 0.95]


def test_in_a_gate_file(repo):
    text = f"[ensemble.r]\nmembers = {MEMBERS}\nepsilon = 0.1\nmax_mutual_error = 0.45\n"
    (repo.path / "ensemble.toml").write_text(text)
    repo.run().assert_outcomes(passed=1)
    (repo.path / "ensemble.toml").write_text(text + "confidence = 0.95\n")
    assert repo.run().parseoutcomes() == {"inconclusive": 1}


@pytest.mark.parametrize("value", ["95", "0", "1", "True", "'high'"])
def test_bad_values(repo, value):
    repo.gate(f"min_uniqueness(0.9, confidence={value})")
    assert stopped(
        repo.run(), "@pytest.mark.ensemble_min_uniqueness: confidence must be a number between 0 and 1"
    )
