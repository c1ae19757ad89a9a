"""How a connection is read, written and ended, by several threads at once, with a peer that is not polite."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import os
import signal
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from peers import (
    DEADLINE,
    Kind,
    RawFrame,
    RawPeer,
    Task,
    eventually,
    open_descriptors,
    pair,
    raw_pair,
    replace_call,
    start,
    threads_only,
    tls_transports,
    websocket,
)

from syncws.errors import ConcurrencyError, ConnectionClosed, MessageTooBig, ProtocolError
from syncws.locks import HotLock
from syncws.protocol.codes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from syncws.protocol.machine import State
from syncws.websocket import WebSocket
from syncws.writer import FrameWriter

BIG = bytes(range(256)) * 4096
SLOW = 0.2
both_roles = pytest.mark.parametrize("role", ["server", "client"])
both_kinds = pytest.mark.parametrize("kind", ["unix", "tcp"])


def close_frame(code: int = 1000, reason: str = "") -> bytes:
    return code.to_bytes(2, "big") + reason.encode()


def ended(ws: WebSocket) -> tuple[int, str, str]:
    """How the connection ended, as receive() says it."""
    with pytest.raises(ConnectionClosed) as caught:
        ws.receive(timeout=DEADLINE)
    error = caught.value
    assert (error.code, error.reason) == (ws.close_code, ws.close_reason)
    return error.code, error.reason, error.initiator


def is_receiving(ws: WebSocket) -> bool:
    return ws._receiving


def fill_with_pongs(ws: WebSocket) -> int:
    """Fill the socket until a pong is left over; return how many were posted."""
    count = 0
    while not ws._writer.unsent:
        ws._writer.post_pong(b"")
        count += 1
    return count


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    gc.collect()
    before = open_descriptors()
    yield
    # Fewer are no fault of this test: another one before it has left a thread that has ended meanwhile.
    eventually(lambda: open_descriptors() <= before)


# Closing.


@both_roles
@both_kinds
def test_close(role: Any, kind: Kind) -> None:
    with raw_pair(role, kind) as (ws, peer):
        closing = start(ws.close, 3000, "done")
        assert peer.read_frame() == RawFrame(CLOSE, close_frame(3000, "done"))
        assert ws.closed
        peer.send_frame(CLOSE, close_frame(3000))
        peer.sock.shutdown(socket.SHUT_WR)
        closing.result()
        assert peer.read_frame() is None
        assert ws.state is State.CLOSED
        assert ended(ws) == (3000, "done", "local")
        with pytest.raises(ConnectionClosed, match="closed by this side with 3000: done"):
            ws.send("late")
        ws.close(1001)
        assert ws.close_code == 3000


@both_roles
@pytest.mark.parametrize("payload", [b"", close_frame(1001, "bye")], ids=["empty", "1001"])
def test_the_peer_closes(role: Any, payload: bytes) -> None:
    with raw_pair(role) as (ws, peer):
        peer.send_frame(TEXT, b"last")
        peer.send_frame(CLOSE, payload)
        peer.send_frame(TEXT, b"behind the close frame")
        peer.sock.shutdown(socket.SHUT_WR)
        assert ws.receive() == "last"
        assert ended(ws) == ((1001, "bye", "remote") if payload else (1005, "", "remote"))
        assert peer.read_all() == [RawFrame(CLOSE, payload)]
        assert ws.state is State.CLOSED


def test_a_server_ends_tcp_first_and_a_client_waits_for_that() -> None:
    with raw_pair("server") as (ws, peer):
        peer.send_frame(CLOSE, close_frame())
        receiving = start(ended, ws)
        assert peer.read_frame() == RawFrame(CLOSE, close_frame())
        assert peer.read_frame() is None
        assert receiving.is_alive()
        peer.close()
        receiving.result()
    with raw_pair("client", close_timeout=SLOW) as (ws, peer):
        peer.send_frame(CLOSE, close_frame())
        began = time.monotonic()
        assert ended(ws)[0] == 1000
        assert time.monotonic() - began >= SLOW


@both_roles
@pytest.mark.parametrize("close_timeout", [DEADLINE, None])
def test_a_peer_that_does_not_end_tcp_is_not_waited_for_long(role: Any, close_timeout: float | None) -> None:
    with raw_pair(role, close_timeout=close_timeout) as (ws, peer):
        peer.send_frame(CLOSE, close_frame(3000, "done"))
        assert ended(ws) == (3000, "done", "remote")
        assert peer.read_frame() == RawFrame(CLOSE, close_frame(3000, "done"))
        assert peer.read_frame() is None


@both_roles
def test_begin_close_does_not_wait(role: Any) -> None:
    with raw_pair(role) as (ws, peer):
        ws.begin_close(1001, "going")
        ws.begin_close(1000)
        assert peer.read_frame() == RawFrame(CLOSE, close_frame(1001, "going"))
        assert ws.state is State.CLOSE_SENT
        assert (ws.closed, ws.close_code) == (True, 1001)
        peer.send_frame(TEXT, b"still on its way")
        peer.send_frame(CLOSE, close_frame(1001))
        peer.sock.shutdown(socket.SHUT_WR)
        assert ws.receive() == "still on its way"
        assert ended(ws) == (1001, "going", "local")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((1005,), ValueError), (("1000",), TypeError), ((1000, "x" * 124), ValueError), ((1000, b""), TypeError)],
)
def test_wrong_arguments_of_close_change_nothing(arguments: Any, error: type[Exception]) -> None:
    with pair() as (server, client):
        with pytest.raises(error):
            server.close(*arguments)
        assert server.state is State.OPEN
        server.send("still open")
        assert client.receive() == "still open"


@both_kinds
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_both_sides_close_at_once(kind: Kind, tls: bool) -> None:
    for _ in range(20):
        with pair(kind, tls=tls) as (server, client):
            gate = threading.Barrier(2)

            def close(ws: WebSocket, code: int, gate: threading.Barrier = gate) -> None:
                gate.wait()
                ws.close(code)

            tasks = [start(close, server, 3001), start(close, client, 3002)]
            for task in tasks:
                task.result()
            for ws in (server, client):
                assert ws.state is State.CLOSED
                assert ws.close_code in (3001, 3002)


@both_roles
def test_five_threads_close(role: Any) -> None:
    with raw_pair(role) as (ws, peer):
        tasks = [start(ws.close, 3000 + number) for number in range(5)]
        frame = peer.read_frame()
        assert frame is not None
        peer.send_frame(CLOSE, frame.payload)
        peer.sock.shutdown(socket.SHUT_WR)
        for task in tasks:
            task.result()
        assert peer.read_frame() is None
        assert ws._transport.sock.fileno() == -1
        assert ws.close_code == int.from_bytes(frame.payload, "big")


@both_roles
def test_close_wakes_receive_after_the_messages_that_came_before(role: Any) -> None:
    with raw_pair(role) as (ws, peer):
        receiving = start(lambda: [ws.receive(), ended(ws)])
        eventually(lambda: is_receiving(ws))
        closing = start(ws.close)
        assert peer.read_frame() == RawFrame(CLOSE, close_frame())
        peer.send_frame(TEXT, b"on its way")
        peer.send_frame(CLOSE, close_frame())
        peer.sock.shutdown(socket.SHUT_WR)
        assert receiving.result() == ["on its way", (1000, "", "local")]
        closing.result()


@pytest.mark.parametrize("receives", [False, True])
@both_roles
def test_a_peer_that_never_answers_the_close_frame(role: Any, receives: bool) -> None:
    with raw_pair(role, close_timeout=SLOW) as (ws, peer):
        receiving = start(ended, ws) if receives else None
        if receives:
            eventually(lambda: is_receiving(ws))
        ws.close()
        reason = f"the closing handshake was not complete after {SLOW} s"
        assert ended(ws) == (1006, reason, "local")
        if receiving is not None:
            assert receiving.result() == (1006, reason, "local")
        assert ws._transport.sock.fileno() == -1
        assert peer.read_all() == [RawFrame(CLOSE, close_frame())]


def test_a_peer_that_floods_instead_of_answering() -> None:
    with raw_pair(close_timeout=SLOW) as (ws, peer):
        frame = peer.frame(BINARY, bytes(60_000))

        def flood() -> None:
            while True:
                peer.send(frame)

        flooding = start(flood)
        ws.close()
        assert ws.close_code == 1006
        with pytest.raises(OSError, match=r"."):
            flooding.result()


@both_kinds
def test_close_while_the_peer_is_stuck_in_a_send(kind: Kind) -> None:
    # Megabytes that nobody reads; the peer looks at our close frame only when they are gone.
    with raw_pair("server", kind, buffer=8192) as (ws, peer):

        def talk() -> list[RawFrame]:
            for _ in range(8):
                peer.send_frame(BINARY, BIG)
            frames = [peer.read_frame()]
            peer.send_frame(CLOSE, frames[0].payload if frames[0] else b"")
            return [frame for frame in frames if frame] + peer_end(peer)

        talking = start(talk)
        assert ws.receive() == BIG
        ws.close(1001)
        assert talking.result() == [RawFrame(CLOSE, close_frame(1001))]
        assert ws.close_code == 1001


def peer_end(peer: RawPeer) -> list[RawFrame]:
    frames = peer.read_all()
    peer.sock.shutdown(socket.SHUT_WR)
    return frames


def test_close_of_two_that_are_both_stuck() -> None:
    # Each side's socket is full of messages that the other has not read.
    with pair(buffer=8192) as (server, client):
        sending = [start(ws.send, BIG) for ws in (server, client)]
        eventually(lambda: server._writer._lock.locked() and client._writer._lock.locked())
        closing = [start(ws.close) for ws in (server, client)]
        for task in sending + closing:
            task.result()
        assert (server.close_code, client.close_code) == (1000, 1000)


def test_a_close_frame_that_does_not_fit_leaves_when_there_is_room() -> None:
    # receive() waits for bytes only, as there was nothing left to send when it began.
    with raw_pair(buffer=4096) as (ws, peer):
        pongs = fill_with_pongs(ws)
        with ws._writer._lock:
            unsent, ws._writer._unsent = ws._writer._unsent, b""
            receiving = start(ended, ws)
            eventually(lambda: is_receiving(ws))
            ws._writer._unsent = unsent
        closing = start(ws.close)
        frames = [peer.read_frame() for _ in range(pongs + 1)]
        assert frames[-1] == RawFrame(CLOSE, close_frame())
        peer.send_frame(CLOSE, close_frame())
        peer.sock.shutdown(socket.SHUT_WR)
        closing.result()
        assert receiving.result() == (1000, "", "local")


def test_a_close_frame_that_never_fits() -> None:
    with raw_pair(buffer=4096, close_timeout=SLOW) as (ws, _):
        fill_with_pongs(ws)
        receiving = start(ended, ws)
        eventually(lambda: is_receiving(ws))
        ws.close()
        assert receiving.result()[::2] == (1006, "local")


def test_close_wakes_a_sender_that_is_stuck() -> None:
    with raw_pair(buffer=4096, close_timeout=SLOW, send_timeout=None) as (ws, _):
        sending = start(ws.send, BIG)
        eventually(ws._writer._lock.locked)
        ws.close()
        with pytest.raises(ConnectionClosed) as caught:
            sending.result()
        assert (caught.value.code, caught.value.initiator) == (1006, "local")


@threads_only
def test_a_signal_handler_closes_the_connection_that_it_interrupts() -> None:
    with raw_pair(close_timeout=None) as (ws, peer):
        before = signal.signal(signal.SIGUSR1, lambda *_: ws.close(1001))
        try:

            def interrupt() -> None:
                eventually(lambda: is_receiving(ws))
                os.kill(os.getpid(), signal.SIGUSR1)
                assert peer.read_frame() == RawFrame(CLOSE, close_frame(1001))
                peer.send_frame(CLOSE, close_frame(1001))
                peer.sock.shutdown(socket.SHUT_WR)

            interrupting = start(interrupt)
            assert ended(ws) == (1001, "", "local")
            interrupting.result()
        finally:
            signal.signal(signal.SIGUSR1, before)


@threads_only
def test_a_signal_handler_closes_the_connection_on_which_it_interrupts_a_send() -> None:
    with raw_pair(buffer=4096, close_timeout=None, send_timeout=None) as (ws, peer):
        before = signal.signal(signal.SIGUSR1, lambda *_: ws.close(1001))
        try:

            def interrupt() -> None:
                eventually(lambda: ws._writer.busy)
                os.kill(os.getpid(), signal.SIGUSR1)
                eventually(lambda: ws.closed)
                assert peer.read_frame() == RawFrame(BINARY, BIG)
                assert peer.read_frame() == RawFrame(CLOSE, close_frame(1001))
                peer.send_frame(CLOSE, close_frame(1001))
                peer.sock.shutdown(socket.SHUT_WR)

            interrupting = start(interrupt)
            ws.send(BIG)
            assert ended(ws) == (1001, "", "local")
            interrupting.result()
        finally:
            signal.signal(signal.SIGUSR1, before)


class Interrupted(HotLock):
    """A lock in front of another one; a signal arrives just after it has been taken."""

    def __init__(self, lock: Any, handler: Callable[[], object]) -> None:
        self._lock = lock
        self._handler = handler

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        taken: bool = self._lock.acquire(blocking, timeout)
        handler, self._handler = self._handler, lambda: None
        if taken:
            handler()
        return taken

    def release(self) -> None:
        self._lock.release()

    def locked(self) -> bool:
        return bool(self._lock.locked())


def test_a_signal_handler_closes_as_soon_as_a_receiver_has_the_turn() -> None:
    with raw_pair(close_timeout=None) as (ws, peer):
        ws._turn._lock = Interrupted(ws._turn._lock, ws.close)  # type: ignore[assignment]
        receiving = start(ended, ws)
        assert peer.read_frame() == RawFrame(CLOSE, close_frame(1000))
        peer.send_frame(CLOSE, close_frame(1000))
        peer.sock.shutdown(socket.SHUT_WR)
        assert receiving.result() == (1000, "", "local")


@pytest.mark.parametrize("options", [{}, {"timeout": DEADLINE}], ids=["common", "other"])
def test_a_signal_handler_closes_in_the_middle_of_a_system_call_of_send(options: dict[str, float]) -> None:
    with raw_pair(close_timeout=None) as (ws, peer):
        transport: Any = ws._transport

        class Interrupted(type(transport)):  # type: ignore[misc]
            """Is where Python runs, as it does with TLS; the first time with a signal handler, which closes."""

            def write(self, data: bytes) -> int:
                replace_call(ws, "try_send", self._descriptor.send)
                sent: int = self.try_send(data)
                ws.close(4000, "in the middle")
                return sent

        transport.__class__ = Interrupted
        replace_call(ws, "try_send", transport.write)
        start(ws.send, "whole", **options).result()
        assert peer.read_frame() == RawFrame(TEXT, b"whole")
        assert peer.read_frame() == RawFrame(CLOSE, close_frame(4000, "in the middle"))
        peer.send_frame(CLOSE, close_frame(4000))
        peer.sock.shutdown(socket.SHUT_WR)
        assert ended(ws) == (4000, "in the middle", "local")


def test_a_signal_handler_closes_while_a_pong_is_taken_to_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_pair(role="client", close_timeout=None) as (ws, peer):
        new_key = ws._writer._new_key

        def interrupted() -> bytes:
            monkeypatch.undo()
            ws.close()
            return new_key()

        monkeypatch.setattr("syncws.writer.FrameWriter._new_key", staticmethod(interrupted))
        peer.send_frame(PING, b"there?")
        receiving = start(ended, ws)
        assert peer.read_frame() == RawFrame(PONG, b"there?")
        assert peer.read_frame() == RawFrame(CLOSE, close_frame(1000))
        peer.send_frame(CLOSE, close_frame(1000))
        peer.sock.shutdown(socket.SHUT_WR)
        assert receiving.result() == (1000, "", "local")


def test_a_signal_handler_closes_while_a_pong_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_pair(close_timeout=None) as (ws, peer):
        recv = ws._transport.recv

        def interrupted(deadline: float | None = None) -> bytes:
            monkeypatch.undo()
            ws.close()
            return recv(deadline)

        monkeypatch.setattr(ws._transport, "recv", interrupted)
        pinging = start(ws.ping)
        assert peer.read_frame() is not None
        assert peer.read_frame() == RawFrame(CLOSE, close_frame(1000))
        peer.send_frame(CLOSE, close_frame(1000))
        peer.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosed):
            pinging.result()


@pytest.mark.parametrize("timeout", [None, 0])
def test_a_ping_that_meets_the_close_frame_ends_the_connection(timeout: float | None) -> None:
    with raw_pair() as (ws, peer):
        peer.send_frame(CLOSE, close_frame(1000))
        peer.sock.shutdown(socket.SHUT_WR)
        ws._transport.wait_ready()
        with pytest.raises(ConnectionClosed):
            start(ws.ping, timeout=timeout).result()
        assert ws._gone


def test_a_sender_gives_back_the_socket_of_an_aborted_connection() -> None:
    with raw_pair(buffer=4096) as (ws, _):
        sending = start(ws.send, BIG)
        eventually(ws._writer._lock.locked)
        ws.abort()
        with pytest.raises(ConnectionClosed, match="abort"):
            sending.result()
        assert ws._gone


def flood(peer: RawPeer, opcode: int) -> Task:
    """A thread that sends frames for as long as the connection takes them."""

    def send() -> None:
        frames = peer.frame(opcode) * 5000
        with contextlib.suppress(OSError):
            while True:
                peer.send(frames)

    return start(send)


def test_a_peer_that_never_stops_sending_does_not_hold_up_a_timeout() -> None:
    with raw_pair(max_control_frames_per_second=None) as (ws, peer):
        flooding = flood(peer, PING)
        with pytest.raises(TimeoutError, match=r"no message within 0\.1 s"):
            ws.receive(timeout=0.1)
        assert not ws.closed
        ws.abort()
        flooding.result()


@pytest.mark.parametrize("close_timeout", [DEADLINE, None])
def test_the_peer_ends_tcp_instead_of_answering_the_close_frame(close_timeout: float | None) -> None:
    with raw_pair(close_timeout=close_timeout) as (ws, peer):
        closing = start(ws.close)
        assert peer.read_frame() == RawFrame(CLOSE, close_frame())
        peer.sock.shutdown(socket.SHUT_WR)
        closing.result()
        assert ended(ws) == (1006, "the peer ended the TCP connection without a close frame", "local")


def test_a_peer_that_never_stops_sending_does_not_hold_up_a_close() -> None:
    with raw_pair(close_timeout=0.1) as (ws, peer):
        flooding = flood(peer, TEXT)
        ws.close(3000)
        assert ended(ws) == (1006, "the closing handshake was not complete after 0.1 s", "local")
        flooding.result()


def test_control_frames_in_pieces_are_not_an_unfinished_message() -> None:
    with raw_pair(message_timeout=0.3) as (ws, peer):
        receiving = start(ws.receive)
        ping = peer.frame(PING, b"hello")
        for _ in range(6):
            peer.send(ping[:4])
            eventually(lambda: ws._reader.unfinished)
            time.sleep(0.1)  # what is measured is the time that passes here
            peer.send(ping[4:])
            assert peer.read_frame() == RawFrame(PONG, b"hello")
        peer.send_frame(TEXT, b"done")
        assert receiving.result() == "done"


@both_roles
def test_abort(role: Any) -> None:
    with raw_pair(role, buffer=4096, send_timeout=None) as (ws, peer):
        receiving = start(ended, ws)
        sending = start(ws.send, BIG)
        pinging = start(ws.ping)
        eventually(lambda: is_receiving(ws) and ws._writer._lock.locked())
        ws.abort()
        assert receiving.result() == (1006, "dropped by abort()", "local")
        for task in (sending, pinging):
            with pytest.raises(ConnectionClosed, match=r"connection lost \(1006\): dropped by abort"):
                task.result()
        ws.abort()
        ws.close()
        assert ws.state is State.CLOSED
        peer.sock.close()


@both_roles
def test_abort_gives_back_the_socket_while_nobody_reads(role: Any) -> None:
    with raw_pair(role) as (ws, peer):
        peer.send_frame(TEXT, b"unread")
        ws.abort()
        assert ws._transport.sock.fileno() == -1
        assert ended(ws) == (1006, "dropped by abort()", "local")
        ws.abort()
        peer.sock.close()


def test_abort_wakes_a_ping_that_has_looked_ahead_enough() -> None:
    with raw_pair() as (ws, peer):
        pinging = start(ws.ping)
        assert peer.read_frame() is not None
        for _ in range(5):
            peer.send_frame(BINARY, bytes(60_000))
        eventually(lambda: ws._reader.looked_ahead)
        ws.abort()
        with pytest.raises(ConnectionClosed, match="dropped by abort"):
            pinging.result()
        assert len(ws.receive()) == 60_000


# The peer goes.


@both_roles
def test_the_peer_ends_tcp_without_a_close_frame(role: Any) -> None:
    with raw_pair(role) as (ws, peer):
        peer.send_frame(TEXT, b"last")
        peer.send_frame(TEXT, b"half a mess", fin=False)
        peer.sock.shutdown(socket.SHUT_WR)
        assert ws.receive() == "last"
        assert ended(ws) == (1006, "the peer ended the TCP connection without a close frame", "remote")
        assert ended(ws)[0] == 1006
        assert peer.read_frame() is None


def test_the_end_wakes_a_sender_at_once() -> None:
    with raw_pair(buffer=4096, send_timeout=None, close_timeout=None) as (ws, peer):
        sending = start(ws.send, BIG)
        eventually(ws._writer._lock.locked)
        peer.sock.shutdown(socket.SHUT_WR)
        assert ended(ws)[0] == 1006
        with pytest.raises(ConnectionClosed):
            sending.result()


@pytest.mark.parametrize("state", ["open", "sending", "closing", "pinging"])
def test_a_reset_in_any_state(state: str) -> None:
    with raw_pair(kind="tcp", send_timeout=None) as (ws, peer):
        peer.send_frame(TEXT, b"one")
        peer.send_frame(BINARY, BIG[:9000])
        action: Any = {
            "open": lambda: None,
            "sending": lambda: send_for_ever(ws),
            "closing": lambda: ws.begin_close(),
            "pinging": lambda: ws.ping(),
        }[state]
        ws._transport.wait_ready()
        if state == "open":
            peer.reset()
        acting = start(action)
        if state == "sending":
            eventually(ws._writer._lock.locked)
        elif state != "open":
            assert peer.read_frame() is not None
        if state != "open":
            peer.reset()
        try:
            acting.result()
        except ConnectionClosed as error:
            assert error.code == 1006
        # All that was complete is delivered, also after a sender has noticed the reset.
        messages = [ws.receive(), ws.receive()]
        assert messages == ["one", BIG[:9000]]
        assert ended(ws)[0] == 1006
        with pytest.raises(ConnectionClosed):
            ws.send("late")


def send_for_ever(ws: WebSocket) -> None:
    while True:
        ws.send(BIG)


def test_a_sender_that_notices_a_reset_says_so() -> None:
    with raw_pair(kind="tcp") as (ws, peer):
        peer.reset()
        eventually(lambda: ws._transport.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or True)
        with pytest.raises(ConnectionClosed, match="connection lost") as caught:
            send_for_ever(ws)
        assert isinstance(caught.value.__cause__, OSError)
        assert (caught.value.code, caught.value.initiator) == (1006, "remote")


def test_a_pong_that_notices_a_lost_connection() -> None:
    with raw_pair() as (ws, peer):
        peer.send_frame(PING)
        peer.send_frame(TEXT, b"last")
        peer.close()
        assert ws.receive() == "last"
        with pytest.raises(ConnectionClosed, match="a write failed"):
            ws.send("late")
        assert ended(ws) == (1006, "a write failed", "remote")


def test_a_close_frame_that_arrived_counts_more_than_a_lost_connection() -> None:
    with raw_pair() as (ws, peer):
        peer.send_frame(TEXT, b"last")
        peer.send_frame(CLOSE, close_frame(1001, "bye"))
        peer.close()
        with pytest.raises(ConnectionClosed, match="connection lost"):
            ws.send("late")
        assert ws.receive() == "last"
        assert ended(ws) == (1001, "bye", "remote")
        assert ws.close_code == 1001


# The peer breaks a rule.


@both_roles
def test_a_broken_rule(role: Any, caplog: pytest.LogCaptureFixture) -> None:
    with raw_pair(role) as (ws, peer), caplog.at_level(logging.INFO, "syncws.websocket"):
        peer.send_frame(TEXT, b"last")
        peer.send_frame(0x3)
        peer.sock.shutdown(socket.SHUT_WR)
        assert ws.receive() == "last"
        with pytest.raises(ConnectionClosed, match="reserved opcode 0x3") as caught:
            ws.receive()
        assert isinstance(caught.value.__cause__, ProtocolError)
        assert (caught.value.code, caught.value.initiator) == (1002, "local")
        frames = peer.read_all()
        assert frames == [RawFrame(CLOSE, close_frame(1002, str(caught.value.reason)))]
        for action in (ws.receive, lambda: ws.send("late"), ws.ping):
            with pytest.raises(ConnectionClosed) as caught:
                action()
            assert isinstance(caught.value.__cause__, ProtocolError)
        ws.close()
    assert [record.message for record in caplog.records] == [
        f"{ws.remote_address} broke the protocol: {caught.value.reason}; closing with 1002"
    ]


def test_a_broken_rule_while_many_messages_are_on_their_way() -> None:
    # Unread input would turn the close into a reset; the close frame arrives nevertheless.
    with raw_pair(kind="tcp", max_message_size=1000) as (ws, peer):
        sending = start(lambda: [peer.send_frame(BINARY, BIG) for _ in range(4)])
        with pytest.raises(ConnectionClosed) as caught:
            ws_end = start(ws.receive)
            sending.result()
            assert peer.read_frame() == RawFrame(
                CLOSE, close_frame(1009, "message of at least 1048576 bytes is over max_message_size, 1000 bytes")
            )
            assert peer.read_frame() is None
            peer.close()
            ws_end.result()
        assert isinstance(caught.value.__cause__, MessageTooBig)
        assert caught.value.code == 1009


@pytest.mark.parametrize("payload", [b"x", close_frame(1005), close_frame() + b"\xff"])
@pytest.mark.parametrize("verb", ["receive", "ping", "close"])
def test_a_wrong_close_frame(payload: bytes, verb: str) -> None:
    with raw_pair() as (ws, peer):
        peer.send_frame(CLOSE, payload)
        peer.sock.shutdown(socket.SHUT_WR)
        if verb == "close":
            ws.close()
        else:
            with pytest.raises(ConnectionClosed) as caught:
                getattr(ws, verb)()
            assert isinstance(caught.value.__cause__, ProtocolError)
            assert caught.value.code in (1002, 1007)
        assert ws.state is State.CLOSED


def test_a_broken_rule_after_our_close_frame_keeps_our_code() -> None:
    with raw_pair() as (ws, peer):
        ws.begin_close(1001)
        peer.send_frame(0xB)
        peer.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosed) as caught:
            ws.receive()
        assert caught.value.code == 1001
        assert isinstance(caught.value.__cause__, ProtocolError)
        assert peer.read_all() == [RawFrame(CLOSE, close_frame(1001))]


def test_a_broken_rule_met_by_a_ping_comes_after_the_messages_in_front_of_it() -> None:
    with raw_pair() as (ws, peer):
        peer.send_frame(TEXT, b"one")
        peer.send_frame(0x3)
        peer.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosed, match="reserved opcode"):
            ws.ping()
        assert ws.receive() == "one"
        with pytest.raises(ConnectionClosed, match="reserved opcode"):
            ws.receive()


def test_a_broken_rule_met_only_when_the_connection_is_over() -> None:
    # The messages that a ping has set aside are looked into later.
    with raw_pair() as (ws, peer):
        peer.send_frame(TEXT, b"\xff")
        peer.send_frame(CLOSE, close_frame())
        peer.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosed, match="closed by the peer with 1000"):
            ws.ping()
        with pytest.raises(ConnectionClosed) as caught:
            ws.receive()
        assert isinstance(caught.value.__cause__, ProtocolError)


# Waiting.


def test_no_message_timeout_without_a_message() -> None:
    with raw_pair(message_timeout=0.01) as (ws, _), pytest.raises(TimeoutError, match=r"no message within 0\.05 s"):
        ws.receive(timeout=0.05)


@pytest.mark.parametrize(
    "begun", [b"\x01", b"\x01\x84\0\0\0\0ha", b"\x01\x82\0\0\0\0ha"], ids=["head", "frame", "message"]
)
@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_a_message_that_begins_must_come_to_its_end(begun: bytes, timeout: float | None) -> None:
    with raw_pair(message_timeout=0.1, close_timeout=0.1) as (ws, peer):
        peer.send(begun)
        with pytest.raises(ConnectionClosed, match=r"message unfinished after 0\.1 s, the limit message_timeout"):
            ws.receive(timeout)
        assert ws.close_code == 1008


def test_no_message_timeout() -> None:
    with raw_pair(message_timeout=None) as (ws, peer):
        peer.send_frame(TEXT, b"half ", fin=False)
        with pytest.raises(TimeoutError):
            ws.receive(timeout=0.05)
        peer.send_frame(CONTINUATION, b"whole")
        assert ws.receive() == "half whole"


def test_only_waiting_counts_for_the_message_timeout() -> None:
    with raw_pair(message_timeout=0.1) as (ws, peer):
        peer.send_frame(TEXT, b"half ", fin=False)
        with pytest.raises(TimeoutError):
            ws.receive(timeout=0.01)
        threading.Event().wait(0.2)  # the program does something else; time is what is tested here
        receiving = start(ws.receive)
        eventually(lambda: is_receiving(ws))
        peer.send_frame(CONTINUATION, b"whole")
        assert receiving.result() == "half whole"


def test_waiting_adds_up_for_the_message_timeout() -> None:
    with raw_pair(message_timeout=0.1, close_timeout=0.1) as (ws, peer):
        peer.send_frame(TEXT, b"half ", fin=False)

        def receive_often() -> None:
            while True:
                with contextlib.suppress(TimeoutError):
                    ws.receive(timeout=0.01)

        with pytest.raises(ConnectionClosed, match="message unfinished"):
            start(receive_often).result()


def test_each_message_has_its_own_message_timeout() -> None:
    with raw_pair(message_timeout=1.0) as (ws, peer):
        for _ in range(3):
            peer.send_frame(TEXT, b"half ", fin=False)
            with pytest.raises(TimeoutError):
                ws.receive(timeout=0.4)
            peer.send_frame(CONTINUATION, b"whole")
            assert ws.receive() == "half whole"


def test_one_thread_receives() -> None:
    with raw_pair() as (ws, peer):
        receiving = start(ws.receive)
        eventually(lambda: is_receiving(ws))
        for action in (ws.receive, lambda: ws.receive(0), lambda: next(ws.receive_stream())):
            with pytest.raises(ConcurrencyError, match="only one at a time can receive"):
                action()
        peer.send_frame(TEXT, b"one")
        assert receiving.result() == "one"
        peer.send_frame(TEXT, b"two")
        assert ws.receive() == "two"


def test_of_two_receivers_that_start_at_once_one_receives() -> None:
    with raw_pair() as (ws, peer):
        for _ in range(100):
            gate = threading.Barrier(2)

            def receive(gate: threading.Barrier = gate) -> Any:
                gate.wait()
                return ws.receive()

            tasks = [start(receive), start(receive)]
            # The other one does not wait for a message to come.
            eventually(lambda: sum(task.is_alive() for task in tasks) == 1)  # noqa: B023
            peer.send_frame(TEXT, b"message")
            results = []
            for task in tasks:
                try:
                    results.append(task.result())
                except ConcurrencyError:
                    results.append(None)
            assert sorted(results, key=str) == [None, "message"]


def test_a_receiver_waits_for_the_turn_of_a_ping() -> None:
    with raw_pair() as (ws, peer):
        pinging = start(ws.ping)
        ping = peer.read_frame()
        assert ping is not None
        eventually(ws._turn._lock.locked)
        with pytest.raises(TimeoutError):
            ws.receive(timeout=0.01)
        receiving = start(ws.receive)
        eventually(lambda: is_receiving(ws))
        # Now the receiver reads the pong for the other thread.
        peer.send_frame(PONG, ping.payload)
        assert pinging.result() > 0
        peer.send_frame(TEXT, b"message")
        assert receiving.result() == "message"


def test_a_pong_waits_until_there_is_room_and_the_reader_goes_on() -> None:
    # The peer pings and pings and does not read: constant memory, and its messages arrive.
    with raw_pair(buffer=4096, max_control_frames_per_second=None) as (ws, peer), pair() as (other, client):

        def flood() -> None:
            for number in range(4000):
                peer.send_frame(PING, number.to_bytes(4, "big") * 30)
            peer.send_frame(TEXT, b"behind the pings")

        flooding = start(flood)
        tracemalloc.start()
        try:
            receiving = start(ws.receive)
            # Other connections go on.
            client.send("hello")
            assert other.receive() == "hello"
            assert receiving.result() == "behind the pings"
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()
        flooding.result()
        assert ws._writer.unsent
        # As soon as the peer reads, what is left leaves although nobody sends: the reader sees to it.
        receiving = start(ws.receive)
        last = RawFrame(PONG, (3999).to_bytes(4, "big") * 30)
        while peer.read_frame() != last:
            pass
        assert not ws._writer.unsent
        peer.send_frame(TEXT, b"end")
        assert receiving.result() == "end"


def test_a_pong_that_is_due_while_a_sender_is_stuck() -> None:
    for kind in ("unix", "tcp"):
        with raw_pair(kind=kind, buffer=4096) as (ws, peer):  # type: ignore[arg-type]
            sending = start(ws.send, BIG)
            eventually(ws._writer._lock.locked)
            receiving = start(ws.receive)
            peer.send_frame(PING, b"are you there?")
            eventually(lambda: ws._writer._posted)
            assert peer.read_frame() == RawFrame(BINARY, BIG)
            assert peer.read_frame() == RawFrame(PONG, b"are you there?")
            sending.result()
            peer.send_frame(TEXT, b"end")
            assert receiving.result() == "end"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_large_messages_to_a_slow_reader(tls: bool) -> None:
    # Buffers of 4 KB: each message leaves in many pieces.
    message = hashlib.shake_128(b"seed").digest(10 << 20)
    with pair("unix", buffer=4096, tls=tls, max_message_size=None) as (server, client):
        sending = start(server.send, message)
        echo = start(lambda: client.send(client.receive()))
        assert hashlib.sha256(server.receive()).digest() == hashlib.sha256(message).digest()  # type: ignore[arg-type]
        sending.result()
        echo.result()


def test_a_lost_race_against_close_is_no_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_pair() as (ws, peer):
        write = FrameWriter.write

        def closes_first(writer: FrameWriter, *args: Any) -> bool:
            """The close frame comes when send() has looked already whether there is one."""
            monkeypatch.undo()
            ws.begin_close()
            return write(writer, *args)

        monkeypatch.setattr(FrameWriter, "write", closes_first)
        with pytest.raises(ConnectionClosed, match="closed by this side with 1000"):
            ws.send("late", timeout=DEADLINE)
        assert ws.state is State.CLOSE_SENT
        peer.send_frame(CLOSE, close_frame())
        peer.sock.shutdown(socket.SHUT_WR)
        assert ended(ws) == (1000, "", "local")
        assert peer.read_all() == [RawFrame(CLOSE, close_frame())]


def test_a_peer_that_does_not_read_is_dropped() -> None:
    with raw_pair(buffer=4096, send_timeout=0.05) as (ws, _):
        receiving = start(ended, ws)
        eventually(lambda: is_receiving(ws))
        with pytest.raises(TimeoutError, match=r"the peer has not read for 0\.05 s"):
            ws.send(BIG)
        reason = "the peer has not read for 0.05 s, so the connection has been dropped"
        assert receiving.result() == (1006, reason, "local")


def test_a_ping_does_not_wait_for_a_sender_that_is_stuck() -> None:
    with raw_pair(buffer=4096) as (ws, peer):
        sending = start(ws.send, BIG)
        eventually(ws._writer._lock.locked)
        for _ in range(3):
            with pytest.raises(TimeoutError, match=r"no pong within 0\.01 s"):
                ws.ping(timeout=0.01)
        # Nobody waits for these three any more, so they are not sent.
        assert peer.read_frame() == RawFrame(BINARY, BIG)
        sending.result()
        pinging = start(ws.ping, b"4")
        assert peer.read_frame() == RawFrame(PING, b"4")
        peer.send_frame(PONG, b"4")
        pinging.result()


def test_tls_ends_in_order() -> None:
    # The close frame arrives although there are megabytes nobody has read, and TLS itself ends as it must.
    server_end, client_end = tls_transports("tcp", ragged=False)
    handshake = start(server_end.handshake)
    client_end.handshake()
    handshake.result()
    server, client = websocket(server_end, "server"), websocket(client_end, "client")
    for _ in range(20):
        client.send(bytes(10_000))
    closing = start(server.close, 1001)
    assert ended(client) == (1001, "", "remote")
    closing.result()
    assert server.close_code == 1001
