"""syncws.protocol.deflate: the options, and what the compressor writes, read by zlib and by the inflater."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from payloads import JSON, NOISE, SIZES, TAIL, contents, cut, cuts, library, peer_final, peer_message

from syncws.protocol.deflate import Compressor, Deflate, Inflater, Parameters, compressor_for, inflater_for
from syncws.protocol.zlibs import compress_once

BY_TAKEOVER = pytest.mark.parametrize("takeover", [False, True])


@pytest.fixture(autouse=True, scope="module", params=["zlib", "isal"])
def compressing(request: pytest.FixtureRequest) -> Iterator[str]:
    """With each of the libraries."""
    with library(request.param):
        yield request.param


def grown_by(action: Callable[[], object]) -> int:
    """How many bytes more are allocated behind an action than in front of it, as far as Python knows."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        action()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


# --- the options ---


def test_defaults() -> None:
    config = Deflate()
    assert (config.level, config.mem_level, config.max_window_bits) == (5, 5, 12)
    assert config.context_takeover is True
    assert config.threshold == 128


@pytest.mark.parametrize(
    "values",
    [
        {"level": 1, "mem_level": 1, "max_window_bits": 9, "threshold": 0},
        {"level": 9, "mem_level": 9, "max_window_bits": 15, "threshold": 2**40, "context_takeover": False},
    ],
)
def test_values_in_range(values: dict[str, Any]) -> None:
    config = Deflate(**values)
    assert {name: getattr(config, name) for name in values} == values


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("level", 0, "level must be 1 to 9 (compression=None switches compression off), not 0"),
        ("level", 10, "not 10"),
        ("mem_level", 0, "mem_level must be 1 to 9, not 0"),
        ("mem_level", 10, "not 10"),
        ("max_window_bits", 8, "max_window_bits must be 9 to 15 (as zlib can do it), not 8"),
        ("max_window_bits", 16, "not 16"),
        ("threshold", -1, "threshold must be at least 0 (in bytes), not -1"),
    ],
)
def test_values_out_of_range(name: str, value: int, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Deflate(**{name: value})  # type: ignore[arg-type]
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("level", "6", "level must be an int, not '6'"),
        ("mem_level", True, "mem_level must be an int, not True"),
        ("max_window_bits", 12.0, "max_window_bits must be an int, not 12.0"),
        ("threshold", None, "threshold must be an int, not None"),
        ("context_takeover", "no", "context_takeover must be True or False, not 'no'"),
    ],
)
def test_values_of_another_type(name: str, value: object, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        Deflate(**{name: value})  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_each_role_writes_with_its_own_parameters_and_reads_with_the_others() -> None:
    config = Deflate(threshold=77)
    parameters = Parameters(True, False, 9, 15)
    # 20 000 bytes of noise twice over: only a window of 15 bits sees the repetition.
    message = NOISE[:20_000] * 2
    roles: list[tuple[Literal["server", "client"], Literal["server", "client"]]]
    roles = [("server", "client"), ("client", "server")]
    for writer, reader in roles:
        compressor, inflater = compressor_for(parameters, config, writer), inflater_for(parameters, reader)
        assert compressor.threshold == 77
        payloads = [compressor.compress(message) for _ in range(3)]
        assert [inflater.inflate(payload, last=True) for payload in payloads] == [message] * 3
        assert (len(payloads[0]) < 25_000) == (writer == "client")
        # Without context takeover, one message is like the other; with it, much of it is copies.
        assert (payloads[0] == payloads[2]) == (writer == "server")
        assert (len(payloads[2]) < 15_000) == (writer == "client")


# --- compression ---


def test_example_of_the_rfc_with_context_takeover() -> None:
    config = Deflate(level=6)  # zlib's own, which writes it as the RFC does
    compressor, inflater = Compressor(15, True, config), Inflater(15, True)
    # RFC 7692, 7.2.3.2: a message refers to the one before; ours does when that was not the first.
    for payload in map(bytes.fromhex, ["f248cdc9c90700", "f248cdc9c90700", "f200110000"]):
        assert compressor.compress(b"Hello") == payload
        assert inflater.inflate(payload, last=True) == b"Hello"
    compressor = Compressor(15, False, config)
    assert compressor.compress(b"Hello") == compressor.compress(b"Hello") == bytes.fromhex("f248cdc9c90700")


@pytest.mark.parametrize("data", [b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview")])
def test_any_bytes_like_object(data: bytes | bytearray | memoryview) -> None:
    for takeover in (True, False):
        compressor, reader = Compressor(12, takeover, Deflate()), zlib.decompressobj(-12)
        for _ in range(3):
            assert reader.decompress(compressor.compress(data) + TAIL) == bytes(data)


@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("window_bits", range(9, 16))
def test_zlib_reads_what_the_compressor_writes_with_that_window(window_bits: int, takeover: bool) -> None:
    compressor = Compressor(window_bits, takeover, Deflate(level=9, mem_level=9))
    reader = zlib.decompressobj(-window_bits)
    for size in SIZES:
        message = (NOISE[:3000] + JSON)[: size // 2] * 2
        assert reader.decompress(compressor.compress(message) + TAIL) == message
        if not takeover:
            reader = zlib.decompressobj(-window_bits)


@pytest.mark.parametrize("window_bits", range(9, 16))
def test_compressor_looks_no_further_back_than_its_window(window_bits: int) -> None:
    message = NOISE[: 2**window_bits + 1] * 2
    payload = Compressor(window_bits, True, Deflate(level=9)).compress(message)
    # Byte by byte, because zlib also looks back at what it has written in the same call.
    pieces = Inflater(window_bits, True).inflate_pieces(payload, last=True, piece_size=1)
    assert b"".join(pieces) == message


@BY_TAKEOVER
def test_pieces_can_be_read_as_they_come(takeover: bool) -> None:
    compressor, inflater = Compressor(12, takeover, Deflate()), Inflater(12, takeover)
    for _ in range(3):
        for piece in (b"first", b"second", NOISE[:50_000]):
            assert inflater.inflate(compressor.compress_piece(piece, last=False), last=False) == piece
        assert compressor.compress_piece(b"", last=False) == b""
        assert inflater.inflate(compressor.compress_piece(b"last", last=True), last=True) == b"last"


@BY_TAKEOVER
@pytest.mark.parametrize("pieces", [[b""], [b"", b""], [b"data", b""], [b"", b"data", b"", b""], [b"", b"data"]])
def test_empty_pieces(pieces: list[bytes], takeover: bool) -> None:
    compressor, inflater = Compressor(12, takeover, Deflate()), Inflater(12, takeover)
    for _ in range(3):
        parts = [compressor.compress_piece(piece, last=False) for piece in pieces[:-1]]
        parts.append(compressor.compress_piece(pieces[-1], last=True))
        assert parts[-1]
        assert inflater.inflate(b"".join(parts), last=True) == b"".join(pieces)


@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("window_bits", range(9, 16))
def test_no_distance_is_larger_than_the_window(window_bits: int, takeover: bool) -> None:
    # Each message has been seen before, a little too far back.
    compressor, inflater = Compressor(window_bits, takeover, Deflate()), Inflater(window_bits, takeover)
    messages = [JSON, NOISE[: 2**window_bits - 100], JSON[:500], NOISE[: 2**window_bits], NOISE[: 2**window_bits + 300]]
    for message in messages * 2:
        # Byte by byte, because zlib also looks back at what it has written in the same call.
        pieces = inflater.inflate_pieces(compressor.compress(message), last=True, piece_size=1)
        assert b"".join(pieces) == message


def test_without_takeover_there_is_no_memory_between_messages() -> None:
    compressor = Compressor(15, False, Deflate(mem_level=9, level=6))
    assert compressor.compress(JSON) == compressor.compress(JSON)  # the shared stream is there
    inflater = Inflater(15, False)
    payload, final = peer_message(JSON), peer_final(JSON)

    def exchange() -> None:
        compressor.compress(JSON)
        inflater.inflate(final, last=True)
        inflater.inflate(payload, last=True)

    assert grown_by(exchange) < 2000
    assert grown_by(lambda: compressor.compress_piece(JSON, last=False)) > 100_000
    # An end that is empty does without the stream as well.
    tracemalloc_free = grown_by(lambda: compressor.compress_piece(b"", last=True))
    assert tracemalloc_free < 2000


def test_memory_lasts_from_the_second_message_to_the_release() -> None:
    compressor = Compressor(15, True, Deflate(mem_level=9, level=6))
    compressor.compress(JSON)
    compressor.release()
    for _ in range(2):
        assert grown_by(lambda: compressor.compress(JSON)) < 2000
        assert grown_by(lambda: compressor.compress(JSON)) > 100_000
        assert grown_by(lambda: compressor.compress(JSON)) < 2000
        compressor.release()


def test_message_that_was_compressed_elsewhere() -> None:
    compressor, inflater = Compressor(12, True, Deflate()), Inflater(15, True)
    for message in (JSON, JSON[5:], NOISE[:1000], JSON):
        assert inflater.inflate(compressor.compress(message), last=True) == message
        assert inflater.inflate(compressor.compress(message), last=True) == message
        prepared = compress_once(message[3:], compressor.settings)
        assert inflater.inflate(prepared, last=True) == message[3:]
        compressor.release()


# --- properties ---

configs = st.builds(Deflate, level=st.integers(1, 9), mem_level=st.integers(1, 9))
window_sizes = st.integers(9, 15)


@settings(deadline=None)
@given(
    role=st.sampled_from(["server", "client"]),
    releases=st.lists(st.booleans(), min_size=1),
    parameters=st.builds(Parameters, st.booleans(), st.booleans(), window_sizes, window_sizes),
    config=configs,
    messages=st.lists(st.tuples(contents, cuts, cuts, st.integers(1, 70_000)), min_size=1, max_size=4),
)
def test_any_message_cut_anyhow_comes_out_the_same(
    role: Literal["server", "client"],
    releases: list[bool],
    parameters: Parameters,
    config: Deflate,
    messages: list[tuple[bytes, list[float], list[float], int]],
) -> None:
    idle = itertools.cycle(releases)

    def compress(piece: bytes, last: bool) -> bytes:
        if next(idle):
            compressor.release()
        return compressor.compress_piece(piece, last=last)

    compressor = compressor_for(parameters, config, role)
    inflater = inflater_for(parameters, "client" if role == "server" else "server")
    for message, sender_cuts, wire_cuts, piece_size in messages:
        *pieces, end = cut(message, sender_cuts)
        payload = b"".join(compress(piece, False) for piece in pieces) + compress(end, True)
        *fragments, end = cut(payload, wire_cuts)
        received = b""
        for fragment in fragments:
            received += inflater.inflate(fragment, last=False, limit=len(message), already=len(received))
        received += b"".join(inflater.inflate_pieces(end, last=True, piece_size=piece_size))
        assert received == message
