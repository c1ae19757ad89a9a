"""Frames from bytes: every vector whole, byte by byte and with data behind it, for both roles."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from syncws.errors import ProtocolError
from syncws.protocol.codes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from syncws.protocol.frames import encode_frame
from syncws.protocol.mask import apply_mask
from syncws.protocol.parser import Frame, Parser

KEY = bytes.fromhex("37fa213d")
MAX_LENGTH = 2**63 - 1


class Whole(NamedTuple):
    """A frame, put together again from its pieces."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv1: bool = False


class Assembler:
    """Feeds a parser, checks what each piece says of itself, and collects the whole frames."""

    def __init__(self, *, masked: bool, rsv1_allowed: bool = False) -> None:
        self.parser = Parser(masked=masked, rsv1_allowed=rsv1_allowed)
        self.frames: list[Whole] = []
        self._begun: Frame | None = None
        self._payload = bytearray()

    def feed(self, data: bytes) -> None:
        self.parser.feed(data)
        while (piece := self.parser.next_frame()) is not None:
            self._take(piece)
        assert self.parser.next_frame() is None
        if self._begun is not None:
            assert self.parser.mid_frame

    def _take(self, piece: Frame) -> None:
        assert piece.first is (self._begun is None)
        begun = self._begun or piece
        assert (piece.opcode, piece.fin, piece.length) == (begun.opcode, begun.fin, begun.length)
        assert piece.first or piece.payload, "only the first piece of a frame may be empty"
        self._payload += piece.payload
        assert piece.last is (len(self._payload) == piece.length)
        if piece.opcode >= CLOSE:
            assert piece.first
            assert piece.last
        if piece.last:
            self.frames.append(Whole(begun.opcode, bytes(self._payload), begun.fin, begun.rsv1))
            self._begun, self._payload = None, bytearray()
        else:
            self._begun = begun


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def vector(frame: Whole, *, masked: bool) -> bytes:
    return encode_frame(frame.opcode, frame.payload, fin=frame.fin, rsv1=frame.rsv1, key=KEY if masked else None)


def trickle(wire: bytes) -> Iterator[bytes]:
    """Single bytes, but for the middle of what is very long."""
    end = max(len(wire) - 300, 0)
    start = 0
    while start < len(wire):
        size = 97 if 300 <= start < end else 1
        yield wire[start : start + size]
        start += size


# RFC 6455, 5.7, and RFC 7692, 7.2.3: (masked, wire, frames).
EXAMPLES = [
    (False, "8105 48656c6c6f", [Whole(TEXT, b"Hello")]),
    (True, "8185 37fa213d 7f9f4d5158", [Whole(TEXT, b"Hello")]),
    (False, "0103 48656c 8002 6c6f", [Whole(TEXT, b"Hel", fin=False), Whole(CONTINUATION, b"lo")]),
    (False, "8905 48656c6c6f", [Whole(PING, b"Hello")]),
    (True, "8a85 37fa213d 7f9f4d5158", [Whole(PONG, b"Hello")]),
    (False, "827e0100" + content(256).hex(), [Whole(BINARY, content(256))]),
    (False, "827f0000000000010000" + content(65536).hex(), [Whole(BINARY, content(65536))]),
    (False, "c107 f248cdc9c90700", [Whole(TEXT, bytes.fromhex("f248cdc9c90700"), rsv1=True)]),
    (
        False,
        "4103 f248cd 8004 c9c90700",
        [
            Whole(TEXT, bytes.fromhex("f248cd"), fin=False, rsv1=True),
            Whole(CONTINUATION, bytes.fromhex("c9c90700")),
        ],
    ),
]
# Every opcode and flag that is allowed, and every length at which the encoding changes.
FRAMES = [
    *(Whole(opcode, content(5)) for opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)),
    *(Whole(opcode, content(5), fin=False) for opcode in (CONTINUATION, TEXT, BINARY)),
    *(Whole(opcode, content(5), fin, True) for opcode in (TEXT, BINARY) for fin in (True, False)),
    *(Whole(opcode, content(size)) for opcode in (CLOSE, PING, PONG) for size in (0, 1, 124, 125)),
    *(Whole(BINARY, content(size)) for size in (0, 1, 2, 3, 4, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537)),
]
VECTORS = [
    *((masked, bytes.fromhex(wire), frames) for masked, wire, frames in EXAMPLES),
    *((masked, vector(frame, masked=masked), [frame]) for masked in (False, True) for frame in FRAMES),
]
every_vector = pytest.mark.parametrize(("masked", "wire", "frames"), VECTORS, ids=range(len(VECTORS)))


