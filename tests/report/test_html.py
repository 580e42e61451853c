"""The HTML report as text: what is in it, and its size. How it behaves is tested in a browser."""

import base64
import hashlib
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest

from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.report import html
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.html import as_html
from pytest_ensemble.report.images import difference, picture
from pytest_ensemble.report.layout import image_layout
from pytest_ensemble.report.words import headline, overall
from pytest_ensemble.report.write import write
from tests.report.examples import GATE, document
from tests.report.pages import SCRIPT, ensemble, large, page


def test_names_are_escaped_everywhere():
    text = as_html(page())
    assert SCRIPT not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\\u003cscript>alert(1)" in text  # in the data


def test_names_that_are_no_text_or_turn_it_around_are_shown_as_escapes(tmp_path):
    hostile = "m\udce9\u202e1\x00"
    found = Document.of(ensemble(names=(hostile, "m2")))
    for suffix in ("html", "md"):
        path = tmp_path / f"x.{suffix}"
        write(found, path)
        written = path.read_text(encoding="utf-8")
        assert not {"\u202e", "\x00"} & set(written)
        assert "m\\udce9\\u202e1\\x00" in written


def test_only_our_scripts_may_run():
    text = as_html(page())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.replace("style-src 'unsafe-inline'", "")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert re.findall("'sha256-([^']*)'", policy) == hashes
    assert len(hashes) == 3


def test_nothing_is_fetched():
    text = re.sub(r"<script>.*?</script>", "", as_html(page()), flags=re.DOTALL)
    links = re.findall(r"""(?:src|href)=["']([^"']*)""", text)
    assert all(link.startswith(("data:", "#")) for link in links)


def test_its_parts_come_in_this_order():
    text = as_html(page(shapes=((8, 8),)))
    names = re.findall(r"<h[12][^>]*>([^<]*)</h", text)
    assert [name.strip() for name in names] == [
        "The ensemble fails its gates",
        "Gates",
        "Who errs together",
        "Uniqueness of each member",
        "Mutual error against epsilon",
        "Inputs that fool two members at once",
        "Suggested swaps",
        "Where the time went",
        "How it was run",
    ]


def test_forty_networks_stay_below_two_megabytes():
    text = as_html(large(40))
    assert len(text.encode()) < 2_000_000
    assert "of 780 curves have steps at these epsilons only" in text


def test_large_images_are_few_and_said_to_be(monkeypatch):
    monkeypatch.setattr(html, "_IMAGES", 200_000)
    text = as_html(page(shapes=((3, 400, 400),)))
    assert re.search("[12] more are in the JSON report", text)
    urls = re.findall('src="(data:[^"]*)"', text)
    assert [pixels(url).shape for url in urls] == [(100, 100, 3)] * len(urls)  # whole, however long
    assert "every 4th row and column is shown" in text


def test_a_document_without_anything_can_be_drawn():
    assert "No gate was declared" in as_html(Document())


def test_a_document_of_before_curves_can_be_drawn():
    text = as_html(document())
    assert "m2 has a uniqueness of 0.884" in text
    assert "Mutual error against epsilon" in text


@pytest.mark.parametrize(
    ("verdicts", "whole", "start"),
    [
        ([Verdict.PASS], Verdict.PASS, "The gate holds. Closest"),
        ([Verdict.PASS, Verdict.PASS], Verdict.PASS, "All 2 gates hold. Closest"),
        ([Verdict.FAIL], Verdict.FAIL, "The gate fails: "),
        ([Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE], Verdict.FAIL, "1 of 3 gates fails: "),
        ([Verdict.PASS, Verdict.INCONCLUSIVE], Verdict.INCONCLUSIVE, "1 of 2 gates is undecided: "),
    ],
)
def test_the_verdict_in_a_sentence(verdicts, whole, start):
    gates = [replace(GATE, verdict=verdict, epsilon=0.02 + k) for k, verdict in enumerate(verdicts)]
    found = document(*gates)
    assert overall(found) is whole
    assert headline(found).startswith(start)


def test_gates_that_were_not_checked_are_said_to_be():
    gate = replace(GATE, ensemble=None, subject=None, verdict=Verdict.INCONCLUSIVE, low=0.0, high=1.0)
    found = Document.of([gate])
    assert "was not checked" in headline(found)
    assert "not checked" in as_html(found)


# --- pictures -------------------------------------------------------------------------------------


def pixels(url):
    """The pixels of our PNGs, shape (h, w, 3): no filter, 8 bit RGB."""
    data = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(data[k : k + 4], "big") for k in (16, 20))
    place = data.index(b"IDAT")
    size = int.from_bytes(data[place - 4 : place], "big")
    rows = np.frombuffer(zlib.decompress(data[place + 4 : place + 4 + size]), np.uint8)
    rows = rows.reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((28, 28), "HW"),
        ((1, 28, 28), "CHW"),
        ((3, 32, 32), "CHW"),
        ((32, 32, 3), "HWC"),
        ((8, 8), "HW"),
        ((28, 28, 1), "HWC"),
        ((64,), None),
        ((1, 64), None),
        ((3, 2, 2), None),
        ((2, 8, 8), None),
        ((2, 2, 8, 8), None),
    ],
)
def test_which_shapes_are_images(shape, layout):
    assert image_layout(shape) == layout


@pytest.mark.parametrize(("shape", "to_image"), [((3, 4, 5), (1, 2, 0)), ((4, 5, 3), (0, 1, 2))])
def test_pictures_hold_the_values(shape, to_image):
    x = np.random.default_rng(0).integers(0, 256, shape)
    assert (pixels(picture(x.ravel() / 255, shape, 0, 1)) == x.transpose(to_image)).all()


def test_large_images_are_thinned():
    assert pixels(picture(np.zeros(300 * 200), (300, 200), 0, 1)).shape == (100, 67, 3)


def test_changes_are_orange_and_purple():
    found = pixels(difference([0.1, -0.1, 0.0] + [0.0] * 13, (4, 4), 0.1))
    assert [tuple(map(int, found[0, k])) for k in range(3)] == [(179, 88, 6), (84, 39, 136), (247,) * 3]
