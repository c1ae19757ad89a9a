"""Masking against the RFC's example and against its definition, octet by octet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.protocol.mask import apply_mask

KEY = bytes.fromhex("37fa213d")


def octet_by_octet(data: bytes, key: bytes, offset: int) -> bytes:
    """RFC 6455, 5.3, as it is written there."""
    return bytes(octet ^ key[(index + offset) % 4] for index, octet in enumerate(data))


def test_the_example_of_the_rfc() -> None:
    # RFC 6455, 5.7: a single-frame masked text message.
    assert apply_mask(b"Hello", KEY) == bytes.fromhex("7f9f4d5158")
    assert apply_mask(bytes.fromhex("7f9f4d5158"), KEY) == b"Hello"


@pytest.mark.parametrize("offset", range(9))
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 125, 126, 127, 65535, 65536])
def test_every_alignment(size: int, offset: int) -> None:
    data = bytes(index * 7 % 256 for index in range(size))
    assert apply_mask(data, KEY, offset) == octet_by_octet(data, KEY, offset)


@pytest.mark.parametrize("key", [bytes(4), b"\xff\xff\xff\xff", b"\x00\x00\x00\x01", b"\x01\x00\x00\x00"])
def test_keys_and_payloads_with_zeros_at_either_end(key: bytes) -> None:
    for data in (bytes(9), b"\x00\x00\x01\x00\x00", b"\xff" * 6):
        assert apply_mask(data, key) == octet_by_octet(data, key, 0)


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4), st.integers(min_value=0, max_value=2**63))
def test_it_is_the_definition(data: bytes, key: bytes, offset: int) -> None:
    assert apply_mask(data, key, offset) == octet_by_octet(data, key, offset)


@given(st.lists(st.binary(max_size=20)), st.binary(min_size=4, max_size=4))
def test_pieces_are_masked_like_the_whole(pieces: list[bytes], key: bytes) -> None:
    masked = b""
    for piece in pieces:
        masked += apply_mask(piece, key, len(masked))
    assert masked == apply_mask(b"".join(pieces), key)
