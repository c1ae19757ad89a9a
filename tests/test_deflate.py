"""syncws.protocol.deflate against zlib itself: the RFC's examples, every cut, every limit, every way to be wrong."""

from __future__ import annotations

import gc
import itertools
import json
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncws.errors import MessageTooBig, ProtocolError
from syncws.protocol.deflate import Compressor, Deflate, Inflater, Parameters, compressor_for, inflater_for

TAIL = b"\x00\x00\xff\xff"
# Sizes around the boundaries of frames, of zlib's pieces and of the windows.
SIZES = [0, 1, 2, 125, 126, 127, 511, 512, 513, 16384, 32768, 65535, 65536, 65537, 131072, 200_000]

noise = random.Random(7692)
NOISE = noise.randbytes(200_000)
JSON = json.dumps([{"id": n, "user": f"user{n % 17}", "text": "hello " * (n % 5)} for n in range(300)]).encode()
BY_TAKEOVER = pytest.mark.parametrize("takeover", [False, True])


def peer_message(data: bytes, wbits: int = 15, level: int = 9, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    """A payload as a peer makes it, straight from zlib."""
    stream = zlib.compressobj(level, zlib.DEFLATED, -wbits, 8, strategy)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def peer_final(data: bytes, level: int = 9) -> bytes:
    """A whole DEFLATE stream, which ends with a block with BFINAL = 1."""
    stream = zlib.compressobj(level, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def peer_blocks(data: bytes) -> bytes:
    """The same with the tail, so that another block may follow."""
    return peer_message(data) + TAIL


def every_byte(data: bytes) -> Iterator[tuple[bytes, bool]]:
    for index in range(len(data)):
        yield data[index : index + 1], index == len(data) - 1


def inflate_bytewise(inflater: Inflater, payload: bytes) -> bytes:
    return b"".join(inflater.inflate(byte, last=last) for byte, last in every_byte(payload))


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
        payloads = [compressor.compress(message) for _ in range(2)]
        assert [inflater.inflate(payload, last=True) for payload in payloads] == [message, message]
        assert (len(payloads[0]) < 25_000) == (writer == "client")
        assert (payloads[0] == payloads[1]) == (writer == "server")


# --- RFC 7692, 7.2.3: its examples ---

RFC_EXAMPLES = {
    "7.2.3.1, one block": ("f248cdc9c90700", b"Hello"),
    "7.2.3.3, a stored block": ("000500faff48656c6c6f00", b"Hello"),
    "7.2.3.4, BFINAL = 1": ("f348cdc9c9070000", b"Hello"),
    "7.2.3.5, two blocks": ("f248050000 00ffffcac9c90700", b"Hello"),
    "7.2.3.6, empty": ("00", b""),
}
rfc_examples = pytest.mark.parametrize(
    ("payload", "message"),
    [(bytes.fromhex(payload), message) for payload, message in RFC_EXAMPLES.values()],
    ids=RFC_EXAMPLES,
)


@rfc_examples
@BY_TAKEOVER
def test_examples_of_the_rfc(payload: bytes, message: bytes, takeover: bool) -> None:
    inflater = Inflater(15, takeover)
    for _ in range(3):
        assert inflater.inflate(payload, last=True) == message
        assert inflate_bytewise(inflater, payload) == message
        assert b"".join(inflater.inflate_pieces(payload, last=True, piece_size=1)) == message
    # Another message behind it, and an end of the message that is empty.
    assert inflater.inflate(payload, last=False) + inflater.inflate(b"", last=True) == message
    assert inflater.inflate(peer_message(b"behind"), last=True) == b"behind"


def test_example_of_the_rfc_with_context_takeover() -> None:
    compressor, inflater = Compressor(15, True, Deflate()), Inflater(15, True)
    # RFC 7692, 7.2.3.2: the second message refers to the first.
    for payload in map(bytes.fromhex, ["f248cdc9c90700", "f200110000"]):
        assert compressor.compress(b"Hello") == payload
        assert inflater.inflate(payload, last=True) == b"Hello"
    compressor = Compressor(15, False, Deflate())
    assert compressor.compress(b"Hello") == compressor.compress(b"Hello") == bytes.fromhex("f248cdc9c90700")


# --- compression ---


@pytest.mark.parametrize("data", [b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview")])
def test_any_bytes_like_object(data: bytes | bytearray | memoryview) -> None:
    payload = Compressor(12, True, Deflate()).compress(data)
    assert zlib.decompressobj(-12).decompress(payload + TAIL) == bytes(data)


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


def test_without_takeover_there_is_no_memory_between_messages() -> None:
    compressor, inflater = Compressor(15, False, Deflate(mem_level=9)), Inflater(15, False)
    payload = peer_message(JSON)
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        compressor.compress(JSON)
        inflater.inflate(peer_final(JSON), last=True)
        inflater.inflate(payload, last=True)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        compressor.compress_piece(JSON, last=False)
        while_busy = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 2000
    assert while_busy > 100_000


# --- inflation: limits ---


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("source", [NOISE, bytes(200_000)], ids=["noise", "zeros"])
def test_exact_limit(source: bytes, size: int) -> None:
    message = source[:size]
    payload = peer_message(message)
    assert Inflater(15, True).inflate(payload, last=True, limit=size) == message
    assert Inflater(15, True).inflate(payload, last=True, limit=size + 1) == message
    assert Inflater(15, True).inflate(payload, last=True) == message
    if size:
        with pytest.raises(MessageTooBig) as caught:
            Inflater(15, True).inflate(payload, last=True, limit=size - 1)
        assert (caught.value.size, caught.value.limit, caught.value.close_code) == (size, size - 1, 1009)
        assert str(caught.value).startswith("message after inflation of at least")


@pytest.mark.parametrize("limit", [0, 1, 299, 300, 301, 599])
def test_limit_counts_what_was_inflated_before(limit: int) -> None:
    inflater = Inflater(15, True)
    payload = peer_message(bytes(600))
    got = 0
    with pytest.raises(MessageTooBig) as caught:
        for byte, last in every_byte(payload):
            got += len(inflater.inflate(byte, last=last, limit=limit, already=got))
    assert (caught.value.size, caught.value.limit) == (limit + 1, limit)
    assert got <= limit


def test_limit_that_is_used_up_allows_what_has_no_output() -> None:
    inflater = Inflater(15, True)
    payload = peer_message(b"abc")
    parts = [payload + TAIL, peer_message(b"")]
    assert inflater.inflate(parts[0], last=False, limit=3) == b"abc"
    assert inflater.inflate(parts[1], last=True, limit=3, already=3) == b""


def bomb(megabytes: int) -> bytes:
    """A payload, a thousandth in size, of that many zeros."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = stream.compress(bytes(2**20)) + stream.flush(zlib.Z_FULL_FLUSH)
    return (block * megabytes).removesuffix(TAIL)


def peak_of(action: Any) -> int:
    """How many bytes were allocated at most, at one time, while ``action`` ran."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        action()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("megabytes", [4, 256])
def test_bomb_is_inflated_to_the_limit_and_no_further(megabytes: int) -> None:
    payload = bomb(megabytes)
    assert len(payload) < megabytes * 1100
    limit = 2**20

    def explode() -> None:
        with pytest.raises(MessageTooBig) as caught:
            Inflater(15, True).inflate(payload, last=True, limit=limit)
        assert caught.value.size == limit + 1

    # Besides the limit: one piece inside zlib's binding, the decompressor, the input not yet consumed.
    assert peak_of(explode) < limit + 300_000


def test_bomb_with_a_small_limit() -> None:
    def explode() -> None:
        with pytest.raises(MessageTooBig):
            Inflater(15, True).inflate(payload, last=True, limit=1000)

    payload = bomb(64)
    assert peak_of(explode) < 150_000


def test_bomb_in_pieces_takes_the_memory_of_one_piece() -> None:
    payload = bomb(100)
    sizes: list[int] = []
    assert peak_of(lambda: sizes.extend(map(len, Inflater(15, True).inflate_pieces(payload, last=True)))) < 400_000
    assert sum(sizes) == 100 * 2**20
    assert max(sizes) == 65536


@pytest.mark.parametrize("piece_size", [1, 2, 3, 63, 64, 65, 4095, 4096, 65536, 10**9])
@pytest.mark.parametrize(
    "message", [JSON, NOISE[:5000], bytes(20_000), b"x", b""], ids=["json", "noise", "0", "x", "-"]
)
def test_pieces_have_their_size_and_lose_nothing(message: bytes, piece_size: int) -> None:
    inflater = Inflater(15, True)
    whole, final = peer_message(message), peer_final(message)
    for payload, expected in ((whole, message), (final, message), (final + whole, message * 2)):
        pieces = list(inflater.inflate_pieces(payload, last=True, piece_size=piece_size))
        assert b"".join(pieces) == expected
        assert all(1 <= len(piece) <= piece_size for piece in pieces)


# --- inflation: BFINAL ---


@BY_TAKEOVER
@pytest.mark.parametrize("level", [1, 9])
@pytest.mark.parametrize("message", [b"", b"x", b"Hello", JSON, NOISE, bytes(200_000)])
@pytest.mark.parametrize("trailing", [b"", b"\x00"])
def test_message_that_ends_with_bfinal(message: bytes, trailing: bytes, level: int, takeover: bool) -> None:
    inflater = Inflater(15, takeover)
    payload = peer_final(message, level) + trailing
    follower = peer_message(b"the next one")
    for _ in range(2):
        assert inflater.inflate(payload, last=True, limit=len(message)) == message
        assert inflater.inflate(follower, last=True) == b"the next one"
        assert inflater.inflate(payload, last=False) + inflater.inflate(b"", last=True) == message
        assert inflater.inflate(payload[:-1], last=False) + inflater.inflate(payload[-1:], last=True) == message


@BY_TAKEOVER
def test_streams_within_one_message(takeover: bool) -> None:
    inflater = Inflater(15, takeover)
    parts = [b"one", JSON, b"", NOISE[:40_000], b"two", bytes(100_000)]
    for makers in itertools.product([peer_final, peer_blocks], repeat=2):
        # Each part is a stream of its own, except that the last one of a message lacks its tail.
        payload = b"".join(peer_final(part) for part in parts[:-2])
        payload += b"".join(maker(part) for maker, part in zip(makers, parts[-2:], strict=True)).removesuffix(TAIL)
        assert inflater.inflate(payload, last=True) == b"".join(parts)
        assert b"".join(inflater.inflate_pieces(payload, last=True, piece_size=1000)) == b"".join(parts)
    short = peer_final(b"one") + peer_final(b"two") + peer_message(b"three")
    assert inflate_bytewise(inflater, short) == b"onetwothree"


def test_without_takeover_the_window_is_empty() -> None:
    compressor, inflater = Compressor(15, True, Deflate()), Inflater(15, False)
    assert inflater.inflate(compressor.compress(b"Hello, Hello"), last=True) == b"Hello, Hello"
    with pytest.raises(ProtocolError, match="invalid distance too far back"):
        inflater.inflate(compressor.compress(b"Hello, Hello"), last=True)


def test_behind_bfinal_the_window_is_empty() -> None:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = stream.compress(b"Hello, Hello") + stream.flush(zlib.Z_SYNC_FLUSH)
    second = stream.compress(b"Hello, Hello") + stream.flush(zlib.Z_SYNC_FLUSH)
    inflater = Inflater(15, True)
    inflater.inflate(first.removesuffix(TAIL), last=True)
    inflater.inflate(peer_final(b"x"), last=True)
    with pytest.raises(ProtocolError, match="invalid distance too far back"):
        inflater.inflate(second.removesuffix(TAIL), last=True)


def test_very_many_streams_take_linear_time() -> None:
    # Copying what is left of a mebibyte behind each of them would be 128 GiB, beyond the test's time limit.
    empty = peer_final(b"")
    assert len(empty) == 2
    inflater = Inflater(15, True)
    assert inflater.inflate(empty * 2**19, last=True) == b""
    assert inflater.inflate(peer_message(b"next"), last=True) == b"next"


# --- inflation: invalid data ---


@BY_TAKEOVER
@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff", "invalid block type"),
        (b"\x00\x05\x00\x00\x00abcde\x00", "invalid stored block lengths"),
        (b"\x02\x02\x00\x00", "invalid distance too far back"),
        (b"\x02\x7e\x00\x00", "invalid distance code"),
        (peer_message(b"valid") + TAIL + b"\x07", "invalid block type"),
        (peer_final(b"valid") + b"\xff", "invalid block type"),
    ],
)
def test_invalid_data(payload: bytes, reason: str, takeover: bool) -> None:
    for cut in range(len(payload)):
        inflater = Inflater(9, takeover)
        with pytest.raises(ProtocolError, match=rf"not valid DEFLATE data: {reason} \(RFC 7692") as caught:
            inflater.inflate(payload[:cut], last=False)
            inflater.inflate(payload[cut:], last=True)
        assert caught.value.close_code == 1007
        assert caught.value.__suppress_context__


def test_valid_pieces_come_before_the_error() -> None:
    pieces = Inflater(15, True).inflate_pieces(peer_message(NOISE) + TAIL + b"\xff", last=True)
    assert next(pieces) == NOISE[: 16384 - 5]
    valid = b""
    with pytest.raises(ProtocolError, match="invalid block type"):
        for piece in pieces:
            valid += piece
    assert NOISE[16384 - 5 :].startswith(valid)
    assert len(valid) > 100_000


TEXT = b"A message with a little repetition, and then a little repetition again. " * 3
TRUNCATABLE = {
    "fixed codes": peer_message(TEXT, strategy=zlib.Z_FIXED),
    "dynamic codes": peer_message(JSON[:3000]),
    "Huffman only": peer_message(JSON[:1000], strategy=zlib.Z_HUFFMAN_ONLY),
    "stored": peer_message(NOISE[:300]),
    "BFINAL = 1": peer_final(TEXT),
    "BFINAL = 1, stored": peer_final(NOISE[:300]),
}


@BY_TAKEOVER
@pytest.mark.parametrize("whole", TRUNCATABLE.values(), ids=TRUNCATABLE)
def test_truncated_data(whole: bytes, takeover: bool) -> None:
    for size in range(len(whole)):
        payload = whole[:size]
        if payload == b"\x00":
            continue  # by itself, the first byte of a stored block is an empty message
        inflater = Inflater(15, takeover)
        if takeover:
            inflater.inflate(peer_message(TEXT), last=True)
        with pytest.raises(ProtocolError, match="ends in the middle of its DEFLATE data") as caught:
            inflater.inflate(payload, last=True)
        assert caught.value.close_code == 1007


@BY_TAKEOVER
@pytest.mark.parametrize("before", [[], [peer_message(b"x")], [peer_final(b"x")], [peer_final(b"x") + b"\x00"]])
def test_an_empty_payload_is_not_an_empty_message(before: list[bytes], takeover: bool) -> None:
    inflater = Inflater(15, takeover)
    for payload in before:
        assert inflater.inflate(payload, last=True) == b"x"
    # RFC 7692, 7.2.3.6: that would be one byte.
    with pytest.raises(ProtocolError, match="ends in the middle"):
        inflater.inflate(b"", last=True)


@pytest.mark.parametrize("window_bits", range(8, 16))
def test_the_window_that_was_agreed_is_the_window_that_is_read(window_bits: int) -> None:
    readable = max(window_bits, 9)
    message = NOISE[: 2**readable - 300] * 2
    assert Inflater(window_bits, True).inflate(peer_message(message, readable), last=True) == message
    if readable < 15:
        payload = peer_message(NOISE[: 2**readable + 300] * 2)
        # Byte by byte, because zlib also looks back at what it has written in the same call.
        with pytest.raises(ProtocolError, match="too far back"):
            list(Inflater(window_bits, True).inflate_pieces(payload, last=True, piece_size=1))


# --- properties ---

chunks = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda piece, times: piece * times, st.binary(min_size=1, max_size=40), st.integers(1, 2000)),
    st.builds(lambda start, size: NOISE[start : start + size], st.integers(0, 1000), st.integers(0, 40_000)),
    st.just(JSON),
)
contents = st.lists(chunks, max_size=4).map(b"".join)
configs = st.builds(Deflate, level=st.integers(1, 9), mem_level=st.integers(1, 9))
window_sizes = st.integers(9, 15)


