"""Properties of the protocol as a whole, from sent messages to received ones, and under arbitrary bytes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncws.errors import MessageTooBig, ProtocolError
from syncws.protocol.codes import BINARY, CONTINUATION, PING, PONG, TEXT
from syncws.protocol.deflate import Compressor, Deflate, Inflater
from syncws.protocol.frames import data_payload, encode_frame
from syncws.protocol.messages import LOOK_AHEAD, MessageReader, Piece
from syncws.protocol.parser import Frame

LIMIT = 4096

Pull = Callable[[MessageReader], str | bytes | Piece | Frame | None]
Control = tuple[int, bytes]

PULLS: list[Pull] = [MessageReader.next_message, MessageReader.next_piece, MessageReader.next_control]
# Returns nothing but what next_message() would return, and None for the rest.
ALL_PULLS: list[Pull] = [*PULLS, MessageReader.next_plain]


class Sent(NamedTuple):
    """A message, and how it goes on the wire."""

    data: str | bytes
    cuts: list[int]  # where the fragments end, within the payload
    controls: list[tuple[int, Control]]  # control frames, each behind which fragment
    compressed: bool


class Connection(NamedTuple):
    """Messages sent over one connection, and where its bytes are cut on their way."""

    messages: list[Sent]
    keys: list[bytes] | None  # masking keys of a client, used in turn
    takeover: bool
    splits: list[int]  # sizes of the parts that arrive, used in turn


controls = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))
data = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40),
    st.builds(lambda text, times: text * times, st.text(max_size=10), st.integers(0, 100)),
    st.sampled_from([125, 126, 127, 65535, 65536]).map(lambda size: b"\xfe" * size),
    st.sampled_from([125, 126, 65535, 65536]).map(lambda size: "é" * size),
)
sent = st.builds(
    Sent,
    data,
    st.lists(st.one_of(st.integers(0, 50), st.integers(0, 2**17)), max_size=6),
    st.lists(st.tuples(st.integers(0, 6), controls), max_size=4),
    st.booleans(),
)
connections = st.builds(
    Connection,
    st.lists(sent, max_size=5),
    st.none() | st.lists(st.binary(min_size=4, max_size=4), min_size=1, max_size=3),
    st.booleans(),
    st.lists(st.one_of(st.integers(1, 20), st.integers(1, 70000)), min_size=1, max_size=10),
)


def encode(connection: Connection) -> tuple[bytes, list[Control]]:
    """The bytes of a connection, and its control frames in order."""
    compressor = Compressor(12, connection.takeover, Deflate())
    wire = bytearray()
    in_order: list[Control] = []
    frames = 0

    def add(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> None:
        nonlocal frames
        key = connection.keys[frames % len(connection.keys)] if connection.keys else None
        wire.extend(encode_frame(opcode, payload, fin=fin, rsv1=rsv1, key=key))
        frames += 1

    for message in connection.messages:
        opcode, payload = data_payload(message.data)
        if message.compressed:
            payload = compressor.compress(payload)
        places = sorted(min(cut, len(payload)) for cut in message.cuts)
        parts = list(zip([0, *places], [*places, len(payload)], strict=True))
        for number, (start, end) in enumerate(parts):
            first, last = number == 0, number == len(parts) - 1
            add(opcode if first else CONTINUATION, payload[start:end], fin=last, rsv1=first and message.compressed)
            for behind, control in message.controls:
                if behind == number:
                    add(*control)
                    in_order.append(control)
    return bytes(wire), in_order


def arriving(wire: bytes, sizes: list[int]) -> Iterable[bytes]:
    """The parts in which the bytes arrive. Single bytes over and over are kept to the beginning of long ones."""
    start = number = 0
    while start < len(wire):
        size = sizes[number % len(sizes)]
        if number > 500:
            size *= 100
        yield wire[start : start + size]
        start += size
        number += 1


def reader_for(connection: Connection) -> MessageReader:
    return MessageReader(masked=connection.keys is not None, inflater=Inflater(12, connection.takeover))


class Received:
    """Collects what was pulled; the pieces of a message are put together again."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.controls: list[Control] = []
        self.pieces: list[str | bytes] = []

    def take(self, item: str | bytes | Piece | Frame) -> None:
        if isinstance(item, Frame):
            self.controls.append((item.opcode, item.payload))
        elif not isinstance(item, Piece):
            assert not self.pieces, "a message within the pieces of another"
            self.messages.append(item)
        else:
            assert item.data or item.last
            self.pieces.append(item.data)
            if item.last:
                empty = item.data[:0]
                self.messages.append(empty.join(self.pieces))  # type: ignore[arg-type]
                self.pieces = []


