"""Which inputs are agreement points, and what is said of data that has none."""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ensemble.analysis.points import agreement_points, load_data, read_data
from pytest_ensemble.errors import DataError
from pytest_ensemble.networks.pool import Pool
from tests.analysis.tables import samples, table_pool
from tests.bounded import bounded

__all__ = ["bounded"]

#        0  1  2  3  4  5  6  7  8
RIGHT = [0, 1, 2, 0, 1, 2, 0, 1, 2]
FIRST = [0, 1, 2, 0, 2, 2, 0, 1, 1]
OTHER = [0, 0, 2, 0, 1, 2, 1, 1, 2]  # with FIRST right on 0 2 3 5 7


@pytest.fixture(scope="module")
def pool() -> Pool:
    return table_pool({"m1": FIRST, "m2": OTHER})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"count": "all"}, [0, 2, 3, 5, 7]),
        ({"count": 1}, [0]),
        ({"count": 3}, [0, 2, 3]),
        ({"count": np.int64(3)}, [0, 2, 3]),
        ({"count": "all", "start": 3}, [3, 5, 7]),
        ({"count": 2, "start": 4}, [5, 7]),
        ({"count": "all", "label": 0}, [0, 3]),
        ({"count": "all", "label": np.int64(1)}, [7]),
        ({"count": "all", "label": 2, "start": 3}, [5]),
        ({"count": "all", "label": "best"}, [0, 3]),  # accuracies 5/6, 4/6, 5/6: the first of the best
    ],
)
def test_points_in_order(pool: Pool, options: dict[str, Any], expected: list[int]) -> None:
    points = agreement_points(pool, samples(9), RIGHT, **options)
    assert points.indices.tolist() == expected
    np.testing.assert_array_equal(points.x, samples(9)[expected])
    assert points.labels.tolist() == [RIGHT[k] for k in expected]
    assert len(points) == len(expected)


@settings(max_examples=25)
@given(st.data(), st.integers(1, 3), st.sampled_from([None, 0, 1, "best"]), st.integers(0, 6))
def test_points_are_those_that_all_classify_correctly(
    data: st.DataObject, members: int, label: int | None, start: int
) -> None:
    size = 12
    right = [0, 1] * 6
    # right on more than half: no better than chance is another error
    flips = [data.draw(st.sets(st.integers(0, size - 1), max_size=5)) for _ in range(members)]
    says = {f"m{k}": [y ^ (i in flip) for i, y in enumerate(right)] for k, flip in enumerate(flips)}
    pool = table_pool(says, classes=2)
    wanted: Any = label
    if label == "best":
        correct = [
            sum(row[i] == y for row in says.values() for i, y in enumerate(right) if y == c) for c in (0, 1)
        ]
        wanted = 0 if correct[0] >= correct[1] else 1
    expected = [
        i
        for i, y in enumerate(right)
        if i >= start and (wanted is None or y == wanted) and all(row[i] == y for row in says.values())
    ]
    if expected:
        points = agreement_points(pool, samples(size), right, count="all", label=label, start=start)
        assert points.indices.tolist() == expected
    else:
        with pytest.raises(DataError, match="1 agreement points"):
            agreement_points(pool, samples(size), right, count="all", label=label, start=start)


def test_best_label_is_the_most_accurately_classified() -> None:
    pool = table_pool({"m1": [0, 0, 1, 2, 2, 2], "m2": [1, 0, 1, 2, 0, 2]})
    right = [0, 0, 1, 2, 1, 2]
    points = agreement_points(pool, samples(6), right, count="all", label="best")
    assert points.indices.tolist() == [3, 5]


def test_points_have_the_shape_of_the_data(pool: Pool) -> None:
    points = agreement_points(pool, samples(9).reshape(9, 3, 3), RIGHT, count=2)
    assert points.x.shape == (2, 3, 3)
    assert points.x.dtype == np.float32


def test_digest_depends_on_points_and_labels(pool: Pool) -> None:
    def digest(**options: Any) -> str:
        return agreement_points(pool, samples(9), RIGHT, **options).sha256

    assert digest(count=3) == digest(count=3)
    assert len({digest(count=3), digest(count=2), digest(count=3, start=1)}) == 3


# --- too few --------------------------------------------------------------------------------------


