"""The store: what is written is read, merged and checked; what is damaged gives no wrong answer."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ensemble.engines.base import Budget
from pytest_ensemble.queries.answer import Answer, Bracket, Outcome
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from pytest_ensemble.runtime import database
from pytest_ensemble.runtime.cached import CachedEngine
from pytest_ensemble.runtime.store import NAME, Store
from tests.runtime.questions import MODELS, Known, question, radius, truth

GRID = (0.02, 0.1, 0.11, 0.2)


def keep(folder: Path, *queries: Query, engine: str = "native", allowed: float = 60.0) -> None:
    """Write the true answers."""
    with contextlib.closing(Store(folder)) as store:
        for query in queries:
            store.write(query, truth(query, engine), asked=engine, allowed=allowed)


def known(folder: Path, query: Query, engine: str = "auto", mode: str = "rw") -> Bracket:
    with contextlib.closing(Store(folder, mode)) as store:
        found = store.read([query], engine)
        assert not store.notes
    return found[query.key].bracket if found else Bracket()


def solve(folder: Path, queries: list[Query]) -> tuple[list[Outcome], int, tuple[str, ...]]:
    """Outcomes of a run with the store, how many queries were solved, and the store's notes."""
    engine = Known()
    with contextlib.closing(Store(folder)) as store:
        answers = {
            id(query): answer for query, answer in CachedEngine(engine, store).solve(queries, Budget())
        }
    return [answers[id(query)].outcome for query in queries], len(engine.asked), store.notes


def right(queries: list[Query]) -> list[Outcome]:
    return [truth(query).outcome for query in queries]


# --- what is kept ---------------------------------------------------------------------------------


def test_nothing_is_made_before_something_is_written(tmp_path: Path) -> None:
    assert known(tmp_path / "cache", question(0, 0.1)).proven == -1
    assert not (tmp_path / "cache").exists()


@given(answers=st.lists(st.tuples(st.integers(0, 2), st.floats(0, 0.3)), max_size=12), data=st.data())
@settings(max_examples=25, deadline=None)
def test_answers_merge_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, answers: list[tuple[int, float]], data: st.DataObject
) -> None:
    """Whoever writes what first, the file knows the largest epsilon proven and the nearest witness."""
    folder = tmp_path_factory.mktemp("cache")
    expected = {point: Bracket() for point in range(3)}
    for point, epsilon in answers:
        query = question(point, epsilon)
        answer = truth(query)
        new = Bracket(proven=epsilon)
        if answer.witness is not None:
            new = Bracket(witnessed=float(query.ball.distance(answer.witness)[0]), witness=answer.witness)
        expected[point] = expected[point].merge(new)
    stores = [Store(folder) for _ in range(2)]
    for point, epsilon in data.draw(st.permutations(answers)):
        query = question(point, epsilon)
        store = data.draw(st.sampled_from(stores))
        store.write(query, truth(query), asked="native", allowed=60)
    for store in stores:
        store.close()
    for point, bracket in expected.items():
        found = known(folder, question(point, 0.1))
        assert (found.proven, found.witnessed) == (bracket.proven, bracket.witnessed)
        if bracket.witness is not None:
            assert found.witness is not None
            assert question(point, bracket.witnessed).ball.contains(found.witness)[0]


def test_the_key_is_the_content(tmp_path: Path) -> None:
    query = question(0, 0.1)
    keep(tmp_path, query)
    renamed = tuple(type(model)(model.content, "other") for model in reversed(MODELS))
    assert known(tmp_path, question(0, 0.2, renamed)).proven == 0.1
    ball = query.ball
    others = [
        Query(MODELS[:1], ball, 1),
        Query(MODELS, ball, 0),
        Query(MODELS, Ball(ball.center, 0.1, (np.full(3, -9.0), np.full(3, 9.0))), 1),
        Query(MODELS, Ball(np.nextafter(ball.center, np.float32(9)), 0.1), 1),
    ]
    assert [known(tmp_path, other).proven for other in others] == [-1] * 4


