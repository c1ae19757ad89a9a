"""The grammar of header fields, and the checks of the ones that a program adds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.protocol.fields import (
    check_fields,
    check_subprotocols,
    field_values,
    is_token,
    split_list,
    values_by_name,
)
from syncws.protocol.headers import Headers


@pytest.mark.parametrize("text", ["a", "chat.v2", "!#$%&'*+-.^_`|~09azAZ"])
def test_tokens(text: str) -> None:
    assert is_token(text)


@pytest.mark.parametrize("text", ["", "a b", "a,b", "a\n", '"a"', "a;b", "a/b", "a=b", "ä", "a\x7f", "(a)", "a\x00"])
def test_not_tokens(text: str) -> None:
    assert not is_token(text)


@pytest.mark.parametrize(
    ("values", "elements"),
    [
        ([], []),
        ([""], []),
        (["a"], ["a"]),
        (["a,b"], ["a", "b"]),
        ([" a ,\tb\t"], ["a", "b"]),
        (["a", "b, c"], ["a", "b", "c"]),
        ([",, a,,", " , ", "b,"], ["a", "b"]),
        (["keep alive"], ["keep alive"]),
    ],
)
def test_lists(values: list[str], elements: list[str]) -> None:
    assert split_list(values) == elements


@given(st.lists(st.text(alphabet="ab, \t")))
def test_elements_are_never_empty(values: list[str]) -> None:
    for element in split_list(values):
        assert element and element == element.strip(" \t") and "," not in element


def test_whitespace_around_a_value_does_not_belong_to_it() -> None:
    headers = Headers([("Origin", " a b\t"), ("Host", "x"), ("origin", "\xa0c")])
    assert field_values(headers, "Origin") == ["a b", "\xa0c"]
    assert field_values(headers, "Cookie") == []
    assert values_by_name(headers) == {name.lower(): field_values(headers, name) for name in headers}


PAIRS = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]


@pytest.mark.parametrize(
    ("fields", "checked"),
    [
        ((), []),
        ({}, []),
        ({"X-Name": "value"}, [("X-Name", "value")]),
        (PAIRS, PAIRS),
        (iter(PAIRS), PAIRS),
        ([["X-Name", "tab\tand ü"]], [("X-Name", "tab\tand ü")]),
        (Headers(PAIRS), PAIRS),
        ([("X-Empty", "")], [("X-Empty", "")]),
    ],
)
def test_fields_that_may_be_added(fields: object, checked: list[tuple[str, str]]) -> None:
    assert check_fields(fields) == checked  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", ["Cookie: a=1", b"Cookie", [("a", "b", "c")], ["ab"], [("a",)], [None]])
def test_fields_that_are_not_pairs(fields: object) -> None:
    with pytest.raises(TypeError, match="must be a mapping or pairs of name and value"):
        check_fields(fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{"X-Count": 1}, {b"X-Name": "value"}, [("X-Name", None)]])
def test_names_and_values_that_are_not_str(fields: object) -> None:
    with pytest.raises(TypeError, match="name and value of a header must be str"):
        check_fields(fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "X Name", "X-Name:", "X-Näme", "X\r\nY"])
def test_names_that_are_not_tokens(name: str) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        check_fields({name: "value"})


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\x0b", "\x7f", "€"])
def test_values_that_cannot_be_sent(character: str) -> None:
    with pytest.raises(ValueError, match=r"header X-Name has the character .* at index 2 of its value"):
        check_fields({"X-Name": f"ab{character}c"})


@pytest.mark.parametrize(
    ("name", "help_text"),
    [
        ("Host", "it comes from the URI"),
        ("upgrade", "the opening handshake writes it"),
        ("CONNECTION", "the opening handshake writes it"),
        ("Sec-WebSocket-Key", "the opening handshake writes it"),
        ("Sec-WebSocket-Version", "the opening handshake writes it"),
        ("Sec-WebSocket-Accept", "the opening handshake writes it"),
        ("Sec-WebSocket-Protocol", "use the option subprotocols"),
        ("Sec-WebSocket-Extensions", "use the option compression"),
        ("Content-Length", "the opening handshake has no body"),
        ("Transfer-Encoding", "the opening handshake has no body"),
    ],
)
def test_fields_of_the_handshake_itself(name: str, help_text: str) -> None:
    with pytest.raises(ValueError, match=f"header {name} cannot be set by hand: {help_text}"):
        check_fields([(name, "x")])


@pytest.mark.parametrize("subprotocols", [[], ["chat"], ("chat", "chat.v2"), iter(["chat", "Chat"])])
def test_subprotocols(subprotocols: object) -> None:
    checked = check_subprotocols(subprotocols)  # type: ignore[arg-type]
    assert isinstance(checked, tuple)
    assert check_subprotocols(checked) == checked


@pytest.mark.parametrize(
    ("subprotocols", "error", "message"),
    [
        ("chat", TypeError, r"must be a sequence of str; write \['chat'\] for a single one"),
        (b"chat", TypeError, "must be a sequence of str"),
        ([b"chat"], TypeError, "must be a str, not bytes"),
        (["chat room"], ValueError, "'chat room' is not a token"),
        ([""], ValueError, "'' is not a token"),
        (["a", "b", "a"], ValueError, "'a' occurs twice"),
    ],
)
def test_subprotocols_that_cannot_be(subprotocols: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_subprotocols(subprotocols)  # type: ignore[arg-type]