def cut(data: bytes, places: list[float]) -> list[bytes]:
    """Cut data, at fractions of its length, into one piece more than there are places."""
    ends = [0, *sorted(int(place * len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(ends)]


cuts = st.lists(st.floats(0, 1), max_size=6)


@settings(deadline=None)
@given(
    role=st.sampled_from(["server", "client"]),
    parameters=st.builds(Parameters, st.booleans(), st.booleans(), window_sizes, window_sizes),
    config=configs,
    messages=st.lists(st.tuples(contents, cuts, cuts, st.integers(1, 70_000)), min_size=1, max_size=4),
)
def test_any_message_cut_anyhow_comes_out_the_same(
    role: Literal["server", "client"],
    parameters: Parameters,
    config: Deflate,
    messages: list[tuple[bytes, list[float], list[float], int]],
) -> None:
    compressor = compressor_for(parameters, config, role)
    inflater = inflater_for(parameters, "client" if role == "server" else "server")
    for message, sender_cuts, wire_cuts, piece_size in messages:
        *pieces, end = cut(message, sender_cuts)
        payload = b"".join(compressor.compress_piece(piece, last=False) for piece in pieces)
        payload += compressor.compress_piece(end, last=True)
        *fragments, end = cut(payload, wire_cuts)
        received = b""
        for fragment in fragments:
            received += inflater.inflate(fragment, last=False, limit=len(message), already=len(received))
        received += b"".join(inflater.inflate_pieces(end, last=True, piece_size=piece_size))
        assert received == message


@settings(deadline=None)
@given(messages=st.lists(st.tuples(contents, st.sampled_from("sffz"), cuts), min_size=1, max_size=5))
def test_any_mixture_of_streams_from_zlib_comes_out_the_same(messages: list[tuple[bytes, str, list[float]]]) -> None:
    inflater = Inflater(15, True)
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    for message, ending, wire_cuts in messages:
        payload = stream.compress(message)
        if ending == "s":
            payload = (payload + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL) or b"\x00"
        else:
            payload += stream.flush() + (b"\x00" if ending == "z" else b"")
            stream = zlib.compressobj(6, zlib.DEFLATED, -15)
        *fragments, end = cut(payload, wire_cuts)
        received = b"".join(inflater.inflate(fragment, last=False) for fragment in fragments)
        assert received + inflater.inflate(end, last=True) == message


@settings(deadline=None)
@given(
    start=st.sampled_from([b"", *TRUNCATABLE.values()]),
    keep=st.floats(0, 1),
    rest=st.lists(st.binary(max_size=60), min_size=1, max_size=5),
    limit=st.integers(0, 5000),
    takeover=st.booleans(),
)
def test_any_bytes_are_a_message_or_a_protocol_error(
    start: bytes, keep: float, rest: list[bytes], limit: int, takeover: bool
) -> None:
    inflater = Inflater(15, takeover)
    parts = [start[: int(keep * len(start))], *rest]
    got = 0
    try:
        for index, part in enumerate(parts):
            got += len(inflater.inflate(part, last=index == len(parts) - 1, limit=limit, already=got))
            assert got <= limit
    except ProtocolError as error:
        assert error.close_code == (1009 if isinstance(error, MessageTooBig) else 1007)
