"""`Store`: what was found about networks around points, kept in one SQLite file for later runs.

Mutual errors are monotone in epsilon, so the largest epsilon proven and the nearest witness say all that was
found. Rows merge by (max, min) within the database, so writers can't conflict, and no row is ever out of
date: they are keyed by the content of networks, point, label and bounds.

Nothing in the file is believed as it stands. Every row has a checksum, every witness is replayed before it
counts, and rows that are damaged, don't replay or contradict each other are dropped. A file that can't be
used at all (damaged, locked, of a newer version, on a full disk) is left alone: one line in `notes` says so,
and everything is solved without it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import queue
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from pytest_ensemble.queries.answer import Answer, Bracket, Outcome, Reason
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import replays_somewhere
from pytest_ensemble.runtime.claims import Claims
from pytest_ensemble.runtime.database import BROKEN, INSERT, checksum, connect, create, why

__all__ = ["Effort", "Store", "Stored"]

NAME = "brackets.sqlite"
# Raised when sat or unsat come to mean something else, or a wrong answer was possible before.
SEMANTICS = 2
_KEYS = 500  # of a statement; SQLite takes 999 parameters everywhere

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Effort:
    """Why a query stayed open: with `allowed` seconds, for this reason."""

    allowed: float
    reason: Reason


@dataclass(frozen=True)
class Stored:
    """What the store knows of networks around a point.

    Attributes:
        bracket: its witness was replayed.
        proven_by, witnessed_by: engines.
        efforts: by epsilon, what the engine that is asked now has tried in vain, in this version.
    """

    bracket: Bracket = field(default_factory=Bracket)
    proven_by: str = ""
    witnessed_by: str = ""
    efforts: Mapping[float, Effort] = field(default_factory=dict)


class Store:
    """One folder with the database. Made when something is first written; processes can share it.

    Attributes:
        folder: where it is.
        mode: "rw", or "ro" to read only.
        shared: whether other processes ask the same questions at this time: work is claimed in portions then.
    """

    def __init__(self, folder: Path, mode: Literal["rw", "ro"] = "rw", *, shared: bool = False) -> None:
        self.folder, self.mode, self.shared = folder, mode, shared
        self._trouble = ""
        self._dropped: Counter[str] = Counter()
        self._readable, self._writable = True, mode == "rw"
        self._connection: sqlite3.Connection | None = None
        self._claims: Claims | None = None
        self._version: int | None = None
        self._waiting: queue.SimpleQueue[tuple[str, Row] | threading.Event | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None

    @property
    def path(self) -> Path:
        """The database."""
        return self.folder / NAME

    @property
    def notes(self) -> tuple[str, ...]:
        """What went wrong so far, a line each."""
        dropped = ", ".join(f"{count} {why}" for why, count in sorted(self._dropped.items()))
        lines = [f"The cache {self.path}: rows were dropped: {dropped}."] if dropped else []
        return (*([self._trouble] if self._trouble else []), *lines)

    def close(self) -> None:
        """Write what waits, give up all claims, and close the file."""
        self.flush()
        self.release()
        if self._writer is not None:
            self._waiting.put(None)
            self._writer.join()
            self._writer = None
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        if self._claims is not None:
            self._claims.close()
            self._claims = None

    def copy_to(self, folder: Path) -> None:
        """Copy what is there, for processes that may write; without the file if it can't be read."""
        if self._open():
            assert self._connection is not None
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with contextlib.closing(sqlite3.connect(folder / NAME)) as copy:
                    self._connection.backup(copy)
            except BROKEN:
                (folder / NAME).unlink(missing_ok=True)
        self.close()

    # --- reading ----------------------------------------------------------------------------------

    def read(self, queries: Iterable[Query], engine: str, *, proofs: bool = True) -> dict[str, Stored]:
        """What is known, by `Query.key`.

        Args:
            queries: whose keys; epsilons don't matter.
            engine: who is asked: what others found counts for "auto" only.
            proofs: False to leave out what is proven.
        """
        self.flush()
        wanted = {_key(query.key): query for query in {query.key: query for query in queries}.values()}
        found: dict[str, Stored] = {}
        if not self._open():
            return found
        keys = list(wanted)
        try:
            for start in range(0, len(keys), _KEYS):
                part = {key: wanted[key] for key in keys[start : start + _KEYS]}
                found.update(self._read(part, engine, proofs))
        except BROKEN as error:
            self._give_up(error)
            return {}
        return found

    def _read(self, wanted: dict[bytes, Query], engine: str, proofs: bool) -> dict[str, Stored]:
        def usable(by: str) -> bool:
            return engine in ("auto", by)

        known: dict[bytes, Stored] = {}
        for key, by, epsilon, *_ in self._rows("proofs", wanted):
            old = known.get(key, Stored())
            if proofs and usable(by) and epsilon > old.bracket.proven:
                known[key] = Stored(Bracket(proven=epsilon), by)
        for (key, by, *_), bracket in self._replayed(list(self._rows("witnesses", wanted)), wanted):
            old = known.get(key, Stored())
            if usable(by) and bracket.witnessed < old.bracket.witnessed:
                known[key] = Stored(old.bracket.merge(bracket), old.proven_by, by)
        for key in [key for key, stored in known.items() if stored.bracket.contradictory]:
            del known[key]
            self._drop("that contradict each other", "proofs", key)
            self._drop("that contradict each other", "witnesses", key)
        for key, by, epsilon, allowed, reason, version, _ in self._rows("efforts", wanted):
            if by == engine and version == version_of(by) and reason in get_args(Reason):
                old = known.get(key, Stored())
                efforts = {**old.efforts, epsilon: Effort(allowed, reason)}
                known[key] = Stored(old.bracket, old.proven_by, old.witnessed_by, efforts)
        return {wanted[key].key: stored for key, stored in known.items()}

    def _rows(self, table: str, wanted: Mapping[bytes, Query]) -> Iterator[Row]:
        """Rows of these keys that are whole."""
        assert self._connection is not None
        marks = ",".join("?" * len(wanted))
        rows = self._connection.execute(f"SELECT * FROM {table} WHERE key IN ({marks})", list(wanted))
        for row in rows.fetchall():
            *content, check = row
            if check == checksum(table, content):
                yield row
            else:
                self._drop("that are damaged", table, row[0])

    def _replayed(self, rows: list[Row], wanted: Mapping[bytes, Query]) -> Iterator[tuple[Row, Bracket]]:
        """Rows whose witnesses make all networks err, as onnxruntime computes them now."""
        queries = [wanted[row[0]] for row in rows]
        fits = [
            isinstance(row[3], bytes) and len(row[3]) == 4 * query.ball.center.size
            for row, query in zip(rows, queries, strict=True)
        ]
        rows = [row for row, good in zip(rows, fits, strict=True) if good]
        queries = [query for query, good in zip(queries, fits, strict=True) if good]
        witnesses = [np.frombuffer(row[3], np.float32).copy() for row in rows]
        for row, query, witness, errs in zip(
            rows, queries, witnesses, replays_somewhere(queries, witnesses), strict=True
        ):
            if errs:
                distance = float(query.ball.distance(witness)[0])
                yield row, Bracket(witnessed=distance, witness=witness)
            else:
                self._drop("whose witness does not replay", "witnesses", row[0])

    def changed(self) -> bool:
        """Whether others have written since this was asked last."""
        if not self._open():
            return False
        assert self._connection is not None
        try:
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except BROKEN as error:
            self._give_up(error)
            return False
        changed, self._version = version != self._version, version
        return bool(changed)

    # --- writing ----------------------------------------------------------------------------------

    def write(self, query: Query, answer: Answer, *, asked: str, allowed: float) -> None:
        """Keep an answer; it is in the file soon after.

        Args:
            asked: the engine that was asked; it may have had another one answer.
            allowed: seconds that the query could have taken; what stayed open for the lack of time is asked
                again only when there is more.
        """
        if not self._writable:
            return
        key, by = _key(query.key), answer.engine
        epsilon, seconds = float(query.ball.epsilon), float(answer.seconds)
        if answer.outcome is Outcome.UNSAT:
            self._put("proofs", key, by, epsilon, seconds, version_of(by))
        elif answer.outcome is Outcome.SAT and answer.witness is not None:
            witness = np.ascontiguousarray(answer.witness.reshape(-1), np.float32)
            distance = float(query.ball.distance(witness)[0])
            self._put("witnesses", key, by, distance, witness.tobytes(), seconds, version_of(by))
        elif answer.reason in ("timeout", "boundary", "unsupported"):
            allowed = float(allowed) if answer.reason == "timeout" else math.inf
            self._put("efforts", key, asked, epsilon, allowed, answer.reason, version_of(asked))

    def flush(self) -> None:
        """Return when all that was written is in the file."""
        if self._writer is not None:
            done = threading.Event()
            self._waiting.put(done)
            while not done.wait(1.0) and self._writer.is_alive():
                pass

    def _put(self, table: str, *content: Any) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_all, daemon=True)
            self._writer.start()
        self._waiting.put((table, (*content, checksum(table, content))))

    def _write_all(self) -> None:
        """Runs in a thread: what waits is written as one transaction, then what came meanwhile."""
        connection: sqlite3.Connection | None = None
        while True:
            batch = [self._waiting.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < 2000:
                    batch.append(self._waiting.get_nowait())
            rows = [item for item in batch if isinstance(item, tuple)]
            if rows and self._writable:
                try:
                    connection = connection or create(self.path)
                    with connection:
                        connection.execute("BEGIN IMMEDIATE")
                        for table, row in rows:
                            connection.execute(INSERT[table], row)
                except BROKEN as error:
                    self._stop_writing(error)
            for item in batch:
                if isinstance(item, threading.Event):
                    if connection is not None:
                        connection.close()
                        connection = None
                    item.set()
                elif item is None:
                    return

    # --- claims -----------------------------------------------------------------------------------

    def claim(self, queries: Sequence[Query]) -> list[Query]:
        """Those of the queries that are now ours to solve: nobody else who is alive is at work on them."""
        if not self._writable:
            return list(queries)
        try:
            if self._claims is None:
                create(self.path).close()
                self._claims = Claims(self.folder / "owners")
            if not self._open():
                return list(queries)
            assert self._connection is not None
            ours = self._claims.take(self._connection, {_claimed(query) for query in queries})
        except BROKEN as error:
            self._stop_writing(error)
            return list(queries)
        return [query for query in queries if _claimed(query) in ours]

    def release(self) -> None:
        """Give up all claims; what was found is in the file before."""
        if self._claims is None or self._connection is None:
            return
        self.flush()
        try:
            self._claims.release(self._connection)
        except BROKEN as error:
            self._stop_writing(error)

    # --- the file ---------------------------------------------------------------------------------

    def _open(self) -> bool:
        """Whether there is a file to read."""
        if self._connection is None and self._readable:
            try:
                if self.path.exists():
                    self._connection = connect(self.path, "rw" if self._writable else "ro")
            except BROKEN as error:
                if self._writable and isinstance(error, sqlite3.OperationalError):
                    self._stop_writing(error)  # a folder that can't be written may still be read
                    return self._open()
                self._give_up(error)
        return self._connection is not None

    def _drop(self, why: str, table: str, key: Any) -> None:
        """Leave out rows that can't be trusted; they are deleted where that is possible."""
        self._dropped[why] += 1
        if self._writable and self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute(f"DELETE FROM {table} WHERE key IS ?", (key,))

    def _stop_writing(self, error: Exception) -> None:
        if self._writable:
            self._writable = False
            self._trouble = f"The cache {self.path} can't be written: {why(error)}. Answers are not kept."

    def _give_up(self, error: Exception) -> None:
        self._readable = self._writable = False
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        self._trouble = f"The cache {self.path} can't be used: {why(error)}. All is solved without it."


@functools.cache
def version_of(engine: str) -> str:
    """The version that an engine's answers are of."""
    package = {"marabou": "maraboupy", "milp": "scipy"}.get(engine, "pytest-ensemble")
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return package


def _claimed(query: Query) -> bytes:
    # with epsilon: an easy question must not wait for the end of a hard one that would answer it, too
    return _key(f"{query.key} {query.ball.epsilon!r}")


def _key(key: str) -> bytes:
    return hashlib.sha256(f"{SEMANTICS} {key}".encode()).digest()
