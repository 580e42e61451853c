"""Lines drawn from documents: digits, tables, long ensembles."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.report.drawing import Style, gate_table
from pytest_ensemble.report.drawing import failure as draw_failure
from pytest_ensemble.report.entries import Queries
from pytest_ensemble.report.heatmap import heatmaps
from pytest_ensemble.report.lines import gate_line, queries_line
from pytest_ensemble.report.lost import lost_block
from pytest_ensemble.report.ratchet import Comparison
from pytest_ensemble.report.terminal import blocks
from tests.golden import same_as
from tests.report.examples import GATE, TEST, document

PAIR_GATE = replace(GATE, metric="max_mutual_error", threshold=0.05, subject="m2~m3", low=0.1, high=0.1)


def failure(*arguments, **options):
    return draw_failure(blocks(*arguments, **options))


def failed(gate, **scores):
    return failure(document(gate, **scores), [gate], "pytest x").splitlines()


def test_undecided_members_show_intervals():
    gate = replace(GATE, low=0.88, high=0.88)
    sat, unknown = {("m1", "m2"): 12, ("m2", "m3"): 12}, {("m1", "m3"): 8}
    lines = failed(gate, sat=sat, unknown=unknown)
    assert lines[0] == (
        "release: m2 uniqueness 0.880 < 0.900 at epsilon 0.02 (worst pair m2~m1, mutual error 0.120)"
    )
    assert lines[2:6] == [
        "  member   uniqueness       need    undecided   verdict",
        "  m1       0.900 .. 0.940   0.900       8/200   pass",
        "  m2       0.880            0.900       0/200   FAIL  (short by 0.020)",
        "  m3       0.900 .. 0.940   0.900       8/200   pass",
    ]


@pytest.mark.parametrize(
    ("score", "threshold", "shown"),
    [
        (0.884, 0.9, "0.884 < 0.900"),
        (0.8996, 0.9, "0.8996 < 0.9000"),
        (0.89999, 0.9, "0.89999 < 0.90000"),
        (0.884, 0.8875, "0.8840 < 0.8875"),
        (1 / 3, 0.33333334, "0.33333333 < 0.33333334"),
    ],
)
def test_a_score_that_misses_the_threshold_does_not_look_equal_to_it(score, threshold, shown):
    gate = replace(GATE, threshold=threshold, low=score, high=score)
    assert shown in gate_line(gate)
    assert f"m2 uniqueness {shown} at" in failed(gate)[0]


def test_long_tables_of_pairs_are_cut_where_they_pass():
    members = [f"m{k}" for k in range(9)]
    lines = failed(PAIR_GATE, members=members, sat={("m2", "m3"): 10, ("m0", "m8"): 7})
    rows = [line for line in lines if "/100" in line]
    assert len(rows) == 15
    assert [row.split()[0] for row in rows[:2]] == ["m2~m3", "m0~m8"]
    assert "  ... and 21 more that pass" in lines


def test_failing_pairs_beyond_the_table_are_counted():
    members = [f"m{k}" for k in range(9)]
    everything = {(a, b): 10 for a in members for b in members if a < b}
    assert "  ... and more: 21 fail" in failed(PAIR_GATE, members=members, sat=everything)


def test_long_tables_of_members_keep_the_worst_in_their_order():
    members = [f"m{k:02}" for k in range(20)]
    sat = {("m00", "m19"): 50, ("m01", "m18"): 40}
    gate = replace(GATE, threshold=0.99, subject="m00", low=1 - 50 / 1900, high=1 - 50 / 1900)
    lines = failed(gate, members=members, sat=sat)
    rows = [line.split()[0] for line in lines if "/1900" in line]
    assert len(rows) == 15
    assert rows == sorted(rows)
    assert {"m00", "m01", "m18", "m19"} <= set(rows)
    assert "  ... and 5 more that pass" in lines
    assert (
        "  m00 errs with    m01 0.000   m02 0.000   m03 0.000   m04 0.000   m19 0.500   ... and 14 less"
        in lines
    )


def test_the_example_is_that_of_the_worst_pair():
    assert "  example          point 17 (row 40 of the data), label 0: m2 says 6, m3 says 8" in failed(
        GATE, sat={("m2", "m3"): 3}
    )
    other = failed(GATE, sat={("m1", "m2"): 3})
    assert not any("example" in line for line in other)


def test_swaps_in_their_order():
    lines = failed(GATE, swaps=5)
    start = next(k for k, line in enumerate(lines) if "suggestion" in line)
    assert lines[start : start + 2] == [
        "  suggestion       replace m2 with m5: uniqueness 0.900 -> 0.900 .. 0.950;",
        "                   ensemble accuracy 0.978 -> 0.979",
    ]
    assert lines[start + 2].startswith("                   then replace m3 with m6: ")
    assert lines[start + 6] == "                   ... and 2 more; ensemble.suggest() gives them all"
    assert max(map(len, lines)) <= 100


def test_no_suggestion_is_claimed_where_none_was_looked_for():
    text = failure(document(GATE, swaps=0), [GATE], "pytest x", suggested=False)
    assert "suggestion" not in text
    assert "suggestion       none" in failure(document(GATE, swaps=0), [GATE], "pytest x")


def test_rerun_is_last():
    assert failed(GATE)[-1] == "  rerun            pytest x"


@pytest.mark.parametrize(
    ("test", "title"),
    [
        ("tests/test_release.py::test_it", "release"),
        ("tests/nightly_test.py::TestX::test_it[1]", "nightly"),
        ("release/gates.py::test_it", "gates"),
    ],
)
def test_the_title_is_that_of_the_file(test, title):
    assert failed(replace(GATE, test=test))[0].startswith(f"{title}: m2 uniqueness")


def test_gate_lines():
    assert gate_line(GATE) == (
        "FAIL          tests/test_release.py::test_it  uniqueness at epsilon 0.02: m2 0.884 < 0.900"
    )
    unchecked = replace(GATE, verdict=Verdict.INCONCLUSIVE, subject=None, low=0.0, high=1.0)
    assert gate_line(unchecked).endswith("uniqueness at epsilon 0.02: not checked")


def test_queries_line():
    queries = Queries(9, 2, 3, {"timeout": 3, "crashed": 1}, {"marabou": 9}, 1.26)
    assert queries_line(queries) == (
        "9 queries: 2 sat, 3 unsat, 4 unknown (3 timeout, 1 crashed), by marabou 9, in 1.3 s"
    )


# --- drawn ----------------------------------------------------------------------------------------

LONG = "resnet18-mixup-cosine-2026-10-30-seed-0017"
MEMBERS = ("m1", "m2", "m3", LONG)
SAT = {("m2", "m3"): 30, ("m1", "m2"): 12, ("m3", LONG): 4}
UNKNOWN = {("m1", "m3"): 8, ("m2", LONG): 3}
FAILING = [
    replace(GATE, subject="m2", threshold=0.9, low=0.85, high=0.86),
    replace(GATE, metric="max_mutual_error", subject="m2~m3", threshold=0.1, low=0.3, high=0.3),
]
OPEN = replace(
    GATE,
    test="tests/nightly/test_candidates_of_the_next_release.py::TestAll::test_uniqueness[mixup]",
    verdict=Verdict.INCONCLUSIVE,
    subject=LONG,
    threshold=0.98,
    low=0.9767,
    high=0.9867,
    undecided={"timeout": 3},
)
SURE = replace(
    GATE, verdict=Verdict.PASS, subject="m3", threshold=0.8, low=0.9, high=0.9, confidence=0.95, bound=0.8412
)
LOST = [
    Comparison(TEST, "max_mutual_error", 0.02, "m2~m3", "open", 0.29, 0.31, (0.3, 0.3)),
    Comparison(TEST, "min_uniqueness", 0.02, LONG, "worse", 0.9767, 0.9767, (0.98, 0.98)),
    Comparison(TEST, "min_uniqueness", 0.02, "(worst)", "worse", 0.85, 0.86, (0.88, 0.88)),
]
UNCHECKED = replace(OPEN, subject=None, low=0.0, high=1.0, undecided={})


def everything(style):
    """Two failures, losses against a baseline, the summary and the heatmap."""
    found = document(*FAILING, members=MEMBERS, sat=SAT, unknown=UNKNOWN, swaps=2)
    rerun = 'pytest "tests/test_release.py::test_it" --ensemble-pool=models/ --ensemble-data=validation.npz'
    passing = replace(GATE, verdict=Verdict.PASS, subject="m3", threshold=0.8, low=0.9, high=0.9)
    unchecked = replace(UNCHECKED, test="tests/test_release.py::test_other")
    return [
        draw_failure(blocks(found, FAILING, rerun), style),
        draw_failure(blocks(document(members=MEMBERS, sat=SAT, unknown=UNKNOWN), [OPEN], "pytest x"), style),
        draw_failure([lost_block(LOST, "release", rerun)], style),
        gate_table([*FAILING, passing, SURE, OPEN, unchecked], style),
        *heatmaps(found, style),
    ]


@pytest.mark.parametrize("unicode", [False, True], ids=["ascii", "unicode"])
@pytest.mark.parametrize("width", [80, 120])
def test_golden(width, unicode):
    texts = everything(Style(width, unicode=unicode))
    text = "\n\n---\n\n".join(texts) + "\n"
    assert max(map(len, text.splitlines())) <= width
    assert text.isascii() == (not unicode)
    name = f"terminal-{width}-{'unicode' if unicode else 'ascii'}.txt"
    assert same_as(Path(__file__).parent / "golden" / name, text)


@pytest.mark.parametrize("width", [80, 120])
def test_colours_change_nothing_else(width):
    """But for the heatmap, whose shades are colours then."""
    for coloured, plain in zip(
        everything(Style(width, True, True))[:4], everything(Style(width, False, True))[:4], strict=True
    ):
        without = re.sub(r"\x1b\[[\d;]*m", "", coloured)
        assert [line.rstrip() for line in without.splitlines()] == plain.splitlines()
        assert coloured != without


def test_a_pool_that_is_too_wide_for_a_heatmap_shows_the_worst():
    members = tuple(f"m{k:02}" for k in range(40))
    sat = {(a, b): 1 for a in members for b in members if a < b} | {("m03", "m39"): 50}
    (text,) = heatmaps(document(members=members, sat=sat), Style(80))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("m39" in line and "#0.50" in line for line in lines)
    assert re.search(r"the \d+ that err most of 40", text)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_width_is_exceeded_and_no_number_is_cut(width):
    text, *others = everything(Style(width, unicode=True))
    for one in (text, *others):
        assert max(map(len, one.splitlines())) <= width
    if width >= 80:
        assert {"0.850 .. 0.860", "3/300", "FAIL  (short by 0.040)"} <= set(
            re.split("   +", text.replace("\n", "   "))
        )


@pytest.mark.parametrize("name", ["[bold]m[/bold]", "m[", ":smile:", "日本" * 30, "a\\[b"])
def test_names_are_never_markup(name):
    gate = replace(GATE, subject=name)
    found = document(gate, members=("m1", name), sat={("m1", name): 20})
    assert name in draw_failure(blocks(found, [gate], "pytest x"), Style(400, True, True))
    assert name in gate_table([gate], Style(400, True, True))