def test_too_few_says_how_many_and_who_disagrees_most(pool: Pool) -> None:
    with pytest.raises(DataError) as caught:
        agreement_points(pool, samples(9), RIGHT, count=6)
    message = str(caught.value)
    assert "6 agreement points were asked for; 5 of the 9 samples" in message
    assert "m1 disagrees most: it is wrong on 2, on 2 of them alone" in message


def test_who_disagrees_most_is_who_is_wrong_alone_most_often() -> None:
    says = {"m1": [0, 1, 2, 1, 0, 2], "m2": [0, 1, 1, 1, 1, 2], "m3": [0, 1, 2, 0, 0, 0]}
    with pytest.raises(DataError) as caught:
        agreement_points(table_pool(says), samples(6), [0, 1, 2, 0, 1, 2], count=5)
    assert "2 of the 6 samples" in str(caught.value)
    # alone: m1 none, m2 row 2, m3 row 5; in all: m1 two, m2 two, m3 two
    assert "m2 disagrees most: it is wrong on 2, on 1 of them alone" in str(caught.value)


def test_nobody_disagrees_where_there_is_too_little_data() -> None:
    pool = table_pool({"m1": RIGHT, "m2": RIGHT})
    with pytest.raises(DataError, match="10 agreement points were asked for; 9 of the 9") as caught:
        agreement_points(pool, samples(9), RIGHT, count=10)
    assert "disagrees" not in str(caught.value)


def test_too_few_of_a_label(pool: Pool) -> None:
    with pytest.raises(DataError, match="3 agreement points of label 0 were asked for; 2 of the 3 samples"):
        agreement_points(pool, samples(9), RIGHT, count=3, label=0)
    with pytest.raises(DataError, match="1 agreement points were asked for; 0 of the 0 samples"):
        agreement_points(pool, samples(9), RIGHT, count="all", start=99)


@pytest.mark.parametrize("wrong", ["all shifted", "one label"])
def test_model_no_better_than_chance_is_named(wrong: str) -> None:
    bad = [(y + 1) % 3 for y in RIGHT] if wrong == "all shifted" else [0] * 9
    with pytest.raises(
        DataError, match=r"m2 is right on (0\.0|33\.3)%.*no better than chance.*normalised.*axes"
    ):
        agreement_points(table_pool({"m1": RIGHT, "m2": bad}), samples(9), RIGHT, count=1)


@pytest.mark.parametrize("seed", range(5))
def test_labels_in_another_order_are_noticed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    right = rng.integers(0, 3, size=600)
    pool = table_pool({"m1": right.tolist(), "m2": right.tolist()})
    with pytest.raises(DataError, match=r"no better than chance .*labels in another order"):
        agreement_points(pool, samples(600), rng.permutation(right), count=10)


# --- bad arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, -1, 1.5, True, None, "best", np.array(["all"])])
def test_bad_count(pool: Pool, count: Any) -> None:
    with pytest.raises(DataError, match="points must be a number >= 1 or 'all'"):
        agreement_points(pool, samples(9), RIGHT, count=count)


@pytest.mark.parametrize("start", [-1, 0.5, True, None, "0"])
def test_bad_start(pool: Pool, start: Any) -> None:
    with pytest.raises(DataError, match="start must be a row"):
        agreement_points(pool, samples(9), RIGHT, count=1, start=start)


@pytest.mark.parametrize("label", [3, -1, 1.0, True, "worst"])
def test_bad_label(pool: Pool, label: Any) -> None:
    with pytest.raises(DataError, match="label"):
        agreement_points(pool, samples(9), RIGHT, count=1, label=label)


