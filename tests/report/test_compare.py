"""`report --compare`: what changed between two runs."""

from dataclasses import replace

from pytest_ensemble.__main__ import main
from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.report.compare import compare
from pytest_ensemble.report.write import write
from tests.report.examples import GATE, TEST, document


def test_nothing():
    (line,) = compare(document(), document())
    assert line.startswith("Nothing changed")


def test_everything(tmp_path, capsys):
    old = document(sat={("m1", "m2"): 12})
    passing = replace(GATE, verdict=Verdict.PASS, subject="m1", low=0.95, high=0.95)
    new = document(passing, replace(GATE, epsilon=0.05), sat={("m1", "m2"): 3})
    ensemble = replace(new.ensembles[0], members=("m1", "m2", "m4"))
    members = (*new.members[:2], replace(new.members[2], name="m4"))
    new = replace(new, ensembles=(ensemble,), members=(replace(members[0], sha256="a" * 64), *members[1:]))
    write(old, tmp_path / "old.json")
    new = replace(new, mutual_error=new.mutual_error[:1], uniqueness=new.uniqueness[:2], examples=())
    write(new, tmp_path / "new.json")
    assert main(["report", "--compare", str(tmp_path / "old.json"), str(tmp_path / "new.json")]) == 0
    gate = f"{TEST} min_uniqueness at epsilon"
    assert capsys.readouterr().out.splitlines() == [
        "Gates",
        f"  {gate} 0.02: fail (m2 0.884, needs >= 0.9) -> pass (m1 0.950, needs >= 0.9)",
        f"  {gate} 0.05: new, fail (m2 0.884, needs >= 0.9)",
        "",
        "Members",
        f"  {TEST}: m3 left, m4 came",
        "",
        "Models",
        "  m1: another file, sha256 000000000000 -> aaaaaaaaaaaa, accuracy 0.970 -> 0.970",
        "  m4: was called m3",
        "",
        "Uniqueness",
        f"  m1 at epsilon 0.02: 0.940 -> 0.985  ({TEST})",
        f"  m2 at epsilon 0.02: 0.940 -> 0.985  ({TEST})",
        "",
        "Mutual error",
        f"  m1~m2 at epsilon 0.02: 0.120 -> 0.030  ({TEST})",
    ]


def test_a_threshold_that_changed_is_named():
    lines = list(compare(document(), document(replace(GATE, threshold=0.8, verdict=Verdict.PASS))))
    assert lines[1].endswith("fail (m2 0.884, needs >= 0.9) -> pass (m2 0.884, needs >= 0.8)")
