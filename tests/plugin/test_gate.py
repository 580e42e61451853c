"""`ensemble_gate.check()`: when a test passes, fails or warns, and what it says."""

import re

import pytest

from tests.plugin.conftest import MEMBERS, said

FAILING = """\
release: m2 uniqueness 0.800 < 0.900 at epsilon 0.1 (worst pair m2~m3, mutual error 0.400)

  member   uniqueness   need    undecided   verdict
  m1       0.867        0.900        0/60   FAIL  (short by 0.033)
  m2       0.800        0.900        0/60   FAIL  (short by 0.100)
  m3       0.800        0.900        0/60   FAIL  (short by 0.100)
  m4       1.000        0.900        0/60   pass

  m2 errs with     m1 0.200   m3 0.400   m4 0.000
  example          point 4 (row 4 of the data), label 0: m2 says 1, m3 says 1
                   2 of 5 values changed, by at most 0.046; replayed in onnxruntime
  suggestion       replace m2 with m5: uniqueness 0.800 -> 1.000; ensemble accuracy 1.000 -> 1.000
  rerun            pytest "tests/test_release.py::test_it"
"""


def test_a_gate_that_holds(repo):
    repo.gate("min_uniqueness(0.8)", "max_mutual_error(0.4)")  # both exactly: equal is good
    result = repo.run()
    result.assert_outcomes(passed=1)
    text = said(result)
    assert (
        "pass          tests/test_release.py::test_it  uniqueness at epsilon 0.1: m2 0.800 >= 0.800" in text
    )
    assert (
        "pass          tests/test_release.py::test_it  mutual error at epsilon 0.1: m2~m3 0.400 <= 0.400"
        in text
    )


def test_a_gate_that_fails(repo):
    repo.gate("min_uniqueness(0.9)")
    result = repo.run()
    result.assert_outcomes(failed=1)
    text = said(result)
    assert FAILING in text
    assert "FAIL          tests/test_release.py::test_it  uniqueness at epsilon 0.1: m2 0.800 < 0.900" in text
    assert "Traceback" not in text
    assert "gate.py" not in text


def test_no_line_of_the_failure_is_wider_than_100(repo):
    repo.gate("min_uniqueness(0.9)", "max_mutual_error(0.3)")
    text = said(repo.run()).partition("test_it ____")[2].partition("=== ensemble gates")[0]
    assert max(map(len, text.splitlines()[1:-1])) <= 100


def test_the_short_summary_has_the_first_line_only_in_ci_too(repo):
    repo.monkeypatch.setenv("CI", "true")
    repo.gate("min_uniqueness(0.9)")
    summary = said(repo.run()).partition("short test summary info")[2]
    assert (
        "release: m2 uniqueness 0.800 < 0.900 at epsilon 0.1 (worst pair m2~m3, mutual error 0.400)\n"
        in summary
    )
    assert "undecided" not in summary


def test_a_mutual_error_gate_that_fails(repo):
    repo.gate("max_mutual_error(0.15)")
    result = repo.run()
    result.assert_outcomes(failed=1)
    lines = said(result).splitlines()
    start = lines.index("release: m2~m3 mutual error 0.400 > 0.150 at epsilon 0.1 (8 of 20 points)")
    assert lines[start + 2 : start + 7] == [
        "  pair    mutual error   need    undecided   verdict",
        "  m2~m3   0.400          0.150        0/20   FAIL  (over by 0.250)",
        "  m1~m2   0.200          0.150        0/20   FAIL  (over by 0.050)",
        "  m1~m3   0.200          0.150        0/20   FAIL  (over by 0.050)",
        "  m1~m4   0.000          0.150        0/20   pass",
    ]


def test_a_gate_must_hold_at_each_epsilon(repo):
    repo.gate("min_uniqueness(0.9)", epsilon=[0.01, 0.1])
    result = repo.run()
    result.assert_outcomes(failed=1)
    assert "uniqueness at epsilon 0.01: m1 1.000 >= 0.900" in said(result)
    assert "uniqueness at epsilon 0.1: m2 0.800 < 0.900" in said(result)


