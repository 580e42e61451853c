"""How far long solving is: on terminals, where there is none, and where nobody wants to know."""

import re
import sys

import pytest

from tests.plugin.conftest import LOAD, said
from tests.plugin.screen import Terminal

DECIDED = re.compile(r"tests/test_release\.py::test_slow  \d+/120 decided  \d+ sat, \d+ unsat, 0 unknown")
SOON = """
import pytest_ensemble.plugin.progress as progress
progress.PATIENCE, progress.REDRAW, progress.EVERY = 0.05, 0.03, 0.1
"""


@pytest.fixture
def slow(repo):
    """Two quick tests, then a gate of 120 queries in half a second; progress is shown soon."""
    repo.monkeypatch.setenv("CORNER_SLOW", "0.004")
    repo.conftest(SOON)
    repo.test(fixture="", body="print('quick')", name="test_one")
    repo.test(fixture="", body="pass", name="test_two")
    body = "print('captured')\n    ensemble_gate.check()"
    marks = "ensemble(['m1', 'm2', 'm3', 'm4'], 0.1)\nensemble_min_uniqueness(0.5)"
    repo.test(marks, body=body, name="test_slow")
    repo.test(fixture="", body="pass", name="test_last")
    return repo


def on_terminal(repo, *options, columns=100, lines=60, **more):
    terminal = Terminal(columns, lines)
    command = [sys.executable, "-m", "pytest", *LOAD, "-p", "corner", "-p", "no:cacheprovider"]
    code = terminal.run([*command, "--ensemble-cache=off", *options], cwd=repo.path, **more)
    return terminal, code


def lasting(terminal):
    """The screen at the end, but for times."""
    return re.sub(r"in [\d.]+ ?s", "in TIME", terminal.text())


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ([], {}),
        (["-v", "--capture=sys"], {"columns": 44, "lines": 8}),
    ],
    ids=str,
)
def test_a_live_line_that_leaves_nothing_behind(slow, options, size):
    shown, code = on_terminal(slow, *options, **size)
    assert code == 0
    assert any("/120 decided" in line for line in shown.seen)
    if "columns" not in size:
        assert any(DECIDED.search(line) for line in shown.seen)
    without, _ = on_terminal(slow, "--ensemble-progress=off", *options, **size)
    assert b"decided" not in without.raw
    assert lasting(shown) == lasting(without)
    assert "captured" not in shown.text()


def test_the_line_moves_while_no_answer_comes(slow):
    slow.monkeypatch.setenv("CORNER_SLOW", "0.6")
    slow.test("ensemble(['m1', 'm4'], 0.1, points=1)\nensemble_min_uniqueness(0.5)", name="test_one_query")
    shown, _ = on_terminal(slow, "-k", "one_query")
    lines = [line for line in shown.seen if "0/1 decided" in line]
    assert len(lines) > 2
    assert lines[0].endswith(" s, ? left")


def test_without_capture_only_a_line_break_stays(slow):
    shown, code = on_terminal(slow, "-s")
    assert code == 0
    assert any(DECIDED.search(line) for line in shown.seen)
    assert "decided" not in shown.text()
    assert "captured\n" in shown.text()


def test_ctrl_c_erases_it(slow):
    slow.monkeypatch.setenv("CORNER_SLOW", "0.05")
    shown, code = on_terminal(slow, interrupt_at="decided", seconds=30)
    assert code == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in shown.text()
    assert "decided" not in shown.text()


@pytest.mark.parametrize("options", [["-q"], ["-q", "-n1", "-p", "xdist"]], ids=str)
def test_where_nothing_is_shown(slow, options):
    shown, code = on_terminal(slow, *options)
    assert code == 0
    assert b"decided" not in shown.raw


def test_workers_of_xdist_write_plain_lines(slow):
    pytest.importorskip("xdist")
    shown, code = on_terminal(slow, "-n1", "-p", "xdist")
    assert code == 0
    assert re.search(rf"^\[gw0\] {DECIDED.pattern}", shown.text(), re.MULTILINE)
    assert "captured" not in shown.text()
    result = slow.run("--ensemble-cache=off", "-n2", subprocess=True)
    lines = [line for line in result.errlines if "decided" in line]
    assert lines
    assert all(re.match(rf"\[gw[01]\] {DECIDED.pattern}", line) for line in lines)
    assert "decided" not in result.stdout.str()


def test_plain_lines_where_there_is_no_terminal(slow):
    text = said(slow.run("--ensemble-cache=off", subprocess=True))
    lines = [line for line in text.splitlines() if "decided" in line]
    assert 2 <= len(lines) <= 40
    assert all(DECIDED.fullmatch(line.partition(" unknown")[0] + " unknown") for line in lines)
    assert "4 passed" in text


def test_plain_lines_on_a_dumb_terminal(slow):
    shown, _ = on_terminal(slow, env={"TERM": "dumb"})
    assert b"\x1b" not in shown.raw
    assert DECIDED.search(shown.text())


def test_nothing_before_the_first_30_seconds_of_a_log(slow):
    slow.conftest("")
    assert "decided" not in said(slow.run("--ensemble-cache=off", subprocess=True))


def test_models_that_take_long_to_read_are_said_to_be_read(slow):
    slow.conftest(
        SOON
        + "import time\n"
        + "from pytest_ensemble.networks.pool import Pool\n"
        + "load = Pool.load\n"
        + "Pool.load = staticmethod(lambda where: (time.sleep(0.4), load(where))[1])\n"
    )
    text = said(slow.run("--ensemble-cache=off", subprocess=True))
    assert re.search(r"^reading models  \d s$", text, re.MULTILINE)
    assert DECIDED.search(text)
