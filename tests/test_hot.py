"""The common case of receiving and sending: what it is, and each reason why it is not; the rest does it then."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from peers import (
    DEADLINE,
    DEFLATE,
    RawFrame,
    RawPeer,
    eventually,
    raw_pair,
    replace_call,
    sockets,
    start,
    threads_only,
    websocket,
)

from syncws.errors import BacklogFull, ConnectionClosed
from syncws.hot import DEFAULT, LONGEST_STRETCH, Default, HotConnection, HotTurn, Stretch
from syncws.prepared import PreparedMessage
from syncws.protocol.codes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from syncws.protocol.deflate import Compressor, Deflate, Inflater
from syncws.protocol.messages import MessageReader
from syncws.runtime import THREADS
from syncws.transport import transport_for
from syncws.turn import Turn
from syncws.websocket import WebSocket

# What a transport has of its own can be replaced where that is for threads.
pytestmark = threads_only

RSV1 = 0x40  # beside the opcode: compressed
LOST = OSError(errno.ECONNRESET, "Connection reset by peer")
Ends = tuple[WebSocket, RawPeer]


class Bytes(bytes):
    """Of a class of its own."""


class Text(str):
    """Of a class of its own."""

    __slots__ = ()


@pytest.fixture
def ends() -> Iterator[Ends]:
    # The keeper has nothing to do for it.
    with raw_pair(ping_interval=None) as ends:
        yield ends


def with_messages(*messages: str | bytes, behind: bytes = b"", **options: Any) -> Ends:
    """A server's connection on which these messages have arrived."""
    one, two = sockets()
    peer = RawPeer(two, masked=True)
    wire = b"".join(
        peer.frame(TEXT, each.encode()) if isinstance(each, str) else peer.frame(BINARY, each) for each in messages
    )
    options.setdefault("ping_interval", None)
    return websocket(one, "server", wire + behind, **options), peer


def over(ends: Ends) -> None:
    ws, peer = ends
    ws.abort()
    ws.close()
    peer.close()


# Small things.


def test_the_default_shows_itself() -> None:
    assert isinstance(DEFAULT, Default)
    assert repr(DEFAULT) == "DEFAULT"
    assert Stretch().count == 0


def test_a_turn_that_is_free() -> None:
    turn = Turn(THREADS)
    assert isinstance(turn, HotTurn)
    assert turn.take_now()
    assert not turn.take_now()
    turn.release()
    assert turn.take_now()


def test_a_turn_that_is_given_back_wakes_those_who_wait() -> None:
    turn = Turn(THREADS)
    assert turn.take_now()
    waiting = start(turn.take, None, lambda: False)
    eventually(lambda: turn.wanted)
    turn.release()
    assert waiting.result()
    told: list[str] = []
    assert turn.on_free(lambda: told.append("free"))
    turn.release()
    assert told == ["free"]


# Receiving.


def test_a_message_that_has_arrived() -> None:
    ends = with_messages("one", b"two", "three")
    ws, _ = ends
    assert [ws.receive_now(), ws.receive_now()] == ["one", b"two"]
    assert ws._more
    assert ws.receive_now() == "three"
    assert not ws._more
    assert ws.stats().messages_received == 3
    over(ends)


def test_a_message_is_waited_for(ends: Ends) -> None:
    ws, peer = ends
    for number in range(200):
        receiving = start(ws.receive) if number % 20 == 0 else None
        peer.send_frame(TEXT, b"%d" % number)
        assert (ws.receive() if receiving is None else receiving.result()) == str(number)
    assert ws.stats().messages_received == 200


def test_the_iterator_gives_each_message_and_ends_with_the_connection() -> None:
    for behind, error in ((b"\x03\xe8", False), (b"\x03\xf3", True)):
        ends = with_messages("one", b"two", behind=b"\x88\x82\0\0\0\0" + behind)
        ws, peer = ends
        iterator = iter(ws)
        assert iter(iterator) is iterator
        assert next(iterator) == "one"
        assert next(iterator) == b"two"
        peer.sock.close()
        peer._file.close()
        with pytest.raises(ConnectionClosed if error else StopIteration):
            next(iterator)
        over(ends)


