"""In which line each key of a TOML text stands; tomllib does not say."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

__all__ = ["Path", "lines_of"]

Path = tuple[str, ...]

# Of valid TOML: comments, the four kinds of strings, line ends, punctuation, anything else.
_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<string>\"{3}(?:\\.|[^\\])*?\"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')
    |(?P<end>\n)
    |(?P<mark>[\[\]{}=,.])
    |(?P<bare>[^\s\[\]{}=,.\#"']+)""",
    re.VERBOSE | re.DOTALL,
)


class _Tokens:
    """The tokens of a text with their lines, one looked at ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = self._scan(text)
        self.advance()

    def _scan(self, text: str) -> Iterator[tuple[str, str, int]]:
        line, start = 1, 0
        for match in _TOKEN.finditer(text):
            line += text.count("\n", start, match.start())
            start = match.start()
            if match.lastgroup != "comment":
                yield match.lastgroup or "", match.group(), line

    def advance(self) -> None:
        """Go to the next token; at the end `kind` is empty."""
        self.kind, self.text, self.line = next(self._tokens, ("", "", 0))


def lines_of(text: str) -> dict[Path, int]:
    """Path of every table and key -> the line, counted from 1, where it is first named.

    Args:
        text: valid TOML; tables in arrays have the path of their array.
    """
    found: dict[Path, int] = {}
    tokens = _Tokens(text)
    table: Path = ()
    while tokens.kind:
        if tokens.kind == "end":
            tokens.advance()
        elif tokens.text == "[":
            while tokens.text == "[":
                tokens.advance()
            table = _key(tokens, (), found)
            while tokens.text == "]":
                tokens.advance()
        else:
            _entry(tokens, table, found)
    return found


def _key(tokens: _Tokens, table: Path, found: dict[Path, int]) -> Path:
    """Read a dotted key; all of its parts are found here, if not before."""
    path = table
    while tokens.kind in ("bare", "string") or tokens.text == ".":
        if tokens.text != ".":
            path = (*path, _unquoted(tokens.text))
            found.setdefault(path, tokens.line)
        tokens.advance()
    return path


def _unquoted(text: str) -> str:
    """The name that a bare or quoted key stands for."""
    return next(iter(tomllib.loads(f"{text} = 0")))


def _entry(tokens: _Tokens, table: Path, found: dict[Path, int]) -> None:
    """Read `key = value`."""
    path = _key(tokens, table, found)
    tokens.advance()  # =
    _value(tokens, path, found)
    while tokens.kind in ("bare", "string") or tokens.text == ".":  # the rest of a number or a date
        tokens.advance()


def _value(tokens: _Tokens, path: Path, found: dict[Path, int]) -> None:
    """Read a value: what stands in inline tables has a place, too."""
    closing = {"[": "]", "{": "}"}.get(tokens.text if tokens.kind == "mark" else "")
    inline = tokens.text == "{"
    tokens.advance()
    while closing and tokens.kind and not (tokens.kind == "mark" and tokens.text == closing):
        if tokens.kind == "mark" and tokens.text in "[{":
            _value(tokens, path, found)
        elif inline and tokens.kind in ("bare", "string"):
            _entry(tokens, path, found)
        else:
            tokens.advance()
    if closing:
        tokens.advance()
