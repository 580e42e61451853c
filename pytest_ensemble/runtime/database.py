"""The database file of the store: its tables, how it is made, opened and recognised, and sums of its rows."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

__all__ = ["BROKEN", "INSERT", "checksum", "connect", "create", "why"]

_FORMAT = 1  # of the tables; SQLite's user_version
_APPLICATION = 0x70656E73  # SQLite's application_id: "pens"
_BUSY = 5.0  # seconds to wait for others that write
# What a file that can't be used may raise.
BROKEN = (sqlite3.Error, OSError, ValueError, OverflowError, MemoryError, Timeout)
_TABLES = (
    "CREATE TABLE proofs (key BLOB, engine TEXT, epsilon REAL, seconds REAL, version TEXT, sum BLOB, "
    "PRIMARY KEY (key, engine)) WITHOUT ROWID",
    "CREATE TABLE witnesses (key BLOB, engine TEXT, distance REAL, witness BLOB, seconds REAL, version TEXT, "
    "sum BLOB, PRIMARY KEY (key, engine))",
    "CREATE TABLE efforts (key BLOB, engine TEXT, epsilon REAL, allowed REAL, reason TEXT, version TEXT, "
    "sum BLOB, PRIMARY KEY (key, engine, epsilon)) WITHOUT ROWID",
    "CREATE TABLE claims (key BLOB PRIMARY KEY, owner TEXT) WITHOUT ROWID",
)
INSERT = {
    "proofs": "INSERT INTO proofs VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "epsilon = excluded.epsilon, seconds = excluded.seconds, version = excluded.version, sum = excluded.sum "
    "WHERE excluded.epsilon > proofs.epsilon",
    "witnesses": "INSERT INTO witnesses VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "distance = excluded.distance, witness = excluded.witness, seconds = excluded.seconds, "
    "version = excluded.version, sum = excluded.sum WHERE excluded.distance < witnesses.distance",
    "efforts": "INSERT INTO efforts VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "allowed = excluded.allowed, reason = excluded.reason, version = excluded.version, sum = excluded.sum "
    "WHERE excluded.allowed >= efforts.allowed OR excluded.version <> efforts.version",
}
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Answers of pytest-ensemble; can be deleted.\n"


def create(path: Path) -> sqlite3.Connection:
    """A connection that can write, to a file that is made if there is none.

    Raises:
        one of BROKEN: it can't be made or used.
    """
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(parents=True)
        # only in a folder of our own
        path.with_name(".gitignore").write_text("*\n")
        path.with_name("CACHEDIR.TAG").write_text(_TAG)
    with FileLock(path.with_name("create.lock"), timeout=_BUSY):
        if not path.exists():
            _make(path)
    return connect(path, "rw")


def checksum(table: str, content: Sequence[Any]) -> bytes:
    """Checksum of a row."""
    digest = hashlib.blake2b(table.encode(), digest_size=12)
    for part in content:
        digest.update(part if isinstance(part, bytes) else repr(part).encode(errors="replace"))
        digest.update(b"|")
    return digest.digest()


def _make(path: Path) -> None:
    """An empty database, there as a whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(partial, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
        for table in _TABLES:
            connection.execute(table)
    partial.replace(path)


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection to a file of ours.

    Raises:
        sqlite3.Error, ValueError: it is damaged, locked, not ours, or of another version.
    """
    address = f"{path.resolve().as_uri()}?mode={mode}"
    connection = _checked(address)
    if connection is None:  # SQLite can't put its lock files beside it: nobody else can write then either
        connection = _checked(f"{address}&immutable=1")
    assert connection is not None
    return connection


def _checked(address: str) -> sqlite3.Connection | None:
    connection = sqlite3.connect(
        address, uri=True, timeout=_BUSY, isolation_level=None, check_same_thread=False
    )
    connection.text_factory = lambda text: text.decode(errors="replace")
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA synchronous = NORMAL")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master") if sql}
        if application == _APPLICATION and version > _FORMAT:
            raise ValueError(f"it is of a newer version of pytest-ensemble (format {version}, not {_FORMAT})")
        if (application, version) != (_APPLICATION, _FORMAT) or tables != set(_TABLES):
            raise ValueError("it is damaged, or not a cache of pytest-ensemble; delete it to start anew")
    except sqlite3.OperationalError as error:
        connection.close()
        if "unable to open" in str(error) and "mode=ro" in address and "immutable" not in address:
            return None
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def why(error: Exception) -> str:
    if isinstance(error, Timeout) or "locked" in str(error):
        return "another program has locked it"
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return f"it is damaged ({error}); delete it to start anew"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text or type(error).__name__).rstrip(".")