def test_compressed_messages_are_received_and_sent() -> None:
    texts = [f"a text that is long enough, number {number}, " * 20 for number in range(4)]
    compressor = Compressor(DEFLATE.client_max_window_bits, True, Deflate())
    one, two = sockets()
    peer = RawPeer(two, masked=True)
    wire = b"".join(peer.frame(TEXT | RSV1, compressor.compress(text.encode())) for text in texts)
    ws = websocket(one, "server", wire, compression=Deflate(), ping_interval=None)
    reader = MessageReader(masked=False, inflater=Inflater(DEFLATE.server_max_window_bits, True))
    for number, text in enumerate(texts):
        assert ws.receive_now() == text
        assert ws._more is (number < 3)
        assert ws.send_now(text, True)
        assert ws._writer.gathered is (number < 3)  # while there are more, they leave together
    while (message := reader.next_message()) != texts[-1]:
        if message is None:
            reader.feed(two.recv(65536))
    assert reader.completed == 4
    assert ws.stats().messages_received == ws.stats().messages_sent == 4
    over((ws, peer))


@pytest.mark.parametrize("payload", [b"\xff\xff", b"\xf2\x48", Compressor(9, False, Deflate()).compress(b"\xff")])
def test_what_is_wrong_with_a_compressed_message_is_left_to_the_rest(payload: bytes) -> None:
    with raw_pair(compression=Deflate(), ping_interval=None) as (ws, peer):
        peer.send_frame(TEXT | RSV1, payload)
        assert ws.receive_now() is None
        with pytest.raises(ConnectionClosed) as caught:
            peer.sock.shutdown(socket.SHUT_WR)
            ws.receive()
        assert caught.value.code == 1007
        assert ws.close_code == 1007


def test_a_limit_on_messages_is_not_checked_here() -> None:
    ends = with_messages("one", max_messages_per_second=10)
    assert ends[0].receive_now() is None
    assert ends[0].receive() == "one"
    over(ends)


def test_somebody_else_has_the_turn() -> None:
    ends = with_messages("one")
    ws, _ = ends
    assert ws._turn.take_now()
    assert ws.receive_now() is None
    receiving = start(ws.receive)
    ws._turn.release()
    assert receiving.result() == "one"
    over(ends)


def test_somebody_else_wants_the_turn(ends: Ends) -> None:
    ws, peer = ends
    ws._turn.wanted += 1
    assert ws.receive_now() is None  # it does not wait
    ws._turn.wanted -= 1
    peer.send_frame(TEXT, b"one")
    assert ws.receive() == "one"


@pytest.mark.parametrize("name", ["_unsent", "_posted"])
def test_something_waits_for_room(ends: Ends, name: str) -> None:
    ws, peer = ends
    setattr(ws._writer, name, b"\x8a\0" if name == "_unsent" else {(PONG, b""): b""})
    assert ws.receive_now() is None
    peer.send_frame(TEXT, b"one")
    assert ws.receive() == "one"
    ws._writer.flush_due()
    assert peer.read_frame() == RawFrame(PONG, b"")


def test_messages_wait_for_room(ends: Ends) -> None:
    ws, peer = ends
    with ws._writer._lock:
        ws.send("queued", wait=False)
        assert ws.receive_now() is None
    ws._writer.flush_due()
    assert peer.read_frame() == RawFrame(TEXT, b"queued")


def test_half_a_message_is_left_to_the_rest(ends: Ends) -> None:
    ws, peer = ends
    peer.send(peer.frame(TEXT, b"half of it")[:9])
    assert ws.receive_now() is None  # as soon as it has come
    assert ws.receive_now() is None
    peer.send(peer.frame(TEXT, b"half of it")[9:])
    assert ws.receive() == "half of it"


def test_control_frames_and_fragments_are_left_to_the_rest(ends: Ends) -> None:
    ws, peer = ends
    peer.send_frame(PING, b"p")
    assert ws.receive_now() is None
    peer.send_frame(TEXT, b"one", fin=False)
    peer.send_frame(CONTINUATION, b"two")
    assert ws.receive() == "onetwo"
    assert peer.read_frame() == RawFrame(PONG, b"p")
    peer.send_frame(CLOSE, b"\x03\xe8")
    with pytest.raises(ConnectionClosed):
        ws.receive()
    assert ws.receive_now() is None


