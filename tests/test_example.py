"""The example project, run as its users would."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_ensemble import Analysis, Pool, agreement_points
from pytest_ensemble.analysis.points import load_data

EXAMPLE = Path(__file__).parent.parent / "example_project"
RELEASE = ("m02", "m04", "m05", "m08", "m09")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns(".*", "__pycache__")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "project", ignore=ignored))


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_the_release_passes(project: Path) -> None:
    result = run(project, "--ensemble-pool", "models/")
    assert result.returncode == 0, result.stdout
    (unknown,) = re.findall(r"(\d+) unknown", result.stdout)
    assert int(unknown) <= 4  # of 4000: too close to a tie to say


def test_the_legacy_ensemble_fails_and_its_suggestion_mends_it(project: Path) -> None:
    command = ("--ensemble-pool", "models/", "--ensemble-report", "r.json", "legacy")
    result = run(project, *command)
    assert result.returncode == 1
    assert "replace m07 with m09" in result.stdout
    report = json.loads((project / "r.json").read_text())
    swap = next(entry for entry in report["suggestions"] if entry["epsilon"] == 0.05)
    assert (swap["out"], swap["in"]) == ("m07", "m09")

    test = project / "legacy" / "test_legacy.py"
    test.write_text(test.read_text().replace('"m07"', '"m09"'))
    assert run(project, *command).returncode == 0
    after = json.loads((project / "r.json").read_text())
    predicted = swap["uniqueness_after"]
    (score,) = (e for e in after["uniqueness"] if (e["epsilon"], e["member"]) == (0.05, "m09"))
    assert {"low": score["low"], "high": score["high"]} == predicted


def test_marabou_and_auto_give_the_same_scores() -> None:
    """On fewer points than the example asks for, to save time; all of them were compared once."""
    pytest.importorskip("maraboupy")
    pool = Pool.load(EXAMPLE / "models")
    points = agreement_points(pool, load_data(EXAMPLE / "data" / "validation.npz"), count=25)
    scores = []
    for engine in ("auto", "marabou"):
        analysis = Analysis(pool, points, epsilons=[0.02, 0.05], bounds=(0, 1), engine=engine, jobs=2)
        scores.append([analysis.mutual_error(epsilon=e, members=RELEASE) for e in analysis.epsilons])
        assert set(analysis.stats.unknown) <= {"boundary"}
        assert analysis.stats.total >= 1000 * analysis.stats.unknown.total() / 4
        analysis.close()
    for own, paired in zip(*scores, strict=True):
        for pair, score in own.items():
            assert score.low <= paired[pair].high, pair
            assert paired[pair].low <= score.high, pair
