"""`python -m pytest_ensemble init` and `schema`."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from pytest_ensemble.__main__ import main
from pytest_ensemble.gatefile.keys import ENSEMBLE, PREPROCESSING
from pytest_ensemble.gatefile.read import Defaults, GateFileError, read_gate_file
from pytest_ensemble.gatefile.schema import gate_file_schema
from tests.gatefile.test_read import BAD, WHOLE

EXAMPLE = Path(__file__).parent.parent.parent / "example_project"
GIVEN = ("--pool", str(EXAMPLE / "models"), "--data", str(EXAMPLE / "data" / "validation.npz"))
LOAD = ("-p", "pytest_ensemble.plugin", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:xdist")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A first gate file of the example project, of a few members and points."""
    path = tmp_path_factory.mktemp("first") / "ensemble.toml"
    members = ("--members", "m01", "m03", "m07")
    assert main(["init", *GIVEN, *members, "--points", "30", "-o", str(path)]) == 0
    return path


def test_a_first_file_passes_at_once(first, pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = pytester.runpytest_inprocess(
        *LOAD, str(first), "--ensemble-cache=off", "--ensemble-engine=native"
    )
    result.assert_outcomes(passed=4)
    (release,) = read_gate_file(first, Defaults())
    assert release.members == ("m01", "m03", "m07")
    assert (release.points, release.bounds) == (30, (0, 1))
    assert max(release.epsilons) == 0.05  # where m03 and m07 share a tenth of the points
    # no threshold is void, and none far from what was measured
    assert all(0.5 < gate.threshold <= 0.99 for gate in release.gates if gate.metric == "min_uniqueness")
    assert all(0.01 <= gate.threshold < 0.3 for gate in release.gates if gate.metric == "max_mutual_error")


def test_every_key_of_it_has_its_meaning_beside_it(first):
    text = first.read_text()
    for key in ENSEMBLE:
        assert f"\n{key} = " in text or f"\n# {key} = " in text
    assert tomllib.loads(text.replace("\n# confidence", "\nconfidence"))["ensemble"]["release"]["confidence"]


def test_breaking_each_key_in_turn_names_it(first, tmp_path):
    lines = first.read_text().splitlines()
    broken = tmp_path / "ensemble.toml"
    places = {line.partition(" = ")[0].removeprefix("# "): k for k, line in enumerate(lines) if " = " in line}
    assert {*places} >= set(ENSEMBLE)
    for key, k in places.items():
        for value in BAD[key]:
            broken.write_text("\n".join([*lines[:k], f"{key} = {value}", *lines[k + 1 :]]))
            with pytest.raises(GateFileError, match=rf"^ensemble.toml, line {k + 1}: {key} must "):
                read_gate_file(broken, Defaults())
        broken.write_text("\n".join([*lines[:k], f"{key}x = 1", *lines[k + 1 :]]))
        with pytest.raises(GateFileError, match=rf"line {k + 1}: there is no key '{key}x'.*mean '{key}'"):
            read_gate_file(broken, Defaults())


def test_an_existing_file_is_kept(first, capsys):
    before = first.read_text()
    assert main(["init", *GIVEN, "-o", str(first)]) == 2
    assert "is there already; --force" in capsys.readouterr().err
    assert first.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pool", "nowhere"], "No model found at nowhere"),
        (["--data", "no.npz"], "no.npz: no such file"),
        (["--members", "m1", "m02"], "'m1' is not in the pool. Did you mean 'm10'"),
        (["--members", "m01"], "at least two members"),
        (["--epsilon", "-1"], "epsilon must be a finite number >= 0"),
        (["--points", "0"], "--points must be 1 or more"),
        (["--name", "a b"], "'a b' can't name an ensemble"),
        (["--bounds", "1", "0"], "low <= high"),
        (["-o", "no/where.toml"], "no folder no"),
    ],
)
def test_bad_wishes(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["init", *GIVEN, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not list(tmp_path.iterdir())


def test_names_are_quoted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pool = tmp_path / 'a "pool"'
    pool.mkdir()
    for name, new in (("m01", 'x"y'), ("m02", "z\\é")):
        (pool / f"{new}.onnx").write_bytes((EXAMPLE / "models" / f"{name}.onnx").read_bytes())
    with np.load(EXAMPLE / "data" / "validation.npz") as data:
        np.savez("d.npz", x=data["x"], y=data["y"])
    arguments = [
        "--pool",
        str(pool),
        "--data",
        "d.npz",
        "--points",
        "5",
        "--epsilon",
        "0.01",
        "--name",
        "r.1é",
    ]
    assert main(["init", *arguments]) == 0
    (gates,) = read_gate_file(tmp_path / "ensemble.toml", Defaults())
    assert (gates.name, gates.members) == ("r.1é", ('x"y', "z\\é"))
    assert (gates.pool, gates.data) == (str(pool), tmp_path / "d.npz")


# --- schema ---------------------------------------------------------------------------------------


def test_the_schema_holds_for_what_can_be_read(first, capsys):
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for text in (WHOLE, first.read_text()):
        assert list(validator.iter_errors(tomllib.loads(text))) == []
    for key, entry in {**ENSEMBLE, **PREPROCESSING}.items():
        (value,) = tomllib.loads(entry.example).values()
        assert Draft202012Validator(dict(entry.schema)).is_valid(value), key


# What can't be said in a JSON Schema: order, sense of texts, and numbers that JSON does not have.
BEYOND = {"[1, 0]", '"1/0"', "nan", "inf", "[nan, 1]", "[0.1, inf]", "{'1' = 0, '1.0' = 0}", "[1, -1]"}
BEYOND |= {'"NHHC"', '"N"', '"HW"'}
SAID = [
    (key, value)
    for key, values in BAD.items()
    for value in values
    if value not in BEYOND and (key, value) != ("std", "0")
]


@pytest.mark.parametrize(("key", "value"), SAID)
def test_the_schema_refuses_what_is_refused(key, value):
    table = tomllib.loads(f"{key} = {value}")
    whole = tomllib.loads(WHOLE)
    (
        whole["ensemble"]["release"]["preprocessing"]
        if key in PREPROCESSING
        else whole["ensemble"]["release"]
    ).update(table)
    assert not Draft202012Validator(gate_file_schema()).is_valid(whole)