def test_what_breaks_a_rule_is_left_to_the_rest(ends: Ends) -> None:
    ws, peer = ends
    peer.send_frame(TEXT, b"\xff")
    assert ws.receive_now() is None
    with pytest.raises(ConnectionClosed) as caught:
        peer.sock.shutdown(socket.SHUT_WR)
        ws.receive()
    assert caught.value.code == 1007


def test_what_the_keeper_has_set_aside_comes_first(ends: Ends) -> None:
    ws, peer = ends
    peer.send_frame(TEXT, b"one")
    eventually(lambda: ws._reader.arrived)
    assert ws.receive_now() is None
    assert ws.receive() == "one"


@pytest.mark.parametrize("polite", [False, True])
def test_the_end_is_left_to_the_rest(ends: Ends, polite: bool) -> None:
    ws, peer = ends
    receiving = start(ws.receive_now)
    if polite:
        peer.send_frame(CLOSE)
    peer.close()
    assert receiving.result() is None
    with pytest.raises(ConnectionClosed) as caught:
        ws.receive()
    assert caught.value.code == (1005 if polite else 1006)
    assert ws.receive_now() is None


def test_a_lost_connection_is_left_to_the_rest() -> None:
    one, two = sockets()
    transport: Any = transport_for(one)
    ws = websocket(transport, "server", ping_interval=None)
    eventually(lambda: ws._turn.take_now())

    def lost(*_: object) -> bytes:
        raise LOST

    read, recv = transport.read, transport.recv
    replace_call(ws, "read", lost)
    transport.recv = lost
    ws._turn.release()
    assert ws.receive_now() is None
    assert ws.close_code == 1006
    assert ws.close_reason == str(LOST)
    with pytest.raises(ConnectionClosed):
        ws.receive()
    replace_call(ws, "read", read)
    transport.recv = recv
    ws.abort()
    two.close()


def test_a_call_that_a_signal_has_interrupted_is_repeated(ends: Ends) -> None:
    ws, peer = ends
    replace_call(ws, "read", lambda: None)
    assert ws.receive_now() is None
    peer.send_frame(TEXT, b"one")
    assert ws.receive() == "one"