@every_vector
def test_frames_that_arrive_whole(masked: bool, wire: bytes, frames: list[Whole]) -> None:
    assembler = Assembler(masked=masked, rsv1_allowed=True)
    assembler.feed(wire)
    assert assembler.frames == frames
    assert not assembler.parser.mid_frame


@every_vector
def test_frames_that_arrive_byte_by_byte(masked: bool, wire: bytes, frames: list[Whole]) -> None:
    assembler = Assembler(masked=masked, rsv1_allowed=True)
    for part in trickle(wire):
        assembler.feed(part)
    assert assembler.frames == frames
    assert not assembler.parser.mid_frame


@every_vector
def test_frames_with_data_behind_them(masked: bool, wire: bytes, frames: list[Whole]) -> None:
    ping = encode_frame(PING, b"behind", key=KEY if masked else None)
    for end in range(1, len(ping)):
        assembler = Assembler(masked=masked, rsv1_allowed=True)
        assembler.feed(wire + ping[:end])
        assert assembler.frames == frames
        assert assembler.parser.mid_frame
        assembler.feed(ping[end:])
        assert assembler.frames == [*frames, Whole(PING, b"behind")]
        assert not assembler.parser.mid_frame


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 300])
def test_two_frames_cut_at_every_place(masked: bool, size: int) -> None:
    frames = [Whole(TEXT, content(size), fin=False), Whole(CONTINUATION, content(size + 1))]
    wire = b"".join(vector(frame, masked=masked) for frame in frames)
    for cut in range(len(wire) + 1):
        assembler = Assembler(masked=masked)
        assembler.feed(wire[:cut])
        assert assembler.parser.mid_frame is (cut not in (0, len(vector(frames[0], masked=masked)), len(wire)))
        assembler.feed(wire[cut:])
        assert assembler.frames == frames


@pytest.mark.parametrize("masked", [False, True])
def test_feeding_more_before_all_has_been_taken(masked: bool) -> None:
    frames = [Whole(TEXT, b"one"), Whole(BINARY, content(300)), Whole(PING, b"three")]
    first, second, third = (vector(frame, masked=masked) for frame in frames)
    assembler = Assembler(masked=masked)
    assembler.parser.feed(first + second[:7])
    frame = assembler.parser.next_frame()
    assert frame is not None
    assert frame.payload == b"one"
    assembler.parser.feed(second[7:100])
    assembler.feed(second[100:] + third)
    assert assembler.frames == frames[1:]


def test_a_data_frame_comes_in_the_pieces_that_arrive() -> None:
    wire = encode_frame(BINARY, content(1000), key=KEY)
    parser = Parser(masked=True)
    pieces = []
    # The header and its mask alone are a piece: a reader can judge the length before any payload has arrived.
    for part in (wire[:8], wire[8:9], wire[9:500], wire[500:]):
        parser.feed(part)
        piece = parser.next_frame()
        assert piece is not None
        assert parser.next_frame() is None
        pieces.append((piece.first, piece.last, piece.length, len(piece.payload)))
    assert pieces == [
        (True, False, 1000, 0),
        (False, False, 1000, 1),
        (False, False, 1000, 491),
        (False, True, 1000, 508),
    ]


