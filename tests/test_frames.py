"""Frames and close payloads against the RFC's examples, at every boundary of the length encoding."""

from __future__ import annotations

import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.errors import ProtocolError
from syncws.protocol.codes import BINARY, CONTINUATION, PING, PONG, TEXT
from syncws.protocol.frames import MAX_REASON, close_payload, data_payload, encode_frame, frame_header, parse_close

KEY = bytes.fromhex("37fa213d")


@pytest.mark.parametrize(
    ("frame", "wire"),
    [
        (encode_frame(TEXT, b"Hello"), "8105 48656c6c6f"),
        (encode_frame(TEXT, b"Hello", key=KEY), "8185 37fa213d 7f9f4d5158"),
        (encode_frame(TEXT, b"Hel", fin=False), "0103 48656c"),
        (encode_frame(CONTINUATION, b"lo"), "8002 6c6f"),
        (encode_frame(PING, b"Hello"), "8905 48656c6c6f"),
        (encode_frame(PONG, b"Hello", key=KEY), "8a85 37fa213d 7f9f4d5158"),
        (frame_header(BINARY, 256), "827e0100"),
        (frame_header(BINARY, 65536), "827f0000000000010000"),
        # RFC 7692, 7.2.3.1: "Hello", compressed.
        (encode_frame(TEXT, bytes.fromhex("f248cdc9c90700"), rsv1=True), "c107 f248cdc9c90700"),
    ],
)
def test_the_examples_of_the_rfcs(frame: bytes, wire: str) -> None:
    assert frame == bytes.fromhex(wire)


@pytest.mark.parametrize(
    ("size", "length"),
    [
        (0, "00"),
        (1, "01"),
        (125, "7d"),
        (126, "7e007e"),
        (127, "7e007f"),
        (65535, "7effff"),
        (65536, "7f0000000000010000"),
        (65537, "7f0000000000010001"),
        (2**63 - 1, "7f7fffffffffffffff"),
    ],
)
def test_the_length_takes_as_few_bytes_as_it_can(size: int, length: str) -> None:
    encoded = bytes.fromhex(length)
    assert frame_header(BINARY, size) == b"\x82" + encoded
    masked = bytes([encoded[0] | 0x80]) + encoded[1:]
    assert frame_header(BINARY, size, key=KEY) == b"\x82" + masked + KEY


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_frame_is_its_header_and_its_payload(size: int) -> None:
    payload = bytes(index % 251 for index in range(size))
    assert encode_frame(BINARY, payload) == frame_header(BINARY, size) + payload
    header = frame_header(BINARY, size, key=KEY)
    frame = encode_frame(BINARY, payload, key=KEY)
    assert frame.startswith(header)
    assert bytes(octet ^ KEY[index % 4] for index, octet in enumerate(frame[len(header) :])) == payload


def test_a_close_payload_is_code_and_reason() -> None:
    assert close_payload(1000) == b"\x03\xe8"
    assert close_payload(4999, "bye €") == b"\x13\x87bye \xe2\x82\xac"


def test_a_close_reason_has_a_limit_in_bytes() -> None:
    assert len(close_payload(1000, "x" * MAX_REASON)) == 125
    assert len(close_payload(1000, "€" * 41)) == 125
    with pytest.raises(ValueError, match="is 124 bytes in UTF-8; the limit is 123"):
        close_payload(1000, "x" * 124)
    with pytest.raises(ValueError, match="is 126 bytes in UTF-8; the limit is 123"):
        close_payload(1000, "€" * 42)


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 2**70])
def test_a_close_code_that_must_not_be_sent(code: int) -> None:
    with pytest.raises(ValueError, match=rf"close code {code} must not be sent .* use 1000"):
        close_payload(code)


@pytest.mark.parametrize(("code", "name"), [("1000", "str"), (1000.0, "float"), (True, "bool"), (None, "NoneType")])
def test_a_close_code_of_another_type(code: object, name: str) -> None:
    with pytest.raises(TypeError, match=f"close code must be an int, not {name}"):
        close_payload(code)  # type: ignore[arg-type]