def test_the_epsilon_of_a_gate_is_asked_instead(repo):
    repo.gate("min_uniqueness(0.9, epsilon=0.01)", "max_mutual_error(0.1, epsilon=[0.02, 0.03])", epsilon=0.1)
    result = repo.run()
    result.assert_outcomes(passed=1)
    assert re.findall(r"at epsilon (\S+):", said(result)) == ["0.02", "0.03", "0.01"]
    assert {float(entry[2]) for entry in repo.queries()} == {0.01, 0.02, 0.03}


def test_the_worst_of_several_gates_comes_first(repo):
    repo.gate("min_uniqueness(0.81)", "max_mutual_error(0.1)", "min_uniqueness(0.5)")
    text = said(repo.run())
    first = "release: m2~m3 mutual error 0.400 > 0.100 at epsilon 0.1 (8 of 20 points) (+1 more gate)\n"
    assert first in text
    assert text.index(first) < text.index("\nrelease: m2 uniqueness 0.800 < 0.810 at epsilon 0.1 ")
    assert text.count("  rerun  ") == 1
    assert "need 0.5" not in text


def test_a_test_that_does_not_check_its_gates_fails(repo):
    marks = f"ensemble({MEMBERS}, 0.1)\nensemble_min_uniqueness(0.5)"
    repo.test(marks, body="pass")
    repo.test(marks + '\nusefixtures("ensemble_gate")', fixture="", body="pass", name="test_other")
    result = repo.run()
    result.assert_outcomes(failed=2)
    assert "The gates of this test were not checked: call ensemble_gate.check() in it." in said(result)
    assert "uniqueness at epsilon 0.1: not checked" in said(result)
    assert "Traceback" not in said(result)


def test_a_skipped_gate_is_not_a_pass(repo):
    repo.test(f"skip\nensemble({MEMBERS}, 0.1)\nensemble_min_uniqueness(0.5)")
    result = repo.run()
    result.assert_outcomes(skipped=1)
    assert "inconclusive  tests/test_release.py::test_it  uniqueness at epsilon 0.1: not checked" in said(
        result
    )


def test_parametrised_tests_have_a_gate_each(repo):
    repo.test(
        f'parametrize("k", [1, 2])\nensemble({MEMBERS}, 0.1)\nensemble_min_uniqueness(0.9)',
        fixture="ensemble_gate, k",
    )
    text = said(repo.run())
    assert 'pytest "tests/test_release.py::test_it[1]"' in text
    assert "test_release.py::test_it[2]  uniqueness" in text


# --- undecided queries ----------------------------------------------------------------------------


def test_inconclusive_fails_and_says_what_to_do(repo):
    """m2~m3 is 0 .. 1 then, so uniqueness is 0.6 .. 0.933."""
    repo.monkeypatch.setenv("CORNER_UNKNOWN", "m2~m3=timeout")
    repo.gate("min_uniqueness(0.7)")
    result = repo.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes() == {"inconclusive": 1}
    text = said(result)
    assert (
        "release: inconclusive: m2 uniqueness 0.600 .. 0.933, needs >= 0.700 at epsilon 0.1 "
        "(20 undecided: 20 timeout)\n"
    ) in text
    assert "  m2       0.600 .. 0.933   0.700       20/60   inconclusive\n" in text
    assert "  what to do       timeout: raise --ensemble-timeout" in text
    assert "  suggestion" not in text  # of failing gates only
    assert "inconclusive  tests/test_release.py::test_it" in text


def test_undecided_queries_that_change_nothing(repo):
    repo.monkeypatch.setenv("CORNER_UNKNOWN", "m1~m4=boundary")
    repo.gate("min_uniqueness(0.5)", name="test_pass")
    repo.gate("min_uniqueness(0.85)", name="test_fail")
    repo.run().assert_outcomes(passed=1, failed=1)


def test_inconclusive_warn(repo):
    repo.monkeypatch.setenv("CORNER_UNKNOWN", "m2~m3=crashed")
    repo.gate("min_uniqueness(0.7)")
    result = repo.run("--ensemble-inconclusive=warn", "-Wdefault::pytest.PytestWarning", subprocess=True)
    result.assert_outcomes(passed=1, warnings=1)
    assert "InconclusiveGateWarning: release: inconclusive: m2 uniqueness" in said(result)
    assert "inconclusive  tests/test_release.py::test_it" in said(result)


