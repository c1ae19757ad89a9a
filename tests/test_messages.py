"""Messages from frames: fragments, UTF-8, limits, and the three ways to pull, alone and mixed."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

import pytest
from payloads import NOISE, TAIL, peer_final, peer_message, peer_messages

from syncws import compiled
from syncws.errors import MessageTooBig, ProtocolError
from syncws.protocol.codes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from syncws.protocol.deflate import Compressor, Deflate, Inflater
from syncws.protocol.frames import encode_frame
from syncws.protocol.messages import LOOK_AHEAD, MessageReader, Piece
from syncws.protocol.parser import Frame

KEY = bytes.fromhex("37fa213d")
HELLO = bytes.fromhex("f248cdc9c90700")  # RFC 7692, 7.2.3.1: "Hello", compressed

Item = str | bytes | Piece | tuple[int, bytes]


def client_reader(*wire: bytes, size: int | None = None, fragments: int | None = None) -> MessageReader:
    reader = MessageReader(masked=False, max_message_size=size, max_fragments=fragments)
    reader.feed(b"".join(wire))
    return reader


def deflating_reader(*wire: bytes, size: int | None = None) -> MessageReader:
    reader = MessageReader(masked=False, inflater=Inflater(15, True), max_message_size=size)
    reader.feed(b"".join(wire))
    return reader


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False) -> bytes:
    return encode_frame(opcode, payload, fin=fin, rsv1=rsv1)


def start(opcode: int, payload: bytes = b"", *, rsv1: bool = False) -> bytes:
    """The first fragment of a message."""
    return frame(opcode, payload, fin=False, rsv1=rsv1)


def more(payload: bytes = b"") -> bytes:
    return frame(CONTINUATION, payload, fin=False)


def final(payload: bytes = b"") -> bytes:
    return frame(CONTINUATION, payload)


def plain(item: str | bytes | Piece | Frame) -> Item:
    return (item.opcode, item.payload) if isinstance(item, Frame) else item


def drain(pull: Callable[[], str | bytes | Piece | Frame | None]) -> list[Item]:
    """Everything that there is, control frames as pairs of opcode and payload."""
    items: list[Item] = []
    while (item := pull()) is not None:
        items.append(plain(item))
    return items


def joined(items: list[Item]) -> list[Item]:
    """The pieces of each message put together; control frames stay where they are behind whole pieces."""
    result: list[Item] = []
    parts: list[str | bytes] = []
    for item in items:
        if not isinstance(item, Piece):
            result.append(item)
            continue
        assert item.data or item.last, "only the last piece may be empty"
        parts.append(item.data)
        if item.last:
            result.append("".join(map(str, parts)) if isinstance(parts[0], str) else b"".join(parts))  # type: ignore[arg-type]
            parts = []
    return result


def expect(error: type[ProtocolError], code: int, message: str, call: Callable[[], object]) -> ProtocolError:
    with pytest.raises(error, match=message) as caught:
        call()
    assert caught.value.close_code == code
    return caught.value


# What arrives, and what it is. RFC 6455, 5.7 first.
VECTORS: list[tuple[bytes, list[Item]]] = [
    (bytes.fromhex("8105 48656c6c6f"), ["Hello"]),
    (bytes.fromhex("0103 48656c 8002 6c6f"), ["Hello"]),
    (bytes.fromhex("8905 48656c6c6f 8a05 48656c6c6f"), [(PING, b"Hello"), (PONG, b"Hello")]),
    (bytes.fromhex("827e0100") + bytes(256), [bytes(256)]),
    (bytes.fromhex("827f0000000000010000") + bytes(65536), [bytes(65536)]),
    (frame(TEXT), [""]),
    (frame(BINARY), [b""]),
    (start(TEXT) + more() + final(), [""]),
    (start(BINARY) + more() + final(), [b""]),
    (start(BINARY, b"a") + frame(PING) + more(b"b") + frame(PONG) + final(b"c"), [(PING, b""), (PONG, b""), b"abc"]),
    (frame(TEXT, b"a\r\nb\rc\n"), ["a\r\nb\rc\n"]),
    (start(TEXT, b"a\r") + final(b"\nb\0"), ["a\r\nb\0"]),
    (start(TEXT, b"\xf0\x9f") + more(b"\x98") + final(b"\x80!"), ["😀!"]),
    (start(TEXT, b"a\xe2") + more() + more(b"\x82") + frame(PING) + final(b"\xac"), [(PING, b""), "a€"]),
    (frame(TEXT, b"1") + start(BINARY, b"2") + final() + frame(TEXT, b"3"), ["1", b"2", "3"]),
    (b"".join([start(BINARY), *[more(b"x")] * 300, final()]), [b"x" * 300]),
    (b"".join([start(TEXT), *[more("€".encode())] * 300, final()]), ["€" * 300]),
    (frame(BINARY, b"\xff\xfe") + frame(CLOSE, b"\x03\xe8"), [b"\xff\xfe", (CLOSE, b"\x03\xe8")]),
    *((frame(opcode, b"x" * size), ["x" * size if opcode == TEXT else b"x" * size])
      for opcode in (TEXT, BINARY) for size in (1, 125, 126, 127, 65535, 65536)),
]  # fmt: skip
every_vector = pytest.mark.parametrize(("wire", "items"), VECTORS, ids=range(len(VECTORS)))


@every_vector
@pytest.mark.parametrize("behind", [b"", b"\x89", b"\x82\x7e\x01"])
def test_messages_that_arrive_whole(wire: bytes, items: list[Item], behind: bytes) -> None:
    reader = client_reader(wire, behind)
    assert drain(reader.next_message) == items
    assert reader.unfinished is (behind != b"" and not reader.ended)
    assert reader.completed == sum(not isinstance(item, tuple) for item in items)
    if not behind and not reader.ended:
        reader.feed(frame(TEXT, b"next"))
        assert drain(reader.next_message) == ["next"]


@every_vector
def test_messages_that_arrive_byte_by_byte(wire: bytes, items: list[Item]) -> None:
    reader = client_reader()
    found: list[Item] = []
    for index in range(len(wire)):
        reader.feed(wire[index : index + 1])
        found += drain(reader.next_message)
    assert found == items
    assert not reader.unfinished


@every_vector
@pytest.mark.parametrize("step", [1, 7, 10**6])
def test_messages_in_pieces(wire: bytes, items: list[Item], step: int) -> None:
    reader = client_reader()
    found: list[Item] = []
    for index in range(0, len(wire), step):
        reader.feed(wire[index : index + step])
        found += drain(reader.next_piece)
    assert [item for item in found if isinstance(item, tuple) and not isinstance(item, Piece)] == [
        item for item in items if isinstance(item, tuple)
    ]
    pieces: list[Item] = [item for item in found if isinstance(item, Piece)]
    assert joined(pieces) == [item for item in items if not isinstance(item, tuple)]
    assert reader.completed == len(joined(pieces))


@every_vector
def test_control_frames_first_then_the_messages(wire: bytes, items: list[Item]) -> None:
    reader = client_reader(wire)
    assert drain(reader.next_control) == [item for item in items if isinstance(item, tuple)]
    assert drain(reader.next_message) == [item for item in items if not isinstance(item, tuple)]


def test_a_server_reads_masked_frames() -> None:
    reader = MessageReader(masked=True)
    reader.feed(bytes.fromhex("8185 37fa213d 7f9f4d5158"))
    assert drain(reader.next_message) == ["Hello"]
    reader.feed(frame(TEXT, b"unmasked"))
    expect(ProtocolError, 1002, "unmasked frame from a client", reader.next_message)


# The order of frames.


@pytest.mark.parametrize("pull", [MessageReader.next_message, MessageReader.next_piece])
@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (final(b"x"), "continuation frame, but there is no message to continue"),
        (more(b"x"), "continuation frame, but there is no message to continue"),
        (frame(TEXT, b"1") + final(b"x"), "continuation frame, but there is no message to continue"),
        (start(TEXT, b"1") + final(b"2") + final(b"x"), "continuation frame, but there is no message to continue"),
        (start(TEXT, b"1") + frame(TEXT, b"x"), "text frame within a fragmented message"),
        (start(TEXT, b"1") + start(BINARY, b"x"), "binary frame within a fragmented message"),
        (start(BINARY) + frame(PING) + frame(BINARY), "binary frame within a fragmented message"),
        (b"\x83\x00", "reserved opcode"),
    ],
)
def test_frames_out_of_order(
    pull: Callable[[MessageReader], str | bytes | Piece | Frame | None], wire: bytes, message: str
) -> None:
    reader = client_reader(frame(BINARY, b"before"), wire, frame(TEXT, b"behind"))
    found: list[Item] = []

    def collect() -> None:
        while (item := pull(reader)) is not None:
            found.append(plain(item))

    expect(ProtocolError, 1002, message, collect)
    assert joined(found[:2])[0] == b"before"
    assert reader.ended
    assert not reader.unfinished
    reader.feed(frame(TEXT, b"later"))
    assert drain(reader.next_message) == drain(reader.next_piece) == drain(reader.next_control) == []


@pytest.mark.parametrize("pull", [MessageReader.next_message, MessageReader.next_piece, MessageReader.next_control])
def test_a_close_frame_may_come_between_fragments_and_ends_everything(
    pull: Callable[[MessageReader], str | bytes | Piece | Frame | None],
) -> None:
    # RFC 6455, 5.4: control frames may come in the middle of a fragmented message.
    reader = client_reader(start(TEXT, b"a"), frame(CLOSE, b"\x03\xe8"), final(b"b"), b"\xff\xff")
    items = drain(lambda: pull(reader))
    assert items[-1] == (CLOSE, b"\x03\xe8")
    assert reader.ended
    reader.feed(b"\xff\xff")
    assert joined(drain(reader.next_message)) == []


# UTF-8.


@pytest.mark.parametrize("pull", [MessageReader.next_message, MessageReader.next_piece])
@pytest.mark.parametrize(
    "wrong", ["80", "c0", "e080", "eda0", "f08f", "f490", "f5", "ff", "cebae1bdb9cf83cebcceb5f490"]
)
@pytest.mark.parametrize("cut", [0, 1])
def test_text_fails_in_the_middle_of_a_frame(
    pull: Callable[[MessageReader], str | bytes | Piece | Frame | None], wrong: str, cut: int
) -> None:
    """The byte that cannot be UTF-8 is the last to arrive, the frame is not complete by far."""
    data = b"ok" + bytes.fromhex(wrong)
    header = bytes((TEXT if cut else TEXT | 0x80, 100))
    reader = client_reader(header, data[:-1])
    assert joined([item for item in drain(lambda: pull(reader)) if not isinstance(item, Piece)]) == []
    reader.feed(data[-1:])
    expect(ProtocolError, 1007, "text message is not UTF-8", lambda: pull(reader))
    assert reader.ended


@pytest.mark.parametrize(
    "wire",
    [
        frame(TEXT, b"\xe2\x82"),
        frame(TEXT, b"\xed\xa0\x80"),
        start(TEXT, b"\xe2\x82") + final(),
        start(TEXT, b"\xe2\x82") + final(b"a"),
        start(TEXT, b"\xed") + more(b"\xa0"),
        start(TEXT, b"\xf4") + more(b"\x90"),
        start(TEXT, b"abc") + more(b"\xff"),
    ],
)
@pytest.mark.parametrize("pull", [MessageReader.next_message, MessageReader.next_piece])
def test_text_over_fragments_must_be_utf_8(
    pull: Callable[[MessageReader], str | bytes | Piece | Frame | None], wire: bytes
) -> None:
    reader = client_reader(wire)
    expect(ProtocolError, 1007, "text message is not UTF-8", lambda: drain(lambda: pull(reader)))


def test_an_incomplete_character_does_not_reach_into_the_next_message() -> None:
    reader = client_reader(start(TEXT, b"\xe2"))
    assert reader.next_message() is None
    assert reader.next_piece() is None
    reader.feed(final(b"\x82\xac") + frame(TEXT, b"a") + start(TEXT, b"b") + final(b"c"))
    assert drain(reader.next_message) == ["€", "a", "bc"]


# Limits.


@pytest.mark.parametrize("limit", [0, 1, 125, 126, 127, 65535, 65536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_may_be_as_large_as_the_limit(limit: int, opcode: int) -> None:
    data = b"x" * limit
    half = limit // 2
    wires = (frame(opcode, data), start(opcode, data[:half]) + more(data[half:]) + final())
    for wire in wires:
        assert drain(client_reader(wire, size=limit).next_message) == [data.decode() if opcode == TEXT else data]
    for wire in (frame(opcode, data + b"x"), wires[1][:-2] + final(b"x")):
        error = expect(MessageTooBig, 1009, "is over max_message_size", client_reader(wire, size=limit).next_message)
        assert isinstance(error, MessageTooBig)
        assert (error.size, error.limit) == (limit + 1, limit)


def test_the_header_alone_is_enough_to_refuse_a_message() -> None:
    reader = client_reader(bytes.fromhex("827f7fffffffffffffff"), size=2**20)
    message = "^message of at least 9223372036854775807 bytes is over max_message_size, 1048576 bytes$"
    expect(MessageTooBig, 1009, message, reader.next_message)
    reader = client_reader(start(BINARY, bytes(60)), bytes((0, 41)), size=100)
    expect(MessageTooBig, 1009, "at least 101 bytes", reader.next_message)


def test_no_limit() -> None:
    wire = b"".join([start(BINARY), *[more(b"x" * 1000)] * 100, final()])
    assert drain(client_reader(wire).next_message) == [b"x" * 100_000]


@pytest.mark.parametrize("pull", [MessageReader.next_message, MessageReader.next_piece])
def test_a_message_may_have_as_many_fragments_as_the_limit(
    pull: Callable[[MessageReader], str | bytes | Piece | Frame | None],
) -> None:
    reader = client_reader(*[start(TEXT), more(), frame(PING), final()] * 2, fragments=3)
    assert len(drain(lambda: pull(reader))) == 4
    reader = client_reader(start(TEXT), more(), frame(PING), more(), more(), fragments=3)
    message = "^message of more than 3 fragments, the limit max_fragments$"
    expect(ProtocolError, 1008, message, lambda: drain(lambda: pull(reader)))


@pytest.mark.parametrize("payload", [b"x", b"", "€".encode(), "😀".encode()])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("in_one_frame", [False, True])
def test_tiny_pieces_cost_little_more_than_their_content(payload: bytes, opcode: int, in_one_frame: bool) -> None:
    # The classic attack is a million of them; what one costs shows with fewer.
    count, at_once = (5000, 1) if in_one_frame else (20_000, 1000)
    size = count * len(payload)
    pieces = (payload if in_one_frame else more(payload)) * at_once
    tracemalloc.start()
    try:
        reader = client_reader(bytes((opcode, 127)) + (2**32).to_bytes(8, "big") if in_one_frame else start(opcode))
        for _ in range(count // at_once):
            reader.feed(pieces)
            assert reader.next_message() is None
        # A character may take four bytes in a str; a constant part comes on top.
        assert tracemalloc.get_traced_memory()[0] < 2 * size + 30_000
    finally:
        tracemalloc.stop()


# Large messages, which are gathered.

BIG = bytes(range(256)) * 4096  # 1 MiB


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("fragments", [False, True])
def test_a_large_message_in_parts(masked: bool, fragments: bool) -> None:
    key = KEY if masked else None
    wire = encode_frame(BINARY, BIG, fin=not fragments, key=key)
    if fragments:
        wire += encode_frame(PING, b"between", key=key) + encode_frame(CONTINUATION, BIG, key=key)
    wire += encode_frame(TEXT, b"behind", key=key)
    reader = MessageReader(masked=masked, max_message_size=2 * len(BIG))
    found: list[Item] = []
    for at in range(0, len(wire), 130_000):
        reader.feed(wire[at : at + 130_000])
        found += drain(reader.next_message)
        assert reader.owed is reader.unfinished
    assert found == ([(PING, b"between"), BIG * 2, "behind"] if fragments else [BIG, "behind"])
    assert reader.completed == 2


def test_a_large_message_is_put_together_once() -> None:
    wire = encode_frame(BINARY, BIG, key=KEY)
    parts = [wire[at : at + 130_000] for at in range(0, len(wire), 130_000)]
    reader = MessageReader(masked=True)
    tracemalloc.start()
    try:
        for part in parts[:-1]:
            reader.feed(part)
            assert reader.next_message() is None
        tracemalloc.reset_peak()
        reader.feed(parts[-1])
        assert reader.next_message() == BIG
        # Plain Python joins what has been unmasked.
        assert tracemalloc.get_traced_memory()[1] < len(BIG) * (1.2 if compiled else 2.2)
    finally:
        tracemalloc.stop()


def test_a_large_message_is_too_big_when_its_header_is_there() -> None:
    reader = client_reader(frame(BINARY, BIG)[:100], size=len(BIG) - 1)
    expect(MessageTooBig, 1009, f"^message of at least {len(BIG)} bytes", reader.next_message)
    assert drain(reader.next_message) == []


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("pull", [MessageReader.next_piece, MessageReader.next_control])
def test_the_ways_to_pull_change_within_a_large_message(
    pull: Callable[[MessageReader], str | bytes | Piece | Frame | None], times: int
) -> None:
    wire = frame(BINARY, BIG) + frame(PING, b"behind") + frame(TEXT, b"end")
    parts = [wire[at : at + 130_000] for at in range(0, len(wire), 130_000)]
    reader = client_reader()
    found: list[Item] = []
    for number, part in enumerate(parts):
        reader.feed(part)
        found += drain(lambda: pull(reader)) if number == times else drain(reader.next_message)
        if number == times and pull is MessageReader.next_piece:
            # What has been gathered comes first, in one piece; the rest is skipped by next_message().
            assert [len(item.data) for item in found if isinstance(item, Piece)] == [times * 130_000 - 10, 130_000]
    if pull is MessageReader.next_piece:
        assert found[2:] == [(PING, b"behind"), "end"]
    else:
        assert found == [BIG, (PING, b"behind"), "end"]


def test_a_ping_behind_a_large_message_of_which_much_has_been_gathered() -> None:
    # It does not count as set aside, so that what comes behind it is found.
    wire = frame(BINARY, BIG) + frame(PING, b"behind")
    reader = client_reader(wire[: len(BIG) - 100_000])
    assert reader.next_message() is None
    reader.feed(wire[len(BIG) - 100_000 :])
    assert drain(reader.next_control) == [(PING, b"behind")]
    assert drain(reader.next_message) == [BIG]


# Compression.


def test_a_compressed_message() -> None:
    reader = deflating_reader(frame(TEXT, HELLO, rsv1=True), frame(TEXT, b"plain"), frame(BINARY, HELLO, rsv1=True))
    assert drain(reader.next_message) == ["Hello", "plain", b"Hello"]


def test_a_compressed_message_in_fragments() -> None:
    # RFC 7692, 7.2.3.1: RSV1 is set on the first fragment only.
    wire = start(TEXT, HELLO[:3], rsv1=True) + frame(PING) + final(HELLO[3:])
    assert drain(deflating_reader(wire).next_message) == [(PING, b""), "Hello"]
    assert joined(drain(deflating_reader(wire).next_piece)) == [(PING, b""), "Hello"]


WRONG = [
    (b"", 1007, "ends in the middle of its DEFLATE data"),
    (b"\xff\xff\xff", 1007, "not valid DEFLATE data"),
    (peer_message(b"valid") + TAIL + b"\x07", 1007, "not valid DEFLATE data: invalid block type"),
    (peer_message(bytes(300), level=0)[:-5], 1007, "ends in the middle of its DEFLATE data"),
    (HELLO[:3], 1007, "ends in the middle of its DEFLATE data"),
    (peer_message(b"text \xff"), 1007, "is not UTF-8: invalid start byte 0xFF"),
    (peer_message(b"text \xed\xa0\x80"), 1007, "is not UTF-8: invalid continuation byte 0xA0"),
    (peer_message(b"text \xc3"), 1007, "is not UTF-8: unexpected end of data 0xC3"),
]


@pytest.mark.parametrize("pull", [MessageReader.next_message, MessageReader.next_piece])
@pytest.mark.parametrize(
    ("wire", "code", "message"),
    [
        *[(frame(TEXT, payload, rsv1=True), code, message) for payload, code, message in WRONG],
        (start(TEXT, HELLO[:3], rsv1=True) + frame(CONTINUATION, HELLO[3:], rsv1=True), 1002, "RSV1 set"),
        (frame(PING, b"", rsv1=True), 1002, "RSV1 set"),
    ],
)
def test_a_compressed_message_that_is_wrong(
    pull: Callable[[MessageReader], str | bytes | Piece | Frame | None], wire: bytes, code: int, message: str
) -> None:
    reader = deflating_reader(wire)
    expect(ProtocolError, code, message, lambda: drain(lambda: pull(reader)))
    assert drain(reader.next_message) == []


def test_a_message_is_not_compressed_unless_that_was_negotiated() -> None:
    expect(
        ProtocolError, 1002, "no extension was negotiated", client_reader(frame(TEXT, HELLO, rsv1=True)).next_message
    )


def test_inflation_is_bounded() -> None:
    bomb = Compressor(15, True, Deflate()).compress(bytes(20_000_000))
    reader = deflating_reader(frame(BINARY, bomb, rsv1=True), size=100_000)
    tracemalloc.start()
    try:
        expect(MessageTooBig, 1009, "message after inflation .* 100000 bytes", reader.next_message)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        reader = deflating_reader(frame(BINARY, bomb, rsv1=True), size=100_000)
        assert sum(len(item.data) for item in iter(reader.next_piece, None) if isinstance(item, Piece)) == 20_000_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("level", [1, 9])
@pytest.mark.parametrize("mem_level", [1, 9])
@pytest.mark.parametrize(
    ("limit", "flush_every"),
    [(1, 1), (125, 1), (1000, 1), (1000, 100), (65536, 1000), (65536, 65536), (200_000, 65536)],
)
def test_the_limit_counts_what_the_application_gets(limit: int, level: int, mem_level: int, flush_every: int) -> None:
    """What cannot be compressed is larger on the wire, and still within the limit."""
    data = random.Random(limit).randbytes(limit)
    for extra, fits in ((b"", True), (b"x", False)):
        compressor = Compressor(15, True, Deflate(level=level, mem_level=mem_level))
        message = data + extra
        parts = [message[i : i + flush_every] for i in range(0, len(message), flush_every)]
        wire = [start(BINARY, rsv1=True)] + [more(compressor.compress_piece(part, last=False)) for part in parts]
        reader = deflating_reader(*wire, final(compressor.compress_piece(b"", last=True)), size=limit)
        if fits:
            assert drain(reader.next_message) == [message]
        else:
            expect(MessageTooBig, 1009, "message after inflation", reader.next_message)


def test_the_wire_has_a_limit_too() -> None:
    # Empty blocks inflate to nothing, for ever.
    reader = deflating_reader(start(BINARY, rsv1=True), *[more(b"\x00\x00\x00\xff\xff" * 100)] * 4, size=1000)
    error = expect(MessageTooBig, 1009, "^compressed message of at least 1500 bytes is over", reader.next_message)
    assert isinstance(error, MessageTooBig)
    assert (error.size, error.limit) == (1500, 1000)
    header = bytes.fromhex("c27f7fffffffffffffff")
    expect(MessageTooBig, 1009, "^compressed message", deflating_reader(header, size=1000).next_message)


# Streaming, and mixing the ways to pull.


def test_streaming_has_no_size_limit() -> None:
    reader = client_reader(start(BINARY, b"x" * 60), final(b"y" * 60), size=100)
    assert drain(reader.next_piece) == [Piece(b"x" * 60, False), Piece(b"y" * 60, False), Piece(b"", True)]


def test_the_rest_of_an_abandoned_stream_is_skipped() -> None:
    reader = client_reader(start(TEXT, b"a"), more(b"bcd"), size=4)
    assert reader.next_piece() == Piece("a", False)
    assert reader.next_message() is None
    reader.feed(frame(PING, b"1") + more(b"efgh") + final(b"i") + frame(TEXT, b"next") + start(BINARY, b"12345"))
    assert plain(reader.next_message() or "") == (PING, b"1")
    assert reader.next_message() == "next"
    expect(MessageTooBig, 1009, "is over max_message_size", reader.next_message)


def test_an_abandoned_stream_is_still_checked() -> None:
    reader = client_reader(start(TEXT, b"a"), more(b"\xff"))
    assert reader.next_piece() == Piece("a", False)
    expect(ProtocolError, 1007, "not UTF-8", reader.next_message)
    assert reader.next_message() is None


def test_an_abandoned_compressed_stream_leaves_the_window_as_it_must_be() -> None:
    compressor = Compressor(15, True, Deflate())
    _, first, second = (compressor.compress(b"the same text again, again") for _ in range(3))
    assert len(second) < len(first)
    reader = deflating_reader(frame(TEXT, first[:9], fin=False, rsv1=True))
    assert isinstance(reader.next_piece(), Piece)
    reader.feed(final(first[9:]) + frame(TEXT, second, rsv1=True))
    assert drain(reader.next_message) == ["the same text again, again"]


def test_an_abandoned_stream_with_a_close_frame_inside() -> None:
    reader = client_reader(start(TEXT, b"a"), frame(CLOSE), final(b"b"))
    assert reader.next_piece() == Piece("a", False)
    assert drain(reader.next_message) == [(CLOSE, b"")]


@pytest.mark.parametrize("text", [False, True])
def test_a_message_that_was_read_in_part_goes_on_as_a_stream(text: bool) -> None:
    data = "grüße €".encode()
    reader = client_reader(start(TEXT if text else BINARY, data[:3]), more(data[3:9]))
    assert reader.next_message() is None
    assert reader.unfinished
    reader.feed(more(data[9:]) + final() + frame(TEXT, b"next"))
    expected = "grüße €" if text else data
    begin = data[:9].decode(errors="ignore") if text else data[:9]
    items = [reader.next_piece() for _ in range(3)]
    assert items == [Piece(begin, False), Piece(expected[len(begin) :], False), Piece(expected[:0], True)]
    assert reader.next_message() == "next"


def test_a_stream_that_gave_nothing_yet_goes_on_as_a_message() -> None:
    reader = client_reader(start(BINARY, b""), size=3)
    assert reader.next_piece() is None
    reader.feed(final(b"abc"))
    assert reader.next_message() == b"abc"
    reader.feed(start(BINARY) + b"\x00\x04")
    assert reader.next_piece() is None
    reader.feed(b"a" * 3)
    assert reader.next_piece() == Piece(b"aaa", False)


def test_the_limit_applies_to_a_message_of_which_no_piece_was_taken() -> None:
    reader = client_reader(b"\x82\x04", size=3)
    assert reader.next_piece() is None
    reader.feed(b"a")
    expect(MessageTooBig, 1009, "at least 4 bytes", reader.next_message)


def test_a_compressed_message_that_was_read_in_part_goes_on_as_a_stream() -> None:
    payload = Compressor(15, True, Deflate()).compress(b"x" * 1000 + b"Hello")
    reader = deflating_reader(frame(TEXT, payload[:-3], fin=False, rsv1=True))
    assert reader.next_message() is None
    reader.feed(final(payload[-3:]))
    assert joined(drain(reader.next_piece)) == ["x" * 1000 + "Hello"]


# Looking ahead.


def test_looking_ahead_sets_messages_aside_in_order() -> None:
    reader = client_reader(frame(TEXT, b"1"), frame(PING, b"p"), start(BINARY, b"2"), frame(PONG, b"q"), final(b"3"))
    assert drain(reader.next_control) == [(PING, b"p"), (PONG, b"q")]
    reader.feed(frame(PING, b"r") + frame(TEXT, b"4"))
    assert drain(reader.next_message) == ["1", b"23", (PING, b"r"), "4"]


@pytest.mark.parametrize("payload", [b"", b"x" * 10, b"x" * 5000])
def test_looking_ahead_has_a_limit(payload: bytes) -> None:
    wire = frame(BINARY, payload)
    count = LOOK_AHEAD // len(payload or b"x") + 1
    reader = client_reader()
    fed = 0
    tracemalloc.start()
    try:
        while not reader.looked_ahead:
            reader.feed(wire)
            assert reader.next_control() is None
            fed += 1
        assert fed <= count
        assert tracemalloc.get_traced_memory()[0] < LOOK_AHEAD + 100_000
    finally:
        tracemalloc.stop()
    reader.feed(frame(PING, b"far"))
    assert reader.next_control() is None
    assert reader.next_message() == payload
    assert not reader.looked_ahead
    assert plain(reader.next_control() or "") == (PING, b"far")
    assert drain(reader.next_message) == [payload] * (fed - 1)


def test_looking_ahead_within_a_message_that_is_read() -> None:
    reader = client_reader(start(TEXT, b"a"))
    assert reader.next_message() is None
    reader.feed(more(b"b") + frame(PING) + more(b"c"))
    assert drain(reader.next_control) == [(PING, b"")]
    reader.feed(final(b"d"))
    assert drain(reader.next_message) == ["abcd"]


def test_looking_ahead_within_a_stream() -> None:
    reader = client_reader(start(TEXT, b"a"), more(b"b"), frame(PING), final(b"c"), frame(TEXT, b"next"))
    assert reader.next_piece() == Piece("a", False)
    assert drain(reader.next_control) == [(PING, b"")]
    assert drain(reader.next_message) == ["next"]


def test_an_error_found_by_looking_ahead_does_not_cost_what_came_before() -> None:
    reader = client_reader(frame(TEXT, b"1"), start(TEXT, b"2"), final(b"3"), start(TEXT, b"4"), b"\x83\x00")
    expect(ProtocolError, 1002, "reserved opcode", reader.next_control)
    assert reader.ended
    assert reader.next_control() is None
    reader.feed(frame(TEXT, b"later"))
    assert drain(reader.next_message) == ["1", "23"]


def test_an_error_in_a_message_is_not_found_by_looking_ahead() -> None:
    reader = client_reader(frame(TEXT, b"1"), frame(TEXT, b"\xff"), frame(PING))
    assert drain(reader.next_control) == [(PING, b"")]
    assert reader.next_message() == "1"
    expect(ProtocolError, 1007, "not UTF-8", reader.next_message)
    assert drain(reader.next_message) == []


def test_a_close_frame_found_by_looking_ahead_does_not_cost_what_came_before() -> None:
    reader = client_reader(frame(TEXT, b"1"), start(BINARY, b"2"), frame(CLOSE), final(b"3"))
    assert drain(reader.next_control) == [(CLOSE, b"")]
    assert reader.ended
    assert drain(reader.next_message) == ["1"]


# Stopping.


def test_after_stop_only_what_was_set_aside_is_returned() -> None:
    reader = client_reader(frame(TEXT, b"1"), frame(PING), frame(TEXT, b"2"))
    assert plain(reader.next_control() or "") == (PING, b"")
    reader.stop()
    assert reader.ended
    reader.feed(frame(TEXT, b"3"))
    assert drain(reader.next_message) == ["1"]


def test_unfinished_and_completed() -> None:
    reader = client_reader()
    seen = []
    for part in (b"\x01", b"\x01", b"a", b"\x80", b"\x00", b"\x89", b"\x00", b"\x82\x01", b"b"):
        reader.feed(part)
        drain(reader.next_message)
        seen.append((reader.unfinished, reader.completed))
    assert seen == [
        *[(True, 0)] * 4, (False, 1), (True, 1), (False, 1), (True, 1), (False, 2),
    ]  # fmt: skip


def test_what_the_peer_owes() -> None:
    reader = MessageReader(masked=False)
    assert not reader.owed
    whole = encode_frame(TEXT, b"whole")
    reader.feed(whole + whole[:1])
    assert reader.next_control() is None
    assert reader.owed  # half a header
    reader.feed(whole[1:])
    assert reader.next_control() is None
    assert not reader.owed
    reader.feed(encode_frame(TEXT, b"a", fin=False))
    assert reader.next_control() is None
    assert reader.owed
    assert [reader.next_message() for _ in range(3)] == ["whole", "whole", None]
    assert reader.owed  # it has been taken, and is not complete
    reader.feed(encode_frame(CONTINUATION, b"b"))
    assert reader.next_control() is None
    assert not reader.owed  # nothing is missing, though nobody has received it
    assert reader.unfinished
    assert reader.next_message() == "ab"
    assert not reader.owed


def test_streaming() -> None:
    reader = MessageReader(masked=False)
    reader.feed(encode_frame(TEXT, b"a", fin=False))
    assert not reader.streaming
    assert reader.next_piece() == Piece("a", False)
    assert reader.streaming
    reader.feed(encode_frame(CONTINUATION, b"b"))
    assert drain(reader.next_piece)[-1][1]
    assert not reader.streaming


# The common case: next_plain().


def plain_first(reader: MessageReader) -> Callable[[], str | bytes | Piece | Frame | None]:
    """As a connection pulls: next_plain(), and what that leaves from next_message()."""

    def pull() -> str | bytes | Piece | Frame | None:
        message = reader.next_plain()
        return reader.next_message() if message is None else message

    return pull


@every_vector
@pytest.mark.parametrize("behind", [b"", b"\x89", b"\x82\x7e\x01"])
def test_plain_messages_first_whole(wire: bytes, items: list[Item], behind: bytes) -> None:
    reader = client_reader(wire, behind)
    assert drain(plain_first(reader)) == items
    assert reader.unfinished is (behind != b"" and not reader.ended)
    assert reader.completed == sum(not isinstance(item, tuple) for item in items)


@every_vector
def test_plain_messages_first_byte_by_byte(wire: bytes, items: list[Item]) -> None:
    reader = client_reader()
    found: list[Item] = []
    for index in range(len(wire)):
        reader.feed(wire[index : index + 1])
        found += drain(plain_first(reader))
    assert found == items
    assert reader.completed == sum(not isinstance(item, tuple) for item in items)


def test_next_plain_returns_what_is_whole_and_leaves_all_else() -> None:
    reader = client_reader(frame(TEXT, b"one"), frame(BINARY, b"two"), start(TEXT, b"th"), final(b"ree"), frame(TEXT))
    assert reader.next_plain() == "one"
    assert reader.has_plain()
    assert reader.next_plain() == b"two"
    assert not reader.has_plain()
    assert reader.completed == 2
    assert reader.next_plain() is None
    assert reader.next_message() == "three"
    assert reader.has_plain()
    assert reader.next_plain() == ""
    assert reader.next_plain() is None
    assert reader.completed == reader.arrived == 4


def test_next_plain_leaves_control_frames() -> None:
    reader = client_reader(frame(PING, b"x"), frame(TEXT, b"one"), frame(CLOSE))
    assert reader.next_plain() is None
    assert plain(reader.next_message() or "") == (PING, b"x")
    assert reader.next_plain() == "one"
    assert reader.next_plain() is None
    assert not reader.ended
    assert plain(reader.next_message() or "") == (CLOSE, b"")
    assert reader.ended
    reader.feed(frame(TEXT, b"late"))
    assert reader.next_plain() is None


def test_next_plain_leaves_what_is_not_utf_8() -> None:
    reader = client_reader(frame(TEXT, b"one"), frame(TEXT, b"a\xff"), frame(TEXT, b"late"))
    assert reader.next_plain() == "one"
    assert reader.next_plain() is None
    assert reader.next_plain() is None
    assert reader.completed == 1
    expect(ProtocolError, 1007, "UTF-8", reader.next_message)
    assert reader.next_plain() is None


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_next_plain_leaves_what_is_too_big(opcode: int) -> None:
    reader = client_reader(frame(opcode, b"x" * 1000), frame(opcode, b"x" * 1001), size=1000)
    assert reader.next_plain() == ("x" * 1000 if opcode == TEXT else b"x" * 1000)
    assert reader.next_plain() is None
    expect(MessageTooBig, 1009, "1001", reader.next_message)


def test_next_plain_with_the_largest_limits() -> None:
    for size in (2**63 - 1, 2**63, 2**100):
        assert client_reader(frame(BINARY, bytes(70000)), size=size).next_plain() == bytes(70000)
    reader = client_reader(frame(BINARY), frame(BINARY, b"1"), size=0)
    assert reader.next_plain() == b""
    assert reader.next_plain() is None


def test_next_plain_inflates_what_is_compressed() -> None:
    wire = [frame(TEXT, b"plain"), frame(TEXT, HELLO, rsv1=True), frame(BINARY, HELLO, rsv1=True), frame(TEXT, b"end")]
    reader = deflating_reader(*wire)
    assert [reader.next_plain() for _ in range(5)] == ["plain", "Hello", b"Hello", "end", None]
    assert reader.completed == reader.arrived == 4
    assert not reader.unfinished


@pytest.mark.parametrize("pull", [MessageReader.next_message, MessageReader.next_piece, MessageReader.next_control])
@pytest.mark.parametrize(("payload", "code", "message"), WRONG)
def test_next_plain_leaves_what_is_wrong_with_a_compressed_message(
    pull: Callable[[MessageReader], object], payload: bytes, code: int, message: str
) -> None:
    reader = deflating_reader(frame(TEXT, HELLO, rsv1=True), frame(TEXT, payload, rsv1=True), frame(TEXT, b"late"))
    assert reader.next_plain() == "Hello"
    assert reader.has_plain()
    for _ in range(2):
        assert reader.next_plain() is None
        assert reader.unfinished
    if pull is MessageReader.next_control:
        assert drain(reader.next_control) == []  # it sets the frame aside
        assert reader.next_plain() is None
        pull = MessageReader.next_message
    expect(ProtocolError, code, message, lambda: drain(lambda: pull(reader)))  # type: ignore[arg-type, return-value]
    assert reader.completed == 1
    assert reader.next_plain() is None
    assert reader.ended


@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("limit", [999, 1000, 1001, None])
def test_next_plain_has_the_limit_of_what_is_inflated(limit: int | None, takeover: bool) -> None:
    reader = MessageReader(masked=False, inflater=Inflater(15, takeover), max_message_size=limit)
    for _ in range(3):
        reader.feed(frame(BINARY, peer_message(bytes(1000)), rsv1=True))
        if limit == 999:
            assert reader.next_plain() is None
            expect(MessageTooBig, 1009, "message after inflation of at least 1000 bytes", reader.next_message)
            return
        assert reader.next_plain() == bytes(1000)


UNUSUAL = {
    "a stream that ends": peer_final(b"Hello"),
    "two streams": peer_final(b"Hello") + peer_message(b"Hello"),
    "larger than zlib gives out at once": peer_message(bytes(70_000)),
    "larger than zlib is given at once": peer_message(NOISE[:20_000]),
    "as large as zlib gives out at once": peer_message(bytes(65_536)),
}


@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("payload", UNUSUAL.values(), ids=UNUSUAL)
def test_next_plain_leaves_what_takes_more_than_a_step(payload: bytes, takeover: bool) -> None:
    expected = Inflater(15, False).inflate(payload, last=True)
    for whole in (True, False):
        reader = MessageReader(masked=False, inflater=Inflater(15, takeover))
        reader.feed(frame(BINARY, HELLO, rsv1=True) + frame(BINARY, payload, rsv1=True) + frame(TEXT, HELLO, rsv1=True))
        assert reader.next_plain() == b"Hello"
        assert reader.next_plain() is None
        reader.release_inflater()  # it is in the middle of the message
        if whole:
            assert reader.next_message() == expected
        else:
            pieces = []
            while not pieces or not pieces[-1].last:
                piece = reader.next_piece()
                assert isinstance(piece, Piece)
                pieces.append(piece)
            assert b"".join(piece.data for piece in pieces) == expected  # type: ignore[misc]
        assert reader.next_plain() == "Hello"


def test_next_plain_keeps_the_window() -> None:
    texts = ["Hello, Hello", "Hello, Hello", "", "Hello, all of you", "Hello, Hello"]
    reader = deflating_reader()
    for number, payload in enumerate(peer_messages(*map(str.encode, texts))):
        reader.feed(frame(TEXT, payload, rsv1=True))
        if number == 3:
            reader.release_inflater()
        pull = reader.next_message if number == 2 else reader.next_plain
        assert pull() == texts[number]


def test_next_plain_leaves_what_is_within_a_message() -> None:
    # RFC 6455, 5.4: the fragments of one message MUST NOT be interleaved with those of another.
    reader = client_reader(start(TEXT, b"one"))
    assert reader.next_plain() is None
    assert reader.next_message() is None
    reader.feed(frame(TEXT, b"two"))
    assert reader.next_plain() is None
    expect(ProtocolError, 1002, "within a fragmented message", reader.next_message)


def test_next_plain_leaves_what_is_read_in_pieces() -> None:
    reader = client_reader(start(TEXT, b"one"), final(b"two"), frame(TEXT, b"three"))
    assert reader.next_piece() == Piece("one", False)
    assert reader.next_plain() is None
    assert reader.next_piece() == Piece("two", False)
    assert reader.next_plain() is None
    assert reader.next_piece() == Piece("", True)
    assert reader.next_plain() == "three"


def test_what_is_set_aside_comes_first() -> None:
    reader = client_reader(frame(TEXT, b"one"), frame(PING), frame(TEXT, b"two"))
    assert plain(reader.next_control() or "") == (PING, b"")
    assert not reader.between()
    assert reader.next_plain() is None
    assert reader.next_message() == "one"
    assert reader.next_plain() == "two"
    assert reader.between()
    assert reader.completed == reader.arrived == 2


def test_giving_back_the_memory_of_the_decompressor_loses_nothing() -> None:
    client_reader().release_inflater()  # there is none
    reader = deflating_reader(frame(TEXT, HELLO, rsv1=True))
    reader.release_inflater()
    assert reader.next_message() == "Hello"
    reader.release_inflater()
    # RFC 7692, 7.2.3.2: the second one refers to the first.
    reader.feed(frame(TEXT, bytes.fromhex("f200110000"), rsv1=True))
    reader.release_inflater()
    assert reader.next_message() == "Hello"
