"""One killed run, resumed; `python -m tests.kills` kills many."""

import sys

import pytest

from tests.kills import trial


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_a_killed_run_is_resumed() -> None:
    assert trial(1, points=25).problems == ()
