"""The tables of docs/reference say what there is, and nothing else."""

from __future__ import annotations

import argparse
import inspect
import json
import re
from pathlib import Path

import pytest

import pytest_ensemble
from pytest_ensemble import plugin
from pytest_ensemble.__main__ import COMMANDS
from pytest_ensemble.analysis.statistics import points_needed
from pytest_ensemble.gatefile.keys import ENSEMBLE, PREPROCESSING
from pytest_ensemble.gatefile.read import Defaults, read_gate_file
from pytest_ensemble.plugin.options import MARKERS, SETTINGS
from pytest_ensemble.report.document import Document
from tests.docs.pages import PAGES, ROOT, blocks, there_is

DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"


def _here(page: Path) -> str:
    """The text of a page, without paragraphs and tables about modules that are not there."""
    parts = re.split(r"\n\s*\n", page.read_text())
    kept = []
    for part in parts:
        needed = re.match(r"<!-- needs (\S+) -->\n", part)
        if needed is None or there_is(needed[1]):
            kept.append(part)
    return "\n\n".join(kept)


def _first_column(text: str) -> list[str]:
    """What stands in backquotes in the first cells of all tables."""
    cells = re.findall(r"^\| (`(?:\\\||[^|])*?) \|", text, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_options():
    rows = [name.split()[0] for name in _first_column(_here(REFERENCE / "options.md"))]
    options = [setting.ini if setting.ini_only else setting.option for setting in SETTINGS]
    assert sorted(rows) == sorted(options)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_options_say_the_words_they_take(setting):
    text = (REFERENCE / "options.md").read_text()
    for word in setting.metavar.split("|") if "|" in setting.metavar else ():
        (row,) = re.findall(rf"^\| `{setting.option} [^\n]*", text, re.MULTILINE)
        assert word in row


def test_markers():
    text = _here(REFERENCE / "markers.md")
    for name, words in MARKERS.items():
        signature = words.partition(": ")[0].removeprefix(name)
        for argument in re.findall(r"(\w+)(?=[=,)])", signature):
            if not argument.isdigit() and argument != "None":
                assert f"`{argument}`" in text, f"{name}: {argument}"
    assert sorted(re.findall(r"^## `(\w+)", text, re.MULTILINE)) == sorted(MARKERS)


def test_fixtures():
    rows = _first_column(_here(REFERENCE / "fixtures.md"))
    assert sorted(row for row in rows if row.startswith("ensemble")) == sorted(
        name for name in vars(plugin) if name.startswith("ensemble")
    )


def test_public_names():
    assert sorted(set(re.findall(r"^### `(\w+)", _here(REFERENCE / "python.md"), re.MULTILINE))) == sorted(
        pytest_ensemble.__all__
    )


@pytest.mark.parametrize("name", ["Analysis", "agreement_points", "decide"])
def test_arguments_of_public_functions(name):
    section = _here(REFERENCE / "python.md").partition(f"### `{name}")[2].partition("\n### ")[0]
    for argument in inspect.signature(getattr(pytest_ensemble, name)).parameters:
        assert re.search(rf"\b{argument}\b", section), f"{name}: {argument}"


def test_keys_of_gate_files():
    rows = _first_column(_here(REFERENCE / "gate-file.md"))
    assert sorted(rows) == sorted([*ENSEMBLE, *PREPROCESSING])


def test_fields_of_reports():
    rows = _first_column(_here(REFERENCE / "json-report.md"))
    assert sorted(rows) == sorted([*Document().to_json(), "verdict"])


def test_commands():
    named = re.findall(
        r"^## `python -m pytest_ensemble (\w+)`", _here(REFERENCE / "commands.md"), re.MULTILINE
    )
    assert set(COMMANDS) <= set(named) <= {*COMMANDS, "report"}
    text = (REFERENCE / "commands.md").read_text()
    for name, (_, declare) in COMMANDS.items():
        parser = argparse.ArgumentParser()
        declare(parser)
        for action in parser._actions:
            if action.dest != "help" and action.option_strings:
                assert f"`{action.option_strings[-1]}" in text, f"{name}: {action.option_strings}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_no_option_that_is_not_there(page):
    options = {setting.option for setting in SETTINGS if not setting.ini_only}
    named = set(re.findall(r"--ensemble-[a-z-]*[a-z]", page.read_text()))
    assert named <= options


def test_gate_files_can_be_read(tmp_path):
    """All that pages show as TOML with gates in it, one by one."""
    for page in PAGES:
        for block in blocks(page.read_text()):
            if block.language == "toml" and "[ensemble." in block.text and "min_uniqueness" in block.text:
                (tmp_path / "ensemble.toml").write_text(block.text)
                assert read_gate_file(tmp_path / "ensemble.toml", Defaults(epsilon=(0.02,)))


def test_numbers_of_points():
    text = (DOCS / "how-to" / "thresholds.md").read_text()
    rows = re.findall(r"^\| ([0-9.]+) \| ([0-9,]+) \| ([0-9,]+) \|", text, re.MULTILINE)
    assert len(rows) >= 4
    for allowed, none, half in rows:
        found = [points_needed(float(allowed), 0.95, share * float(allowed)) for share in (0, 0.5)]
        assert [none, half] == [f"{count:,}" for count in found]


def test_json_blocks_are_json():
    for page in PAGES:
        for block in blocks(page.read_text()):
            if block.language == "json":
                json.loads(block.text)
