"""The common case of sending a message: what it is, each reason why it is not, and frames that are gathered."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import Any

import pytest
from peers import DEFLATE, Role, start, threads_only

from syncws.coalescer import Coalescer
from syncws.hot_writer import Gathered, HotWriter
from syncws.prepared import PreparedMessage
from syncws.protocol.codes import BINARY, CLOSE, PING, PONG, TEXT
from syncws.protocol.deflate import Compressor, Deflate, Inflater, Parameters, compressor_for
from syncws.protocol.frames import encode_frame
from syncws.protocol.messages import MessageReader
from syncws.runtime import THREADS
from syncws.writer import FrameWriter

LARGE = 65536  # so much is not copied to have its header in front
LOST = OSError(errno.ECONNRESET, "Connection reset by peer")


class Room:
    """A transport with so much room for bytes."""

    runtime = THREADS

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.writes: list[bytes] = []
        self.error: BaseException | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    def try_send(self, data: bytes | memoryview) -> int:
        self.meanwhile()
        if self.error is not None:
            raise self.error
        sent = min(self.room, len(data))
        self.room -= sent
        if sent:
            self.writes.append(bytes(data[:sent]))
        return sent

    def try_send_both(self, head: bytes, tail: bytes) -> int:
        return self.try_send(head + tail)

    def send_all(self, data: bytes | memoryview, deadline: float | None = None) -> None:
        self.writes.append(bytes(data))

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)


class Held(Coalescer):
    """A coalescer that has not come yet, or one that cannot."""

    def __init__(self, able: bool = True) -> None:
        super().__init__()
        self.able = able
        self.held: list[Any] = []

    def add(self, gathered: Any) -> bool:
        self.held.append(gathered)
        return self.able


class Writing:
    """A writer, and what it reported."""

    def __init__(self, room: int = 1 << 30, *, masked: bool = False, able: bool = True, **options: Any) -> None:
        self.transport = Room(room)
        self.coalescer = Held(able)
        self.cuts: list[str] = []
        self.unsent = 0
        options.setdefault("coalescer", self.coalescer)
        transport: Any = self.transport
        self.writer = FrameWriter(
            transport,
            masked=masked,
            on_close_sent=lambda: None,
            on_cut_off=self.cuts.append,
            on_unsent=self.on_unsent,
            **options,
        )

    def on_unsent(self) -> None:
        self.unsent += 1

    def send(self, payload: bytes, gather: bool = False, prepared: PreparedMessage | None = None) -> int:
        return self.writer.send_now(BINARY, payload, prepared, gather)

    def check_untouched(self) -> None:
        assert self.writer.messages == 0
        assert self.transport.writes == []
        assert not self.writer.gathered


@pytest.fixture
def writing() -> Writing:
    return Writing()


def binary(*payloads: bytes) -> bytes:
    return b"".join(encode_frame(BINARY, payload) for payload in payloads)


# Sending at once.


def test_a_message_is_sent_at_once(writing: Writing) -> None:
    assert writing.send(b"one") == 1
    assert writing.writer.send_now(TEXT, b"", None, False) == 1
    assert writing.transport.writes == [binary(b"one"), encode_frame(TEXT, b"")]
    assert writing.writer.messages == 2
    assert not writing.writer.busy


def test_a_client_masks_with_a_fresh_key() -> None:
    writing = Writing(masked=True)
    for _ in range(2):
        assert writing.send(b"payload" * 3) == 1
    assert writing.send(b"payload" * 3, prepared=PreparedMessage(b"payload" * 3)) == 1
    assert len({data[2:6] for data in writing.transport.writes}) == 3
    reader = MessageReader(masked=True)
    reader.feed(writing.transport.written)
    assert [reader.next_message() for _ in range(3)] == [b"payload" * 3] * 3


def test_a_prepared_message_is_sent_as_it_is(writing: Writing) -> None:
    prepared = PreparedMessage(b"x" * 300)
    assert writing.send(prepared.payload, prepared=prepared) == 1
    assert writing.transport.writes == [prepared.frame]


@pytest.mark.parametrize("gather", [False, True])
@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_messages_are_compressed_and_sent_at_once(masked: bool, takeover: bool, gather: bool) -> None:
    writing = Writing(masked=masked)
    parameters = Parameters(not takeover, not takeover, 12, 12)
    role: Role = "client" if masked else "server"
    writing.writer.compressor = compressor_for(parameters, Deflate(threshold=100), role)
    messages = [b"x" * size for size in (99, 100, 1000, 0, 200_000, 5)]
    for message in messages:
        assert writing.send(message, gather) == 1
    # A prepared message has no frame that a client could send, and is compressed like any other.
    assert writing.send(b"prepared" * 30, gather, PreparedMessage(b"prepared" * 30)) == 1
    assert writing.writer.send_gathered()
    assert len(writing.transport.written) < 1000
    reader = MessageReader(masked=masked, inflater=Inflater(12, takeover))
    reader.feed(writing.transport.written)
    assert [reader.next_message() for _ in messages] == messages
    assert reader.next_message() == b"prepared" * 30
    assert not reader.unfinished
    assert writing.writer.messages == len(messages) + 1


def test_an_empty_message_may_be_compressed(writing: Writing) -> None:
    writing.writer.compressor = compressor_for(DEFLATE, Deflate(threshold=0), "server")
    assert writing.send(b"") == 1
    assert writing.transport.writes == [encode_frame(BINARY, b"\x00", rsv1=True)]  # RFC 7692, 7.2.3.6


def test_a_compressor_that_fails_drops_the_connection(writing: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise MemoryError

    writing.writer.compressor = compressor_for(DEFLATE, Deflate(threshold=0), "server")
    monkeypatch.setattr(Compressor, "compress_piece", fail)
    with pytest.raises(MemoryError):
        writing.send(b"one")
    # What it remembers is not known.
    assert writing.cuts == ["MemoryError interrupted a message"]
    assert writing.writer.ended
    assert not writing.writer.busy
    assert writing.transport.writes == []


def test_a_prepared_message_is_compressed_once(writing: Writing) -> None:
    prepared = PreparedMessage(b"x" * 300)
    settings = Deflate(threshold=100)
    inflater = Inflater(DEFLATE.server_max_window_bits, True)
    reader = MessageReader(masked=False, inflater=inflater)
    writing.writer.compressor = compressor_for(DEFLATE, settings, "server")
    assert writing.writer.write(BINARY, b"x" * 200)
    for _ in range(2):
        assert writing.send(prepared.payload, prepared=prepared) == 1
    assert writing.writer.write(BINARY, b"x" * 250)
    assert writing.transport.writes[1] == writing.transport.writes[2]
    reader.feed(writing.transport.written)
    assert [len(reader.next_message() or "") for _ in range(4)] == [200, 300, 300, 250]  # type: ignore[arg-type]


# What is in its way.


def posted(writing: Writing) -> None:
    writing.writer._posted[PING, b"x"] = b"x"


def unsent(writing: Writing) -> None:
    writing.writer._unsent = b"rest"


def queued(writing: Writing) -> None:
    with contextlib.ExitStack() as stack:
        if not writing.writer.busy:  # nobody may send it
            stack.enter_context(writing.writer._lock)
        assert writing.writer.queue(TEXT, b"queued")


def midway(writing: Writing) -> None:
    writing.writer._midway = True


def ended(writing: Writing) -> None:
    writing.writer.ended = True


@pytest.mark.parametrize("gather", [False, True])
@pytest.mark.parametrize("obstacle", [posted, unsent, queued, midway, ended])
@pytest.mark.parametrize("compressed", [False, True])
def test_something_is_in_its_way(
    writing: Writing, obstacle: Callable[[Writing], None], gather: bool, compressed: bool
) -> None:
    if compressed:
        writing.writer.compressor = compressor_for(DEFLATE, Deflate(threshold=0), "server")
    obstacle(writing)
    assert writing.send(b"one", gather) == 0
    writing.check_untouched()
    assert not writing.writer.busy


@pytest.mark.parametrize("gather", [False, True])
def test_another_thread_is_writing(writing: Writing, gather: bool) -> None:
    with writing.writer._lock:
        assert start(writing.send, b"one", gather).result() == 0
        writing.check_untouched()
        assert writing.writer.busy


def test_a_message_that_has_been_begun_is_completed_later() -> None:
    writing = Writing(room=5)
    assert writing.send(b"abcdef") == -1
    assert writing.transport.writes == [binary(b"abcdef")[:5]]
    assert bytes(writing.writer._unsent) == b"def"
    assert writing.writer.messages == 1
    assert writing.send(b"next") == 0
    writing.transport.room = 100
    writing.writer.flush_due()
    assert writing.transport.written == binary(b"abcdef")
    assert writing.send(b"next") == 1


def test_a_full_socket_has_not_taken_anything() -> None:
    writing = Writing(room=0)
    assert writing.send(b"abc") == -1
    assert bytes(writing.writer._unsent) == binary(b"abc")
    writing.writer.write_rest(None)
    assert writing.transport.written == binary(b"abc")


def test_a_lost_connection_is_an_error(writing: Writing) -> None:
    writing.transport.error = LOST
    with pytest.raises(ConnectionResetError):
        writing.send(b"one")
    assert writing.writer.ended
    assert writing.cuts == []
    assert not writing.writer.busy
    assert writing.send(b"two") == 0


@pytest.mark.parametrize("gather", [False, True])
def test_an_interrupted_message_drops_the_connection(writing: Writing, gather: bool) -> None:
    writing.coalescer.able = False
    writing.transport.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        writing.send(b"one", gather)
    assert writing.cuts == ["KeyboardInterrupt interrupted a message"]
    assert writing.writer.ended
    assert not writing.writer.busy


# Gathering.


def test_what_is_gathered_leaves_with_the_next(writing: Writing) -> None:
    assert [writing.send(data, True) for data in (b"one", b"two", b"three")] == [1, 1, 1]
    assert writing.transport.writes == []
    assert writing.writer.gathered
    assert writing.writer.waiting == len(binary(b"one", b"two", b"three"))
    assert writing.writer.unsent
    assert not writing.writer.drained
    assert len(writing.coalescer.held) == 1
    assert writing.send(b"four") == 1
    assert writing.transport.writes == [binary(b"one", b"two", b"three", b"four")]
    assert not writing.writer.gathered
    assert writing.writer.messages == 4
    assert writing.send(b"five") == 1
    assert writing.transport.writes[1:] == [binary(b"five")]


def test_without_a_coalescer_nothing_is_gathered() -> None:
    writing = Writing(coalescer=None)
    assert writing.send(b"one", True) == 1
    assert writing.transport.writes == [binary(b"one")]
    assert not writing.writer.gathered


def test_what_nobody_would_send_is_sent_at_once() -> None:
    writing = Writing(able=False)
    assert writing.send(b"one", True) == 1
    assert writing.send(b"two", True) == 1
    assert writing.transport.writes == [binary(b"one"), binary(b"two")]


def test_no_more_than_so_much_is_gathered(writing: Writing) -> None:
    # With the header, four are 65536 bytes.
    payload = bytes(65536 // 4 - 4)
    for _ in range(3):
        assert writing.send(payload, True) == 1
    assert writing.send(payload[1:], True) == 1
    assert writing.transport.writes == []
    assert writing.send(b"", True) == 1
    assert writing.transport.writes == [binary(payload, payload, payload, payload[1:], b"")]
    for _ in range(3):
        assert writing.send(payload, True) == 1
    assert len(writing.transport.writes) == 1
    assert writing.send(payload, True) == 1
    assert writing.transport.writes[1:] == [binary(payload, payload, payload, payload)]


@pytest.mark.parametrize("gather", [False, True])
@pytest.mark.parametrize("room", [1 << 30, 0, 5, 10, 11, LARGE])
def test_one_that_is_large_is_never_gathered_and_not_copied(room: int, gather: bool) -> None:
    writing = Writing(room)
    payload = bytes(LARGE)
    whole = room > LARGE + 10
    assert writing.send(payload, gather) == (1 if whole else -1)
    assert not writing.writer.gathered
    assert writing.writer.messages == 1
    assert writing.transport.written == binary(payload)[:room]
    assert bytes(writing.writer._unsent) == binary(payload)[room:]
    writing.transport.room = 1 << 30
    writing.writer.flush_due()
    assert writing.transport.written == binary(payload)


@pytest.mark.parametrize("gather", [False, True])
def test_one_that_is_large_goes_behind_what_is_gathered(writing: Writing, gather: bool) -> None:
    assert writing.send(b"one", True) == 1
    assert writing.send(bytes(LARGE), gather) == 1
    assert writing.transport.writes == [binary(b"one", bytes(LARGE))]


def test_a_client_masks_one_that_is_large() -> None:
    writing = Writing(masked=True)
    assert writing.send(bytes(LARGE)) == 1
    reader = MessageReader(masked=True)
    reader.feed(writing.transport.written)
    assert reader.next_message() == bytes(LARGE)


@pytest.mark.parametrize(
    ("follow", "frame"),
    [
        (lambda writer: writer.write(TEXT, b"text"), encode_frame(TEXT, b"text")),
        (lambda writer: writer.write(TEXT, b"text", fin=False), encode_frame(TEXT, b"text", fin=False)),
        (lambda writer: writer.queue(TEXT, b"text"), encode_frame(TEXT, b"text")),
        (lambda writer: writer.post_ping(b"x"), encode_frame(PING, b"x")),
        (lambda writer: writer.post_pong(b"x"), encode_frame(PONG, b"x")),
        (lambda writer: writer.post_close(b""), encode_frame(CLOSE, b"")),
        (lambda writer: writer.finish(None), b""),
        (lambda writer: writer.flush_due(), b""),
    ],
    ids=["write", "fragment", "queue", "ping", "pong", "close", "finish", "flush"],
)
def test_whatever_is_written_goes_behind(
    writing: Writing, follow: Callable[[FrameWriter], object], frame: bytes
) -> None:
    assert writing.send(b"one", True) == 1
    assert writing.send(b"two", True) == 1
    follow(writing.writer)
    assert writing.transport.written == binary(b"one", b"two") + frame


def test_sending_what_is_gathered(writing: Writing) -> None:
    assert writing.writer.send_gathered()  # there is nothing
    writing.send(b"one", True)
    writing.send(b"two", True)
    assert writing.writer.send_gathered()
    assert writing.transport.writes == [binary(b"one", b"two")]
    assert writing.writer.send_gathered()
    assert len(writing.transport.writes) == 1


def test_sending_what_is_gathered_while_another_thread_writes(writing: Writing) -> None:
    writing.send(b"one", True)
    with writing.writer._lock:
        assert not writing.writer.send_gathered()
    assert writing.writer.gathered


@pytest.mark.parametrize("obstacle", [unsent, midway])
def test_sending_what_is_gathered_with_something_in_its_way(
    writing: Writing, obstacle: Callable[[Writing], None]
) -> None:
    writing.send(b"one", True)
    obstacle(writing)
    assert not writing.writer.send_gathered()
    assert writing.transport.writes == []
    assert writing.writer.gathered


def test_sending_what_is_gathered_as_far_as_there_is_room(writing: Writing) -> None:
    writing.transport.room = 3
    writing.send(b"one", True)
    writing.send(b"two", True)
    assert not writing.writer.send_gathered()
    assert not writing.writer.gathered
    assert bytes(writing.writer._unsent) == binary(b"one", b"two")[3:]
    writing.transport.room = 100
    writing.writer.flush_due()
    assert writing.transport.written == binary(b"one", b"two")


@pytest.mark.parametrize("follows", [posted, queued])
def test_sending_what_is_gathered_and_what_was_posted_meanwhile(
    writing: Writing, follows: Callable[[Writing], None]
) -> None:
    writing.send(b"one", True)

    def meanwhile() -> None:
        writing.transport.meanwhile = lambda: None
        follows(writing)

    writing.transport.meanwhile = meanwhile
    assert writing.writer.send_gathered()
    frame = encode_frame(PING, b"x") if follows is posted else encode_frame(TEXT, b"queued")
    assert writing.transport.written == binary(b"one") + frame


def test_losing_the_connection_with_what_is_gathered(writing: Writing) -> None:
    writing.send(b"one", True)
    writing.transport.error = LOST
    assert not writing.writer.send_gathered()  # who reads finds out how
    assert writing.writer.ended
    assert writing.cuts == []


def test_being_interrupted_with_what_is_gathered(writing: Writing) -> None:
    writing.send(b"one", True)
    writing.transport.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        writing.writer.send_gathered()
    assert writing.cuts == ["KeyboardInterrupt interrupted a message"]
    assert not writing.writer.busy


# What the coalescer does.


def gathered(transport: Room, *frames: bytes, able: bool = True) -> tuple[Gathered, Held]:
    coalescer = Held(able)
    sink: Any = transport
    gathered = Gathered(sink, coalescer)
    for frame in frames:
        assert gathered.add(frame[:1], frame[1:])
    return gathered, coalescer


def test_the_coalescer_sends_all_at_once() -> None:
    transport = Room()
    frames, coalescer = gathered(transport, b"one", b"two")
    assert coalescer.held == [frames]
    frames.flush()
    assert transport.writes == [b"onetwo"]
    assert not frames.pieces
    frames.flush()  # somebody was faster
    assert len(transport.writes) == 1
    assert frames.add(b"th", b"ree")
    assert coalescer.held == [frames, frames]
    assert frames.take() == b"three"
    assert frames.take() == b""


def test_the_coalescer_sends_as_far_as_there_is_room() -> None:
    transport = Room(4)
    frames, coalescer = gathered(transport, b"one", b"two", b"three")
    frames.flush()
    assert frames.pieces == [b"wothree"]
    frames.flush()
    assert frames.pieces == [b"wothree"]
    assert len(coalescer.held) == 1  # the connection sees to the rest
    assert frames.add(b"!", b"")
    transport.room = 100
    frames.flush()
    assert transport.written == b"onetwothree!"
    assert not frames.pieces


@pytest.mark.parametrize("room", [2, 100])
def test_what_is_added_while_the_coalescer_sends(room: int) -> None:
    transport = Room(room)
    frames, coalescer = gathered(transport, b"one", b"two")

    def meanwhile() -> None:
        transport.meanwhile = lambda: None
        assert frames.add(b"th", b"ree")

    transport.meanwhile = meanwhile
    frames.flush()
    assert b"".join(frames.pieces) == (b"three" if room == 100 else b"etwothree")
    # If nothing is left of the others, it is the coalescer's to come again.
    assert len(coalescer.held) == (2 if room == 100 else 1)
    transport.room = 100
    frames.flush()
    assert transport.written == b"onetwothree"


def test_the_coalescer_finds_the_connection_lost() -> None:
    transport = Room()
    transport.error = LOST
    frames, _ = gathered(transport, b"one", b"two")
    frames.flush()
    assert not frames.pieces


@threads_only  # greenlets of one event loop are not in each other's way
def test_taking_waits_for_the_coalescer() -> None:
    transport = Room()
    frames, _ = gathered(transport, b"one")
    taken = []

    def meanwhile() -> None:
        taken.append(start(frames.take))
        assert taken[0].is_alive()

    transport.meanwhile = meanwhile
    frames.flush()
    assert taken[0].result() == b""
    assert transport.writes == [b"one"]


def test_what_others_have_to_provide() -> None:
    writer = HotWriter()
    with pytest.raises(NotImplementedError):
        writer.flush_due()
    with pytest.raises(NotImplementedError):
        writer._fail(LOST, None)
