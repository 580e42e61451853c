"""Names in messages: what is escaped, and what stays as it is."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ensemble.errors import DataError, ModelError, printable, quoted, reason


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("m1", "m1"),
        ("é 日本 ä̈ 🙂", "é 日本 ä̈ 🙂"),
        ("[red]<script>", "[red]<script>"),
        ("a::b # c", "a::b # c"),
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\r\tc\x00", r"a\nb\r\tc\x00"),
        ("\u202eabc\u200b\ufeff", r"\u202eabc\u200b\ufeff"),
        ("caf\udce9", r"caf\udce9"),
        ("::error::x", r"\x3a:error::x"),
        ("  ::error::x", r"  \x3a:error::x"),
        ("x ##[group]###", r"x \x23#[group]\x23\x23#"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_whatever_is_given_is_one_harmless_line(text):
    shown = printable(text)
    assert shown.isprintable()
    assert "##" not in shown
    assert not shown.lstrip().startswith("::")
    shown.encode()
    assert printable(shown) == shown


def test_long_texts_keep_their_ends():
    shown = printable("a" * 10**6 + "b" * 10**6)
    assert len(shown) < 4100
    assert shown.startswith("aaa")
    assert shown.endswith("bbb")
    assert len(quoted("\x1b" * 10**6)) < 120


def test_all_errors_are_printable():
    error = ModelError("models/\x1b[2J.onnx: can't be read")
    assert str(error) == r"models/\x1b[2J.onnx: can't be read"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_reasons_of_others_are_one_line():
    assert reason(ValueError("one\n  two\x1b")) == r"one two\x1b"
    assert reason(DataError()) == "DataError"
