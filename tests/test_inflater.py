"""syncws.protocol.inflater against zlib itself: the RFC's examples, every cut, every limit, every way to be wrong."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from payloads import (
    JSON,
    NOISE,
    SIZES,
    TAIL,
    contents,
    cut,
    cuts,
    every_byte,
    inflate_bytewise,
    peer_blocks,
    peer_final,
    peer_message,
    peer_messages,
)

from syncws.errors import MessageTooBig, ProtocolError
from syncws.protocol.inflater import Inflater

BY_TAKEOVER = pytest.mark.parametrize("takeover", [False, True])


def copy_from(distance: int) -> bytes:
    """A payload that repeats 258 bytes, or as many as there are, from so far back: RFC 1951, 3.2.5 and 3.2.6."""
    extra_bits = max((distance - 1).bit_length() - 2, 0)
    code = 2 * extra_bits + ((distance - 1) >> extra_bits)
    bits = "010"[::-1] + "11000101" + f"{code:05b}"  # BFINAL = 0 and fixed codes, a length of 258, a distance
    if extra_bits:
        bits += f"{(distance - 1) & ((1 << extra_bits) - 1):0{extra_bits}b}"[::-1]
    bits += "0000000" + "000"  # the end of the block, and the beginning of a stored one
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[start : start + 8][::-1], 2) for start in range(0, len(bits), 8))


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
    first, second = peer_messages(b"Hello, Hello", b"Hello, Hello")
    inflater = Inflater(15, False)
    assert inflater.inflate(first, last=True) == b"Hello, Hello"
    with pytest.raises(ProtocolError, match="invalid distance too far back"):
        inflater.inflate(second, last=True)


def test_behind_bfinal_the_window_is_empty() -> None:
    first, second = peer_messages(b"Hello, Hello", b"Hello, Hello")
    inflater = Inflater(15, True)
    inflater.inflate(first, last=True)
    inflater.inflate(peer_final(b"x"), last=True)
    with pytest.raises(ProtocolError, match="invalid distance too far back"):
        inflater.inflate(second, last=True)


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
    for place in range(len(payload)):
        inflater = Inflater(9, takeover)
        with pytest.raises(ProtocolError, match=rf"not valid DEFLATE data: {reason} \(RFC 7692") as caught:
            inflater.inflate(payload[:place], last=False)
            inflater.inflate(payload[place:], last=True)
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


# --- the common case ---

NO_LIMIT = 2**63 - 1


@rfc_examples
@BY_TAKEOVER
def test_examples_of_the_rfc_at_once(payload: bytes, message: bytes, takeover: bool) -> None:
    inflater = Inflater(15, takeover)
    final = payload == bytes.fromhex(RFC_EXAMPLES["7.2.3.4, BFINAL = 1"][0])
    for limit in (NO_LIMIT, 1000, len(message)):
        assert inflater.inflate_now(payload, limit) == (None if final else message)
        if final:
            assert inflater.inflate(payload, last=True) == message


@BY_TAKEOVER
@pytest.mark.parametrize("whole", TRUNCATABLE.values(), ids=TRUNCATABLE)
def test_what_is_not_common_is_left(whole: bytes, takeover: bool) -> None:
    """Whatever is left comes to the same as if nothing had been tried."""
    for payload in [*(whole[:size] for size in range(len(whole) + 1)), whole + TAIL + b"\xff"]:
        for limit in (10, NO_LIMIT):
            outcomes = []
            for attempts in (0, 1, 2):
                inflater = Inflater(15, takeover)
                assert inflater.inflate_now(peer_message(TEXT), NO_LIMIT) == TEXT
                message = None
                for _ in range(attempts):
                    message = message or inflater.inflate_now(payload, limit)
                try:
                    if message is None:
                        message = inflater.inflate(payload, last=True, limit=limit)
                    outcomes.append(("message", message, inflater.inflate_now(peer_message(b"next"), NO_LIMIT)))
                except (ProtocolError, MessageTooBig) as error:
                    outcomes.append((type(error).__name__, str(error)))
            assert outcomes[0] == outcomes[1] == outcomes[2]


def test_no_message_is_begun_within_another() -> None:
    inflater = Inflater(15, True)
    payload = peer_message(JSON)
    assert inflater.inflate(payload[:100], last=False)
    assert inflater.inflate_now(peer_message(b"another"), NO_LIMIT) is None
    assert JSON.endswith(inflater.inflate(payload[100:], last=True))
    assert inflater.inflate_now(peer_message(b"another"), NO_LIMIT) == b"another"


@BY_TAKEOVER
def test_a_message_is_taken_back(takeover: bool) -> None:
    first, second, third = peer_messages(b"Hello, Hello", b"Hello, Hello", b"Hello, Hello")
    inflater = Inflater(15, takeover)
    for payload in (first, second, third) if takeover else (first, first):
        message = inflater.inflate_now(payload, NO_LIMIT)
        assert message == b"Hello, Hello"
        inflater.take_back(message)
        inflater.release()
        assert inflater.inflate_now(payload, NO_LIMIT) is None
        assert inflater.inflate(payload, last=True) == b"Hello, Hello"


# --- release ---


def memory_of(inflater: Inflater, *actions: Any) -> list[int]:
    """What the inflater has allocated, in bytes, after each of some actions."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        found = []
        for action in actions:
            action()
            gc.collect()
            found.append(tracemalloc.get_traced_memory()[0] - before)
        return found
    finally:
        tracemalloc.stop()