@given(connections, st.sampled_from(PULLS[:2]))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_what_is_sent_is_what_is_received(connection: Connection, pull: Pull) -> None:
    wire, in_order = encode(connection)
    reader = reader_for(connection)
    received = Received()
    for part in arriving(wire, connection.splits):
        reader.feed(part)
        while (item := pull(reader)) is not None:
            received.take(item)
    assert received.messages == [message.data for message in connection.messages]
    assert received.controls == in_order
    assert not reader.unfinished
    assert reader.completed == len(connection.messages)


@given(connections, st.lists(st.sampled_from(ALL_PULLS), min_size=1, max_size=20))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_the_ways_to_pull_can_be_mixed(connection: Connection, pulls: list[Pull]) -> None:
    """A stream that was begun goes on as one; everything else goes any way at any time."""
    wire, in_order = encode(connection)
    reader = reader_for(connection)
    received = Received()
    number = 0

    def step(pull: Pull) -> bool:
        if received.pieces and pull is MessageReader.next_message:
            pull = MessageReader.next_piece
        item = pull(reader)
        if item is not None:
            received.take(item)
        return item is not None

    for part in arriving(wire, connection.splits):
        reader.feed(part)
        # As a connection does it: more is fed only when nothing more can be pulled.
        while step(pulls[number % len(pulls)]) or reader.looked_ahead:
            number += 1
            if reader.looked_ahead:
                step(MessageReader.next_message)
        number += 1
    while step(MessageReader.next_message):
        pass
    assert received.messages == [message.data for message in connection.messages]
    assert received.controls == in_order


@given(connections)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_an_abandoned_stream_does_not_harm_the_messages_behind_it(connection: Connection) -> None:
    """Every other message is left after its first piece."""
    wire, in_order = encode(connection)
    reader = reader_for(connection)
    received = Received()
    # An empty message has no piece before its last one, so it cannot be left.
    abandoned = {number for number, message in enumerate(connection.messages) if number % 2 and message.data}
    for part in arriving(wire, connection.splits):
        reader.feed(part)
        while True:
            if reader.completed in abandoned:
                item = reader.next_piece()
                if isinstance(item, Piece):
                    assert not item.last
                    abandoned.remove(reader.completed)
                    item = reader.next_message()
            else:
                item = reader.next_message()
            if item is None:
                break
            received.take(item)
    kept = [message.data for number, message in enumerate(connection.messages) if not (number % 2 and message.data)]
    assert received.messages == kept
    assert received.controls == in_order


# Bytes that begin like a frame more often than random ones would.
frame_like = st.builds(
    lambda first, second, rest: bytes((first, second)) + rest,
    st.sampled_from([0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A, 0x41, 0x42, 0xC1, 0xC2, 0x03, 0xA1]),
    st.sampled_from([0, 1, 2, 5, 125, 126, 127, 0x80, 0x81, 0x82, 0x85, 0xFD, 0xFE, 0xFF]),
    st.binary(max_size=140),
)
well_formed = st.builds(
    lambda opcode, payload, fin, rsv1, key: encode_frame(opcode, payload, fin=fin, rsv1=rsv1, key=key),
    st.sampled_from([CONTINUATION, TEXT, BINARY, PING]),
    st.binary(max_size=120) | st.sampled_from([bytes.fromhex("f248cdc9c90700"), bytes(LIMIT), bytes(LIMIT + 1)]),
    st.booleans(),
    st.booleans(),
    st.none() | st.binary(min_size=4, max_size=4),
)
garbage = st.lists(st.one_of(st.binary(max_size=200), frame_like, well_formed), max_size=30)


