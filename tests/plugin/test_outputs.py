"""Reports of other kinds: HTML and Markdown files, the summary of a job, and properties in JUnit XML."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from tests.plugin.conftest import said, stopped


def gates(repo):
    repo.gate("min_uniqueness(0.9)", "max_mutual_error(0.5)", epsilon=[0.01, 0.1])


def test_html_and_markdown_files(repo):
    gates(repo)
    text = said(repo.run("--ensemble-report=x.html", "--ensemble-report=x.md", "--ensemble-report=x.json"))
    assert "x.html" in text
    page, markdown = ((repo.path / f"x.{suffix}").read_text() for suffix in ("html", "md"))
    assert "1 of 4 gates fails: m2 has a uniqueness of 0.800" in page
    assert markdown.startswith("## Ensemble gates: ❌ FAIL")
    report = json.loads((repo.path / "x.json").read_text())
    assert len(report["curves"]) == 6
    assert report["run"]["settings"]["ensemble_pool in tox.ini"] == "models"
    assert "--ensemble-report=x.html" in report["run"]["command"]
    assert sum(stage["queries"] for stage in report["queries"]["stages"]) == report["queries"]["total"]


def test_curves_give_the_scores(repo):
    gates(repo)
    repo.run("--ensemble-report=x.json")
    report = json.loads((repo.path / "x.json").read_text())
    curves = {tuple(curve["pair"]): curve for curve in report["curves"]}
    for entry in report["mutual_error"]:
        curve = curves[tuple(entry["pair"])]
        assert sum(value <= entry["epsilon"] for value in curve["witnessed"]) == entry["sat"]
        assert sum(value >= entry["epsilon"] for value in curve["proven"]) == entry["unsat"]


def test_the_gallery_shows_the_worst_pairs(repo):
    gates(repo)
    repo.run("--ensemble-report=x.json")
    gallery = json.loads((repo.path / "x.json").read_text())["gallery"]
    assert gallery[0]["pair"] == ["m2", "m3"]  # the worst
    assert len({tuple(shown["pair"]) for shown in gallery}) == 3
    for shown in gallery:
        assert shown["shape"] == [5]
        assert set(shown["says"]) == {"m1", "m2", "m3", "m4"}
        assert all(shown["says"][name] != shown["label"] for name in shown["pair"])
        changes = [abs(a - b) for a, b in zip(shown["x"], shown["witness"], strict=True)]
        assert max(changes) == pytest.approx(shown["distance"], rel=1e-5)
        assert all(len(scores) == 2 for scores in shown["scores"].values())


def test_without_a_report_nothing_is_kept_for_one(repo):
    gates(repo)
    repo.monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(repo.path / "summary.md"))
    assert "0.800" in said(repo.run())


# --- the summary of a job on GitHub ---------------------------------------------------------------


@pytest.fixture
def summary(repo):
    path = repo.path / "summary.md"
    repo.monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_the_summary_is_appended_once(repo, summary, workers):
    if workers:
        pytest.importorskip("xdist")
    gates(repo)
    summary.write_text("before\n")
    repo.run(*workers, subprocess=bool(workers))
    text = summary.read_text()
    assert text.startswith("before\n")
    assert text.count("## Ensemble gates: ❌ FAIL") == 1


@pytest.mark.parametrize("arguments", [("--ensemble-step-summary=off",), ("--collect-only",)])
def test_no_summary_where_it_is_not_wanted(repo, summary, arguments):
    gates(repo)
    repo.run(*arguments)
    assert not summary.exists()


def test_no_summary_of_a_suite_without_gates(repo, summary):
    repo.test(fixture="", body="pass")
    repo.run().assert_outcomes(passed=1)
    assert not summary.exists()


def test_a_summary_that_cannot_be_written_fails_nothing(repo):
    repo.monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(repo.path / "nowhere" / "summary.md"))
    repo.gate("min_uniqueness(0.5)")
    result = repo.run()
    assert result.ret == pytest.ExitCode.OK
    assert "(GITHUB_STEP_SUMMARY) could not be written" in said(result)


# --- images ---------------------------------------------------------------------------------------


def test_the_shape_of_an_image_must_fit_to_count(repo):
    gates(repo)
    repo.ini(image_shape="28x28")
    repo.run("--ensemble-report=x.json")
    assert json.loads((repo.path / "x.json").read_text())["gallery"][0]["shape"] == [5]


@pytest.mark.parametrize("value", ["8", "2x2", "8xb", "4x8x8"])
def test_bad_image_shapes(repo, value):
    repo.gate("min_uniqueness(0.5)")
    result = repo.run(f"--ensemble-image-shape={value}")
    assert stopped(result, f"--ensemble-image-shape: {value!r} is not the shape of an image", "8x8")


# --- JUnit XML ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_junit_properties(repo, workers):
    if workers:
        pytest.importorskip("xdist")
    gates(repo)
    repo.run("--junitxml=j.xml", *workers, subprocess=bool(workers))
    case = ElementTree.parse(repo.path / "j.xml").find(".//testcase")
    found = {entry.get("name"): entry.get("value") for entry in case.iter("property")}
    fields = ("metric", "epsilon", "threshold", "score_low", "score_high", "subject", "verdict")
    by_gate = [tuple(found[f"ensemble.gate{k}.{name}"] for name in fields) for k in (1, 2, 3, 4)]
    assert len(found) == 4 * len(fields)
    assert sorted(by_gate) == [
        ("max_mutual_error", "0.01", "0.5", "0", "0", "m1~m2", "pass"),
        ("max_mutual_error", "0.1", "0.5", "0.4", "0.4", "m2~m3", "pass"),
        ("min_uniqueness", "0.01", "0.9", "1", "1", "m1", "pass"),
        ("min_uniqueness", "0.1", "0.9", "0.8", "0.8", "m2", "fail"),
    ]
    failure = case.find("failure").get("message")
    assert re.fullmatch(r"Failed: release: m2 uniqueness 0\.800 < 0\.900 at epsilon 0\.1 \(.*\)", failure)