def test_memory_lasts_from_the_second_message_to_the_release() -> None:
    inflater = Inflater(12, True)
    payloads = iter(peer_messages(*[JSON[:1000]] * 4, wbits=12))

    def receive() -> None:
        inflater.inflate(next(payloads), last=True)

    memory = memory_of(inflater, receive, receive, inflater.release, receive, receive)
    assert memory[0] < 3000
    assert memory[1] > 10_000
    assert memory[2] < 4000
    assert memory[3] < 6000
    assert memory[4] > 10_000


@pytest.mark.parametrize("window_bits", range(9, 16))
@pytest.mark.parametrize("beyond", [-2, -1, 0, 1, 300])
def test_all_of_the_window_is_kept_and_nothing_else(window_bits: int, beyond: int) -> None:
    # The second message is the first one, as far as it is in the window; so is what has been kept of it.
    size = 2**window_bits
    message = NOISE[: size + beyond]
    inflater = Inflater(window_bits, True)
    for part in (message[:100], message[100:]):
        inflater.inflate(peer_message(part), last=True)
        inflater.release()
    assert inflater._window == message[-size:]
    assert inflater.inflate(copy_from(len(message[-size:])), last=True) == message[-size:][:258]
    inflater.release()
    assert inflater._window == (message + message[-size:][:258])[-size:]
    for distance in (size + 1, len(message) + 259):
        if distance <= 2**15:
            with pytest.raises(ProtocolError, match="too far back"):
                inflater.inflate(copy_from(distance), last=True)


def test_window_of_every_size() -> None:
    message = NOISE[: 2**15]
    for size in [*range(1, 600), *(2**bits + more for bits in range(10, 15) for more in (-1, 0, 1)), 2**15 - 1, 2**15]:
        inflater = Inflater(15, True)
        inflater.inflate(peer_message(message[:size]), last=True)
        inflater.release()
        assert inflater._window == message[:size]


def test_release_does_nothing_within_a_message() -> None:
    inflater = Inflater(15, True)
    payload = peer_message(JSON)
    for data in (payload[:100], payload[100:20_000], payload[20_000:]):
        inflater.release()
        assert inflater.inflate(data, last=False) or not data
    inflater.release()
    assert inflater.inflate(b"", last=True) == b""
    pieces = inflater.inflate_pieces(payload, last=True, piece_size=1000)
    received = b""
    for piece in pieces:
        inflater.release()
        received += piece
    assert received == JSON


@pytest.mark.parametrize("payload", [b"\xff", peer_message(b"x" * 100)[:-1]])
def test_release_after_an_error_does_nothing(payload: bytes) -> None:
    inflater = Inflater(15, True)
    inflater.inflate(peer_message(b"valid"), last=True)
    with pytest.raises(ProtocolError):
        inflater.inflate(payload, last=True)
    inflater.release()


@BY_TAKEOVER
def test_release_at_the_beginning_and_twice_in_a_row(takeover: bool) -> None:
    inflater = Inflater(15, takeover)
    inflater.release()
    payloads = peer_messages(b"Hello", b"Hello") if takeover else [peer_message(b"Hello")] * 2
    for payload in payloads:
        assert inflater.inflate(payload, last=True) == b"Hello"
        inflater.release()
        inflater.release()


@pytest.mark.parametrize("empty", [b"\x00", peer_final(b""), peer_final(b"x")])
def test_release_behind_a_message_without_a_window(empty: bytes) -> None:
    inflater = Inflater(15, True)
    for _ in range(2):
        inflater.inflate(empty, last=True)
        inflater.release()
        assert inflater._window == b""
    assert inflater.inflate(peer_message(b"Hello"), last=True) == b"Hello"


# --- properties ---


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


@settings(deadline=None)
@given(
    window_bits=st.integers(9, 15),
    messages=st.lists(st.tuples(contents, st.booleans(), st.booleans(), cuts), min_size=1, max_size=6),
)
def test_releases_anywhere_make_no_difference(
    window_bits: int, messages: list[tuple[bytes, bool, bool, list[float]]]
) -> None:
    inflater = Inflater(window_bits, True)
    stream = zlib.compressobj(9, zlib.DEFLATED, -window_bits, 9)
    for message, release, final, wire_cuts in messages:
        payload = stream.compress(message)
        if final:
            payload += stream.flush()
            stream = zlib.compressobj(9, zlib.DEFLATED, -window_bits, 9)
        else:
            payload = (payload + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL) or b"\x00"
        *fragments, end = cut(payload, wire_cuts)
        received = b""
        for fragment in fragments:
            received += inflater.inflate(fragment, last=False)
            inflater.release()
        assert received + inflater.inflate(end, last=True) == message
        if release:
            inflater.release()