# --- bad data -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([*RIGHT[:-1], 3], r"label 3 in row 8 is not a class of the models, 0\.\.2"),
        ([-1, *RIGHT[1:]], "label -1 in row 0"),
        ([0.5, *RIGHT[1:]], "whole numbers"),
        ([np.nan, *RIGHT[1:]], "whole numbers"),
        ([1e300, *RIGHT[1:]], "no class"),
        (np.array([2**63, *RIGHT[1:]], dtype=np.uint64), "no class"),
        (["a"] * 9, "whole numbers"),
        ([True] * 9, "whole numbers"),
        (RIGHT[:-1], r"they have \(9, 9\) and \(8,\)"),
        (np.eye(9, 3), r"they have \(9, 9\) and \(9, 3\)"),
        (None, r"they have \(9, 9\) and \(\)"),
    ],
)
def test_bad_labels(pool: Pool, y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        agreement_points(pool, samples(9), y, count=1)


@pytest.mark.parametrize("y", [np.array(RIGHT, float), np.array(RIGHT, np.uint8), np.array(RIGHT)[:, None]])
def test_labels_of_any_numeric_type(pool: Pool, y: Any) -> None:
    assert agreement_points(pool, samples(9), y, count="all").indices.tolist() == [0, 2, 3, 5, 7]


@pytest.mark.parametrize("stray", [np.nan, np.inf, -np.inf])
def test_data_that_is_not_finite(pool: Pool, stray: float) -> None:
    x = samples(9)
    x[4, 2] = stray
    with pytest.raises(DataError, match="NaN or infinite values, first in row 4"):
        agreement_points(pool, x, RIGHT, count=1)


def test_data_beyond_float32(pool: Pool) -> None:
    with pytest.raises(DataError, match="beyond float32"):
        agreement_points(pool, 1e300 * samples(9).astype(float), RIGHT, count=1)


def test_data_of_another_size(pool: Pool) -> None:
    with pytest.raises(DataError, match=r"has 8 numbers a sample .*the models take 9"):
        agreement_points(pool, samples(9)[:, :8], RIGHT, count=1)


@pytest.mark.parametrize("x", [np.array([["a"]]), np.array([[None]]), np.array([[1j]])])
def test_data_that_is_not_numbers(x: Any) -> None:
    with pytest.raises(DataError, match="x must hold numbers"):
        read_data(x, [0])


def test_no_data() -> None:
    with pytest.raises(DataError, match="is empty"):
        read_data(np.zeros((0, 4)), np.zeros(0, dtype=int))


# --- files ----------------------------------------------------------------------------------------


def test_file_is_read(tmp_path: Path, pool: Pool) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=samples(9).astype(np.float64), y=RIGHT, more=np.zeros(3))
    data = load_data(path)
    assert data.source == str(path)
    assert (data.x.dtype, data.y.dtype) == (np.float32, np.int64)
    assert agreement_points(pool, data, count="all").indices.tolist() == [0, 2, 3, 5, 7]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": [0]}, r"has no array 'x' \(it holds 'y'\)"),
        ({"x": [[0.0]]}, "has no array 'y'"),
        ({"inputs": [0], "labels": [0]}, "it holds 'inputs', 'labels'"),
        ({}, "it holds nothing"),
        ({"x": [[0.0]], "y": [0.5]}, "whole numbers"),
    ],
)
def test_missing_arrays(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataError, match=r"data\.npz.*" + message):
        load_data(tmp_path / "data.npz")