def test_rsv1_is_on_the_first_piece_only() -> None:
    wire = encode_frame(TEXT, content(10), rsv1=True)
    parser = Parser(masked=False, rsv1_allowed=True)
    parser.feed(wire[:5])
    first = parser.next_frame()
    parser.feed(wire[5:])
    second = parser.next_frame()
    assert first is not None
    assert second is not None
    assert (first.rsv1, second.rsv1) == (True, False)


@pytest.mark.parametrize("masked", [False, True])
def test_the_longest_frame_there_can_be(masked: bool) -> None:
    header = bytes((0x82, 0xFF if masked else 0x7F)) + MAX_LENGTH.to_bytes(8, "big") + (KEY if masked else b"")
    parser = Parser(masked=masked)
    parser.feed(header + b"abc")
    piece = parser.next_frame()
    assert piece is not None
    assert (piece.length, len(piece.payload), piece.last) == (MAX_LENGTH, 3, False)
    assert parser.mid_frame


# Which rule, for which parser: (masked, rsv1_allowed, bytes up to the one that shows it, message).
BROKEN = [
    *(
        (False, True, f"8{opcode:x}00", f"reserved opcode 0x{opcode:X} ")
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    ),
    *((True, True, f"0{opcode:x}80", f"reserved opcode 0x{opcode:X} ") for opcode in (3, 7, 11, 15)),
    (False, True, "a100", "text frame with reserved bits set, first byte 0xA1"),
    (False, True, "9100", "text frame with reserved bits set, first byte 0x91"),
    (True, True, "f280", "binary frame with reserved bits set, first byte 0xF2"),
    (False, True, "b900", "ping frame with reserved bits set, first byte 0xB9"),
    (False, False, "c100", "text frame with RSV1 set, but no extension was negotiated"),
    (True, False, "4280", "binary frame with RSV1 set, but no extension was negotiated"),
    (False, False, "c000", "continuation frame with RSV1 set, but no extension was negotiated"),
    (False, False, "c900", "ping frame with RSV1 set, but no extension was negotiated"),
    (False, True, "c000", r"continuation frame with RSV1 set \(RFC 7692, 6.1\)"),
    (True, True, "4080", r"continuation frame with RSV1 set \(RFC 7692, 6.1\)"),
    (False, True, "c800", r"close frame with RSV1 set \(RFC 7692, 6.1\)"),
    (False, True, "c900", r"ping frame with RSV1 set \(RFC 7692, 6.1\)"),
    (False, True, "ca00", r"pong frame with RSV1 set \(RFC 7692, 6.1\)"),
    (False, True, "0800", "fragmented close frame"),
    (True, True, "0980", "fragmented ping frame"),
    (False, True, "0a00", "fragmented pong frame"),
    (False, True, "887e", "close frame with more than 125 bytes"),
    (True, True, "89fe", "ping frame with more than 125 bytes"),
    (False, True, "8a7f", "pong frame with more than 125 bytes"),
    (False, True, "8180", "masked frame from a server"),
    (False, True, "8980", "masked frame from a server"),
    (False, True, "82fe", "masked frame from a server"),
    (True, True, "8100", "unmasked frame from a client"),
    (True, True, "8800", "unmasked frame from a client"),
    (True, True, "007f", "unmasked frame from a client"),
    (False, True, "817e0000", "payload length 0 encoded in 2 bytes; fewer would do"),
    (True, True, "81fe007d", "payload length 125 encoded in 2 bytes; fewer would do"),
    (False, True, "827f0000000000000000", "payload length 0 encoded in 8 bytes; fewer would do"),
    (False, True, "827f000000000000007e", "payload length 126 encoded in 8 bytes; fewer would do"),
    (True, True, "82ff000000000000ffff", "payload length 65535 encoded in 8 bytes; fewer would do"),
    (False, True, "827f8000000000000000", "payload length 0x8000000000000000 with its most significant bit set"),
    (True, True, "82ffffffffffffffffff", "payload length 0xFFFFFFFFFFFFFFFF with its most significant bit set"),
]
every_broken_rule = pytest.mark.parametrize(
    ("masked", "rsv1_allowed", "wire", "message"),
    BROKEN,
    ids=[f"{wire}-{masked:d}{rsv1:d}" for masked, rsv1, wire, _ in BROKEN],
)


