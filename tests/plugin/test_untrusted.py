"""Hostile pools and data under pytest: one clear message each, and names that can't do anything."""

import json
import os
import xml.etree.ElementTree as ElementTree
import zipfile

import numpy as np
import onnx
import pytest

from tests.bounded import bounded
from tests.plugin import corner
from tests.plugin.conftest import said
from tests.plugin.test_pool import broken

__all__ = ["bounded"]
pytestmark = pytest.mark.usefixtures("bounded")

# Names of files, and how they are shown.
EVIL = {
    "m\x1b[31m\x1b]0;owned\x07": r"m\x1b[31m\x1b]0;owned\x07",
    "m\n::error::line": r"m\n::error::line",
    "m\rover": r"m\rover",
    "::error::command": r"\x3a:error::command",
    "##[error]command": r"\x23#[error]command",
    "[red]markup<script>": "[red]markup<script>",
    "m\u202edesrever": r"m\u202edesrever",
    "m\u200bhidden": r"m\u200bhidden",
    "byte\udcff": r"byte\udcff",
    "é日本": "é日本",
    "n" * 240: "n" * 240,
}


@pytest.fixture
def gated(repo):
    repo.gate("min_uniqueness(0.7)")
    return repo


def harmless(text):
    """Whether a terminal and a CI server take all of it for text."""
    for line in text.split("\n"):
        assert line.isprintable(), ascii(line)
        assert not line.lstrip().startswith("::"), line
        assert "##" not in line, line
    return True


@pytest.mark.parametrize(
    ("name", "workers"),
    [*((name, "-n0") for name in EVIL), ("m\x1b[31m\x1b]0;owned\x07", "-n1"), ("byte\udcff", "-n1")],
    ids=ascii,
)
def test_names_of_models(repo, name, workers):
    os.rename(repo.path / "models" / "m2.onnx", repo.path / "models" / f"{name}.onnx")  # noqa: PTH104
    members = [name, "m1", "m3", "m4"]
    repo.test(
        f"ensemble(members={members!a}, epsilon=0.1)\n"
        "ensemble_min_uniqueness(0.85)\nensemble_max_mutual_error(0.1)"
    )
    result = repo.run(workers, "--ensemble-report=r.json", "--junitxml=j.xml", "-rA", "--color=no", "-v")
    result.assert_outcomes(failed=1)
    text = said(result)
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    assert harmless(text)
    shown = EVIL[name]
    assert f"  {shown} " in text  # in the table of members
    assert f"{shown} says" in text or f" {name} says" in text
    assert ElementTree.parse(repo.path / "j.xml").find(".//failure") is not None
    report = json.loads((repo.path / "r.json").read_text(encoding="utf-8"))
    assert report["ensembles"][0]["members"] == members  # the true names


@pytest.mark.parametrize("name", EVIL, ids=ascii)
def test_names_in_errors(gated, name):
    path = gated.path / "models" / f"{name}.onnx"
    path.write_bytes(b"not a model")
    result = gated.run("--color=no")
    assert broken(result, f"{EVIL[name].removeprefix(chr(92) + 'x3a:').removeprefix('::')}.onnx: not an ONNX")
    assert harmless(said(result))


def test_names_that_are_suggested(gated):
    os.rename(gated.path / "models" / "m2.onnx", gated.path / "models" / "m2\x1b.onnx")  # noqa: PTH104
    result = gated.run("--color=no")
    assert broken(result, "'m2' is not in the pool. Did you mean")
    assert harmless(said(result))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pipe", "m3.onnx: can't be read: Not a regular file"),
        ("device", "m3.onnx: can't be read: Not a regular file"),
        ("folder", "m3.onnx: can't be read: Is a directory"),
        ("broken link", "m3.onnx: can't be read: No such file"),
        ("large", "m3.onnx: is larger than 134217728 bytes"),
    ],
)
def test_what_is_no_model_file(gated, kind, message):
    path = gated.path / "models" / "m3.onnx"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(1 << 30)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    assert broken(gated.run(), message)


def _outside(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../data.npz")


def _absurd(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**40


def _cyclic(model):
    model.graph.node[0].input[0] = "y"


def _huge(model):
    shape = onnx.numpy_helper.from_array(np.array([10**6, 10**6]), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, onnx.helper.make_node("ConstantOfShape", ["shape"], ["zeros"]))


def _infinite(model):
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[0, 0] = np.inf
    model.graph.initializer[0].raw_data = weights.tobytes()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_outside, "are in another file. Save the model with its weights inside"),
        (_absurd, "has 1099511627776 numbers, too many to verify"),
        (_cyclic, "the graph is cyclic, or a part of it is missing"),
        (_huge, "a constant of 1000000000000 numbers is too large; 1048576 are allowed"),
        (_infinite, "NaN or infinite"),
    ],
)
def test_hostile_models(gated, edit, message):
    path = gated.path / "models" / "m3.onnx"
    model = onnx.load_model_from_string(path.read_bytes())
    edit(model)
    path.write_bytes(model.SerializeToString())
    assert broken(gated.run(), message)


def _archive(path, header, data=b""):
    text = str(header).encode().ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00v\x00" + text + data)
        archive.writestr("y.npy", b"\x93NUMPY\x01\x00v\x00" + text)


@pytest.mark.parametrize(
    ("descr", "shape", "message"),
    [
        ("<f4", (2**40, 5), "holds 5497558138880 numbers; at most 268435456 are read"),
        ("|O", (5,), "holds pickled objects"),
        ("<f4", (5, 5), "bytes where its shape (5, 5) needs"),
    ],
)
def test_hostile_data(gated, descr, shape, message):
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    _archive(gated.path / "data.npz", header, bytes(10**7))
    assert broken(gated.run(), message)


def test_pickles_are_not_run(gated):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(gated.path / "sprung"),)

    x = np.array([[Trap()]], dtype=object)
    np.savez(gated.path / "data.npz", x=x, y=corner.data()[1])
    assert broken(gated.run(), "holds pickled objects")
    assert not (gated.path / "sprung").exists()


def test_data_that_never_ends(gated):
    (gated.path / "data.npz").unlink()
    os.mkfifo(gated.path / "data.npz")
    assert broken(gated.run(), "data.npz: can't be read: Not a regular file")
