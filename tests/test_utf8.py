"""UTF-8 in pieces: every cut gives the same text, and a wrong byte is an error as soon as it arrives."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.errors import ProtocolError
from syncws.protocol.utf8 import Utf8Decoder, decode

# The first wrong byte of each is its last one; what is in front of it could still become UTF-8.
WRONG = [
    "80",  # a continuation byte that continues nothing
    "bf",
    "c0",  # overlong, whatever follows
    "c1",
    "f5",  # over U+10FFFF, whatever follows
    "ff",
    "c241",  # cut off by ASCII
    "e241",
    "e28241",
    "f09f9841",
    "e080",  # overlong
    "e09f",
    "f080",
    "f08f",
    "eda0",  # the surrogates, U+D800 to U+DFFF
    "edbf",
    "f490",  # over U+10FFFF
    "f4bf",
    # The Autobahn Testsuite's: a text, then a code point over U+10FFFF.
    "cebae1bdb9cf83cebcceb5f490",
]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("before", ["", "a", "é€😀"])
def test_a_wrong_byte_is_an_error_as_soon_as_it_arrives(before: str, wrong: str) -> None:
    data = before.encode() + bytes.fromhex(wrong)
    decoder = Utf8Decoder()
    for byte in data[:-1]:
        decoder.decode(bytes([byte]), last=False)
    with pytest.raises(
        ProtocolError, match=r"^text message is not UTF-8: .* 0x[0-9A-F]{2} \(RFC 6455, 8\.1\)$"
    ) as caught:
        decoder.decode(data[-1:], last=False)
    assert caught.value.close_code == 1007
    for whole in (lambda: Utf8Decoder().decode(data, last=False), lambda: decode(data), lambda: decode(data + b"\x80")):
        with pytest.raises(ProtocolError, match="not UTF-8") as caught:
            whole()
        assert caught.value.close_code == 1007


@pytest.mark.parametrize("wrong", WRONG)
def test_the_wrong_byte_is_named_however_the_text_is_cut(wrong: str) -> None:
    data = bytes.fromhex(wrong)
    for pieces in ([data], [data[:-1], data[-1:]], [data + b"a"]):
        decoder = Utf8Decoder()
        with pytest.raises(ProtocolError, match=rf" byte 0x{data[-1]:02X} \(RFC 6455, 8\.1\)$"):
            for piece in pieces:
                decoder.decode(piece, last=False)


@pytest.mark.parametrize(
    "character", ["\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"]
)
def test_the_boundaries_of_the_code_points(character: str) -> None:
    data = character.encode()
    assert decode(data) == character
    decoder = Utf8Decoder()
    pieces = [decoder.decode(data[i : i + 1], last=i == len(data) - 1) for i in range(len(data))]
    assert pieces == [""] * (len(data) - 1) + [character]


@pytest.mark.parametrize("data", ["c2", "e2", "e282", "ed", "f0", "f09f", "f09f98", "f48f", "61c3"])
def test_a_text_must_not_end_within_a_character(data: str) -> None:
    encoded = bytes.fromhex(data)
    with pytest.raises(ProtocolError, match="unexpected end of data") as caught:
        decode(encoded)
    assert caught.value.close_code == 1007
    decoder = Utf8Decoder()
    decoder.decode(encoded, last=False)
    with pytest.raises(ProtocolError, match="unexpected end of data") as caught:
        decoder.decode(b"", last=True)
    assert caught.value.close_code == 1007


def test_a_text_without_content() -> None:
    assert decode(b"") == ""
    assert Utf8Decoder().decode(b"", last=True) == ""


@given(st.text(), st.lists(st.integers(min_value=0, max_value=60)))
def test_a_text_that_is_cut_anywhere_comes_out_the_same(text: str, cuts: list[int]) -> None:
    data = text.encode()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    decoder = Utf8Decoder()
    pieces = [decoder.decode(data[i:j], last=False) for i, j in itertools.pairwise(places)]
    assert "".join(pieces) + decoder.decode(b"", last=True) == text


@given(st.lists(st.binary(max_size=8)))
def test_a_decoder_accepts_what_python_accepts(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    decoder = Utf8Decoder()
    try:
        text: str | None = data.decode()
    except UnicodeDecodeError:
        text = None
    try:
        decoded = [decoder.decode(piece, last=False) for piece in pieces]
        result: str | None = "".join(decoded) + decoder.decode(b"", last=True)
    except ProtocolError as error:
        assert error.close_code == 1007
        result = None
    assert result == text