def test_the_turn_is_given_back_when_reading_is_interrupted(ends: Ends) -> None:
    ws, _ = ends

    def interrupted() -> bytes:
        raise KeyboardInterrupt

    replace_call(ws, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ws.receive()
    assert not ws._receiving
    eventually(ws._turn.take_now)
    ws._turn.release()


def test_a_timeout_is_left_to_the_rest() -> None:
    ends = with_messages("one", "two")
    ws, _ = ends
    assert ws.receive(timeout=0) == "one"
    assert ws.receive(timeout=DEADLINE) == "two"
    with pytest.raises(TimeoutError):
        ws.receive(timeout=0)
    over(ends)


def test_rates_are_told_of_waits_while_they_watch() -> None:
    ends = with_messages(max_control_frames_per_second=1000)
    ws, peer = ends
    waits: list[float] = []

    class Rates:
        watching = True

        def waited(self, seconds: float, *, receiving: bool) -> None:
            assert receiving
            waits.append(seconds)

    rates, ws._rates = ws._rates, Rates()  # type: ignore[assignment]
    receiving = start(ws.receive_now)
    peer.send_frame(TEXT, b"one")
    assert receiving.result() == "one"
    assert len(waits) == 1
    ws._rates.watching = False  # type: ignore[misc]
    for number in range(100):
        peer.send_frame(TEXT, b"%d" % number)
        eventually(lambda: ws.receive_now() is not None or (not ws._reader.between() and ws._reader.next_message()))
    # Those that are short are not told.
    ws._rates = rates
    over(ends)


# Sending.


@pytest.mark.parametrize("role", ["server", "client"])
def test_messages_that_are_sent_at_once(role: Any) -> None:
    with raw_pair(role) as (ws, peer):
        assert ws.send_now(b"bytes", True)
        assert ws.send_now("t\u00e4xt", True)
        assert ws.send_now("", False)
        assert ws.send_now(PreparedMessage("prepared"), True)
        assert [peer.read_frame() for _ in range(4)] == [
            RawFrame(BINARY, b"bytes"),
            RawFrame(TEXT, "t\u00e4xt".encode()),
            RawFrame(TEXT, b""),
            RawFrame(TEXT, b"prepared"),
        ]
        assert ws.stats().messages_sent == 4


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize(
    "data", [Bytes(b"abc"), bytearray(b"abc"), memoryview(b"abc"), memoryview(b"aXbXcX")[::2], Text("abc")], ids=repr
)
def test_other_kinds_of_data_are_left_to_the_rest(ends: Ends, data: Any, wait: bool) -> None:
    ws, peer = ends
    assert not ws.send_now(data, wait)
    ws.send(data, wait=wait)
    assert peer.read_frame() == RawFrame(TEXT if isinstance(data, str) else BINARY, b"abc")


@pytest.mark.parametrize(("data", "error"), [("\ud800", ValueError), (1, TypeError), (None, TypeError)])
@pytest.mark.parametrize("wait", [False, True])
def test_what_cannot_be_sent_is_an_error_of_the_rest(ends: Ends, data: Any, error: type[Exception], wait: bool) -> None:
    ws, peer = ends
    assert not ws.send_now(data, wait)
    with pytest.raises(error):
        ws.send(data, wait=wait)
    ws.send("next")
    assert peer.read_frame() == RawFrame(TEXT, b"next")


def test_another_message_is_being_sent(ends: Ends) -> None:
    ws, peer = ends
    with ws._writer._lock:
        assert not ws.send_now(b"one", True)
        assert not ws.send_now(b"one", False)
    ws.send("one")
    assert peer.read_frame() == RawFrame(TEXT, b"one")


@pytest.mark.parametrize("wait", [False, True])
def test_a_message_that_there_is_no_room_for(wait: bool) -> None:
    data = bytes(range(256)) * 4096
    with raw_pair(buffer=4096, max_backlog=None) as (ws, peer):
        sending = start(ws.send_now, data, wait)
        if not wait:
            assert sending.result()
            eventually(lambda: ws.backlog > 0)  # the keeper may be at it
        assert peer.read_frame() == RawFrame(BINARY, data)
        assert sending.result()
        eventually(lambda: ws.backlog == 0)


def test_a_message_that_can_never_wait_is_an_error_although_there_is_room() -> None:
    with raw_pair(max_backlog=100) as (ws, peer):
        assert not ws.send_now(bytes(101), False)
        with pytest.raises(BacklogFull):
            ws.send(bytes(101), wait=False)
        assert ws.send_now(bytes(100), False)
        assert ws.send_now(bytes(101), True)
        assert [peer.read_frame() for _ in range(2)] == [RawFrame(BINARY, bytes(100)), RawFrame(BINARY, bytes(101))]
    with raw_pair(max_backlog=2**100) as (ws, peer):
        assert ws.send_now(bytes(1000), False)
        assert peer.read_frame() == RawFrame(BINARY, bytes(1000))


def test_what_was_posted_meanwhile_leaves_with_this_thread(ends: Ends) -> None:
    ws, peer = ends
    transport: Any = ws._transport
    try_send = transport.try_send

    def meanwhile(data: bytes) -> int:
        replace_call(ws, "try_send", try_send)
        start(ws._writer.post_pong, b"p").result()  # the lock is this thread's
        return int(try_send(data))

    replace_call(ws, "try_send", meanwhile)
    assert ws.send_now("one", True)
    assert peer.read_frame() == RawFrame(TEXT, b"one")
    assert peer.read_frame() == RawFrame(PONG, b"p")


def test_messages_that_were_queued_meanwhile_leave_with_this_thread(ends: Ends) -> None:
    ws, peer = ends
    transport: Any = ws._transport
    try_send = transport.try_send

    def meanwhile(data: bytes) -> int:
        replace_call(ws, "try_send", try_send)
        start(ws.send, "two", wait=False).result()
        return int(try_send(data))

    for wait in (False, True):
        replace_call(ws, "try_send", meanwhile)
        assert ws.send_now("one", wait)
        assert peer.read_frame() == RawFrame(TEXT, b"one")
        assert peer.read_frame() == RawFrame(TEXT, b"two")


def test_sending_on_a_lost_connection(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    ws, _ = ends

    def lost(data: bytes) -> int:
        raise LOST

    replace_call(ws, "try_send", lost)
    with pytest.raises(ConnectionClosed) as caught:
        ws.send_now("one", True)
    assert caught.value.__cause__ is LOST
    assert ws.close_code == 1006
    assert not ws.send_now("two", True)
    with pytest.raises(ConnectionClosed):
        ws.send("two")


def test_sending_on_a_lost_connection_that_somebody_does_not_call_an_error(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, _ = ends
    told: list[OSError] = []

    def lost(data: bytes) -> int:
        raise LOST

    replace_call(ws, "try_send", lost)
    monkeypatch.setattr(WebSocket, "_send_failed", lambda _, error: told.append(error))
    assert not ws.send_now("one", True)
    assert told == [LOST]


def test_an_interrupted_message_drops_the_connection(ends: Ends) -> None:
    ws, peer = ends

    def interrupted(data: bytes) -> int:
        raise KeyboardInterrupt

    replace_call(ws, "try_send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ws.send("one")
    assert ws.close_code == 1006
    assert peer.read_frame() is None


def test_greenlets_that_send_much_let_others_run(ends: Ends) -> None:
    ws, peer = ends
    pauses: list[int] = []
    stretch = ws._stretch = Stretch()
    transport: Any = ws._transport
    transport.pause = lambda: pauses.append(stretch.count)
    reading = start(lambda: [peer.read_frame() for _ in range(LONGEST_STRETCH + 3)])
    for _ in range(LONGEST_STRETCH):
        ws.send("x")
    assert pauses == []
    ws.send("x", wait=False)  # which never does
    assert pauses == []
    ws.send("x")
    assert pauses == [LONGEST_STRETCH + 1]
    stretch.count = 0
    ws.send("x")
    assert len(pauses) == 1
    assert len(reading.result()) == LONGEST_STRETCH + 3


def test_a_message_with_a_timeout_is_sent_step_by_step(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    ws, peer = ends
    ws.send("one", timeout=None)
    ws.send("two", timeout=5)
    assert [peer.read_frame(), peer.read_frame()] == [RawFrame(TEXT, b"one"), RawFrame(TEXT, b"two")]
    with pytest.raises(TypeError, match="does not wait"):
        ws.send("three", wait=False, timeout=1)


def test_only_what_may_wait_is_gathered() -> None:
    ends = with_messages("one", "two", "three", "four")
    ws, peer = ends
    assert ws.receive() == "one"
    assert ws.send_now("a", False)  # a signal handler's, which nothing is to come behind
    assert not ws._writer.gathered
    assert peer.read_frame() == RawFrame(TEXT, b"a")
    assert ws.send_now("b", True)
    assert ws._writer._gathered is not None
    assert peer.read_frame() == RawFrame(TEXT, b"b")
    over(ends)


def test_what_is_received_step_by_step_leaves_nothing_to_wait_for() -> None:
    ends = with_messages("one", "two", "three")
    ws, peer = ends
    assert ws.receive() == "one"
    assert ws._more
    assert ws.receive(timeout=0) == "two"
    assert not ws._more
    ws.send("a")
    assert not ws._writer.gathered
    assert peer.read_frame() == RawFrame(TEXT, b"a")
    over(ends)


def test_many_threads_send() -> None:
    with raw_pair() as (ws, peer):
        begin = threading.Event()

        def send(name: int) -> None:
            begin.wait(DEADLINE)
            for number in range(300):
                ws.send(f"{name} {number}", wait=bool(number % 2))

        sending = [start(send, name) for name in range(4)]
        begin.set()
        found = [peer.read_frame() for _ in range(1200)]
        for each in sending:
            each.result()
    texts = [frame.payload.decode().split() for frame in found if frame]
    for name in "0123":
        assert [int(number) for who, number in texts if who == name] == list(range(300))


# What the classes that are derived have to provide.


@pytest.mark.parametrize(
    "call",
    [
        lambda: HotTurn().notify(),
        lambda: HotConnection()._lost(""),
        lambda: HotConnection()._next(),
        lambda: HotConnection()._receive(None),
        lambda: HotConnection()._send(b"", True, None),
        lambda: HotConnection()._send_failed(LOST),
        lambda: HotConnection()._send_rest(True, True),
    ],
    ids=range(7),
)
def test_what_others_have_to_provide(call: Callable[[], object]) -> None:
    with pytest.raises(NotImplementedError):
        call()
