"""Lines of keys, in random TOML written in every style that TOML has."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ensemble.gatefile.positions import lines_of

KEYS = st.sampled_from(["a", "b-c", "0", "02", "x y", "é", 'q"q', "#", "a.b", "[z]", ""])
LEAVES = st.sampled_from(
    [
        "1",
        "-1.5e-3",
        "inf",
        "true",
        "1979-05-27 07:32:00",
        "1979-05-27T00:32:00.99-07:00",
        '"x = 1 # no"',
        "'C:\\'",
        '"\\""',
        '"""\na = 1\n[no]\n""""',
        "'''\nb = {\n''''",
        "[1, 2.5, # no = 1\n  {a = 1}, [\n'x']]",
        "[]",
        '"""one\\"\n"""',
    ]
)
TABLES = st.recursive(
    st.dictionaries(KEYS, LEAVES, max_size=3),
    lambda inner: st.dictionaries(KEYS, LEAVES | inner, max_size=3),
    max_leaves=8,
)


def written(key):
    """A key as TOML: bare where that is possible."""
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else json.dumps(key, ensure_ascii=False)


class Writer:
    """Writes tables and notes the line of each key."""

    def __init__(self, choose):
        self.text, self.lines, self.choose = "", {}, choose

    def note(self, path):
        for k in range(1, len(path) + 1):
            self.lines.setdefault(path[:k], self.text.count("\n") + 1)

    def inline(self, table, path):
        self.text += "{"
        for k, (key, value) in enumerate(table.items()):
            self.text += ", " if k else " "
            self.note((*path, key))
            self.text += f"{written(key)} = "
            self.value(value, (*path, key))
        self.text += "}"

    def value(self, value, path):
        if not isinstance(value, dict):
            self.text += value
        else:
            self.inline(value, path)

    def table(self, table, path):
        """Leaves first, dotted or inline or with a header of their own."""
        later = []
        for key, value in table.items():
            own = (*path, key)
            if isinstance(value, dict) and value and self.choose(["header", "inline"]) == "header":
                later.append((own, value))
                continue
            if isinstance(value, dict) and len(value) == 1 and self.choose([True, False]):  # dotted
                ((inner, leaf),) = value.items()
                if not isinstance(leaf, dict):
                    self.note((*own, inner))
                    self.text += f"{written(key)} . {written(inner)}= {leaf}\n"
                    continue
            self.note(own)
            self.text += f"{written(key)} = "
            self.value(value, own)
            self.text += self.choose(["\n", " # x = 1\n", "\n\n"])
        for own, value in later:
            self.note(own)
            self.text += f"[{'.'.join(map(written, own))}]\n"
            self.table(value, own)


def paths(value, path=()):
    for key, part in value.items():
        yield (*path, key)
        if isinstance(part, dict):
            yield from paths(part, (*path, key))


@given(TABLES, st.data())
def test_every_key_has_the_line_where_it_is_written(table, data):
    writer = Writer(lambda options: data.draw(st.sampled_from(options)))
    writer.table(table, ())
    content = tomllib.loads(writer.text)
    found = lines_of(writer.text)
    assert set(paths(content)) <= set(found)
    assert {path: found[path] for path in writer.lines} == writer.lines


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("\n[[a]]\nb = 1\n[[a]]\nb = 2\nc = 3", ("a", "c"), 6),
        ("a.b.c = 1\na.b.d = 2", ("a", "b", "d"), 2),
        ('x = 1 # "\n y = 2', ("y",), 2),
        ("a = [\n {b = 1},\n {c = {d = 1}}]\ne = 1", ("a", "c", "d"), 3),
        ("a = [\n {b = 1},\n {c = {d = 1}}]\ne = 1", ("e",), 4),
    ],
)
def test_places(text, path, line):
    tomllib.loads(text)
    assert lines_of(text)[path] == line