@every_broken_rule
@pytest.mark.parametrize("behind", [b"", b"\x00", bytes(300)])
def test_a_broken_rule(masked: bool, rsv1_allowed: bool, wire: str, message: str, behind: bytes) -> None:
    assembler = Assembler(masked=masked, rsv1_allowed=rsv1_allowed)
    with pytest.raises(ProtocolError, match=message) as caught:
        assembler.feed(bytes.fromhex(wire) + behind)
    assert caught.value.close_code == 1002
    assert ", 5." in str(caught.value) or ", 6.1" in str(caught.value)


@every_broken_rule
def test_a_broken_rule_byte_by_byte(masked: bool, rsv1_allowed: bool, wire: str, message: str) -> None:
    data = bytes.fromhex(wire)
    assembler = Assembler(masked=masked, rsv1_allowed=rsv1_allowed)
    for index in range(len(data) - 1):
        assembler.feed(data[index : index + 1])
    with pytest.raises(ProtocolError, match=message):
        assembler.feed(data[-1:])


@every_broken_rule
def test_what_comes_before_a_broken_rule_is_delivered(
    masked: bool, rsv1_allowed: bool, wire: str, message: str
) -> None:
    frames = [Whole(TEXT, b"before"), Whole(PING, b"it")]
    assembler = Assembler(masked=masked, rsv1_allowed=rsv1_allowed)
    with pytest.raises(ProtocolError, match=message):
        assembler.feed(b"".join(vector(frame, masked=masked) for frame in frames) + bytes.fromhex(wire))
    assert assembler.frames == frames


def test_a_control_frame_within_a_data_frame_is_payload() -> None:
    # Control frames come between frames; within one, everything is payload.
    inner = encode_frame(PING, b"x", key=KEY)
    assembler = Assembler(masked=True)
    for part in (encode_frame(BINARY, inner, key=KEY), encode_frame(CLOSE, b"", key=KEY)):
        assembler.feed(part)
    assert assembler.frames == [Whole(BINARY, inner), Whole(CLOSE, b"")]


@pytest.mark.parametrize("key", [bytes(4), b"\xff\xff\xff\xff", b"\x00\x00\x00\x01"])
def test_every_masking_key(key: bytes) -> None:
    payload = content(1000)
    assembler = Assembler(masked=True)
    assembler.feed(encode_frame(BINARY, payload, key=key))
    header, masked = bytes.fromhex("82fe03e8") + key, apply_mask(payload, key)
    for data in (header, masked[:3], masked[3:10], masked[10:11], masked[11:]):
        assembler.feed(data)
    assert assembler.frames == [Whole(BINARY, payload), Whole(BINARY, payload)]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "waiting",
    [
        Whole(BINARY, content(126)),  # for the second byte, the length, the mask
        Whole(BINARY, content(65536)),
        Whole(CLOSE, content(125)),  # and for the rest of a control frame
    ],
)
def test_a_parser_that_waits_owns_no_large_buffer(masked: bool, waiting: Whole) -> None:
    start = vector(waiting, masked=masked)[:16]
    for size in range(len(start) + 1):
        parser = Parser(masked=masked)
        tracemalloc.start()
        try:
            parser.feed(vector(Whole(BINARY, content(60000)), masked=masked) + start[:size])
            while parser.next_frame() is not None:
                pass
            assert tracemalloc.get_traced_memory()[0] < 5000
        finally:
            tracemalloc.stop()


