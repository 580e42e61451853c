"""What gate files mean, and what is said of those that can't be used."""

import pytest

from pytest_ensemble.analysis.gates import Gate
from pytest_ensemble.gatefile.keys import ENSEMBLE, PREPROCESSING
from pytest_ensemble.gatefile.read import Defaults, GateFileError, read_gate_file
from pytest_ensemble.networks.steps import Steps

WHOLE = """
[ensemble.release]
pool = "models"
data = "/data/validation.npz"
members = ["m1", "m2", "m3"]
points = 50
label = "best"
bounds = [0, [1.5, 2]]
epsilon = [0.05, 0.02]
min_uniqueness = 0.9
max_mutual_error = {"0.02" = 0.05, "5e-2" = 0.15}
confidence = 0.95

[ensemble.release.preprocessing]
scale = "1/255"
mean = [0.5, 0.4, 0.3]
std = 0.2
data_axes = "NHWC"
model_axes = "nchw"

[ensemble.release.preprocessing.m2]
scale = 2
"""


@pytest.fixture
def read(tmp_path):
    def read(text, **defaults):
        path = tmp_path / "ensemble.toml"
        path.write_text(text, encoding="utf-8")
        return read_gate_file(path, Defaults(**defaults))

    return read


def test_every_key(read, tmp_path):
    (release,) = read(WHOLE)
    assert (release.name, release.lines["members"], release.lines[""]) == ("release", 5, 2)
    assert (release.pool, str(release.data)) == (str(tmp_path / "models"), "/data/validation.npz")
    assert (release.members, release.points, release.label) == (("m1", "m2", "m3"), 50, "best")
    assert (release.bounds, release.epsilons) == ((0, [1.5, 2]), (0.02, 0.05))
    assert [(gate.metric, gate.threshold, gate.epsilon) for gate in release.gates] == [
        ("min_uniqueness", 0.9, 0.02),
        ("min_uniqueness", 0.9, 0.05),
        ("max_mutual_error", 0.05, 0.02),
        ("max_mutual_error", 0.15, 0.05),
    ]
    channels = Steps((1.0, 255.0), (0.5, 0.4, 0.3), (0.2,), "HWC", "CHW")
    assert release.preprocessing == {"": channels, "m2": Steps((2.0, 1.0))}


def test_what_is_left_out_comes_from_the_settings(read):
    text = "[ensemble.a]\nmin_uniqueness = 1\n[ensemble.b]\nmin_uniqueness = 0\nbounds = 'none'\nepsilon = 1"
    a, b = read(text, points="all", bounds=(0, 1), epsilon=(0.1,))
    assert (a.pool, a.data, a.members, a.label) == (None, None, None, None)
    assert (a.points, a.bounds, a.epsilons) == ("all", (0, 1), (0.1,))
    assert (b.bounds, b.epsilons) == (None, (1.0,))
    assert a.gates == (Gate("min_uniqueness", 1.0, 0.1),)


def test_thresholds_by_epsilon_name_the_radii(read):
    (a,) = read("[ensemble.a]\nmin_uniqueness = {'0.1' = 0.5}\nmax_mutual_error.'0.2' = 0.5")
    assert a.epsilons == (0.1, 0.2)
    assert [(gate.metric, gate.epsilon) for gate in a.gates] == [
        ("min_uniqueness", 0.1),
        ("max_mutual_error", 0.2),
    ]