def test_answers_of_others_count_for_auto_only(tmp_path: Path) -> None:
    keep(tmp_path, question(0, 0.05), question(0, 0.3), engine="marabou")
    keep(tmp_path, question(0, 0.02), engine="native")
    assert known(tmp_path, question(0, 0.1), "auto").proven == 0.05
    assert known(tmp_path, question(0, 0.1), "marabou").witnessed < 0.31
    native = known(tmp_path, question(0, 0.1), "native")
    assert (native.proven, native.witnessed) == (0.02, math.inf)


@pytest.mark.parametrize(
    ("reason", "kept"),
    [("timeout", True), ("boundary", True), ("unsupported", True), ("crashed", False), ("memory", False)],
)
def test_efforts_in_vain_are_kept(tmp_path: Path, reason: str, kept: bool) -> None:
    query = question(0, 0.1)
    with contextlib.closing(Store(tmp_path)) as store:
        unknown = Answer(Outcome.UNKNOWN, reason=reason, engine="native")
        store.write(query, unknown, asked="auto", allowed=5)
        efforts = store.read([query], "auto").get(query.key)
        assert (efforts is not None and efforts.efforts[0.1].reason == reason) is kept
        assert not store.read([query], "native")  # another engine was asked


@pytest.mark.parametrize(("timeout", "again"), [(4.0, False), (5.0, False), (6.0, True), (None, True)])
def test_what_timed_out_is_asked_again_if_there_is_more_time(
    tmp_path: Path, timeout: float | None, again: bool
) -> None:
    engine, query = Known(), question(0, 0.1)
    with contextlib.closing(Store(tmp_path)) as store:
        store.write(query, Answer(Outcome.UNKNOWN, reason="timeout"), asked="native", allowed=5.0)
        ((_, answer),) = CachedEngine(engine, store).solve([query], Budget(timeout))
    assert (answer.outcome is Outcome.UNSAT) is again
    assert len(engine.asked) is int(again)


def test_another_version_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = question(0, 0.1)
    with contextlib.closing(Store(tmp_path)) as store:
        store.write(query, Answer(Outcome.UNKNOWN, reason="boundary"), asked="native", allowed=5.0)
        assert store.read([query], "native")[query.key].efforts
        monkeypatch.setattr("pytest_ensemble.runtime.store.version_of", lambda engine: "9.9")
        assert not store.read([query], "native")


def test_only_what_the_file_does_not_know_is_solved(tmp_path: Path) -> None:
    queries = [question(point, epsilon) for point in range(30) for epsilon in GRID]
    assert solve(tmp_path, queries) == (right(queries), 120, ())
    assert solve(tmp_path, queries) == (right(queries), 0, ())
    between = [question(point, 0.05) for point in range(30)]  # brackets hold at every epsilon
    assert solve(tmp_path, between) == (right(between), 0, ())
    more = [*between, question(40, 0.05)]
    assert solve(tmp_path, more) == (right(more), 1, ())


def test_a_run_that_is_stopped_keeps_its_answers(tmp_path: Path) -> None:
    queries = [question(point, 0.05) for point in range(10)]
    with contextlib.closing(Store(tmp_path)) as store:
        answers = CachedEngine(Known(), store).solve(queries, Budget())
        for _ in range(4):
            next(answers)
        answers.close()  # type: ignore[attr-defined]
    assert solve(tmp_path, queries)[1] in (6, 7)


# --- what is not believed -------------------------------------------------------------------------


def change(folder: Path, statement: str) -> None:
    """Change rows as somebody could who also mends their checksums."""
    with contextlib.closing(sqlite3.connect(folder / NAME)) as connection:
        connection.execute(statement)
        for table in ("proofs", "witnesses"):
            for key, engine, *rest in connection.execute(f"SELECT * FROM {table}").fetchall():
                check = database.checksum(table, (key, engine, *rest[:-1]))
                connection.execute(f"UPDATE {table} SET sum = ? WHERE key = ?", (check, key))
        connection.commit()


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE witnesses SET witness = zeroblob(12)", "1 whose witness does not replay"),
        ("UPDATE proofs SET epsilon = 9", "2 that contradict each other"),
    ],
)
def test_false_rows_are_dropped_and_solved_again(tmp_path: Path, statement: str, why: str) -> None:
    queries = [question(0, epsilon) for epsilon in GRID]
    solve(tmp_path, queries)
    change(tmp_path, statement)
    outcomes, solved, notes = solve(tmp_path, queries)
    assert outcomes == right(queries)
    assert solved
    assert notes == (f"The cache {tmp_path / NAME}: rows were dropped: {why}.",)
    assert solve(tmp_path, queries) == (right(queries), 0, ())