def test_inconclusive_warn_does_not_let_a_failing_gate_pass(repo):
    repo.monkeypatch.setenv("CORNER_UNKNOWN", "m1~m4=crashed")
    repo.gate("min_uniqueness(0.85)", "max_mutual_error(0.5)")
    result = repo.run("--ensemble-inconclusive=warn")
    result.assert_outcomes(failed=1)
    assert "(+1 more gate)" in said(result)


def test_inconclusive_warn_does_not_excuse_unchecked_gates(repo):
    repo.test(f"ensemble({MEMBERS}, 0.1)\nensemble_min_uniqueness(0.5)", body="pass")
    repo.run("--ensemble-inconclusive=warn").assert_outcomes(failed=1)


# --- suggestions ----------------------------------------------------------------------------------


def test_suggest_never(repo):
    repo.gate("min_uniqueness(0.9)")
    text = said(repo.run("--ensemble-suggest=never"))
    assert "suggestion" not in text
    assert len(repo.queries()) == 120  # candidates were not asked about


def test_suggest_failing_asks_nothing_for_gates_that_hold(repo):
    repo.gate("min_uniqueness(0.5)")
    assert "suggestion" not in said(repo.run())
    assert len(repo.queries()) == 120


def test_suggest_always(repo):
    repo.gate("min_uniqueness(0.5)")
    result = repo.run("--ensemble-suggest=always")
    result.assert_outcomes(passed=1)
    assert "suggestion: replace m2 with m5: uniqueness 0.800 -> 1.000; ensemble acc" in said(result)


def test_the_suggested_swap_mends_the_gate(repo):
    repo.test("ensemble(['m1', 'm5', 'm3', 'm4'], 0.1)\nensemble_min_uniqueness(0.9)")
    repo.run().assert_outcomes(passed=1)


def test_no_candidate(repo):
    repo.test("ensemble(None, 0.1)\nensemble_min_uniqueness(0.99)")
    assert "suggestion       none: every network of the pool is a member" in said(repo.run())


def test_no_better_candidate(repo):
    repo.test("ensemble(['m1', 'm4', 'm5'], 0.1)\nensemble_min_uniqueness(0.99, epsilon=0.95)")
    assert "suggestion       none: no candidate is surely more unique" in said(repo.run())


# --- around it ------------------------------------------------------------------------------------


def test_rerun_repeats_what_the_verdict_depends_on(repo):
    repo.gate("min_uniqueness(0.9)")
    text = said(
        repo.run(
            "--ensemble-pool=models",
            "--ensemble-engine=marabou",
            "--ensemble-suggest=never",
            "--ensemble-jobs=2",
        )
    )
    assert (
        'rerun            pytest "tests/test_release.py::test_it" '
        "--ensemble-pool=models --ensemble-engine=marabou\n"
    ) in text


def test_rerun_is_for_where_pytest_was_called(repo):
    repo.gate("min_uniqueness(0.9)")
    repo.monkeypatch.chdir(repo.path / "tests")
    assert 'pytest "test_release.py::test_it"' in said(repo.run())


def test_quiet_shows_only_what_does_not_pass(repo):
    repo.gate("min_uniqueness(0.9)")
    repo.gate("min_uniqueness(0.5)", name="test_fine")
    text = said(repo.run("-q"))
    assert "FAIL          tests/test_release.py::test_it" in text
    assert "pass          " not in text
    assert "queries:" not in text


def test_quiet_says_nothing_if_all_is_well(repo):
    repo.gate("min_uniqueness(0.5)")
    assert "ensemble gates" not in said(repo.run("-q"))


def test_collect_only_says_nothing(repo):
    repo.gate("min_uniqueness(0.5)")
    assert "ensemble gates" not in said(repo.run("--collect-only"))


@pytest.mark.parametrize("engine", ["auto", "marabou"])
def test_real_engines_give_the_same_scores(repo, engine):
    if engine == "marabou":
        pytest.importorskip("maraboupy")
    (repo.path / "corner.py").write_text("")  # so the real ones are asked
    repo.gate("min_uniqueness(0.9)")
    result = repo.run(f"--ensemble-engine={engine}", subprocess=True)
    result.assert_outcomes(failed=1)
    text = said(result)
    assert "  m1       0.867        0.900        0/60   FAIL  (short by 0.033)\n" in text
    assert "replace m2 with m5: uniqueness 0.800 -> 1.000; ensemble accuracy 1.000 -> 1.000\n" in text
