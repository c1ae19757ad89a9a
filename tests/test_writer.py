"""Frames on their way out, through a real socket that is full when it matters."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from peers import DEADLINE, RawFrame, RawPeer, Task, eventually, reset, sockets, start

from syncws.backlog import Backlog
from syncws.errors import BacklogFull
from syncws.protocol.codes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from syncws.protocol.deflate import Deflate, Inflater, Parameters, compressor_for
from syncws.transport import Transport, transport_for
from syncws.writer import FrameWriter

BIG = bytes(range(256)) * 4096


class Ends(NamedTuple):
    """A writer, the peer that reads what it writes, and what it reported."""

    writer: FrameWriter
    peer: RawPeer
    transport: Transport
    closes: list[str]
    cuts: list[str]


def make(masked: bool = False, *, tcp: bool = False, buffer: int | None = 4096, **options: Any) -> Ends:
    one, two = sockets("tcp" if tcp else "unix", buffer=buffer)
    transport = transport_for(one)
    closes: list[str] = []
    cuts: list[str] = []

    def cut_off(reason: str) -> None:
        cuts.append(reason)
        transport.abort()

    writer = FrameWriter(
        transport,
        masked=masked,
        on_close_sent=lambda: closes.append("close frame"),
        on_cut_off=cut_off,
        on_unsent=options.pop("on_unsent", lambda: None),
        **options,
    )
    return Ends(writer, RawPeer(two, masked=not masked), transport, closes, cuts)


@pytest.fixture(params=[False, True], ids=["server", "client"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    ends = make(request.param)
    yield ends
    ends.writer.close_transport()
    ends.peer.close()


def stuck(ends: Ends, timeout: float | None = None) -> Task:
    """A thread that writes more than the socket takes, at work."""
    writing = start(ends.writer.write, BINARY, BIG, timeout=timeout)
    eventually(lambda: ends.writer.busy)
    return writing


def fill(ends: Ends) -> int:
    """Fill the socket with pongs until one is left over; return how many were posted."""
    count = 0
    while not ends.writer.unsent:
        ends.writer.post_pong(count.to_bytes(4, "big"))
        count += 1
    return count


def test_frames_leave_whole_and_in_order(ends: Ends) -> None:
    assert ends.writer.write(TEXT, b"one", fin=False)
    assert ends.writer.write(CONTINUATION, b"two", timeout=DEADLINE)
    assert ends.writer.write(BINARY, b"")
    assert ends.peer.read_frame() == RawFrame(TEXT, b"one", fin=False)
    assert ends.peer.read_frame() == RawFrame(CONTINUATION, b"two")
    assert ends.peer.read_frame() == RawFrame(BINARY, b"")


def test_control_frames_leave_at_once(ends: Ends) -> None:
    ends.writer.post_ping(b"1")
    ends.writer.post_pong(b"2")
    ends.writer.post_close(b"\x03\xe8")
    ends.writer.post_close(b"\x03\xe9")
    assert not ends.writer.unsent
    assert ends.closes == ["close frame"]
    assert not ends.writer.write(TEXT, b"late")
    ends.writer.post_pong(b"late")
    ends.writer.finish(None)
    ends.transport.shutdown_write()
    assert ends.peer.read_all() == [RawFrame(PING, b"1"), RawFrame(PONG, b"2"), RawFrame(CLOSE, b"\x03\xe8")]


def test_a_writer_waits_for_room(ends: Ends) -> None:
    writing = stuck(ends)
    assert ends.peer.read_frame() == RawFrame(BINARY, BIG)
    assert writing.result()


def test_what_is_posted_while_a_writer_is_stuck_leaves_behind_its_frame(ends: Ends) -> None:
    writing = stuck(ends)
    for number in range(100):
        ends.writer.post_pong(bytes([number]))
        ends.writer.post_ping(bytes([number]))
    for number in range(1, 100):
        ends.writer.withdraw_ping(bytes([number]))
    ends.writer.withdraw_ping(b"unknown")
    assert ends.peer.read_frame() == RawFrame(BINARY, BIG)
    assert writing.result()
    # Only the latest ping needs an answer (RFC 6455, 5.5.3).
    assert ends.peer.read_frame() == RawFrame(PING, b"\0")
    assert ends.peer.read_frame() == RawFrame(PONG, bytes([99]))


def test_a_close_frame_that_is_posted_ends_what_waits_to_be_written(ends: Ends) -> None:
    writing = stuck(ends)
    waiting = start(ends.writer.write, TEXT, b"late")
    ends.writer.post_close(b"")
    ends.writer.post_close(b"\x03\xe8")  # the first one counts
    assert ends.peer.read_frame() == RawFrame(BINARY, BIG)
    assert writing.result()
    frames = [ends.peer.read_frame()]
    if waiting.result():
        assert frames == [RawFrame(TEXT, b"late")]  # it was faster than the close frame
        frames = [ends.peer.read_frame()]
    assert frames == [RawFrame(CLOSE, b"")]
    ends.transport.shutdown_write()
    assert ends.peer.read_frame() is None


def test_a_flood_of_pings_costs_no_memory_and_does_not_wait(ends: Ends) -> None:
    sent = fill(ends)
    for number in range(10_000):
        ends.writer.post_pong(number.to_bytes(4, "big"))
    assert len(ends.writer._unsent) <= 10
    # Room in the socket: what is unsent leaves, and then the latest pong.
    pongs = [ends.peer.read_frame() for _ in range(sent - 1)]
    ends.writer.flush_due()
    pongs += [ends.peer.read_frame(), ends.peer.read_frame()]
    assert pongs[sent - 1 :] == [RawFrame(PONG, (sent - 1).to_bytes(4, "big")), RawFrame(PONG, b"\0\0\x27\x0f")]
    assert not ends.writer.unsent


def test_what_is_unsent_goes_in_front_of_the_next_frame(ends: Ends) -> None:
    sent = fill(ends)
    ends.writer.post_ping(b"ping")
    writing = start(ends.writer.write, TEXT, b"text")
    pongs = [ends.peer.read_frame() for _ in range(sent)]
    assert pongs == [RawFrame(PONG, number.to_bytes(4, "big")) for number in range(sent)]
    assert ends.peer.read_frame() == RawFrame(PING, b"ping")
    assert ends.peer.read_frame() == RawFrame(TEXT, b"text")
    assert writing.result()


def test_a_peer_that_does_not_read_is_dropped(ends: Ends) -> None:
    ends.peer.send(b"x")
    with pytest.raises(TimeoutError, match=r"the peer has not read for 0\.05 s, so the connection has been dropped"):
        ends.writer.write(BINARY, BIG, timeout=0.05)
    assert ends.cuts == ["the peer has not read for 0.05 s, so the connection has been dropped"]
    assert ends.writer.ended
    assert not ends.writer.write(TEXT, b"late")


def test_what_is_unsent_has_the_same_limit(ends: Ends) -> None:
    fill(ends)
    with pytest.raises(TimeoutError):
        ends.writer.write(TEXT, b"", timeout=0.05)
    assert len(ends.cuts) == 1


def test_an_interrupted_write_drops_the_connection() -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    one, two = sockets(buffer=4096)
    transport: Any = transport_for(one)
    transport.send_all = interrupted
    cuts: list[str] = []
    writer = FrameWriter(
        transport, masked=False, on_close_sent=lambda: None, on_cut_off=cuts.append, on_unsent=lambda: None
    )
    with pytest.raises(KeyboardInterrupt):
        writer.write(BINARY, BIG)
    assert cuts == ["KeyboardInterrupt interrupted a message"]
    assert not writer.write(TEXT, b"in the middle of the other frame")
    writer.close_transport()
    two.close()


def test_a_lost_connection_ends_writing() -> None:
    ends = make(tcp=True)
    reset(ends.peer.sock)
    ends.peer._file.close()
    eventually(lambda: reset_seen(ends))
    ends.writer.post_pong(b"noticed, but not reported")
    assert ends.writer.ended
    assert not ends.writer.unsent
    assert not ends.writer.write(TEXT, b"late")
    ends.writer.close_transport()


def reset_seen(ends: Ends) -> bool:
    try:
        ends.transport.wait_ready(0.0)
        ends.transport.sock.getpeername()
    except OSError:
        return True
    return False


def test_losing_the_connection_in_the_middle_of_a_frame() -> None:
    ends = make(tcp=True)
    writing = stuck(ends)
    ends.peer.reset()
    with pytest.raises(OSError, match=r".") as caught:
        writing.result()
    assert not isinstance(caught.value, TimeoutError)
    assert ends.cuts == []
    assert ends.writer.ended
    ends.writer.close_transport()


def test_finish_waits_for_writers_and_for_room(ends: Ends) -> None:
    writing = stuck(ends)
    ends.writer.post_close(b"\x03\xe8")
    finishing = start(ends.writer.finish, None)
    with pytest.raises(TimeoutError):
        ends.writer.finish(0.0)
    assert ends.peer.read_frame() == RawFrame(BINARY, BIG)
    assert ends.peer.read_frame() == RawFrame(CLOSE, b"\x03\xe8")
    assert writing.result()
    finishing.result()
    assert ends.closes == ["close frame"]


def test_finish_writes_what_is_unsent(ends: Ends) -> None:
    sent = fill(ends)
    ends.writer.post_close(b"")
    assert ends.closes == []
    finishing = start(ends.writer.finish, None)
    assert len([ends.peer.read_frame() for _ in range(sent)]) == sent
    assert ends.peer.read_frame() == RawFrame(CLOSE, b"")
    finishing.result()
    assert ends.closes == ["close frame"]


def test_finish_has_a_deadline(ends: Ends) -> None:
    fill(ends)
    with pytest.raises(TimeoutError):
        ends.writer.finish(0.0)


def test_closing_the_transport_wakes_a_writer(ends: Ends) -> None:
    writing = stuck(ends)
    ends.writer.close_transport()
    with pytest.raises(OSError, match=r".") as caught:
        writing.result()
    assert not isinstance(caught.value, TimeoutError)
    assert ends.transport.sock.fileno() == -1
    assert not ends.writer.write(TEXT, b"late")
    ends.writer.post_pong(b"late")


@pytest.mark.parametrize("masked", [False, True])
def test_pongs_due_never_stay_behind(masked: bool) -> None:
    # A peer that reads only after it has pinged gets its pong although nobody calls flush_due() afterwards.
    ends = make(masked)
    done = threading.Event()

    def write() -> int:
        count = 0
        while not done.is_set():
            assert ends.writer.write(BINARY, bytes(count % 5000), timeout=DEADLINE)
            count += 1
        return count

    writing = start(write)
    for number in range(300):
        payload = number.to_bytes(2, "big")
        eventually(ends.writer._lock.locked)
        ends.writer.post_pong(payload)
        if number == 299:
            done.set()
        while ends.peer.read_frame() != RawFrame(PONG, payload):
            if ends.writer.unsent:
                ends.writer.flush_due()
    assert writing.result() > 0
    ends.writer.close_transport()
    ends.peer.close()


# Messages that are queued.


def queue_behind(ends: Ends, *payloads: bytes) -> int:
    """Fill the socket with pongs, queue messages behind them, and return how many pongs there are."""
    sent = fill(ends)
    for payload in payloads:
        assert ends.writer.queue(TEXT, payload)
    assert ends.writer.waiting == len(ends.writer._unsent) + sum(map(len, payloads))
    return sent


def test_what_is_queued_leaves_when_there_is_room(ends: Ends) -> None:
    assert ends.writer.queue(TEXT, b"at once")
    assert ends.peer.read_frame() == RawFrame(TEXT, b"at once")
    sent = queue_behind(ends, b"one", b"two")
    assert ends.writer.unsent
    assert not ends.writer.drained
    for _ in range(sent):
        ends.peer.read_frame() if ends.writer.flush_due() is None else None
    assert ends.peer.read_frame() == RawFrame(TEXT, b"one")
    assert ends.peer.read_frame() == RawFrame(TEXT, b"two")
    assert ends.writer.drained
    assert ends.writer.messages == 3


def test_control_frames_overtake_what_is_queued_and_write_goes_behind(ends: Ends) -> None:
    sent = queue_behind(ends, b"one", b"two")
    ends.writer.post_ping(b"ping")
    writing = start(ends.writer.write, TEXT, b"three", timeout=DEADLINE)
    for _ in range(sent):
        ends.peer.read_frame()
    assert ends.peer.read_frame() == RawFrame(PING, b"ping")
    for payload in (b"one", b"two", b"three"):
        assert ends.peer.read_frame() == RawFrame(TEXT, payload)
    assert writing.result()


def test_a_few_leave_in_one_go() -> None:
    # Whoever flushes has other things to do; it asks to be called again.
    unsent: list[None] = []
    ends = make(buffer=None, on_unsent=lambda: unsent.append(None))
    with ends.writer._lock:
        for number in range(40):
            ends.writer.queue(TEXT, b"%d" % number)
        assert not ends.writer.unsent  # whoever holds the lock sees to it
    for times in range(3):
        assert (ends.writer.messages, len(unsent)) == (16 * times, times)
        ends.writer.flush_due()
    assert (ends.writer.drained, len(unsent)) == (True, 2)
    assert [ends.peer.read_frame() for _ in range(40)] == [RawFrame(TEXT, b"%d" % number) for number in range(40)]
    ends.writer.close_transport()
    ends.peer.close()


def test_the_close_frame_goes_behind_what_is_queued(ends: Ends) -> None:
    sent = queue_behind(ends, b"one", b"two")
    ends.writer.post_close(b"")
    ends.writer.post_close(b"\x03\xe8")
    assert ends.closes == []
    finishing = start(ends.writer.finish, None)
    for _ in range(sent):
        ends.peer.read_frame()
    assert [ends.peer.read_frame() for _ in range(3)] == [
        RawFrame(TEXT, b"one"),
        RawFrame(TEXT, b"two"),
        RawFrame(CLOSE, b""),
    ]
    finishing.result()
    assert ends.closes == ["close frame"]
    assert not ends.writer.queue(TEXT, b"late")


def test_the_close_frame_ends_a_write_that_has_waited_for_the_queue(ends: Ends) -> None:
    sent = queue_behind(ends, b"one")
    writing = start(ends.writer.write, TEXT, b"late")
    eventually(lambda: ends.writer.busy)
    ends.writer.post_close(b"")
    for _ in range(sent):
        ends.peer.read_frame()
    assert [ends.peer.read_frame() for _ in range(2)] == [RawFrame(TEXT, b"one"), RawFrame(CLOSE, b"")]
    assert not writing.result()


def test_a_close_frame_that_is_posted_during_a_write_goes_behind_what_is_queued(ends: Ends) -> None:
    writing = stuck(ends)
    ends.writer.queue(TEXT, b"queued")
    ends.writer.post_close(b"")
    assert ends.peer.read_frame() == RawFrame(BINARY, BIG)
    assert writing.result()
    ends.writer.flush_due()
    assert ends.peer.read_frame() == RawFrame(TEXT, b"queued")
    ends.writer.flush_due()
    assert ends.peer.read_frame() == RawFrame(CLOSE, b"")


def test_what_is_queued_can_be_dropped(ends: Ends) -> None:
    sent = queue_behind(ends, b"one", b"two")
    ends.writer.post_close(b"")
    ends.writer.drop_queued()
    assert not ends.writer.queue(TEXT, b"late")
    finishing = start(ends.writer.finish, None)
    for _ in range(sent):
        ends.peer.read_frame()
    assert ends.peer.read_frame() == RawFrame(CLOSE, b"")
    finishing.result()


def test_nothing_that_is_queued_gets_between_fragments(ends: Ends) -> None:
    assert ends.writer.write(TEXT, b"one", fin=False)
    assert ends.writer.queue(TEXT, b"queued")
    ends.writer.flush_due()
    assert not ends.writer.unsent
    assert ends.writer.write(CONTINUATION, b"two", fin=False)
    assert ends.writer.write(CONTINUATION, b"")
    assert [ends.peer.read_frame() for _ in range(4)] == [
        RawFrame(TEXT, b"one", fin=False),
        RawFrame(CONTINUATION, b"two", fin=False),
        RawFrame(CONTINUATION, b""),
        RawFrame(TEXT, b"queued"),
    ]
    assert ends.writer.messages == 2


def test_a_message_that_is_cut_off_by_the_close_frame_takes_what_is_queued_with_it(ends: Ends) -> None:
    assert ends.writer.write(TEXT, b"half", fin=False)
    assert ends.writer.queue(TEXT, b"queued")
    ends.writer.post_close(b"")
    assert [ends.peer.read_frame() for _ in range(2)] == [RawFrame(TEXT, b"half", fin=False), RawFrame(CLOSE, b"")]
    assert ends.writer.waiting == 0
    assert ends.writer.drained


def test_there_is_a_limit_to_what_is_queued() -> None:
    ends = make(backlog=Backlog(limit=1000))
    sent = fill(ends)
    room = 1000 - ends.writer.waiting
    assert ends.writer.queue(BINARY, bytes(room))
    with pytest.raises(BacklogFull):
        ends.writer.queue(BINARY, b"x")
    # The peer has read meanwhile, and nobody has noticed.
    for _ in range(sent - 1):
        ends.peer.read_frame()
    assert ends.writer.queue(BINARY, b"x")
    ends.writer.close_transport()
    ends.peer.close()


def test_compression_is_in_the_order_of_the_wire(ends: Ends) -> None:
    ends.writer.compressor = compressor_for(Parameters(False, False, 12, 12), Deflate(threshold=10), "server")
    sent = fill(ends)
    messages = [b"message %d " % number * 5 for number in range(5)]
    for message in messages[:3]:
        ends.writer.queue(TEXT, message)
    ends.writer.queue(TEXT, b"short")
    writing = start(lambda: [ends.writer.write(TEXT, messages[3], fin=False), ends.writer.write(CONTINUATION, b"")])
    eventually(lambda: ends.writer.busy)
    ends.writer.queue(TEXT, messages[4])
    for _ in range(sent):
        ends.peer.read_frame()
    inflater = Inflater(12, takeover=True)
    seen = []
    while len(seen) < 6:
        if ends.writer.unsent:
            ends.writer.flush_due()
        frame = ends.peer.read_frame()
        assert frame is not None
        if frame == RawFrame(TEXT, b"short"):
            seen.append(frame.payload)
            continue
        assert frame.rsv1 is (frame.opcode == TEXT)
        data = inflater.inflate(frame.payload, last=frame.fin)
        if frame.opcode == CONTINUATION:
            assert data == b""
        else:
            seen.append(data)
    assert seen == [*messages[:3], b"short", *messages[3:]]
    assert writing.result() == [True, True]


@pytest.mark.parametrize("how", ["write", "queue"])
def test_what_interrupts_a_message_drops_the_connection(how: str, ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("syncws.writer.encode_frame", interrupted)
    with pytest.raises(KeyboardInterrupt):
        getattr(ends.writer, how)(TEXT, b"never seen")
    monkeypatch.undo()
    assert ends.cuts[0] == "KeyboardInterrupt interrupted a message"
    assert not ends.writer.write(TEXT, b"late")
    assert not ends.writer.queue(TEXT, b"late")


def test_what_is_queued_is_lost_with_the_connection() -> None:
    ends = make(tcp=True)
    sent = 0
    while not ends.writer.unsent:
        assert ends.writer.queue(BINARY, bytes(1000))
        sent += 1
    ends.writer.queue(BINARY, b"waits")
    ends.peer.reset()
    eventually(lambda: ends.writer.flush_due() is None and ends.writer.ended)
    assert not ends.writer.queue(BINARY, b"late")
    assert ends.writer.drained
    ends.writer.close_transport()


def test_so_many_messages_leave_in_one_go() -> None:
    unsent: list[str] = []
    ends = make(buffer=None, on_unsent=lambda: unsent.append("more"))
    with ends.writer._lock:
        for number in range(40):
            assert ends.writer.queue(TEXT, b"%d" % number)
    assert unsent == []
    for left in (24, 8, 0):
        ends.writer.flush_due()
        assert len(ends.writer._backlog.items) == left
    assert unsent == ["more"] * 2
    assert [ends.peer.read_frame() for _ in range(40)] == [RawFrame(TEXT, b"%d" % number) for number in range(40)]
    ends.writer.close_transport()
    ends.peer.close()