@given(garbage, st.lists(st.sampled_from(PULLS), min_size=1, max_size=10), st.booleans(), st.booleans())
@settings(deadline=None)
def test_any_bytes_at_all_raise_only_what_is_documented(
    parts: list[bytes], pulls: list[Pull], masked: bool, deflate: bool
) -> None:
    inflater = Inflater(15, True) if deflate else None
    reader = MessageReader(masked=masked, inflater=inflater, max_message_size=LIMIT, max_fragments=20)
    failed = False
    for number, part in enumerate(parts):
        reader.feed(part)
        for pull in (pulls[number % len(pulls)], MessageReader.next_message):
            # Two bytes are at least one frame, and what they inflate to comes in large pieces.
            for _ in range(len(part) * number + LIMIT):
                try:
                    item = pull(reader)
                except ProtocolError as error:
                    failed = True
                    assert error.close_code in (1002, 1007, 1008, 1009)
                    assert (error.close_code == 1009) is isinstance(error, MessageTooBig)
                    assert reader.ended
                    continue
                if item is None:
                    break
                if isinstance(item, (str, bytes)):
                    size = len(item.encode()) if isinstance(item, str) else len(item)
                    assert size <= LIMIT
            else:
                pytest.fail("there is no end to what these bytes amount to")
    if failed:
        # The beginning of a message in front of the error may still be had in pieces; nothing behind it.
        while isinstance(reader.next_piece(), Piece):
            pass
        reader.feed(encode_frame(PING, b""))
        assert [pull(reader) for pull in PULLS] == [None, None, None]


def outcomes(parts: Iterable[bytes], reader: MessageReader, pull: Pull) -> list[object]:
    """All that a program sees of these parts."""
    seen: list[object] = []
    for part in parts:
        reader.feed(part)
        while True:
            try:
                item = pull(reader)
            except ProtocolError as error:
                seen.append((type(error), str(error), error.close_code))
                continue
            if item is None:
                break
            seen.append((item.opcode, item.payload) if isinstance(item, Frame) else item)
        seen.append((reader.completed, reader.arrived, reader.unfinished, reader.ended, reader.owed))
    return seen


def plain_first(reader: MessageReader) -> str | bytes | Frame | None:
    message = reader.next_plain()
    return reader.next_message() if message is None else message


@given(garbage, st.booleans(), st.booleans(), st.sampled_from([None, 0, 100, LIMIT]))
@settings(deadline=None)
def test_the_common_case_changes_nothing_whatever_arrives(
    parts: list[bytes], masked: bool, deflate: bool, size: int | None
) -> None:
    def reader() -> MessageReader:
        inflater = Inflater(15, True) if deflate else None
        return MessageReader(masked=masked, inflater=inflater, max_message_size=size, max_fragments=20)

    assert outcomes(parts, reader(), plain_first) == outcomes(parts, reader(), MessageReader.next_message)


@given(connections)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_the_common_case_changes_nothing_of_what_is_sent(connection: Connection) -> None:
    wire, _ = encode(connection)
    parts = list(arriving(wire, connection.splits))
    found = outcomes(parts, reader_for(connection), plain_first)
    assert found == outcomes(parts, reader_for(connection), MessageReader.next_message)


@given(st.data(), st.sampled_from(PULLS))
@settings(deadline=None, max_examples=10)
def test_memory_is_bounded_whatever_arrives(chosen: st.DataObject, pull: Pull) -> None:
    """One pattern of frames over and over, more of it than everything that may be kept together."""
    payload = chosen.draw(st.binary(max_size=300), label="payload")
    fragment = encode_frame(CONTINUATION, payload, fin=False)
    begin = encode_frame(BINARY, payload, fin=False, rsv1=chosen.draw(st.booleans(), label="compressed"))
    control = encode_frame(PING, payload[:125])
    pattern = chosen.draw(st.lists(st.sampled_from([fragment, control]), min_size=1, max_size=4), label="pattern")
    block = b"".join(pattern)
    block *= 20_000 // len(block) + 1
    reader = MessageReader(masked=False, inflater=Inflater(12, True), max_message_size=LIMIT, max_fragments=10_000)
    tracemalloc.start()
    try:
        reader.feed(begin)
        for _ in range(LOOK_AHEAD // 20_000 * 2):
            try:
                while pull(reader) is not None:
                    pass
            except ProtocolError:
                break
            if reader.looked_ahead:
                break
            reader.feed(block)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    allowed = LOOK_AHEAD + len(block) if pull is MessageReader.next_control else LIMIT
    assert held < allowed + len(block) + 60_000
