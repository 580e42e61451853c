"""`bounded`: a test that may take neither much memory nor much time. Import the fixture to use it."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

SECONDS = 60
BYTES = 2 << 30


@pytest.fixture
def bounded() -> Iterator[None]:
    """Allocations fail beyond 2 GB more than there are now; after a minute the test fails."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {SECONDS} s")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, hard))
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