BAD = {
    "pool": ["1", '""'],
    "data": ["['x.npz']"],
    "members": ['"m1"', '["m1"]', '["m1", "m1"]', "[1, 2]"],
    "points": ["0", "1.5", "true", '"many"'],
    "label": ["-1", '"worst"', "true"],
    "bounds": ["1", "[1, 0]", "[0]", '"some"', "[0, '1']", "[nan, 1]", "[0, []]"],
    "epsilon": ["-0.1", "[]", "nan", "true", '"0.1"', "[0.1, inf]"],
    "min_uniqueness": [
        "1.1",
        "true",
        "{}",
        '{"x" = 0.1}',
        '{"0.1" = 2}',
        "{0.1 = 0.9}",
        "{'1' = 0, '1.0' = 0}",
    ],
    "max_mutual_error": ["-0.1", "nan", '"0.1"', "[0.1]"],
    "confidence": ["0", "1", "95", "true"],
    "preprocessing": ["1"],
    "scale": ["0", '"255"', '"1/0"', "nan", "true"],
    "mean": ['"x"', "[]", "[true]", "inf"],
    "std": ["0", "[1, -1]"],
    "data_axes": ["1", '""', '"NHHC"', '"N"'],
    "model_axes": ['"HW"', '"N C"'],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_a_bad_value_is_named_with_its_place_and_what_is_valid(read, key, value):
    text = "# first\n[ensemble.a]\nmax_mutual_error = 0.5\nepsilon = 0.1\n"
    if key in PREPROCESSING:
        text += '[ensemble.a.preprocessing]\ndata_axes = "HWC"\n'
    lines = [line for line in text.splitlines() if not line.startswith(f"{key} =")]
    lines.append(f"{key} = {value}") if key in PREPROCESSING else lines.insert(2, f"{key} = {value}")
    line = lines.index(f"{key} = {value}") + 1
    with pytest.raises(GateFileError) as error:
        read("\n".join(lines))
    assert str(error.value).startswith(f"ensemble.toml, line {line}: {key} must ")
    assert "; got " in str(error.value)


def test_bad_values_are_tested_for_every_key():
    assert set(BAD) == {*ENSEMBLE, *PREPROCESSING}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[ensemble.a]\nmembres = []", ["line 2", "'membres'", "[ensemble.a]", "mean 'members'", "points"]),
        ("[ensembel.a]", ["line 1", "'ensembel'", "mean 'ensemble'"]),
        ("", ["no ensemble", "init"]),
        ("ensemble = 1", ["line 1", "no ensemble"]),
        ("[ensemble]\npool = 'x'", ["line 2", "'pool'", "[ensemble.NAME]"]),
        ("[ensemble]\na = 1", ["line 2", "ensemble.a must be a table"]),
        ("[ensemble.'a b']\nmin_uniqueness = 1", ["line 1", "'a b'", "Valid"]),
        ('[ensemble."a\\u001b"]\nmin_uniqueness = 1', ["line 1", r"'a\x1b'", "Valid"]),
        ("\n[ensemble.a]\nepsilon = 1", ["line 2", "min_uniqueness or max_mutual_error"]),
        ("[ensemble.a]\nmin_uniqueness = 1", ["line 2", "epsilon is missing", "ensemble_epsilon"]),
        (
            "[ensemble.a]\nepsilon = [0.1, 0.3]\nmin_uniqueness = {'0.2' = 1}",
            ["line 3", "epsilon 0.2", "Valid: 0.1, 0.3"],
        ),
        (
            "[ensemble.a]\nepsilon = 1\nmin_uniqueness = 1\npreprocessing = {m1 = {\nmaen = 1}}",
            ["'maen'", "mean 'mean'", "[ensemble.a.preprocessing.m1]"],
        ),
        (
            "[ensemble.a]\nepsilon = 1\nmin_uniqueness = 1\npreprocessing.model_axes = 'CHW'",
            ["line 4", "model_axes needs data_axes"],
        ),
        ("[ensemble.a\n", ["is not TOML", "line 1"]),
        ("[ensemble.a]\npoints = 1\npoints = 2\n", ["is not TOML", "line 3"]),
    ],
)
def test_errors_say_where_and_what(read, text, parts):
    if "\nmaen" in text:
        text = text.replace("\nmaen", "maen")  # inline tables keep to a line
    with pytest.raises(GateFileError) as error:
        read(text)
    for part in parts:
        assert part in str(error.value)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "ensemble.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(GateFileError, match="is not TOML"):
        read_gate_file(path, Defaults())
    with pytest.raises(GateFileError, match="can't be read"):
        read_gate_file(tmp_path, Defaults())


def test_a_plain_threshold_holds_at_the_radii_of_the_ini_beside_those_of_the_other(read):
    text = '[ensemble.r]\nmax_mutual_error = 0.1\nmin_uniqueness = {"0.02" = 0.5}\n'
    (found,) = read(text, epsilon=(0.05, 0.1))
    assert found.epsilons == (0.02, 0.05, 0.1)
    assert [gate.epsilon for gate in found.gates if gate.metric == "max_mutual_error"] == [0.02, 0.05, 0.1]
    assert [gate.epsilon for gate in found.gates if gate.metric == "min_uniqueness"] == [0.02]


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400])
def test_numbers_beyond_all_bounds(read, number):
    with pytest.raises(GateFileError, match="min_uniqueness"):
        read(f"[ensemble.r]\nepsilon = 0.1\nmin_uniqueness = {number}\n")
