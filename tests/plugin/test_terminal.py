"""What is seen of gates: pytest's outcomes and sections, on terminals and where there is none."""

import json
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from tests.plugin.conftest import LOAD, said
from tests.plugin.screen import Terminal

# --- inconclusive ---------------------------------------------------------------------------------


@pytest.fixture
def undecided(repo):
    """test_open is inconclusive; test_both has one gate that is and one that fails; test_fine passes."""
    repo.monkeypatch.setenv("CORNER_UNKNOWN", "m1~m2=timeout")
    repo.gate("max_mutual_error(0.5)", name="test_open")
    repo.gate("max_mutual_error(0.3)", "min_uniqueness(0.7)", name="test_both")
    repo.test("ensemble(['m3', 'm4'], 0.1)\nensemble_max_mutual_error(0.5)", name="test_fine")
    return repo


HEADLINE = "release: inconclusive: m1~m2 mutual error 0.000 .. 1.000, needs <= 0.500 at epsilon 0.1"


@pytest.mark.parametrize("workers", ["-n0", "-n1"])
def test_inconclusive_has_its_own_outcome(undecided, workers):
    result = undecided.run(workers, "--junitxml=j.xml", subprocess=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes() == {"inconclusive": 1, "failed": 1, "passed": 1}
    text = said(result)
    assert {*"?F."} <= set(text.partition("100%")[0].rpartition(".py" if workers == "-n0" else "\n")[2])
    failures = text.partition("= FAILURES =")[2].partition("= ensemble gates =")[0]
    assert failures.index("_ test_both _") < failures.index("_ test_open _")  # the failed ones first
    assert f"\n{HEADLINE} (20 undecided: 20 timeout)\n" in failures
    summary = text.partition("short test summary info")[2]
    assert "\nFAILED tests/test_release.py::test_both - " in summary
    assert "\nINCONCLUSIVE tests/test_release.py::test_open - " in summary
    cases = {case.get("name"): case for case in ElementTree.parse(undecided.path / "j.xml").iter("testcase")}
    failure = cases["test_open"].find("failure")
    assert HEADLINE in failure.get("message")
    assert "\n  pair " in failure.text


def test_verbose_has_the_word(undecided):
    text = said(undecided.run("-v", "-k", "open"))
    assert "tests/test_release.py::test_open INCONCLUSIVE" in text


@pytest.mark.parametrize(
    ("options", "shown", "listed"),
    [
        (["-rN"], True, False),
        (["-rs"], True, False),
        (["--tb=no"], False, True),
        (["--no-summary"], False, False),
        (["--tb=no", "-q"], False, True),
        (["--tb=short"], True, True),
    ],
    ids=str,
)
def test_options_of_failures_hold_for_inconclusive_ones(undecided, options, shown, listed):
    text = said(undecided.run("-k", "open", *options))
    assert (f"\n{HEADLINE}" in text) == shown
    assert ("\nINCONCLUSIVE tests/" in text) == listed
    assert "1 inconclusive" in text


def test_last_failed_keeps_inconclusive_ones(undecided):
    run = undecided.pytester.runpytest_subprocess
    first = run(*LOAD, "-p", "corner", "-k", "open or fine")
    assert first.parseoutcomes() == {"inconclusive": 1, "passed": 1, "deselected": 1}
    again = run(*LOAD, "-p", "corner", "-k", "open or fine", "--lf")
    assert "passed" not in again.parseoutcomes()
    assert again.parseoutcomes()["inconclusive"] == 1


def test_the_first_inconclusive_test_stops_the_run_with_x(undecided):
    result = undecided.run("-x")
    assert result.parseoutcomes() == {"inconclusive": 1}
    assert "stopping after 1 failures" in said(result)


def test_an_error_of_the_test_itself_is_no_inconclusive_gate(undecided):
    body = "\n    ".join(
        ["try: ensemble_gate.check()", "except BaseException: pass", "raise ValueError('mine')"]
    )
    undecided.test("ensemble(['m1', 'm2'], 0.1)\nensemble_max_mutual_error(0.5)", name="test_mine", body=body)
    assert undecided.run("-k", "mine").parseoutcomes() == {"failed": 1, "deselected": 3}


def test_an_expected_failure_is_one(undecided):
    undecided.test("xfail\nensemble(['m1', 'm2'], 0.1)\nensemble_max_mutual_error(0.5)", name="test_x")
    assert undecided.run("-k", "test_x").parseoutcomes() == {"xfailed": 1, "deselected": 3}


# --- terminals ------------------------------------------------------------------------------------


def shown(repo, *options, columns=80, env=None):
    """What a terminal shows of a run, and the bytes it was sent."""
    terminal = Terminal(columns)
    command = [sys.executable, "-m", "pytest", *LOAD, "-p", "corner", "-p", "no:cacheprovider", *options]
    terminal.run(command, cwd=repo.path, env=env)
    return terminal.text(), terminal.raw


@pytest.fixture
def failing(repo):
    repo.gate("min_uniqueness(0.9)", "max_mutual_error(0.5)")
    return repo


TABLE = """\
  member   uniqueness   need    undecided   verdict
  ────────────────────────────────────────────────────────────────
  m1       0.867        0.900        0/60   FAIL  (short by 0.033)
"""


def test_a_terminal_gets_colours_and_lines(failing):
    text, raw = shown(failing)
    assert TABLE in text
    assert "suggestion       replace m2 with m5: uniqueness 0.800 → 1.000;\n" in text
    assert "FAIL                               uniqueness    0.1      m2     0.800  >= 0.900" in text
    assert b"\x1b[31mFAIL" in raw
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("options", "env"),
    [
        (["--color=no"], {}),
        ([], {"TERM": "dumb", "NO_COLOR": "1"}),
    ],
    ids=str,
)
def test_no_colours_where_none_are_wanted(failing, options, env):
    text, raw = shown(failing, *options, env=env)
    assert TABLE in text
    assert b"\x1b[3" not in raw


