"""The WebSocket as a program meets it: messages in both directions, pings, wrong use, many threads."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import inspect
import random
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from peers import (
    DEADLINE,
    DEFLATE,
    RawFrame,
    Task,
    eventually,
    open_descriptors,
    pair,
    raw_pair,
    sockets,
    start,
    websocket,
)

from syncws.errors import ConcurrencyError, ConnectionClosed
from syncws.options import Options
from syncws.protocol.codes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from syncws.protocol.deflate import Deflate
from syncws.protocol.handshake import Agreement, RequestHead
from syncws.protocol.headers import Headers
from syncws.protocol.machine import State
from syncws.transport import RECV_SIZE, transport_for
from syncws.websocket import WebSocket

BIG = bytes(range(256)) * 4096
both_roles = pytest.mark.parametrize("role", ["server", "client"])


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    gc.collect()
    before = open_descriptors()
    yield
    # Fewer are no fault of this test: another one before it has left a thread that has ended meanwhile.
    eventually(lambda: open_descriptors() <= before)


# What it is.


def test_repr_is_one_line() -> None:
    one, two = sockets("tcp")
    head = RequestHead("GET", "/a\n\x1b[2J", "1.1", Headers([("Host", "localhost")]))
    with two:
        ws = WebSocket(transport_for(one), "server", head, Agreement(), Options())
        assert repr(ws).startswith("<WebSocket server /a\\n\\x1b[2J (")
        ws.abort()


def test_attributes() -> None:
    one, two = sockets("tcp")
    with two:
        ws = websocket(one, "server")
        assert (ws.path, ws.headers["cookie"], ws.request.target) == ("/chat", "a=1", "/chat?room=1")
        assert (ws.subprotocol, ws.extensions) == (None, ())
        assert ws.remote_address == two.getsockname()
        assert ws.state is State.OPEN
        assert (ws.closed, ws.close_code, ws.close_reason, ws.latency) == (False, None, None, None)
        assert repr(ws) == f"<WebSocket server /chat {two.getsockname()} open>"
        ws.abort()
        assert (ws.closed, ws.close_code, ws.close_reason) == (True, 1006, "dropped by abort()")
        ws.close()


def test_what_was_agreed_on() -> None:
    with pair(compression=True) as (server, _):
        assert (server.subprotocol, server.extensions) == ("chat", ("permessage-deflate",))
        assert DEFLATE.server_max_window_bits == 12


def test_bytes_behind_the_handshake_belong_to_the_first_frame() -> None:
    one, two = sockets()
    ws = websocket(one, "client", leftover=b"\x81\x05hel")
    two.sendall(b"lo\x88\x00")
    two.shutdown(socket.SHUT_WR)
    assert list(ws) == ["hello"]
    two.close()


# Messages.


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "compression", [None, Deflate(threshold=0), Deflate(threshold=1000)], ids=["off", "on", "large"]
)
def test_messages_go_both_ways(tls: bool, compression: Any) -> None:
    with pair(tls=tls, compression=compression) as ends:
        for sender, receiver in (ends, ends[::-1]):
            for message in (
                "",
                b"",
                "text",
                "\U0001f600 \xe4" * 1000,
                b"bytes",
                BIG,
                "x" * 125,
                b"x" * 126,
                b"x" * 65536,
            ):
                sending = start(sender.send, message)
                assert receiver.receive() == message
                sending.result()


def test_any_bytes_will_do() -> None:
    with pair() as (server, client):
        for data in (bytearray(b"abc"), memoryview(b"abc"), memoryview(b"aXbXcX")[::2]):
            server.send(data)
            assert client.receive() == b"abc"


def test_receive_waits_no_longer_than_it_is_told() -> None:
    with raw_pair() as (ws, peer):
        with pytest.raises(TimeoutError, match=r"no message within 0\.01 s"):
            ws.receive(timeout=0.01)
        with pytest.raises(TimeoutError):
            ws.receive(timeout=0)
        with pytest.raises(TimeoutError):
            ws.receive(timeout=-1)
        peer.send_frame(TEXT, b"one")
        peer.send_frame(TEXT, b"two")
        assert [ws.receive(timeout=0), ws.receive(timeout=0)] == ["one", "two"]
        peer.send_frame(BINARY, bytes(150_000))
        assert len(ws.receive(timeout=0)) == 150_000
        peer.send_frame(TEXT, b"three")
        assert ws.receive(timeout=float("inf")) == "three"


def test_a_timeout_in_the_middle_of_a_message_loses_nothing() -> None:
    with raw_pair() as (ws, peer):
        data = (
            peer.frame(TEXT, "gr\xfc".encode()[:3], fin=False)
            + peer.frame(PING, b"between")
            + peer.frame(CONTINUATION, "gr\xfcn".encode()[3:])
            + peer.frame(BINARY, bytes(300))
        )
        received = []
        for number in range(len(data)):
            peer.send(data[number : number + 1])
            with contextlib.suppress(TimeoutError):
                received.append(ws.receive(timeout=0))
        assert received == ["gr\xfcn", bytes(300)]
        assert peer.read_frame() == RawFrame(PONG, b"between")


@both_roles
def test_iteration_ends_quietly(role: Any) -> None:
    for code in (1000, 1001, None):
        with raw_pair(role) as (ws, peer):
            peer.send_frame(TEXT, b"one")
            peer.send_frame(BINARY, b"two")
            peer.send_frame(CLOSE, b"" if code is None else code.to_bytes(2, "big"))
            peer.sock.shutdown(socket.SHUT_WR)
            assert list(ws) == ["one", b"two"]
            assert ws.close_code == (code or 1005)


@pytest.mark.parametrize("code", [1002, 1011, 3000, None])
def test_iteration_raises(code: int | None) -> None:
    with raw_pair() as (ws, peer):
        peer.send_frame(TEXT, b"one")
        if code is not None:
            peer.send_frame(CLOSE, code.to_bytes(2, "big"))
        peer.sock.shutdown(socket.SHUT_WR)
        messages = iter(ws)
        assert next(messages) == "one"
        with pytest.raises(ConnectionClosed) as caught:
            next(messages)
        assert caught.value.code == (code or 1006)


def test_the_end_of_a_connection_says_which_one_ended() -> None:
    with raw_pair("server") as (ws, peer):
        with pytest.raises(ConnectionClosed) as caught, ws:
            ws.begin_close()
            ws.send("too late")
        assert caught.value.websocket is ws
        assert peer.read_frame() == RawFrame(CLOSE, (1000).to_bytes(2, "big"))


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, 1000), (RuntimeError("mine"), 1011), (ConnectionClosed(1000, "of another connection"), 1011)],
    ids=str,
)
def test_leaving_a_with_block_closes(error: Exception | None, code: int) -> None:
    with raw_pair("server") as (ws, peer):
        peer.send_frame(CLOSE, b"")
        peer.sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(RuntimeError, ConnectionClosed), ws as entered:
            assert entered is ws
            if error is not None:
                raise error
        assert ws.state is State.CLOSED
        assert peer.read_all() == [RawFrame(CLOSE, code.to_bytes(2, "big"))]


def test_nothing_is_left_behind_by_a_connection_that_was_closed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            with pair() as (server, client):
                closing = start(server.close)
                assert list(client) == []
                closing.result()
        gc.collect()


def test_signature_of_send_names_its_default_timeout() -> None:
    assert repr(inspect.signature(WebSocket.send).parameters["timeout"].default) == "DEFAULT"


# Streams.


@pytest.mark.parametrize("compression", [None, Deflate(threshold=0)], ids=["plain", "compressed"])
def test_a_stream_has_the_pieces_of_a_message(compression: Any) -> None:
    with pair(compression=compression, max_message_size=100) as (server, client):
        for message in (BIG, "\xe4" * 300_000):
            sending = start(server.send, message)
            pieces = list(client.receive_stream())
            assert message[:0].join(pieces) == message  # type: ignore[arg-type]
            assert len(pieces) > 1
            assert max(map(len, pieces)) <= RECV_SIZE
            assert all(pieces)
            sending.result()
        for empty in ("", b""):
            server.send(empty)
            assert list(client.receive_stream()) == [empty]
        server.send("next")
        assert client.receive() == "next"


def test_a_stream_gives_fragments_as_they_come() -> None:
    with raw_pair() as (ws, peer):
        stream = ws.receive_stream(timeout=DEADLINE)
        for opcode, data in ((TEXT, b"a"), (CONTINUATION, b""), (CONTINUATION, b"b")):
            peer.send_frame(opcode, data, fin=False)
            if data:
                assert next(stream) == data.decode()
        peer.send_frame(PING, b"between")
        peer.send_frame(CONTINUATION, b"")
        assert next(stream, None) is None
        assert peer.read_frame() == RawFrame(PONG, b"between")


def test_a_stream_may_be_left_early() -> None:
    with raw_pair() as (ws, peer):
        peer.send_frame(BINARY, bytes(100), fin=False)
        assert next(iter(ws.receive_stream())) == bytes(100)
        sending = start(lambda: [peer.send_frame(CONTINUATION, BIG), peer.send_frame(TEXT, b"next")])
        assert ws.receive() == "next"
        sending.result()


def test_a_stream_waits_for_each_piece() -> None:
    with raw_pair(message_timeout=0.2, close_timeout=0.1) as (ws, peer):
        peer.send_frame(TEXT, b"0", fin=False)
        stream = ws.receive_stream()
        assert next(stream) == "0"
        for number in range(1, 4):
            threading.Timer(0.1, peer.send_frame, (CONTINUATION, b"%d" % number), {"fin": False}).start()
            assert next(stream) == str(number)
        with pytest.raises(ConnectionClosed, match="message unfinished"):
            next(stream)


def test_a_stream_that_timed_out_goes_on_with_the_next() -> None:
    with raw_pair() as (ws, peer):
        peer.send_frame(TEXT, b"one", fin=False)
        stream = ws.receive_stream(timeout=0.01)
        assert next(stream) == "one"
        with pytest.raises(TimeoutError):
            next(stream)
        peer.send_frame(CONTINUATION, b"two")
        assert list(ws.receive_stream()) == ["two"]


# Sending in fragments.


@pytest.mark.parametrize("compression", [None, Deflate()], ids=["plain", "compressed"])
def test_fragments_are_one_message(compression: Any) -> None:
    with pair(compression=compression) as (server, client):
        for pieces in (["a", "", "\xe4" * 1000], [b"a", bytearray(b"b"), memoryview(b"c")], [""], [b""]):
            server.send_fragments(pieces)  # type: ignore[arg-type]
            server.send("next")
            assert client.receive() == pieces[0][:0].join(pieces)  # type: ignore[attr-defined,arg-type]
            assert client.receive() == "next"


def test_fragments_leave_as_soon_as_they_are_there() -> None:
    with raw_pair() as (ws, peer):

        def pieces() -> Iterator[str]:
            yield "one"
            assert peer.read_frame() == RawFrame(TEXT, b"one", fin=False)
            yield "two"
            assert peer.read_frame() == RawFrame(CONTINUATION, b"two", fin=False)

        ws.send_fragments(pieces())
        assert peer.read_frame() == RawFrame(CONTINUATION, b"")


def test_only_the_first_fragment_says_that_it_is_compressed() -> None:
    with raw_pair(compression=Deflate()) as (ws, peer):
        ws.send_fragments(["a", "b"])
        frames = [peer.read_frame() for _ in range(3)]
        assert [frame.rsv1 for frame in frames if frame] == [True, False, False]


@pytest.mark.parametrize(
    ("pieces", "error", "text"),
    [
        ([], ValueError, "needs at least one piece"),
        ([1], TypeError, "a message must be str"),
        (["\ud800"], ValueError, "cannot be sent as UTF-8"),
        (b"bytes", TypeError, "a message must be str"),
        (5, TypeError, "not iterable"),
    ],
    ids=["none", "int", "surrogate", "bytes", "no iterable"],
)
def test_wrong_fragments_before_anything_is_sent(pieces: Any, error: type[Exception], text: str) -> None:
    with pair() as (server, client):
        with pytest.raises(error, match=text):
            server.send_fragments(pieces)
        server.send("still open")
        assert client.receive() == "still open"


def test_a_timeout_of_another_type_is_found_before_anything_is_sent() -> None:
    with pair() as (server, client):
        for wrong in (lambda: server.send("x", timeout="1"), lambda: server.send_fragments(["x"], timeout=b"1")):
            with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not"):
                wrong()
        server.send("still open", timeout=1)
        assert client.receive() == "still open"


def raising(error: BaseException) -> Iterator[str]:
    yield "half"
    raise error


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        (["half", b"bytes"], TypeError),
        (["half", None], TypeError),
        (["half", "\ud800"], ValueError),
        (raising(LookupError()), LookupError),
        (raising(KeyboardInterrupt()), KeyboardInterrupt),
    ],
    ids=["mixed", "wrong type", "surrogate", "exception", "interrupt"],
)
def test_half_a_message_closes_the_connection(pieces: Any, error: type[BaseException]) -> None:
    with raw_pair() as (ws, peer):
        with pytest.raises(error):
            ws.send_fragments(pieces)
        assert peer.read_frame() == RawFrame(TEXT, b"half", fin=False)
        assert peer.read_frame() == RawFrame(CLOSE, (1011).to_bytes(2, "big") + b"the message could not be completed")
        assert ws.close_code == 1011
        with pytest.raises(ConnectionClosed):
            ws.send("late")


def test_the_close_frame_of_half_a_message_waits_for_room() -> None:
    with raw_pair(buffer=4096) as (ws, peer):
        receiving = start(list, ws)
        eventually(lambda: ws._receiving)
        sending = start(ws.send_fragments, until_full(ws))
        eventually(lambda: ws.closed)
        frames = []
        while (frame := peer.read_frame()) is not None:
            frames.append(frame)
            if frame.opcode == CLOSE:
                peer.send_frame(CLOSE, frame.payload)
                peer.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(LookupError):
            sending.result()
        assert frames[0] == RawFrame(TEXT, b"half", fin=False)
        assert frames[-1].payload[:2] == (1011).to_bytes(2, "big")
        with pytest.raises(ConnectionClosed):
            receiving.result()


def test_half_a_message_to_a_peer_that_does_not_read_drops_the_connection() -> None:
    with raw_pair(buffer=4096, close_timeout=0.05) as (ws, _):
        with pytest.raises(LookupError):
            ws.send_fragments(until_full(ws))
        assert ws.close_code == 1006


def until_full(ws: WebSocket) -> Iterator[str]:
    """Half a message, and then pongs until the socket is full."""
    yield "half"
    while not ws._writer.unsent:
        ws._writer.post_pong(b"")
    raise LookupError


def test_the_iterable_itself_cannot_send() -> None:
    with pair() as (server, client):
        errors = []

        def pieces() -> Iterator[str]:
            server.send("before the first piece it can")
            yield "one "
            for send in (server.send, server.send_fragments):
                try:
                    send("nested")
                except ConcurrencyError as error:
                    errors.append(str(error))
            yield "two"

        server.send_fragments(pieces())
        assert client.receive() == "before the first piece it can"
        assert client.receive() == "one two"
        assert len(errors) == 2
        assert "within the iterable" in errors[0]


def test_other_senders_wait_while_fragments_are_sent() -> None:
    with pair() as (server, client):
        others: list[Task] = []

        def pieces() -> Iterator[str]:
            yield "one "
            others.append(start(server.send, "other"))
            others.append(start(server.send_fragments, ["other"]))
            others.append(start(server.ping))  # control frames may go in between (RFC 6455, 5.4)
            with pytest.raises(TimeoutError, match=r"another thread has been sending for 0\.01 s; nothing of this"):
                start(server.send, "impatient", timeout=0.01).result()
            for timeout in (0, -1):
                with pytest.raises(TimeoutError):
                    start(server.send, "impatient", timeout=timeout).result()
            yield "two"

        receiving = start(lambda: [client.receive() for _ in range(3)])
        server.send_fragments(pieces())
        assert receiving.result() == ["one two", "other", "other"]
        pinged = start(client.receive)
        for task in others:
            task.result()
        server.send("end")
        assert pinged.result() == "end"


@pytest.mark.parametrize("timeout", [None, 5, float("inf")])
def test_timeouts_of_senders_that_wait(timeout: float | None) -> None:
    with raw_pair(buffer=4096) as (ws, peer):
        first = start(ws.send, BIG, timeout=None)
        eventually(ws._writer._lock.locked)
        second = start(ws.send, "second", timeout=timeout)
        assert peer.read_frame() == RawFrame(BINARY, BIG)
        assert peer.read_frame() == RawFrame(TEXT, b"second")
        first.result()
        second.result()


def test_fragments_to_a_peer_that_does_not_read() -> None:
    with raw_pair(buffer=4096) as (ws, _):
        with pytest.raises(TimeoutError, match="the peer has not read"):
            ws.send_fragments([BIG, BIG], timeout=0.05)
        assert ws.close_code == 1006


# Wrong use.


@pytest.mark.parametrize(
    ("method", "arguments", "error"),
    [
        ("send", (1,), TypeError),
        ("send", (None,), TypeError),
        ("send", (["a"],), TypeError),
        ("send", ("\ud800",), ValueError),
        ("ping", ("text",), TypeError),
        ("ping", (bytes(126),), ValueError),
        ("close", (999,), ValueError),
        ("receive", ("1",), TypeError),
    ],
)
def test_wrong_use_leaves_the_connection_as_it_was(method: str, arguments: Any, error: type[Exception]) -> None:
    with pair() as (server, client):
        with pytest.raises(error):
            getattr(server, method)(*arguments)
        assert server.state is State.OPEN
        server.send("one")
        client.send("two")
        assert (client.receive(), server.receive()) == ("one", "two")


# Pings.


@both_roles
def test_ping_while_nobody_receives(role: Any) -> None:
    with raw_pair(role) as (ws, peer):
        pinging = start(ws.ping, b"hello")
        assert peer.read_frame() == RawFrame(PING, b"hello")
        # Messages and a ping in front of the pong.
        peer.send_frame(TEXT, b"one")
        peer.send_frame(BINARY, BIG[:1000], fin=False)
        peer.send_frame(PING, b"you?")
        peer.send_frame(CONTINUATION, BIG[1000:2000])
        peer.send_frame(PONG, b"unasked")
        peer.send_frame(PONG, b"hello")
        round_trip = pinging.result()
        assert 0 < round_trip < DEADLINE
        assert ws.latency == round_trip
        assert peer.read_frame() == RawFrame(PONG, b"you?")
        assert [ws.receive(timeout=0), ws.receive(timeout=0)] == ["one", BIG[:2000]]


def test_ping_while_another_thread_receives() -> None:
    with raw_pair() as (ws, peer):
        receiving = start(ws.receive)
        eventually(lambda: ws._receiving)
        pinging = [start(ws.ping, bytes([number])) for number in range(1, 6)]
        pings = [peer.read_frame() for _ in pinging]
        for ping in pings:
            assert ping is not None
            peer.send_frame(PONG, ping.payload)
        for task in pinging:
            assert task.result() > 0
        peer.send_frame(TEXT, b"message")
        assert receiving.result() == "message"


def test_several_pings_and_nobody_receives() -> None:
    with raw_pair() as (ws, peer):
        pinging = [start(ws.ping) for _ in range(5)]
        pings = [peer.read_frame() for _ in pinging]
        last = pings[-1]
        assert last is not None
        # The pong to the latest ping answers all of them.
        peer.send_frame(PONG, last.payload)
        for task in pinging:
            with contextlib.suppress(TimeoutError):
                task.result(1)
        for ping in pings:
            if ping is not None:
                peer.send_frame(PONG, ping.payload)
        for task in pinging:
            assert task.result() > 0


def test_ping_behind_more_than_may_be_set_aside() -> None:
    with raw_pair() as (ws, peer):
        pinging = start(ws.ping)
        ping = peer.read_frame()
        assert ping is not None

        def talk() -> None:
            for number in range(100):
                peer.send_frame(BINARY, bytes([number]) * 10_000)
            peer.send_frame(PONG, ping.payload)

        talking = start(talk)
        eventually(lambda: ws._reader.looked_ahead)
        assert pinging.is_alive()
        with pytest.raises(TimeoutError, match="no pong within 0"):
            ws.ping(timeout=0.01)
        for number in range(100):
            assert ws.receive() == bytes([number]) * 10_000
        assert pinging.result() > 0
        talking.result()


def test_ping_without_an_answer() -> None:
    with raw_pair() as (ws, peer):
        for timeout in (0.01, 0.1, 0):
            with pytest.raises(TimeoutError, match=f"no pong within {timeout} s"):
                ws.ping(b"same", timeout)
        peer.send_frame(TEXT, b"still open")
        assert ws.receive() == "still open"
        assert ws.latency is None


def test_ping_meets_a_broken_frame() -> None:
    with raw_pair() as (ws, peer):
        pinging = start(ws.ping)
        assert peer.read_frame() is not None
        peer.send_frame(TEXT, b"complete before it")
        peer.send_frame(0x3)
        peer.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosed, match="reserved opcode 0x3"):
            pinging.result()
        assert ws.close_code == 1002
        assert ws.receive() == "complete before it"
        with pytest.raises(ConnectionClosed, match="reserved opcode 0x3"):
            ws.receive()


@pytest.mark.parametrize("receives", [False, True])
def test_the_connection_ends_during_a_ping(receives: bool) -> None:
    with raw_pair() as (ws, peer):
        receiving = start(list, ws) if receives else None
        if receives:
            eventually(lambda: ws._receiving)
        pinging = start(ws.ping)
        assert peer.read_frame() is not None
        peer.send_frame(TEXT, b"last")
        peer.send_frame(CLOSE, (1001).to_bytes(2, "big"))
        peer.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosed) as caught:
            pinging.result()
        assert caught.value.code == 1001
        messages = list(ws) if receiving is None else receiving.result()
        assert messages == ["last"]
        with pytest.raises(ConnectionClosed):
            ws.ping()


def test_a_pong_in_front_of_the_end_counts() -> None:
    with raw_pair() as (ws, peer):
        pinging = start(ws.ping)
        ping = peer.read_frame()
        assert ping is not None
        peer.send(peer.frame(PONG, ping.payload) + peer.frame(CLOSE, b""))
        peer.sock.shutdown(socket.SHUT_WR)
        assert pinging.result() > 0
        assert list(ws) == []


# Many threads.


def checked(number: int, size: int) -> bytes:
    """A message that tells whether it has arrived as it was sent."""
    content = number.to_bytes(4, "big") + random.Random(number).randbytes(size)
    return hashlib.sha256(content).digest() + content


def number_of(message: Any) -> int:
    """The number of a message from :func:`checked`."""
    digest, content = message[:32], message[32:]
    assert hashlib.sha256(content).digest() == digest, "frames have been mixed up"
    return int.from_bytes(content[:4], "big")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("compression", [None, True], ids=["plain", "compressed"])
def test_eight_threads_send_and_one_closes(tls: bool, compression: Any) -> None:
    with pair(tls=tls, buffer=8192, compression=compression) as (server, client):
        enough = threading.Event()

        def send(thread: int) -> list[int]:
            sent = []
            for index in range(10_000):
                number = thread * 10_000 + index
                data = checked(number, number % 7000)
                try:
                    if index % 3:
                        client.send(data)
                    else:
                        client.send_fragments([data[:50], data[50:]])
                except ConnectionClosed as error:
                    assert error.code == 3000
                    break
                sent.append(number)
                if index == 50:
                    enough.set()
            return sent

        receiving = start(lambda: [number_of(message) for message in ignore_end(server)])
        sending = [start(send, thread) for thread in range(8)]
        assert enough.wait(DEADLINE)
        client.close(3000)
        sent = [task.result() for task in sending]
        received = receiving.result()
        # Whatever send() returned from has arrived, each thread's messages in their order, and hardly anything else.
        assert set(received) >= {number for numbers in sent for number in numbers}
        assert len(received) <= sum(map(len, sent)) + 8
        for thread in range(8):
            numbers = [number for number in received if number // 10_000 == thread]
            assert numbers == sorted(set(numbers))


def ignore_end(ws: WebSocket) -> Iterator[str | bytes]:
    try:
        yield from ws
    except ConnectionClosed:
        return


@both_roles
def test_nothing_follows_the_close_frame(role: Any) -> None:
    for _ in range(20):
        with raw_pair(role) as (ws, peer):

            def send(ws: WebSocket = ws) -> None:
                while True:
                    ws.send("message")

            def answer(ws: WebSocket = ws) -> None:
                while True:
                    ws.ping(timeout=DEADLINE)

            tasks = [start(send), start(send), start(answer)]
            frames = [peer.read_frame() for _ in range(10)]
            tasks.append(start(ws.close))
            while (frame := peer.read_frame()) is not None:
                frames.append(frame)
                if frame.opcode == PING:
                    peer.send_frame(PONG, frame.payload)
                elif frame.opcode == CLOSE:
                    peer.send_frame(PING, b"late")
                    peer.send_frame(CLOSE, frame.payload)
                    peer.sock.shutdown(socket.SHUT_WR)
            for task in tasks[:3]:
                with pytest.raises(ConnectionClosed) as caught:
                    task.result()
                assert caught.value.code == 1000
            tasks[3].result()
            assert [frame.opcode for frame in frames if frame][-1] == CLOSE


def begin_close(ws: WebSocket) -> None:
    """Send a close frame, and wait until it has left: a thread in receive() may not know that it waits for room."""
    ws.begin_close(3000)
    eventually(lambda: ws._writer.flush_due() or not ws._writer.unsent)  # type: ignore[func-returns-value]


class Schedule:
    """Threads that do what a seed says to two connected WebSockets, until one of them ends the connection."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.end = self.random.choice(["close", "close both", "begin_close", "abort", "drop", "fragments", "timeout"])
        self.sent: dict[int, list[int]] = {0: [], 1: []}
        self.received: dict[int, list[int]] = {0: [], 1: []}
        self.go = threading.Event()

    def sender(self, ws: WebSocket, side: int, seed: int) -> None:
        choose = random.Random(seed)
        first = seed * 1000
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            for number in range(first, first + choose.randrange(1, 60)):
                data = checked(number, choose.choice([0, 10, 200, 5000, 70_000]))
                if choose.random() < 0.2:
                    ws.send_fragments([data[:7], data[7:]])
                else:
                    ws.send(data)
                self.sent[side].append(number)

    def receiver(self, ws: WebSocket, side: int, seed: int) -> None:
        choose = random.Random(seed)
        while True:
            try:
                if choose.random() < 0.2:
                    message = b"".join(ws.receive_stream())  # type: ignore[arg-type]
                else:
                    message = ws.receive(choose.choice([None, None, 0, 0.001]))  # type: ignore[assignment]
            except TimeoutError:
                continue
            except ConnectionClosed:
                return
            self.received[side].append(number_of(message))

    def pinger(self, ws: WebSocket, seed: int) -> None:
        choose = random.Random(seed)
        with contextlib.suppress(ConnectionClosed):
            for _ in range(choose.randrange(20)):
                with contextlib.suppress(TimeoutError):
                    ws.ping(timeout=choose.choice([None, 0.001, 0.1]))

    def finisher(self, ends: tuple[WebSocket, WebSocket]) -> None:
        one, two = self.random.sample(ends, 2)
        self.go.wait(self.random.random() * 0.05)
        if self.end == "close":
            one.close(3000)
        elif self.end == "close both":
            closing = [start(ws.close, 3000) for ws in (one, two, one, two)]
            for task in closing:
                task.result()
        elif self.end == "begin_close":
            begin_close(one)
        elif self.end == "abort":
            one.abort()
        elif self.end == "drop":
            one._transport.abort()
        elif self.end == "fragments":
            with contextlib.suppress(LookupError, ConnectionClosed):
                one.send_fragments(raising(LookupError()))
        else:
            with contextlib.suppress(TimeoutError, ConnectionClosed):
                one.send(checked(0, 1 << 20), timeout=0)
            begin_close(one)

    def run(self, **options: Any) -> None:
        with pair(**options) as ends:
            tasks = []
            for side, ws in enumerate(ends):
                seeds = iter(self.random.sample(range(1, 10_000), 8))
                tasks += [start(self.sender, ws, side, next(seeds)) for _ in range(self.random.randrange(4))]
                tasks += [start(self.pinger, ws, next(seeds)) for _ in range(self.random.randrange(3))]
                tasks.append(start(self.receiver, ws, side, next(seeds)))
            self.finisher(ends)
            for task in tasks:
                task.result()
            closing = [start(ws.close) for ws in ends for _ in range(2)]
            for task in closing:
                task.result()
            for side, ws in enumerate(ends):
                assert ws.state is State.CLOSED
                assert ws._transport.sock.fileno() == -1
                assert ws._fate.end is not None
                received = self.received[side]
                assert len(received) == len(set(received))
                if self.end in ("close", "begin_close"):
                    assert ws.close_code == 3000
                if self.end == "begin_close":
                    # Nobody has dropped anything, so all that was sent has arrived.
                    assert set(received) >= set(self.sent[1 - side])


