"""Messages as text to look at."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.console.formats import DEEPEST, LONGEST, hex_dump, pretty_json, size_of


@pytest.mark.parametrize(
    "text, shown",
    [
        ("{}", "{}"),
        (" [ ] ", "[]"),
        ('{"a":1}', '{\n  "a": 1\n}'),
        ('{"a": [1 ,2],"b" :{"c":null}}', '{\n  "a": [\n    1,\n    2\n  ],\n  "b": {\n    "c": null\n  }\n}'),
        ('[{},[],"{,}"]', '[\n  {},\n  [],\n  "{,}"\n]'),
        (r'["\"]", "\\"]', '[\n  "\\"]",\n  "\\\\"\n]'),
    ],
)
def test_json_has_one_member_in_a_line(text: str, shown: str) -> None:
    assert pretty_json(text) == shown


@pytest.mark.parametrize(
    "text", ['{"a":1.50,"a":1e400}', "[12345678901234567890.0]", f"[{10_000 * '9'}]", '["\\u00e9é"]']
)
def test_json_is_shown_as_it_came(text: str) -> None:
    shown = pretty_json(text)
    assert shown is not None
    assert "".join(shown.split()) == text


@pytest.mark.parametrize(
    "text", ["", "12", '"text"', "null", "[", '{"a"}', "[NaN]", "[1] [2]", 100_000 * "[", '["\x00"]']
)
def test_other_text_is_not_touched(text: str) -> None:
    assert pretty_json(text) is None


@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a":', "}")])
def test_json_of_many_levels_is_not_laid_out(opening: str, closing: str) -> None:
    assert pretty_json(DEEPEST * opening + "1" + DEEPEST * closing) is not None
    assert pretty_json((DEEPEST + 1) * opening + "1" + (DEEPEST + 1) * closing) is None
    # What closes in between does not count.
    assert pretty_json("[" + ",".join(100 * [f"{opening}1{closing}"]) + "]") is not None


def test_json_that_would_become_too_long_is_not_laid_out() -> None:
    # An element, a comma and "\n  " are five characters; "[", "\n" and "]" and the missing comma are two more.
    count = (LONGEST - 2) // 5
    shown = pretty_json("[" + ",".join(count * ["1"]) + "]")
    assert shown is not None
    assert LONGEST - 5 < len(shown) <= LONGEST
    assert pretty_json("[" + ",".join((count + 1) * ["1"]) + "]") is None


def test_layout_cannot_be_made_to_take_all_memory() -> None:
    text = DEEPEST * "[" + ",".join(120_000 * ["1"]) + DEEPEST * "]"
    tracemalloc.start()
    try:
        assert pretty_json(text) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * len(text)


values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(values) | st.dictionaries(st.text(), values), st.booleans())
def test_what_json_says_is_not_changed(value: object, ascii: bool) -> None:
    shown = pretty_json(json.dumps(value, ensure_ascii=ascii))
    assert shown == json.dumps(value, ensure_ascii=ascii, indent=2)


def test_dump() -> None:
    assert hex_dump(b"\x00A\x7f") == "00000000  00 41 7f                                         .A."
    lines = hex_dump(bytes(range(256))).splitlines()
    assert len(lines) == 16
    assert lines[4] == "00000040  40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  @ABCDEFGHIJKLMNO"


@pytest.mark.parametrize("size, rest", [(257, "1 byte"), (1256, "1000 bytes")])
def test_dump_of_many_bytes_is_cut(size: int, rest: str) -> None:
    lines = hex_dump(bytes(size)).splitlines()
    assert len(lines) == 17
    assert lines[-1] == f"… and {rest} more"


def test_sizes() -> None:
    assert [size_of(bytes(size)) for size in range(3)] == ["0 bytes", "1 byte", "2 bytes"]
