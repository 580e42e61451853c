"""What docs/gates-without-python.md says."""

import re
from pathlib import Path

from pytest_ensemble.analysis.statistics import points_needed
from pytest_ensemble.gatefile.read import Defaults, read_gate_file

TEXT = (Path(__file__).parent.parent.parent / "docs" / "gates-without-python.md").read_text()


def test_its_gate_file_can_be_read(tmp_path):
    blocks = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "ensemble.toml").write_text("\n".join(blocks))
    (release,) = read_gate_file(tmp_path / "ensemble.toml", Defaults())
    assert len(release.gates) == 4
    assert set(release.preprocessing) == {"", "m07"}


def test_its_numbers_of_points():
    allowed = (0.05, 0.02, 0.01)
    none, half = ([points_needed(t, 0.95, share * t) for t in allowed] for share in (0, 0.5))
    flat = " ".join(TEXT.split())
    assert f"{none[0]} for 0.05, {none[1]} for 0.02, {none[2]} for 0.01" in flat
    assert f"{half[0]}, {half[1]} and {half[2]}" in flat
