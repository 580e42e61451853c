"""`Pool`: what may stand together, and errors that name the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_ensemble.errors import ModelError, QueryError
from pytest_ensemble.networks.pool import Pool, ensemble_accuracy
from tests.networks.graphs import Graph


def write(path: Path, seed: float = 0.0, *, inputs: int = 4, classes: int = 3) -> Path:
    graph = Graph(("n", inputs))
    weight = graph.random(inputs, classes)
    output = graph("Gemm", graph.x, weight, float(seed) * np.arange(classes))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(graph.content(output))
    return path


def test_all_models_of_a_folder_sorted_by_name(tmp_path: Path) -> None:
    for k, name in enumerate(["m2", "m10", "m1"]):
        write(tmp_path / f"{name}.onnx", k)
    (tmp_path / "notes.txt").write_text("not a model")
    write(tmp_path / "deeper" / "m3.onnx", 9)
    pool = Pool.load(tmp_path)
    assert pool.names == tuple(pool) == ("m1", "m10", "m2")
    assert (len(pool), pool.classes, pool.input_size) == (3, 3, 4)
    assert pool["m10"].path == tmp_path / "m10.onnx"


def test_glob(tmp_path: Path) -> None:
    for k, name in enumerate(["a1", "a2", "b1"]):
        write(tmp_path / "deep" / f"{name}.onnx", k)
    assert Pool.load(f"{tmp_path}/**/a*.onnx").names == ("a1", "a2")


def test_one_name_twice_names_both_files(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a" / "m.onnx", 1), write(tmp_path / "b" / "m.onnx", 2)
    with pytest.raises(ModelError) as caught:
        Pool.load(str(tmp_path / "*" / "*.onnx"))
    assert f"Two models are named 'm': {first} and {second}" in str(caught.value)


def test_one_content_twice_names_both_files(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.onnx"), write(tmp_path / "b.onnx")
    with pytest.raises(ModelError) as caught:
        Pool.load(tmp_path)
    assert f"{first} and {second} are the same model" in str(caught.value)


@pytest.mark.parametrize(
    ("what", "sizes"), [("input size", {"inputs": 5}), ("number of classes", {"classes": 4})]
)
def test_models_that_do_not_fit_name_both_files(tmp_path: Path, what: str, sizes: dict[str, int]) -> None:
    write(tmp_path / "a.onnx", 1)
    write(tmp_path / "b.onnx", 2)
    write(tmp_path / "c.onnx", 3, **sizes)
    with pytest.raises(ModelError) as caught:
        Pool.load(tmp_path)
    message = str(caught.value)
    ours, theirs = (4, 5) if "inputs" in sizes else (3, 4)
    assert what in message
    assert f"{tmp_path / 'a.onnx'} has {ours}" in message
    assert f"{tmp_path / 'c.onnx'} has {theirs}" in message


def test_broken_model_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(b"broken")
    with pytest.raises(ModelError, match=r"b\.onnx: not an ONNX file"):
        Pool.load(tmp_path)


def test_single_output_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.onnx")
    write(tmp_path / "b.onnx", 1, classes=1)
    with pytest.raises(ModelError, match=r"b\.onnx: not a classifier"):
        Pool.load(tmp_path)


def test_missing_folder_and_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        Pool.load(tmp_path / "absent")
    assert f"No model found at {tmp_path / 'absent'}" in str(caught.value)
    with pytest.raises(ModelError) as caught:
        Pool.load(tmp_path)
    assert f"No *.onnx file in the folder {tmp_path}" in str(caught.value)
    with pytest.raises(ModelError, match="No model found at"):
        Pool.load(f"{tmp_path}/*.onnx")
    with pytest.raises(ModelError, match="at least one model"):
        Pool([])


def test_select(tmp_path: Path) -> None:
    for k, name in enumerate(["m1", "m2", "m3"]):
        write(tmp_path / f"{name}.onnx", k)
    pool = Pool.load(tmp_path)
    assert pool.select(None) == ("m1", "m2", "m3")
    assert pool.select(["m3", "m1"]) == ("m3", "m1")
    with pytest.raises(QueryError, match=r"'m_1' is not in the pool. Did you mean 'm1'\? Valid: m1, m2, m3"):
        pool.select(["m_1"])
    with pytest.raises(QueryError, match="'m2' is given twice"):
        pool.select(["m2", "m1", "m2"])


def test_ensemble_accuracy_is_that_of_averaged_scores(tmp_path: Path) -> None:
    for k, name in enumerate(["m1", "m2"]):
        write(tmp_path / f"{name}.onnx", 3 * k - 1)
    pool = Pool.load(tmp_path)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 3, size=50)
    total = pool["m1"].scores(x) + pool["m2"].scores(x)
    assert ensemble_accuracy(pool.values(), x, y) == np.mean(total.argmax(axis=1) == y)
    assert ensemble_accuracy([pool["m1"]], x, y) == np.mean(pool["m1"].predict(x) == y)