def test_a_frame_shows_itself_in_a_few_words() -> None:
    parser = Parser(masked=False)
    parser.feed(bytes.fromhex("017e0100") + bytes(10))
    assert repr(parser.next_frame()) == "<Frame text fin=0 rsv1=0 10 of 256 bytes>"
    assert repr(Frame(PONG, True, False, 0, b"")) == "<Frame pong fin=1 rsv1=0 0 of 0 bytes>"


# Large payloads in one piece: next_frame(gather=True).

LARGE = 262144


def gathered(parser: Parser, *parts: bytes) -> list[Frame]:
    """What next_frame(True) gives while the parts arrive."""
    found = []
    for part in parts:
        parser.feed(part)
        while (frame := parser.next_frame(True)) is not None:
            found.append(frame)
    return found


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize("size", [LARGE, LARGE + 1, 1_000_003])
@pytest.mark.parametrize("at_once", [65_536, 70_001, 200_000])
def test_a_large_payload_is_gathered(masked: bool, fin: bool, size: int, at_once: int) -> None:
    frame = Whole(BINARY, content(size), fin)
    wire = vector(frame, masked=masked) + vector(Whole(PING, b"behind"), masked=masked)
    parts = [wire[:3], wire[3:20], *(wire[at : at + at_once] for at in range(20, len(wire), at_once))]
    first, whole, ping = gathered(Parser(masked=masked), *parts)
    assert (first.first, first.last, first.payload, first.length, first.fin) == (True, False, b"", size, fin)
    assert (whole.first, whole.last, whole.length, whole.fin, whole.opcode) == (False, True, size, fin, BINARY)
    assert whole.payload == content(size)
    assert (ping.opcode, ping.payload) == (PING, b"behind")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("header", ["82 7f 0000000000040000", "82 7f 7fffffffffffffff"])
def test_a_large_payload_that_has_only_been_announced_takes_no_memory(masked: bool, header: str) -> None:
    wire = bytearray.fromhex(header)
    if masked:
        wire[1] |= 0x80
        wire += KEY
    parser = Parser(masked=masked)
    tracemalloc.start()
    try:
        (first,) = gathered(parser, bytes(wire))
        assert first.payload == b""
        for number in range(1, 11):
            assert gathered(parser, bytes(1000)) == []
            assert tracemalloc.get_traced_memory()[0] < number * 4000 + 5000
        assert parser.mid_frame
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "frame",
    [
        Whole(BINARY, content(LARGE - 1)),
        Whole(TEXT, content(LARGE)),
        Whole(CONTINUATION, content(LARGE)),
        Whole(BINARY, content(LARGE), rsv1=True),
    ],
)
def test_what_is_not_gathered_comes_in_pieces(frame: Whole) -> None:
    wire = vector(frame, masked=True)
    found = gathered(Parser(masked=True, rsv1_allowed=True), wire[:100_000], wire[100_000:200_000], wire[200_000:])
    assert len(found) == 3
    assert all(piece.payload for piece in found)
    assert b"".join(piece.payload for piece in found) == frame.payload


def test_a_large_payload_that_is_there_comes_at_once() -> None:
    (frame,) = gathered(Parser(masked=True), vector(Whole(BINARY, content(LARGE)), masked=True))
    assert (frame.first, frame.last, frame.payload) == (True, True, content(LARGE))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("taken_at", [20, 100_001, 250_002])
def test_what_has_been_gathered_is_taken(masked: bool, taken_at: int) -> None:
    wire = vector(Whole(BINARY, content(LARGE)), masked=masked)
    parser = Parser(masked=masked)
    assert parser.take_gathered() == b""
    gathered(parser, wire[:20], wire[20:taken_at])
    taken = parser.take_gathered()
    assert taken == content(LARGE)[: taken_at - (14 if masked else 10)]
    assert parser.take_gathered() == b""
    # What comes then comes in pieces.
    pieces = gathered(parser, wire[taken_at:255_000], wire[255_000:])
    assert len(pieces) == 2
    assert taken + b"".join(piece.payload for piece in pieces) == content(LARGE)
    assert pieces[-1].last


