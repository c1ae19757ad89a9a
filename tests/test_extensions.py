"""syncws.protocol.extensions: every form the grammar allows, everything it does not, and nothing but HandshakeError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.errors import HandshakeError
from syncws.protocol.extensions import Extension, parse_extensions

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_no_header_field_is_no_extension() -> None:
    assert parse_extensions([]) == []


@pytest.mark.parametrize(
    ("value", "extensions"),
    [
        ("a", [Extension("a")]),
        ("a,b", [Extension("a"), Extension("b")]),
        ("a;x", [Extension("a", (("x", None),))]),
        ("a;x=1;y", [Extension("a", (("x", "1"), ("y", None)))]),
        ("a;x=1;x=2", [Extension("a", (("x", "1"), ("x", "2")))]),
        (" \ta ; x = 1\t; y\t, b ", [Extension("a", (("x", "1"), ("y", None))), Extension("b")]),
        (", ,a,, ,b, ,", [Extension("a"), Extension("b")]),
        ('a;x="1"', [Extension("a", (("x", "1"),))]),
        (r'a; x = "\1\2" ; y="z"', [Extension("a", (("x", "12"), ("y", "z")))]),
        (TOKEN_CHARACTERS, [Extension(TOKEN_CHARACTERS)]),
        (f'a;x="{TOKEN_CHARACTERS}"', [Extension("a", (("x", TOKEN_CHARACTERS),))]),
    ],
)
def test_grammar(value: str, extensions: list[Extension]) -> None:
    assert parse_extensions([value]) == extensions


def test_several_fields_are_one_list() -> None:
    assert parse_extensions(["a, b;x", "c"]) == [Extension("a"), Extension("b", (("x", None),)), Extension("c")]


@pytest.mark.parametrize(
    "value",
    [
        "a b",
        "a;",
        "a;;x",
        "a;x=",
        "a;x=;y",
        "a;=1",
        "a;x=1 2",
        "a=1",
        ";x",
        "a/b",
        "a;x=(1)",
        'a;x="1',
        'a;x="1"2',
        'a;x="1\\',
        # RFC 6455, 9.1: a quoted value must be a token too.
        'a;x=""',
        'a;x="1 2"',
        'a;x="1,2"',
        r'a;x="\""',
        '"a"',
        "ä",
        "a\x00",
        "a\n",
    ],
)
def test_malformed(value: str) -> None:
    for values in ([value], ["b", value], [f"b, {value}"]):
        with pytest.raises(HandshakeError, match=r"^Sec-WebSocket-Extensions is malformed at .*6455, 9\.1") as caught:
            parse_extensions(values)
        assert caught.value.status == 400


def test_error_quotes_the_place_and_little_more() -> None:
    with pytest.raises(HandshakeError) as caught:
        parse_extensions(["good; x, bad bad" + "d" * 10_000])
    assert "malformed at 'bad" in str(caught.value)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("value", ["", " \t", ",", " , ,"])
def test_a_field_lists_at_least_one(value: str) -> None:
    with pytest.raises(HandshakeError, match="lists no extension"):
        parse_extensions(["a", value])


@pytest.mark.parametrize(
    "value", [" " * 100_000 + "\x00", "a" + ";x" * 100_000 + '="' + '\\"' * 100_000, "a;x" + ",b;y" * 100_000 + " z"]
)
def test_long_values_take_linear_time(value: str) -> None:
    # Quadratic time would be minutes here, beyond the test's time limit.
    with pytest.raises(HandshakeError):
        parse_extensions([value])


tokens = st.text(TOKEN_CHARACTERS, min_size=1, max_size=8)
extension_lists = st.lists(
    st.builds(Extension, tokens, st.lists(st.tuples(tokens, st.none() | tokens), max_size=4).map(tuple)),
    min_size=1,
    max_size=4,
)


@given(extension_lists)
def test_what_str_writes_is_read_as_the_same(extensions: list[Extension]) -> None:
    assert parse_extensions([", ".join(map(str, extensions))]) == extensions
    assert parse_extensions(map(str, extensions)) == extensions


@given(st.text(' \t,;="\\ax1\x00é') | st.text())
def test_any_text_is_extensions_or_a_handshake_error(value: str) -> None:
    try:
        extensions = parse_extensions([value])
    except HandshakeError:
        return
    assert parse_extensions(map(str, extensions)) == extensions
