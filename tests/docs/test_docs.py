"""Every block of the README and of docs/ does what the page says, in a copy of the example project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.docs.pages import PAGES, ROOT, Block, blocks, commands, missing

LANGUAGES = {"python", "console", "bash", "toml", "yaml", "json", "text"}
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
_RUNS = {
    page: any(b.language in ("python", "console", "bash") for b in blocks(page.read_text())) for page in PAGES
}


@pytest.fixture
def project(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of the example project, as the working directory. All pages share a cache."""
    copy = tmp_path / "project"
    shutil.copytree(
        ROOT / "example_project", copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.html", "*.json")
    )
    ours = tmp_path_factory.getbasetemp()
    session = ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours
    with (copy / "pyproject.toml").open("a") as ini:  # it ends with pytest's table
        ini.write(f'ensemble_cache_dir = "{session / "docs-cache"}"\n')
    monkeypatch.chdir(copy)
    return copy


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_blocks_say_what_they_are(page):
    for block in blocks(page.read_text()):
        assert block.language in LANGUAGES, f"{page.name}, line {block.line}: {block.language!r}"
        if "not run" in block.comments:
            assert block.comments["not run"], f"{page.name}, line {block.line}: not run, but why?"
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "yaml":
            _check_yaml(block.text)


@pytest.mark.parametrize("page", [p for p in PAGES if _RUNS[p]], ids=lambda p: str(p.relative_to(ROOT)))
def test_page_runs(page, project):
    namespace: dict[str, Any] = {"__name__": "docs"}
    if page.name == "README.md":  # speaks of labelled data without loading it
        with np.load("data/validation.npz") as data:
            namespace.update(x=data["x"], y=data["y"])
    for block in blocks(page.read_text()):
        where = f"{page.relative_to(ROOT)}, line {block.line}"
        if not block.runs:
            continue
        if "file" in block.comments:
            file = project / block.comments["file"]
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text)
        elif block.language == "python":
            exec(compile("\n" * block.line + block.text, str(page), "exec"), namespace)
        elif block.language in ("console", "bash"):
            _run(block, where)


def test_marked_tests_are_collected(project):
    """Those that pages show and don't run: their marks must be right."""
    count = 0
    for page in PAGES:
        for block in blocks(page.read_text()):
            if block.language == "python" and block.runs and "@pytest.mark.ensemble" in block.text:
                count += 1
                (project / f"test_shown_{count}.py").write_text(block.text)
    assert count >= 6
    line = f"{count} tests collected in 1.0s"
    block = Block("console", f"$ pytest --collect-only -q test_shown_*.py\n{line}\n", 0, {})
    _run(block, "all pages")


def _run(block: Block, where: str) -> None:
    """Run the commands of a block, and look for what the page shows of their output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    environment |= _PLAIN
    several = commands(block)
    for k, (command, shown) in enumerate(several):
        expected = int(block.comments.get("exit", 0)) if k == len(several) - 1 else 0
        done = subprocess.run(
            command,
            shell=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )
        assert done.returncode == expected, f"{where}: {command} gave {done.returncode}:\n{done.stdout}"
        absent = missing(shown, done.stdout)
        assert not absent, f"{where}: {command} did not print {absent}, but:\n{done.stdout}"


# What else is installed takes longer to load than most of these commands run.
_PLAIN = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_ADDOPTS": "-p pytest_ensemble.plugin",
    "COLUMNS": "100",
    "NO_COLOR": "1",
}
_OURS = ("PYTEST_", "GITHUB_")  # of the tests themselves, not of those that the pages run


def _check_yaml(text: str) -> None:
    try:
        import yaml
    except ImportError:
        assert "\t" not in text
        assert all((len(line) - len(line.lstrip())) % 2 == 0 for line in text.splitlines())
    else:
        assert isinstance(yaml.safe_load(text), dict)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_can_be_reached():
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+\.md)\)", index.read_text())
    }
    assert {page.resolve() for page in PAGES if page.parts[-2:] != ("docs", "README.md")} - linked == {
        (ROOT / "README.md").resolve()
    }


def test_what_a_page_shows_is_looked_for():
    output = "a  b 0.031\n1 passed in 2.31s\n=== end ==="
    assert missing(["a b ...", "1 passed in 0.10s", "== end =="], output) == []
    assert missing(["1 passed in 1s", "a b 0.031"], output) == ["a b 0.031"]  # another order
    assert missing(["a b 0.032"], output) == ["a b 0.032"]