# Whole messages in one go: next_plain().


def is_plain(frame: Whole) -> bool:
    return frame.opcode in (TEXT, BINARY) and frame.fin


PLAIN = [frame for frame in FRAMES if is_plain(frame)]
NOT_PLAIN = [frame for frame in FRAMES if not is_plain(frame)]
NO_LIMIT = 2**63 - 1
both_roles = pytest.mark.parametrize("masked", [False, True])


def frames_left(parser: Parser) -> list[Whole]:
    """What next_frame() gives, pieces put together."""
    assembler = Assembler(masked=False)
    assembler.parser = parser
    assembler.feed(b"")
    return assembler.frames


def plain(parser: Parser) -> Whole | None:
    """What next_plain() gives."""
    payload = parser.next_plain(NO_LIMIT)
    if payload is None:
        return None
    return Whole(TEXT if parser.plain_is_text() else BINARY, payload, rsv1=parser.plain_compressed())


@every_vector
def test_plain_messages_that_arrive_whole(masked: bool, wire: bytes, frames: list[Whole]) -> None:
    parser = Parser(masked=masked, rsv1_allowed=True)
    parser.feed(wire)
    if is_plain(frames[0]):
        assert parser.has_plain()
        assert plain(parser) == frames[0]
        assert not parser.mid_frame
        frames = frames[1:]
    assert not parser.has_plain()
    assert parser.next_plain(NO_LIMIT) is None
    assert frames_left(parser) == frames


@every_vector
def test_plain_messages_that_arrive_byte_by_byte(masked: bool, wire: bytes, frames: list[Whole]) -> None:
    # As long as something is missing of it, a frame is left as it is.
    parser = Parser(masked=masked, rsv1_allowed=True)
    found = []
    for part in trickle(wire):
        assert not parser.has_plain()
        parser.feed(part)
        if (message := plain(parser)) is not None:
            found.append(message)
    if is_plain(frames[0]):
        assert found == frames
        assert not parser.mid_frame
    else:
        assert found == []
        assert frames_left(parser) == frames


@both_roles
@pytest.mark.parametrize("frame", PLAIN)
def test_plain_messages_with_data_behind_them(masked: bool, frame: Whole) -> None:
    wire = vector(frame, masked=masked)
    behind = vector(Whole(BINARY, b"behind"), masked=masked)
    for end in range(len(behind) + 1):
        parser = Parser(masked=masked, rsv1_allowed=True)
        parser.feed(wire + behind[:end])
        assert plain(parser) == frame
        assert parser.has_plain() is (end == len(behind))
        assert parser.mid_frame is (end > 0)
        if end < len(behind):
            assert parser.next_plain(NO_LIMIT) is None
            parser.feed(behind[end:])
        assert parser.has_plain()
        assert plain(parser) == Whole(BINARY, b"behind")
        assert not parser.has_plain()


@both_roles
@pytest.mark.parametrize("frame", NOT_PLAIN)
@pytest.mark.parametrize("before", [b"", b"before"])
def test_what_is_not_plain_is_left_as_it_is(masked: bool, frame: Whole, before: bytes) -> None:
    parser = Parser(masked=masked, rsv1_allowed=True)
    first, behind = vector(Whole(TEXT, before), masked=masked), vector(Whole(TEXT, b"behind"), masked=masked)
    parser.feed(first + vector(frame, masked=masked) + behind)
    assert plain(parser) == Whole(TEXT, before)
    assert not parser.has_plain()
    assert parser.next_plain(NO_LIMIT) is None
    assert parser.next_plain(NO_LIMIT) is None
    assert frames_left(parser) == [frame, Whole(TEXT, b"behind")]


