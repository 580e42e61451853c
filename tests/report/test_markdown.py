"""The Markdown report: word for word, escaped, and no longer than GitHub takes."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ensemble.report.document import Document
from pytest_ensemble.report.markdown import LIMIT, append, as_markdown, code, text
from tests.golden import same_as
from tests.report.examples import GATE, document
from tests.report.pages import page

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("failing", document(sat={("m2", "m3"): 14, ("m1", "m2"): 9}, unknown={("m1", "m3"): 3})),
        ("names", page(shapes=((8, 8),))),
        ("empty", Document()),
    ],
)
def test_word_for_word(name, found):
    assert same_as(GOLDEN / f"{name}.md", as_markdown(found))


@given(st.text())
def test_code_stays_in_its_cell_and_its_fence(name):
    made = code(name)
    fence = len(made) - len(made.lstrip("`"))
    inside = made[fence:-fence]
    assert "`" * fence not in inside.strip("`") or fence == 0
    assert "\n" not in made
    assert "\r" not in made
    assert made.replace("\\|", "").count("|") == 0


@given(st.text())
def test_text_has_no_markup_mention_or_link(name):
    made = text(name)
    assert "<" not in made.replace("<!-- -->", "")
    assert "@<!-- -->" in made or "@" not in made
    assert "://" not in made
    assert "\n" not in made
    for sign in "`*_|[]~":
        assert made.count(sign) == made.count(f"\\{sign}")


def test_long_reports_are_cut_between_sections():
    gates = [replace(GATE, test=f"tests/test_{'x' * 2000}.py::t{k}") for k in range(40)]
    whole = as_markdown(document(*gates))
    short = as_markdown(document(*gates), 100_000)
    assert len(short.encode()) <= 100_000 < len(whole.encode())
    assert "More was left out" in short
    assert short.count("<details>") == short.count("</details>")
    assert short.startswith("## Ensemble gates: ❌ FAIL")


@pytest.mark.parametrize("room", [0, 100, 500, 2000])
def test_the_summary_never_exceeds_its_limit(tmp_path, room):
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * (LIMIT - room))
    append(document(), path)
    append(document(), path)
    assert path.stat().st_size <= LIMIT


def test_the_summary_is_appended(tmp_path):
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    append(document(), path)
    assert path.read_text(encoding="utf-8") == "before\n\n" + as_markdown(document())
