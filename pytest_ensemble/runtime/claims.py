"""`Claims`: who is at work on what, so that processes that share a store don't solve the same twice.

A claim is a row that names its owner. An owner is a file that its process keeps locked; the operating system
unlocks it when the process ends, however it ends, and its claims are void from then on.
"""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["Claims"]

_KEYS = 500


class Claims:
    """The claims of one process.

    Raises:
        OSError, filelock.Timeout: the folder can't be written, or locked files are not known there.
    """

    def __init__(self, owners: Path) -> None:
        """`owners`: the folder of the locked files."""
        owners.mkdir(parents=True, exist_ok=True)
        self._owners = owners
        self._name = uuid.uuid4().hex
        self._lock = FileLock(self._file(self._name), timeout=0)
        self._lock.acquire()

    def take(self, connection: sqlite3.Connection, keys: set[bytes]) -> set[bytes]:
        """Claim those of the keys that nobody alive has claimed; all that are ours now."""
        taken = self._taken(connection, keys)
        if len(taken) == len(keys):
            return {key for key, owner in taken.items() if owner == self._name}
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            taken = self._taken(connection, keys)
            free = keys - taken.keys()
            connection.executemany(
                "INSERT OR REPLACE INTO claims VALUES (?, ?)", [(key, self._name) for key in free]
            )
        return free | {key for key, owner in taken.items() if owner == self._name}

    def release(self, connection: sqlite3.Connection) -> None:
        """Give up all that is ours."""
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM claims WHERE owner = ?", (self._name,))

    def close(self) -> None:
        """End this owner."""
        self._file(self._name).unlink(missing_ok=True)
        self._lock.release()

    def _taken(self, connection: sqlite3.Connection, keys: set[bytes]) -> dict[bytes, str]:
        """Owners of the keys that somebody alive has claimed."""
        ordered = list(keys)
        owners: dict[bytes, str] = {}
        for start in range(0, len(ordered), _KEYS):
            part = ordered[start : start + _KEYS]
            marks = ",".join("?" * len(part))
            owners.update(
                connection.execute(f"SELECT key, owner FROM claims WHERE key IN ({marks})", part).fetchall()
            )
        alive = {owner: owner == self._name or self._is_alive(owner) for owner in set(owners.values())}
        return {key: owner for key, owner in owners.items() if alive[owner]}

    def _is_alive(self, owner: str) -> bool:
        file = self._file(owner)
        if len(owner) != len(self._name) or not owner.isalnum() or not file.exists():
            return False
        lock = FileLock(file, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return True
        file.unlink(missing_ok=True)
        lock.release()
        return False

    def _file(self, owner: str) -> Path:
        return self._owners / f"{owner}.lock"