@every_broken_rule
def test_a_broken_rule_is_left_to_next_frame(masked: bool, rsv1_allowed: bool, wire: str, message: str) -> None:
    before = Whole(TEXT, b"before")
    for behind in (b"", bytes(300)):
        parser = Parser(masked=masked, rsv1_allowed=rsv1_allowed)
        parser.feed(vector(before, masked=masked) + bytes.fromhex(wire) + behind)
        assert plain(parser) == before
        assert not parser.has_plain()
        assert parser.next_plain(NO_LIMIT) is None
        with pytest.raises(ProtocolError, match=message):
            parser.next_frame()


@both_roles
@pytest.mark.parametrize("frame", [Whole(BINARY, content(125)), Whole(BINARY, content(70000))])
def test_a_plain_frame_of_which_a_piece_has_been_returned_is_not_plain(masked: bool, frame: Whole) -> None:
    wire = vector(frame, masked=masked)
    parser = Parser(masked=masked)
    parser.feed(wire[:-50])
    piece = parser.next_frame()
    assert piece is not None
    # What follows looks like a frame.
    parser.feed(wire[-50:] + vector(Whole(TEXT, b"behind"), masked=masked))
    assert not parser.has_plain()
    assert parser.next_plain(NO_LIMIT) is None
    rest = parser.next_frame()
    assert rest is not None
    assert piece.payload + rest.payload == frame.payload
    assert plain(parser) == Whole(TEXT, b"behind")


@both_roles
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
def test_a_plain_message_has_a_limit(masked: bool, size: int) -> None:
    parser = Parser(masked=masked)
    parser.feed(vector(Whole(BINARY, content(size)), masked=masked))
    assert parser.next_plain(size - 1) is None
    assert parser.has_plain()
    assert parser.next_plain(size) == content(size)


@both_roles
@pytest.mark.parametrize("length", [65536, 2**31, 2**32, 2**32 + 1, 2**55 - 1, 2**56, MAX_LENGTH])
def test_a_plain_message_that_is_not_all_there_is_long(masked: bool, length: int) -> None:
    header = bytes((0x82, 0xFF if masked else 0x7F)) + length.to_bytes(8, "big") + (KEY if masked else b"")
    parser = Parser(masked=masked)
    parser.feed(header + content(1000))
    assert not parser.has_plain()
    assert parser.next_plain(NO_LIMIT) is None
    piece = parser.next_frame()
    assert piece is not None
    assert (piece.length, len(piece.payload), piece.last) == (length, 1000, False)


@both_roles
def test_a_plain_message_can_be_taken_back(masked: bool) -> None:
    frames = [Whole(TEXT, b"one"), Whole(BINARY, content(300)), Whole(TEXT, b"three")]
    parser = Parser(masked=masked)
    parser.feed(b"".join(vector(frame, masked=masked) for frame in frames))
    assert plain(parser) == frames[0]
    assert plain(parser) == frames[1]
    parser.take_back()
    assert plain(parser) == frames[1]
    parser.take_back()
    assert frames_left(parser) == frames[1:]


@both_roles
def test_a_parser_that_has_given_all_back_owns_no_large_buffer(masked: bool) -> None:
    wire = vector(Whole(BINARY, content(60000)), masked=masked)
    parser = Parser(masked=masked)
    tracemalloc.start()
    try:
        parser.feed(wire + b"")
        parser.feed(bytes(bytearray(wire)))
        for _ in range(2):
            assert parser.next_plain(NO_LIMIT) is not None
        assert parser.next_plain(NO_LIMIT) is None
        assert tracemalloc.get_traced_memory()[0] < 5000
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit on memory is none")
def test_a_payload_for_which_there_is_no_memory_is_too_big() -> None:
    resource = pytest.importorskip("resource")
    parser = Parser(masked=True)
    parser.feed(b"\x82\xff" + (2**40).to_bytes(8, "big") + KEY + bytes(2**24))
    assert parser.next_frame(True) is not None
    parser.feed(bytes(2**26))
    limits = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**23, limits[1]))
    try:
        with pytest.raises(ProtocolError, match="no memory for a message of 1099511627776 bytes") as raised:
            parser.next_frame(True)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert raised.value.close_code == 1009
