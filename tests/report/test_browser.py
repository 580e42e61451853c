"""The HTML report in a real Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.screenshots import FLAGS
from pytest_ensemble.report.html import as_html
from pytest_ensemble.report.read import json_schema, read
from tests.report.pages import SCRIPT, page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe_run = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: apt-get install chromium")
EXAMPLE = Path(__file__).parents[2] / "example_project"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(as_html(page()), encoding="utf-8")
    return path


class Visit:
    """An open page, and what went wrong on it."""

    def __init__(self, browser, path, width=1280, scheme="light", **more):
        self.page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce", **more
        )
        self.problems, self.requests = [], []
        self.page.on("console", lambda said: self.problems.append(said.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.problems.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url)


@pytest.fixture
def visit(browser):
    opened = []

    def open_page(*arguments, **more):
        opened.append(Visit(browser, *arguments, **more))
        return opened[-1]

    yield open_page
    for one in opened:
        one.page.close()


def test_it_loads_without_an_error_or_a_request(visit, report):
    seen = visit(report)
    seen.page.wait_for_timeout(200)
    assert seen.problems == []
    outside = [url for url in seen.requests if url != seen.url and not url.startswith("data:")]
    assert outside == []
    assert seen.page.locator(".chart svg").count() >= 2 * (2 + 1)


def test_a_model_named_script_does_no_harm(visit, report):
    seen = visit(report)
    assert seen.problems == []  # no alert either
    assert seen.page.locator("img[src=x]").count() == 0
    assert SCRIPT in seen.page.locator(".facts").first.inner_text()
    assert SCRIPT in seen.page.locator(".heatmap").first.inner_text()
    own = seen.page.locator("script:not([type])").count()
    assert own == 3


def test_inline_scripts_of_others_are_refused(visit, report, tmp_path):
    """The policy holds even where an escape were forgotten."""
    text = report.read_text(encoding="utf-8")
    attacked = tmp_path / "attacked.html"
    attacked.write_text(text.replace("<main", f"{SCRIPT}<main", 1), encoding="utf-8")
    seen = visit(attacked)
    assert "1" not in seen.problems
    assert any("Content Security Policy" in problem for problem in seen.problems)


def test_the_slider_changes_the_heatmap_by_keyboard(visit, report):
    seen = visit(report)
    part = seen.page.locator(".ensemble").first
    slider, cells = part.locator(".epsilon"), part.locator(".heatmap td[data-pair]")

    def state():
        return cells.all_inner_texts(), cells.last.evaluate("cell => cell.style.background")

    before = state()
    slider.focus()
    seen.page.keyboard.press("Home")
    texts, _ = at_zero = state()
    assert at_zero != before
    assert set(texts) == {"0.00", "0.00–0.02", "0.00–0.04"}  # points with a witness have no proof
    assert slider.get_attribute("aria-valuetext") == "epsilon 0"
    assert "err together most: 0.000 to 0.040. 1 of 3 pairs never do." in part.locator(".said").inner_text()
    seen.page.keyboard.press("End")
    assert state() == before
    # between what was asked for the whole curve counts: witnesses at 0.015, proofs at 0.02 at least
    part.locator(".tick").first.click()
    assert part.locator(".slider output").inner_text() == "0.02"
    seen.page.keyboard.press("Tab")
    slider.focus()
    for _ in range(10):
        seen.page.keyboard.press("ArrowLeft")
    assert part.locator(".slider output").inner_text() == "0.0175"
    score = page().curves[2].at(0.0175)
    assert part.locator(".heatmap td[data-pair='1 2']").inner_text() == f"{score.low:.2f}" == "0.04"


def test_the_pair_of_the_curve_can_be_chosen(visit, report):
    part = visit(report).page.locator(".ensemble").first
    chart = part.locator(".curve [role=img]")
    before = chart.get_attribute("aria-label")
    part.locator(".pair").select_option(index=0)
    after = chart.get_attribute("aria-label")
    assert before != after
    assert after.startswith("Mutual error of ")


def test_everything_has_a_text(visit, report):
    opened = visit(report).page
    for picture in opened.locator("img").all():
        assert picture.get_attribute("alt")
    for chart in opened.locator("[role=img]").all():
        assert chart.get_attribute("aria-label")
    assert opened.locator("svg:not([role=img] svg):not([aria-hidden=true])").count() == 0
    text = opened.locator("main").inner_text()
    assert "Mutual error at epsilon 0.05" in text


def test_it_is_whole_without_scripts(visit, report):
    seen = visit(report, java_script_enabled=False)
    cells = seen.page.locator(".heatmap").first.inner_text()
    assert "0.060 to 0.080" in cells
    assert not seen.page.locator(".epsilon").first.is_visible()


@pytest.mark.parametrize("width", [1280, 360])
def test_it_is_accessible(visit, report, width):
    seen = visit(report, width)
    seen.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    for scheme in ("light", "dark"):
        seen.page.emulate_media(color_scheme=scheme)
        found = axe_run.Axe().run(seen.page).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == [], scheme
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width  # no sideways scrolling


def test_it_prints(visit, report):
    seen = visit(report)
    seen.page.emulate_media(media="print")
    assert len(seen.page.pdf()) > 10_000
    assert seen.problems == []


def test_the_example_project_with_all_pairs(visit, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "tests", "legacy")
    project = shutil.copytree(EXAMPLE, tmp_path / "project", ignore=ignored)
    (project / "test_all.py").write_text(
        "import pytest\n\n\n@pytest.mark.ensemble(members=None, points=40)\n"
        "@pytest.mark.ensemble_min_uniqueness(0.5)\n"
        "def test_all(ensemble_gate):\n    ensemble_gate.check()\n"
    )
    reports = ("--ensemble-report=r.html", "--ensemble-report=r.json")
    options = ("--ensemble-pool=models/", "--ensemble-image-shape=8x8", *reports)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, "test_all.py"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert (project / "r.html").stat().st_size < 2_000_000
    value = json.loads((project / "r.json").read_text())
    jsonschema.Draft202012Validator(json_schema()).validate(value)
    assert as_html(read(project / "r.json")) == (project / "r.html").read_text(encoding="utf-8")
    seen = visit(project / "r.html")
    assert seen.problems == []
    assert seen.page.locator(".heatmap td[data-pair]").count() == 90