def test_an_encoding_without_lines_gets_ascii(failing):
    text, _ = shown(failing, "-v", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert text.isascii()
    assert "replace m2 with m5: uniqueness 0.800 -> 1.000;" in text
    assert f"{TABLE.splitlines()[0]}\n{TABLE.splitlines()[2]}\n" in text


def test_no_terminal_and_colours_that_are_wanted(failing):
    failing.monkeypatch.delenv("PY_COLORS", raising=False)  # pytester sets it
    failing.monkeypatch.setenv("FORCE_COLOR", "1")
    result = failing.run("--junitxml=j.xml", "-n1", subprocess=True)
    assert "\x1b[31mFAIL" in result.stdout.str()
    assert "\x1b" not in (failing.path / "j.xml").read_text()
    assert "#x1B" not in (failing.path / "j.xml").read_text()


def test_a_heatmap_with_v(failing):
    text, _ = shown(failing, "-v", "--color=no")
    start = text.index("mutual error at epsilon 0.1\n")
    assert text[start:].splitlines()[:7] == [
        "mutual error at epsilon 0.1",
        "           1     2     3",
        "  1 m1",
        "  2 m2 ▓0.20",
        "  3 m3 ▓0.20 █0.40",
        "  4 m4  0.00  0.00  0.00",
        "  ░ to 0.05   ▒ to 0.10   ▓ to 0.20   █ above",
    ]
    assert "mutual error at epsilon 0.1\n" not in shown(failing)[0]


def test_names_are_no_markup(repo):
    (repo.path / "models" / "m2.onnx").rename(repo.path / "models" / "[red]m2[.onnx")
    repo.test("ensemble(['[red]m2[', 'm3', 'm4'], 0.1)\nensemble_min_uniqueness(0.99)")
    text, _ = shown(repo, "-v", "--ensemble-suggest=never")
    assert "\n  [red]m2[   0.800 " in text
    assert "[red]m2[" in text.partition("mutual error at epsilon 0.1\n")[2].partition("to 0.05")[0]


def test_what_is_kept_is_plain(failing):
    """Reports carry the same text for everybody who keeps them, whatever the terminal is."""
    failing.conftest(
        "import json\n"
        "def pytest_runtest_logreport(report):\n"
        "    if report.failed:\n"
        "        open('kept.json', 'w').write(json.dumps([report.longreprtext, str(report.longrepr)]))\n"
    )
    shown(failing, "--color=yes")
    text, same = json.loads((failing.path / "kept.json").read_text())
    assert text.strip() == same.strip()
    assert text.isascii()
    assert TABLE.splitlines()[2] in text