@pytest.mark.parametrize(("reason", "name"), [(b"bye", "bytes"), (None, "NoneType")])
def test_a_close_reason_of_another_type(reason: object, name: str) -> None:
    with pytest.raises(TypeError, match=f"close reason must be a str, not {name}"):
        close_payload(1000, reason)  # type: ignore[arg-type]


def test_a_close_reason_that_utf_8_cannot_carry() -> None:
    with pytest.raises(ValueError, match="cannot be encoded as UTF-8: surrogates not allowed at index 2"):
        close_payload(1000, "ab\ud800")


def test_parsing_a_close_frame_without_a_payload() -> None:
    assert parse_close(b"") == (1005, "")


def test_parsing_a_close_payload() -> None:
    assert parse_close(b"\x03\xe8") == (1000, "")
    assert parse_close(b"\x0f\xa0bye \xe2\x82\xac") == (4000, "bye €")


def test_a_close_payload_of_one_byte_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="payload of 1 byte") as caught:
        parse_close(b"\x03")
    assert caught.value.close_code == 1002


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_a_received_close_code_that_must_not_be_sent(code: int) -> None:
    with pytest.raises(ProtocolError, match=f"code {code}, which must not be sent") as caught:
        parse_close(code.to_bytes(2, "big") + b"reason")
    assert caught.value.close_code == 1002


@pytest.mark.parametrize(("reason", "position"), [(b"\xff", 0), (b"ok\xed\xa0\x80", 2), (b"cut\xe2\x82", 3)])
def test_a_received_close_reason_that_is_not_utf_8(reason: bytes, position: int) -> None:
    with pytest.raises(ProtocolError, match=f"not UTF-8: .* at byte {position}") as caught:
        parse_close(b"\x03\xe8" + reason)
    assert caught.value.close_code == 1007


@given(st.sampled_from([1000, 1001, 1014, 3000, 4999]), st.text(max_size=30))
def test_what_is_sent_is_what_is_received(code: int, reason: str) -> None:
    assert parse_close(close_payload(code, reason)) == (code, reason)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("", (TEXT, b"")),
        ("Hellö €", (TEXT, b"Hell\xc3\xb6 \xe2\x82\xac")),
        (b"", (BINARY, b"")),
        (b"abc", (BINARY, b"abc")),
        (bytearray(b"abc"), (BINARY, b"abc")),
        (memoryview(b"abcdef")[::2], (BINARY, b"ace")),
        (array.array("H", [0x0101, 0x0202]), (BINARY, b"\x01\x01\x02\x02")),
    ],
)
def test_text_and_binary_data(data: bytes | str, expected: tuple[int, bytes]) -> None:
    assert data_payload(data) == expected


def test_bytes_of_a_class_of_their_own_are_sent_as_bytes() -> None:
    class Bytes(bytes):
        pass

    assert data_payload(Bytes(b"abc")) == (BINARY, b"abc")
    assert type(data_payload(Bytes(b"abc"))[1]) is bytes


def test_a_payload_does_not_change_with_the_data() -> None:
    data = bytearray(b"abc")
    payload = data_payload(data)[1]
    data[:] = b"xyz"
    assert payload == b"abc"


@pytest.mark.parametrize(("data", "name"), [(None, "NoneType"), (5, "int"), (["a"], "list"), ({}, "dict")])
def test_data_of_another_type(data: object, name: str) -> None:
    with pytest.raises(TypeError, match=rf"must be str \(text\) or bytes-like \(binary\), not {name}"):
        data_payload(data)  # type: ignore[arg-type]


def test_text_that_utf_8_cannot_carry() -> None:
    with pytest.raises(ValueError, match=r"surrogates not allowed at index 2, '\\ud800'"):
        data_payload("ab\ud800")
