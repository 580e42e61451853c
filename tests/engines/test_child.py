"""Solver processes that crash, hang, exhaust the memory, or whose parent dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_ensemble.engines.child import Child, Died

ECHO, FAULTY = "tests.engines.services:echo", "tests.engines.services:faulty"


@pytest.fixture
def start() -> Iterator[Any]:
    made: list[Child] = []

    def make(*given: Any, **options: Any) -> Child:
        made.append(Child(*given, **options))
        return made[-1]

    yield make
    for child in made:
        child.close()


def dead(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")  # a zombie is dead: nobody may be left to collect it
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_messages_pass_in_order_and_chatter_does_not(start: Any) -> None:
    child = start(ECHO, 1, "two")
    assert [child.ask(k, None) for k in range(3)] == [(child.pid, (1, "two"), k) for k in range(3)]
    noisy = start(FAULTY)
    assert noisy.ask("chatter", 60.0) == "done"


@pytest.mark.parametrize(
    ("what", "reason"),
    [("throw", "memory"), ("crash", "crashed"), ("sleep", "timeout"), ("hold the GIL", "timeout")],
)
def test_death_has_a_reason(start: Any, what: str, reason: str) -> None:
    child = start(FAULTY)
    child.ask("nothing", 60.0)
    with pytest.raises(Died) as death:
        child.ask(what, 0.1 if reason == "timeout" else 60.0)
    assert death.value.reason == reason
    assert not child.alive()


@pytest.mark.skipif(sys.platform != "linux", reason="no such limit")
def test_memory_is_limited(start: Any) -> None:
    """A gigabyte is allocated."""
    assert start(FAULTY).ask("allocate", 60.0) == "enough"
    with pytest.raises(Died) as death:
        start(FAULTY, memory=800 << 20).ask("allocate", 60.0)
    assert death.value.reason == "memory"


def test_killed_from_outside_is_a_crash(start: Any) -> None:
    child = start(FAULTY)
    threading.Timer(0.3, os.kill, (child.pid, signal.SIGKILL)).start()
    with pytest.raises(Died) as death:
        child.ask("sleep", 60.0)
    assert death.value.reason == "crashed"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_child_outlives_the_thread_that_asked_for_it(start: Any) -> None:
    """On Linux a process dies with the very thread that started it."""
    thread = threading.Thread(target=start, args=(ECHO,))
    thread.start()
    thread.join()
    child = start(ECHO)
    time.sleep(0.2)
    assert child.ask("x", 60.0)[0] == child.pid


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("told", [True, False], ids=["told by the system", "watched"])
def test_children_die_with_a_killed_parent(start: Any, told: bool) -> None:
    """While they are in C and hold the GIL; in both ways."""
    parent = start("tests.engines.services:parent", told)
    child = parent.receive()
    assert not dead(child)
    parent.kill()
    end = time.monotonic() + 20
    while not dead(child):
        assert time.monotonic() < end, "the child outlived its parent"
        time.sleep(0.05)