class Trap:
    """Marks a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["npz", "npy", "pickle"])
def test_pickles_are_refused_and_not_run(tmp_path: Path, form: str) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "data.npz"
    array = np.array([[Trap(sprung)]], dtype=object)
    with path.open("wb") as file:
        if form == "npz":
            np.savez(file, x=array, y=[0])
        elif form == "npy":
            np.save(file, array)
        else:
            pickle.dump(Trap(sprung), file)
    with pytest.raises(DataError, match=r"data\.npz: .*(can't be read as \.npz|is a single array)"):
        load_data(path)
    assert not sprung.exists()


def test_single_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", samples(3))
    with pytest.raises(DataError, match=r"data\.npy: is a single array"):
        load_data(tmp_path / "data.npy")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.npz: no such file"):
        load_data(tmp_path / "absent.npz")
    with pytest.raises(DataError, match="can't be read"):
        load_data(tmp_path)


# --- files that ask for too much, or hold something else ------------------------------------------


def _member(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """A .npy whose header says so, whatever follows."""
    text = header.encode().ljust(117 if version == 1 else 115) + b"\n"
    size = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


def _header(shape: str, dtype: str = "'<f4'") -> str:
    return f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}"


def _archive(path: Path, x: bytes, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x.npy", x)
        archive.writestr("y.npy", _member(_header("(2,)", "'<i8'"), bytes(16)))
    return path


BOMBS: dict[str, tuple[bytes, str]] = {
    "absurd shape": (
        _member(_header("(1099511627776, 4)")),
        "holds 4398046511104 numbers; at most 268435456",
    ),
    "large shape": (
        _member(_header("(2, 200000000)")),
        "holds 400000000 numbers; at most 268435456 are read",
    ),
    "empty and absurd": (_member(_header("(0, 1099511627776)")), "is empty|they have"),
    "negative shape": (_member(_header("(-2, -2)"), bytes(16)), "has a negative number"),
    "short": (_member(_header("(2, 100)")), "has 128 bytes where its shape .* needs 928"),
    "long": (_member(_header("(2, 2)"), bytes(10**8)), "has 100000128 bytes where its shape .* needs 144"),
    "objects": (_member(_header("(2, 2)", "'|O'"), bytes(99)), "holds pickled objects"),
    "hidden objects": (_member(_header("(2,)", "[('a', '|O')]"), bytes(99)), "holds pickled objects"),
    "fields": (_member(_header("(2,)", "[('a', '<f4')]"), bytes(8)), "must hold numbers"),
    "text": (_member(_header("(2,)", "'<U4'"), bytes(32)), "must hold numbers"),
    "times": (_member(_header("(2,)", "'<M8[s]'"), bytes(16)), "must hold numbers"),
    "complex": (_member(_header("(2,)", "'<c8'"), bytes(16)), "must hold numbers"),
    "unknown type": (_member(_header("(2,)", "'<q99'"), bytes(16)), "can't be read"),
    "code": (_member("__import__('os').abort()"), "can't be read"),
    "power": (_member(_header("(9**9**9,)")), "can't be read"),
    "brackets": (_member("(" * 9000, version=2), "can't be read"),
    "long header": (_member(" " * 10**6, version=2), "can't be read"),
    "names of fields": (_member(_header("(2,)"), bytes(8), version=3), "must hold numbers"),
    "no array": (b"nothing", "can't be read"),
    "nothing": (b"", "can't be read"),
    "not finite": (_member(_header("(2, 1)"), np.float32([1, np.nan]).tobytes()), "NaN or infinite values"),
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs(bomb: str, tmp_path: Path) -> None:
    content, message = BOMBS[bomb]
    with pytest.raises(DataError, match=message) as caught:
        load_data(_archive(tmp_path / "data.npz", content))
    assert "data.npz: " in str(caught.value)
    assert "allocate" not in str(caught.value)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("encrypted", "is encrypted"),
        ("lzma", "compressed in another way"),
        ("bzip2", "compressed in another way"),
        ("checksum", "Bad CRC-32"),
        ("size", "can't be read"),
        ("many members", "table of contents is larger than"),
    ],
)
def test_archives_that_numpy_does_not_write(damage: str, message: str, tmp_path: Path) -> None:
    methods = {"lzma": zipfile.ZIP_LZMA, "bzip2": zipfile.ZIP_BZIP2}
    good = _member(_header("(2, 2)"), np.arange(4, dtype=np.float32).tobytes())
    path = _archive(tmp_path / "data.npz", good, methods.get(damage, zipfile.ZIP_STORED))
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    if damage == "encrypted":
        content[6] |= 1
        content[directory + 8] |= 1
    elif damage == "checksum":
        content[content.index(b"\x00\x00\x80?")] ^= 1
    elif damage == "size":  # the directory promises more than the file has
        content[directory + 20 : directory + 28] = (10**6).to_bytes(4, "little") * 2
    path.write_bytes(content)
    if damage == "many members":
        with zipfile.ZipFile(path, "a") as archive:
            for k in range(15_000):
                archive.writestr(f"a member with a longish name {k}", b"")
    with pytest.raises(DataError, match=message):
        load_data(path)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_data_that_is_no_regular_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(DataError, match=r"data\.npz: can't be read: (Not a regular file|Is a directory)"):
        load_data(path)


@settings(max_examples=60)
@given(data=st.data(), compressed=st.booleans())
def test_damaged_file_is_an_error_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, compressed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    (np.savez_compressed if compressed else np.savez)(path, x=samples(4), y=[0, 1, 2, 0])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(
        bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    )
    with contextlib.suppress(DataError):  # anything else that is raised fails the test
        read = load_data(path)
        assert len(read.x) == len(read.y)