@pytest.mark.parametrize("table", ["proofs", "witnesses", "efforts"])
def test_a_changed_row_without_its_checksum_is_dropped(tmp_path: Path, table: str) -> None:
    queries = [question(0, epsilon) for epsilon in GRID]
    solve(tmp_path, queries)
    with contextlib.closing(Store(tmp_path)) as store:
        store.write(question(0, 0.3), Answer(Outcome.UNKNOWN, reason="boundary"), asked="native", allowed=1)
    with contextlib.closing(sqlite3.connect(tmp_path / NAME)) as connection:
        column = "distance" if table == "witnesses" else "epsilon"
        connection.execute(f"UPDATE {table} SET {column} = {column} + 1e-9")
        connection.commit()
    outcomes, _, notes = solve(tmp_path, queries)
    assert outcomes == right(queries)
    assert notes == (f"The cache {tmp_path / NAME}: rows were dropped: 1 that are damaged.",)


@pytest.fixture(scope="module")
def solved_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Query]]:
    folder = tmp_path_factory.mktemp("solved")
    queries = [question(point, epsilon) for point in range(12) for epsilon in GRID]
    solve(folder, queries)
    return folder, queries


def damaged(solved_once: tuple[Path, list[Query]], tmp_path: Path) -> tuple[Path, list[Query]]:
    folder, queries = solved_once
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    return copy, queries


