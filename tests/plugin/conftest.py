"""`repo`: a small model repository whose scores are known, to run pytest in."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import pytest_ensemble
from tests.plugin import corner

# In-process runs forget what they import: they must not import it all again and again.
for module in pkgutil.walk_packages(pytest_ensemble.__path__, "pytest_ensemble."):
    if not module.name.endswith(("__main__", "child_main")):
        importlib.import_module(module.name)

LOAD = ("-p", "pytest_ensemble.plugin")  # whether it is installed or not: see the fixture
MEMBERS = ["m1", "m2", "m3", "m4"]


class Repo:
    """A folder with models/, data.npz and an ini that names them; m1..m4 are members in most tests.

    At epsilon 0.1 the mutual errors are m1~m2 0.2, m1~m3 0.2, m2~m3 0.4 and 0 with m4; uniqueness among
    m1..m4 is 0.867, 0.8, 0.8 and 1. At 0.01 nobody errs.
    """

    def __init__(self, pytester, monkeypatch):
        self.pytester = pytester
        self.path = pytester.path
        self.monkeypatch = monkeypatch
        corner.write_repo(self.path)
        (self.path / "corner.py").write_text(Path(corner.__file__).read_text())
        pytester.syspathinsert()
        self.ini()
        for name in (
            "POOL",
            "DATA",
            "ENGINE",
            "TIMEOUT",
            "BUDGET",
            "JOBS",
            "SUGGEST",
            "INCONCLUSIVE",
            "PROGRESS",
            "REPORT",
            "AUDIT",
            "FAIL_FAST",
            "GATES",
            "BASELINE",
        ):
            monkeypatch.delenv(f"PYTEST_ENSEMBLE_{name}", raising=False)

    def ini(self, **settings):
        """Write pytest.ini: pool, data and 20 points, or what is given instead; None leaves one out."""
        settings = {"pool": "models", "data": "data.npz", "points": "20"} | settings
        lines = [f"ensemble_{name} = {value}" for name, value in settings.items() if value is not None]
        self.pytester.makeini("\n".join(["[pytest]", *lines]))

    def test(self, marks="", body="ensemble_gate.check()", fixture="ensemble_gate", name="test_it"):
        """Add a test to tests/test_release.py; marks without "pytest.mark." and one in a line."""
        file = self.path / "tests" / "test_release.py"
        file.parent.mkdir(exist_ok=True)
        text = file.read_text() if file.exists() else "import pytest\n"
        decorators = "".join(f"@pytest.mark.{line.strip()}\n" for line in marks.split("\n") if line.strip())
        file.write_text(f"{text}\n\n{decorators}def {name}({fixture}):\n    {body}\n")

    def gate(self, *gates, epsilon=0.1, name="test_it", more=""):
        """Add a test that gates m1..m4."""
        marks = [
            f"ensemble(members={MEMBERS}, epsilon={epsilon}{more})",
            *(f"ensemble_{gate}" for gate in gates),
        ]
        self.test("\n".join(marks), name=name)

    def conftest(self, text):
        """Write conftest.py."""
        self.pytester.makeconftest(text)

    def run(self, *arguments, subprocess=False):
        """Run pytest there."""
        given = [*LOAD, "-p", "no:cacheprovider", *map(str, arguments)]
        if any(argument.startswith("-n") for argument in given):
            given += ["-p", "xdist"]
        if subprocess:
            return self.pytester.runpytest_subprocess(*given, "-p", "corner")
        # the plugin is imported already, which pytest warns of
        given += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        return self.pytester.runpytest_inprocess(*given, plugins=[corner])

    def queries(self):
        """All queries that engines got, as (pair, query and epsilon)."""
        log = self.path / "queries.log"
        return [tuple(line.split()) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture(autouse=True)
def only_named_plugins(monkeypatch):
    """Runs are faster, and the same wherever they are made."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def repo(pytester, monkeypatch):
    return Repo(pytester, monkeypatch)


def said(result):
    """Everything that pytest printed."""
    return result.stdout.str() + result.stderr.str()


def stopped(result, *parts):
    """Whether one clear message stopped pytest, with each of these parts and no traceback."""
    text = said(result)
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    assert not re.search(r"\.py:\d", text), text  # no frame of a traceback
    assert "During handling" not in text
    for part in parts:
        assert part in text, text
    return True
