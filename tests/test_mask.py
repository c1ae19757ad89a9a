"""Masking against the RFC's example and against its definition, octet by octet."""

from __future__ import annotations

import importlib
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import syncws
from syncws.protocol import _mask_pure
from syncws.protocol.mask import apply_mask, masked_slice

KEY = bytes.fromhex("37fa213d")
# Both, where both are: mask.py offers the compiled one then.
IMPLEMENTATIONS = [_mask_pure, importlib.import_module("syncws.protocol._mask")] if syncws.compiled else [_mask_pure]
each_implementation = pytest.mark.parametrize("module", IMPLEMENTATIONS, ids=lambda module: module.__name__)


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


@each_implementation
@pytest.mark.parametrize("offset", range(4))
def test_every_size_and_every_alignment(module: ModuleType, offset: int) -> None:
    """A word is 8 bytes, four of them are a step: all that is left over at either end, at any address."""
    buffer = bytes(index * 37 % 256 for index in range(150))
    for start in range(17):
        for size in range(len(buffer) - start):
            expected = octet_by_octet(buffer[start : start + size], KEY, offset)
            assert module.masked_slice(buffer, start, start + size, KEY, offset) == expected, (start, size)
    for size in range(1000, 1050):  # where plain Python changes its way
        data = bytes(index * 7 % 256 for index in range(size))
        assert module.apply_mask(data, KEY, offset) == octet_by_octet(data, KEY, offset), size


@each_implementation
def test_what_is_masked_stays_as_it_was(module: ModuleType) -> None:
    data = bytes(range(256)) * 8
    for end in (0, 1, 2, 8, 2048):
        masked = module.masked_slice(data, 0, end, KEY, 0)
        assert module.unmasked(b"head" + KEY + masked + b"tail", 8, 8 + end) == data[:end]
        assert module.masked_slice(masked, 0, end, KEY, 0) == data[:end]
        assert data == bytes(range(256)) * 8
    assert module.apply_mask(b"\x00", b"\x80\x00\x00\x00") == b"\x80"


@each_implementation
@given(
    st.binary(max_size=3000),
    st.integers(0, 3000),
    st.integers(0, 3000),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 2**63),
)
def test_a_slice_is_masked_like_the_piece(
    module: ModuleType, data: bytes, start: int, end: int, key: bytes, offset: int
) -> None:
    start, end = sorted((min(start, len(data)), min(end, len(data))))
    expected = octet_by_octet(data[start:end], key, offset)
    assert module.masked_slice(data, start, end, key, offset & 3) == expected
    assert module.apply_mask(data[start:end], key, offset) == expected
    assert masked_slice(data, start, end, key, offset & 3) == apply_mask(data[start:end], key, offset) == expected


@each_implementation
def test_no_payload_needs_no_whole_key(module: ModuleType) -> None:
    assert module.apply_mask(b"", b"\x01") == b""
    assert module.masked_slice(b"abc", 3, 3, b"", 0) == b""
    assert module.unmasked(b"keyed", 5, 5) == b""


@pytest.mark.skipif(not syncws.compiled, reason="plain Python checks its bounds itself")
def test_the_compiled_one_never_reads_beyond() -> None:
    module = IMPLEMENTATIONS[-1]
    for start, end in ((-1, 2), (0, 4), (2, 1), (4, 5), (0, 2**62)):
        with pytest.raises(IndexError, match=f"^octets {start} to {end} of 3 cannot be masked$"):
            module.masked_slice(b"abc", start, end, KEY, 0)
    for key in (b"", b"abc", b"abcde"):
        with pytest.raises(ValueError, match=f"^a masking key has 4 bytes, not {len(key)}$"):
            module.masked_slice(b"abc", 0, 3, key, 0)
    for arguments in ((None, KEY), (b"abc", None), (bytearray(b"abc"), KEY)):
        with pytest.raises(TypeError):
            module.apply_mask(*arguments)
    with pytest.raises(TypeError):
        module.masked_slice(None, 0, 0, KEY, 0)


@each_implementation
@given(st.lists(st.binary(max_size=200)), st.none() | st.binary(min_size=4, max_size=4), st.integers(0, 1000))
def test_gathered_pieces_are_the_payload(module: ModuleType, pieces: list[bytes], key: bytes | None, more: int) -> None:
    payload = b"".join(pieces)
    masked = apply_mask(payload, key) if key else payload
    gathering = module.Gathering(len(payload) + more)
    start = 0
    for piece in pieces:
        end = start + len(piece)
        # Among others, as in the buffer of a parser.
        gathering.add(b"in front" + masked + b"behind", 8 + start, 8 + end, key or b"", start & 3)
        start = end
    assert gathering.take() == payload
    assert gathering.take() == b""


@each_implementation
def test_what_is_gathered_takes_what_has_arrived(module: ModuleType) -> None:
    for most in (2**20, 2**62):
        tracemalloc.start()
        try:
            gathering = module.Gathering(most)
            for number in range(1, 9):
                gathering.add(bytes(100_000), 0, 100_000, KEY, 0)
                assert tracemalloc.get_traced_memory()[0] < number * 400_000 + 10_000
            assert len(gathering.take()) == 800_000
        finally:
            tracemalloc.stop()


@pytest.mark.skipif(not syncws.compiled, reason="plain Python cannot read or write beyond")
def test_the_compiled_one_gathers_nothing_that_is_not_there() -> None:
    for data, start, end, key in (
        (b"abcd", 2, 5, KEY),
        (b"abcd", -1, 2, KEY),
        (b"abcd", 3, 2, b""),
        (b"abcd", 0, 2, b"k"),
    ):
        with pytest.raises(IndexError, match=f"octets {start} to {end} of 4 cannot be gathered"):
            IMPLEMENTATIONS[-1].Gathering(100).add(data, start, end, key, 0)
    gathering = IMPLEMENTATIONS[-1].Gathering(5)
    gathering.add(b"abcd", 0, 4, b"", 0)
    with pytest.raises(IndexError):
        gathering.add(b"abcd", 0, 2, b"", 0)  # more than was announced
    gathering.add(b"abcd", 0, 1, b"", 0)
    assert gathering.take() == b"abcda"


@pytest.mark.skipif(not syncws.compiled, reason="plain Python returns nothing that nobody has written")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit on memory is none")
def test_without_room_to_grow_the_compiled_one_returns_nothing_any_more() -> None:
    resource = pytest.importorskip("resource")
    gathering = IMPLEMENTATIONS[-1].Gathering(2**40)
    more = bytes(2**26)
    gathering.add(more, 0, 2**24, b"", 0)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**23, limits[1]))
    try:
        with pytest.raises(MemoryError):
            gathering.add(more, 0, 2**26, b"", 0)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    # What had been gathered is gone, so what comes next must not seem to be all, behind whatever was in that memory.
    with pytest.raises(MemoryError, match="no room for a payload, of which the beginning is lost"):
        gathering.add(b"abcd", 0, 4, b"", 0)
    with pytest.raises(MemoryError, match="lower max_message_size"):
        gathering.take()