@pytest.mark.parametrize("number", range(60))
def test_random_schedules(number: int) -> None:
    options: dict[str, Any] = {
        "kind": ("unix", "tcp")[number % 2],
        "buffer": (4096, 20_000, None)[number % 3],
        "tls": number % 5 == 4,
        "compression": number % 4 == 3,
        "close_timeout": DEADLINE,
    }
    began = time.monotonic()
    schedule = Schedule(number)
    schedule.run(**options)
    assert time.monotonic() - began < DEADLINE, schedule.end


def test_what_interrupts_a_compressed_message_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    # The compressor remembers the message; the peer, who never sees it, would inflate all that follows to nonsense.
    with pair(compression=True) as (server, client):
        server.send("a message that is long enough to be compressed" * 10)

        def interrupted(*args: object) -> bytes:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("syncws.writer.encode_frame", interrupted)
            with pytest.raises(KeyboardInterrupt):
                server.send("a message that nobody will ever see, nor what follows" * 10, timeout=DEADLINE)
        with pytest.raises(ConnectionClosed, match="KeyboardInterrupt interrupted a message"):
            server.send("late" * 100)
        assert client.receive(DEADLINE) == "a message that is long enough to be compressed" * 10
        with pytest.raises(ConnectionClosed):
            client.receive(DEADLINE)


@pytest.mark.parametrize("how", ["whole", "fragments"])
def test_what_interrupts_a_pause_before_a_message_leaves_the_connection_as_it_was(how: str) -> None:
    # On greenlets a sender lets the others run now and then; a gevent.Timeout can be raised there.
    with pair(compression=True) as (server, client):

        def interrupted() -> None:
            server._pause = None
            raise KeyboardInterrupt

        server._pause = interrupted
        with pytest.raises(KeyboardInterrupt):
            server.send("never sent" * 100, timeout=DEADLINE)
        for number in range(10):
            server._pause = lambda: None
            if how == "whole":
                server.send(f"number {number} " * 100, timeout=DEADLINE)
            else:
                server.send_fragments([f"number {number} "] * 100)
            assert client.receive(DEADLINE) == f"number {number} " * 100