def test_flipped_bytes_give_no_wrong_answer(
    solved_once: tuple[Path, list[Query]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bytes of the header, and a sample of those of the pages."""
    monkeypatch.setattr(database, "_BUSY", 0.1)
    content = (solved_once[0] / NAME).read_bytes()
    rng = np.random.default_rng(0)
    places = [*range(100), *rng.integers(100, len(content), size=80).tolist()]
    told = 0
    for place in places:
        folder, queries = damaged(solved_once, tmp_path)
        changed = bytearray(content)
        changed[place] ^= int(rng.integers(1, 256))
        (folder / NAME).write_bytes(changed)
        outcomes, solved, notes = solve(folder, queries)
        assert outcomes == right(queries), place
        told += bool(notes)
        assert len(notes) <= 2
        assert solved <= len(queries)
    assert told > 20  # or nothing was hit


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_flipped_bytes_of_what_was_not_checkpointed(tmp_path: Path, suffix: str) -> None:
    """As a run leaves it that was killed."""
    queries = [question(point, epsilon) for point in range(12) for epsilon in GRID]
    folder = tmp_path / "cache"
    store = Store(folder)
    store.read(queries, "native")
    for query in queries:
        store.write(query, truth(query), asked="native", allowed=1)
    store.flush()
    reader = database.connect(folder / NAME, "rw")
    reader.execute("SELECT count(*) FROM proofs").fetchall()
    store.write(question(20, 0.01), truth(question(20, 0.01)), asked="native", allowed=1)
    store.flush()
    files = {file.name: file.read_bytes() for file in folder.glob(f"{NAME}*")}
    reader.close()
    store.close()
    content = files[f"{NAME}{suffix}"]
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(content), size=40).tolist():
        copy = tmp_path / f"copy{place}"
        copy.mkdir()
        changed = bytearray(content)
        changed[place] ^= 0xFF
        for name, whole in (files | {f"{NAME}{suffix}": bytes(changed)}).items():
            (copy / name).write_bytes(whole)
        assert solve(copy, queries)[0] == right(queries), place


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_truncated(solved_once: tuple[Path, list[Query]], tmp_path: Path, share: float) -> None:
    folder, queries = damaged(solved_once, tmp_path)
    content = (folder / NAME).read_bytes()
    (folder / NAME).write_bytes(content[: int(share * len(content))])
    outcomes, _, notes = solve(folder, queries)
    assert outcomes == right(queries)
    if share <= 0.5:  # else pages may be gone that nobody reads
        assert len(notes) == 1
        assert "delete it to start anew" in notes[0]


# --- files that can't be used ---------------------------------------------------------------------


def unusable(folder: Path, *parts: str) -> bool:
    """One note says why, and everything is solved."""
    queries = [question(point, 0.05) for point in range(3)]
    outcomes, solved, notes = solve(folder, queries)
    assert (outcomes, solved) == (right(queries), 3)
    assert len(notes) == 1, notes
    assert all(part in notes[0] for part in parts), notes
    return True


def test_of_a_newer_version(tmp_path: Path) -> None:
    keep(tmp_path, question(0, 0.05))
    with contextlib.closing(sqlite3.connect(tmp_path / NAME)) as connection:
        connection.execute("PRAGMA user_version = 7")
    before = (tmp_path / NAME).read_bytes()
    assert unusable(tmp_path, "is of a newer version of pytest-ensemble (format 7, not 1)")
    assert (tmp_path / NAME).read_bytes() == before


def test_of_another_program(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / NAME)) as connection:
        connection.execute("CREATE TABLE proofs (key BLOB)")
    assert unusable(tmp_path, "not a cache of pytest-ensemble")


def test_not_a_file(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    assert unusable(tmp_path, "can't be")


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    assert unusable(tmp_path / "cache", "can't be written")


def test_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY", 0.1)
    keep(tmp_path, question(9, 0.05))
    with contextlib.closing(sqlite3.connect(tmp_path / NAME)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        assert unusable(tmp_path, "another program has locked it")


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of its own, 160 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=160k", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems can't be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    queries = [question(point, epsilon) for point in range(2000) for epsilon in (0.05,)]
    outcomes, solved, notes = solve(small_disk / "cache", queries)
    assert (outcomes, solved) == (right(queries), len(queries))
    (note,) = notes
    assert "can't be written: " in note
    assert "full" in note or "disk" in note or "No space" in note
    again = solve(small_disk / "cache", queries)
    assert again[0] == right(queries)


def test_a_folder_that_can_only_be_read(small_disk: Path) -> None:
    queries = [question(point, 0.05) for point in range(3)]
    solve(small_disk / "cache", queries)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert known(small_disk / "cache", queries[0], mode="ro").proven == 0.05
    more = [*queries, question(7, 0.05)]
    outcomes, solved, notes = solve(small_disk / "cache", more)
    assert (outcomes, solved) == (right(more), 1)
    (note,) = notes
    assert "can't be written" in note


def test_reading_only_writes_nothing(tmp_path: Path) -> None:
    keep(tmp_path, question(0, 0.05))
    before = (tmp_path / NAME).read_bytes()
    engine = Known()
    with contextlib.closing(Store(tmp_path, "ro")) as store:
        queries = [question(0, 0.05), question(1, 0.05)]
        answers = dict(CachedEngine(engine, store).solve(queries, Budget()))
    assert [answer.outcome for answer in answers.values()] == right(queries)
    assert len(engine.asked) == 1
    assert (tmp_path / NAME).read_bytes() == before


# --- many writers ---------------------------------------------------------------------------------


def write_some(folder: Path, number: int) -> None:
    for start in range(4):
        store = Store(folder)
        for point in range(start * 10, start * 10 + 10):
            for epsilon in (0.01 * number, 0.2 + 0.01 * number):
                query = question(point, epsilon)
                store.write(query, truth(query), asked="native", allowed=60)
        store.close()


def test_ten_processes_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_some, args=(tmp_path, number)) for number in range(10)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 10
    for point in range(40):
        found = known(tmp_path, question(point, 0.1))
        assert found.proven == 0.09
        assert 0.2 - 1e-6 < found.witnessed <= 0.2
        assert radius(point) < 0.2
