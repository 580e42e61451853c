"""Reports from files: the JSON Schema, and that bad files end in one clear message."""

import copy
import json
import subprocess
import sys

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_ensemble.__main__ import main
from pytest_ensemble.errors import ReportError
from pytest_ensemble.report.read import json_schema, read
from pytest_ensemble.report.write import write
from tests.report.examples import document
from tests.report.pages import page

WHOLE = page().to_json()
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("found", [page(), document()])
def test_reports_follow_the_schema(found):
    VALIDATOR.validate(found.to_json())


def unknown_fields(value, schema, path="$"):
    """Fields of a report that the schema says nothing about."""
    schema = json_schema()["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if isinstance(value, dict) and "additionalProperties" not in schema:
        for name, part in value.items():
            if name not in schema.get("properties", {}):
                yield f"{path}.{name}"
            else:
                yield from unknown_fields(part, schema["properties"][name], f"{path}.{name}")
    if isinstance(value, list) and "items" in schema and schema["items"] is not False:
        for part in value:
            yield from unknown_fields(part, schema["items"], f"{path}[]")


def test_the_schema_describes_every_field():
    assert set(unknown_fields(WHOLE, json_schema())) == set()


def test_a_report_reads_back(tmp_path):
    write(page(), tmp_path / "x.json")
    assert read(tmp_path / "x.json") == page()


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["can't be read: No such file"]),
        ("", ["is not JSON"]),
        ("{", ["is not JSON"]),
        ("[" * 100_000, ["is not JSON"]),
        ("[]", ["is not a report", "--ensemble-report"]),
        ("{}", ["is not a report"]),
        ('{"schema": "pytest-ensemble/9"}', ["'pytest-ensemble/9'", "'pytest-ensemble/1'"]),
        ('{"schema": "pytest-ensemble/1"}', ["'ensembles' is a required property"]),
        ('{"schema": NaN}', ["NaN is not a finite number"]),
        ('{"schema": 1e999}', ["1e999 is not a finite number"]),
        ('{"schema": ' + "9" * 5000 + "}", ["too many digits"]),
    ],
)
def test_bad_files_get_a_clear_message(tmp_path, content, parts):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ReportError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert all(part in message for part in parts), message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v["gates"][0].update(threshold="x"), "$.gates[0].threshold: 'x' is not of type 'number'"),
        (lambda v: v["curves"][0].update(pair=["m1", "nobody"]), "nobody is not of ensemble"),
        (lambda v: v["gallery"][0].update(shape=[9, 9]), "does not have the shape"),
        (lambda v: v["gates"][0].update(ensemble="x"), "there is no ensemble 'x'"),
        (lambda v: v["mutual_error"][0].update(sat=0, unsat=0, unknown=0), "of no points"),
    ],
)
def test_damage_is_named(tmp_path, change, said):
    value = copy.deepcopy(WHOLE)
    change(value)
    path = tmp_path / "x.json"
    path.write_text(json.dumps(value))
    with pytest.raises(ReportError) as caught:
        read(path)
    assert said in str(caught.value)


def places(value, path=()):
    yield path
    if isinstance(value, (dict, list)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(part, (*path, key))


SMALL = document().to_json()
PLACES = [path for path in places(SMALL) if path]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), JUNK, st.booleans())
def test_damaged_reports_are_refused_or_drawn(tmp_path, path, junk, gone):
    value = copy.deepcopy(SMALL)
    inside = value
    for key in path[:-1]:
        inside = inside[key]
    if gone:
        del inside[path[-1]]
    else:
        inside[path[-1]] = junk
    source = tmp_path / "x.json"
    source.write_text(json.dumps(value))
    try:
        found = read(source)
    except ReportError:
        return
    for suffix in ("json", "md", "html"):
        write(found, tmp_path / f"y.{suffix}")


# --- the command ----------------------------------------------------------------------------------


def test_report_draws_again(tmp_path, capsys):
    write(page(), tmp_path / "x.json")
    outputs = [tmp_path / f"y.{suffix}" for suffix in ("html", "md", "json")]
    assert main(["report", str(tmp_path / "x.json"), *(f"-o{path}" for path in outputs)]) == 0
    assert capsys.readouterr().out == "".join(f"{path}\n" for path in outputs)
    assert outputs[2].read_bytes() == (tmp_path / "x.json").read_bytes()


def test_the_command_as_a_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pytest_ensemble", "report", "nowhere.json", "-o", "x.html"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == ("error: nowhere.json: can't be read: No such file or directory.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x.json"], "give RESULTS.json and -o FILE"),
        (["x.json", "-o", "y.htm"], "Did you mean '.html'?"),
        (["x.json", "-o", "nowhere/y.html"], "can't be written: No such file or directory"),
        (["x.json", "--compare", "x.json", "x.json"], "give nothing else with it"),
    ],
)
def test_bad_arguments(tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    write(document(), tmp_path / "x.json")
    try:
        code = main(["report", *arguments])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    assert said in capsys.readouterr().err
