"""What HTML and Markdown say of confidence and of the baseline."""

import json
from dataclasses import replace

import pytest
from jsonschema import validate

from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.report import words
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.html import as_html
from pytest_ensemble.report.markdown import as_markdown
from pytest_ensemble.report.ratchet import Comparison
from pytest_ensemble.report.read import json_schema
from pytest_ensemble.report.write import as_json
from tests.report.examples import GATE, TEST, document

HOLDS = replace(GATE, verdict=Verdict.PASS, low=0.95, high=0.95)
OPEN = replace(GATE, verdict=Verdict.INCONCLUSIVE, low=0.85, high=0.95)
SURE = replace(HOLDS, confidence=0.95, bound=0.9123)
WORSE = Comparison(TEST, "min_uniqueness", 0.02, "m2", "worse", 0.95, 0.95, (0.97, 0.97))
MAYBE = Comparison(TEST, "min_uniqueness", 0.02, "m1", "open", 0.95, 0.99, (0.97, 0.97))
SAME = Comparison(TEST, "min_uniqueness", 0.02, "m3", "same", 0.99, 0.99, (0.99, 0.99))


def with_baseline(*found, gate=HOLDS):
    return replace(document(gate), baseline=found)


@pytest.mark.parametrize(
    ("gate", "found", "verdict"),
    [
        (HOLDS, [SAME], Verdict.PASS),
        (HOLDS, [SAME, MAYBE], Verdict.INCONCLUSIVE),
        (HOLDS, [SAME, MAYBE, WORSE], Verdict.FAIL),
        (HOLDS, [replace(WORSE, reason="smaller models")], Verdict.PASS),
        (OPEN, [WORSE], Verdict.FAIL),
        (OPEN, [MAYBE], Verdict.INCONCLUSIVE),
        (GATE, [MAYBE], Verdict.FAIL),
    ],
)
def test_losses_count_for_the_verdict_of_the_run(gate, found, verdict):
    assert words.overall(with_baseline(*found, gate=gate)) is verdict


@pytest.mark.parametrize(
    ("gate", "found", "said"),
    [
        (
            HOLDS,
            [MAYBE, WORSE],
            "1 score is worse than the baseline: release: m2 uniqueness is 0.950; it was 0.970",
        ),
        (HOLDS, [MAYBE], "1 score may be worse than the baseline: release: m1 uniqueness is 0.950 to 0.990"),
        (OPEN, [WORSE], "1 score is worse than the baseline: "),
        (OPEN, [MAYBE], "The gate is undecided: m2 has a uniqueness of 0.850 to 0.950"),
        (GATE, [WORSE], "The gate fails: m2 has a uniqueness of 0.884"),
        (HOLDS, [SAME], "The gate holds. Closest to its limit: m2"),
    ],
)
def test_the_headline_says_what_decides(gate, found, said):
    assert words.headline(with_baseline(*found, gate=gate)).startswith(said)


def test_html_and_markdown_show_what_is_not_as_it_was():
    found = with_baseline(SAME, MAYBE, replace(WORSE, reason="smaller models"))
    html, markdown = as_html(found), as_markdown(found)
    for page in (html, markdown):
        assert "1 same, 1 worse, 1 open, 1 of them accepted" in page
        assert "0.950 to 0.990" in page
        assert "smaller models" in page
    assert "m3 uniqueness" not in html
    assert "m3 uniqueness" not in markdown
    assert "the baseline" not in as_html(document(HOLDS))
    assert "aseline" not in as_markdown(document(HOLDS))


def test_html_and_markdown_show_bounds_at_a_confidence():
    for page in (as_html(document(SURE)), as_markdown(document(SURE))):
        assert "at least 0.912 at 95 % confidence" in page
        assert "at least 0.9 is required at 95 % confidence" in page
    assert "confidence" not in as_html(document(HOLDS))


def test_html_judges_members_at_the_confidence_of_their_gate():
    """Without it every member would pass: none has a mutual error."""
    strict = replace(SURE, threshold=0.99, verdict=Verdict.INCONCLUSIVE, low=1.0, high=1.0, bound=0.97)
    assert '<td class="number">1.000</td><td>inconclusive</td>' in as_html(document(strict))


def test_the_json_report_says_the_verdict_of_the_run():
    def said(found):
        value = json.loads(as_json(found))
        validate(value, json_schema())
        return value["verdict"]

    assert said(with_baseline(WORSE)) == "fail"
    assert said(document(HOLDS)) == "pass"
    assert said(document(OPEN)) == "inconclusive"
    assert said(Document()) is None
