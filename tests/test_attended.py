"""What the keeper does for a connection while no thread is inside it, over real sockets."""

from __future__ import annotations

import gc
import heapq
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from peers import (
    DEADLINE,
    RawFrame,
    RawPeer,
    eventually,
    pair,
    raw_pair,
    start,
    threads_only,
    tls_transports,
    websocket,
)

from syncws.errors import ConnectionClosed
from syncws.keeper import TICK
from syncws.protocol.codes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from syncws.protocol.deflate import Compressor, Deflate
from syncws.protocol.frames import encode_frame
from syncws.protocol.inflater import Inflater
from syncws.protocol.machine import State

NORMAL = (1000).to_bytes(2, "big")


# Control frames of a connection whose handler is elsewhere.


def test_pings_are_answered_and_messages_kept() -> None:
    with raw_pair(ping_interval=None) as (ws, peer):
        for number in range(3):
            peer.send_frame(TEXT, b"message %d" % number)
            peer.send_frame(PING, b"ping %d" % number)
            assert peer.read_frame() == RawFrame(PONG, b"ping %d" % number)
        assert [ws.receive(0) for _ in range(3)] == ["message 0", "message 1", "message 2"]
        with pytest.raises(TimeoutError):
            ws.receive(0)


def test_what_a_receiver_leaves_in_the_buffer_is_served() -> None:
    # The keeper watches the socket, but a receiver is first, and leaves before what came behind its message is looked
    # at: there is nothing in the socket then.
    with raw_pair(ping_interval=None) as (ws, peer):
        for _ in range(3):
            eventually(lambda: ws._care.watched and ws._turn.take_now())
            ws._received += 1
            ws._reader.feed(peer.frame(PING, b"there?"))
            ws._turn.release()
            assert peer.read_frame() == RawFrame(PONG, b"there?")


def test_a_receiver_that_comes_before_it_is_watched() -> None:
    with raw_pair(ping_interval=None) as (ws, peer):
        attend = ws.attend

        def attend_and_leave_something() -> int:
            events = attend()
            assert ws._turn.take_now()
            ws._received += 1
            ws._reader.feed(peer.frame(PING, b"there?"))
            ws._turn.release()
            ws.attend = attend  # type: ignore[method-assign]
            return events

        ws.attend = attend_and_leave_something  # type: ignore[method-assign]
        assert peer.read_frame() == RawFrame(PONG, b"there?")


def test_a_close_frame_is_answered_and_the_socket_given_back() -> None:
    with raw_pair(ping_interval=None) as (ws, peer):
        ended = threading.Event()
        ws.on_close(ended.set)
        peer.send_frame(TEXT, b"last")
        peer.send_frame(CLOSE, NORMAL)
        assert peer.read_frame() == RawFrame(CLOSE, NORMAL)
        assert peer.read_frame() is None
        peer.close()
        assert ended.wait(DEADLINE)
        assert (ws.close_code, ws.state) == (1000, State.CLOSED)
        with pytest.raises(ConnectionClosed):
            ws.send("late")
        assert ws.receive() == "last"
        with pytest.raises(ConnectionClosed) as caught:
            ws.receive()
        assert caught.value.code == 1000


@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_peer_that_goes_is_noticed(how: str) -> None:
    with raw_pair(kind="tcp", ping_interval=None) as (ws, peer):
        ended = threading.Event()
        ws.on_close(ended.set)
        peer.send_frame(TEXT, b"last")
        if how == "reset":
            ws._transport.wait_ready(time.monotonic() + DEADLINE)
            time.sleep(2 * TICK)
            peer.reset()
        else:
            peer.close()
        assert ended.wait(DEADLINE)
        assert ws.close_code == 1006
        assert ws.receive() == "last"


def test_a_broken_rule_is_answered() -> None:
    with raw_pair(ping_interval=None, close_timeout=1) as (ws, peer):
        peer.send_frame(TEXT, b"fine")
        peer.send(b"\xff\xff")
        frame = peer.read_frame()
        assert frame is not None
        assert frame.payload[:2] == (1002).to_bytes(2, "big")
        assert ws.receive() == "fine"
        with pytest.raises(ConnectionClosed) as caught:
            ws.receive()
        assert caught.value.code == 1002


def test_what_is_read_ahead_is_bounded_and_nothing_is_lost() -> None:
    with raw_pair(ping_interval=None, max_message_size=None) as (ws, peer):
        message = bytes(range(256)) * 256

        def flood() -> None:
            for _ in range(100):
                peer.send_frame(BINARY, message)
            peer.send_frame(PING, b"behind it all")

        flooding = start(flood)
        eventually(lambda: ws._reader.looked_ahead)
        time.sleep(3 * TICK)
        assert ws._received < 600_000
        for _ in range(100):
            assert ws.receive(DEADLINE) == message
        flooding.result()
        assert peer.read_frame() == RawFrame(PONG, b"behind it all")


@pytest.mark.parametrize("count", [14, 15, 16, 40])
@pytest.mark.parametrize("behind", [PING, CLOSE])
def test_what_has_been_read_in_one_go_and_more(behind: int, count: int) -> None:
    # Each record of TLS is a read; the socket is empty after the first.
    server, client = tls_transports()
    handshake = start(server.handshake)
    client.handshake()
    handshake.result()
    ws = websocket(server, "server", ping_interval=None)
    peer = RawPeer(client.sock, masked=True)
    eventually(lambda: ws._care.watched and ws._turn.take_now())  # all of it arrives before the keeper looks
    for number in range(count):
        client.send_all(peer.frame(TEXT, b"%d" % number))
    client.send_all(peer.frame(behind, NORMAL))
    ws._turn.release()
    assert client.recv(time.monotonic() + DEADLINE)[0] == 0x80 | (PONG if behind == PING else CLOSE)
    peer.close()
    ws.abort()


# Keepalive.


@pytest.mark.parametrize("handler", ["receives", "is elsewhere", "sends"])
def test_a_peer_that_answers_nothing_is_dropped(handler: str) -> None:
    with raw_pair(buffer=4096, kind="tcp", ping_interval=0.2, ping_timeout=0.4, send_timeout=None) as (ws, _):
        begin = time.monotonic()
        acting = {
            "receives": lambda: ws.receive(),
            "sends": lambda: ws.send(bytes(10**7)),
            "is elsewhere": lambda: eventually(lambda: ws.closed) or ws.receive(),  # type: ignore[func-returns-value]
        }[handler]
        with pytest.raises(ConnectionClosed, match=r"no answer to a ping within 0\.4 s") as caught:
            start(acting).result()
        assert (caught.value.code, caught.value.initiator) == (1006, "local")
        assert time.monotonic() - begin > 0.4


@pytest.mark.parametrize("handler", ["receives", "is elsewhere"])
def test_a_peer_that_answers_stays(handler: str) -> None:
    with pair(ping_interval=0.1, ping_timeout=1.5) as (server, client):
        receiving = [start(end.receive) for end in (server, client)] if handler == "receives" else []
        eventually(lambda: server.latency and client.latency)
        time.sleep(1.5 + 2 * TICK)
        for end, other in ((server, client), (client, server)):
            end.send("still there")
            if not receiving:
                assert other.receive(DEADLINE) == "still there"
        assert [task.result() for task in receiving] == ["still there"] * len(receiving)


def test_a_peer_that_is_slow_to_read_lives() -> None:
    with raw_pair(buffer=4096, kind="tcp", ping_interval=0.2, ping_timeout=1.5, send_timeout=None) as (ws, peer):
        sending = start(ws.send, bytes(400_000))
        begin = time.monotonic()
        seen = 0
        while seen < 400_000:
            data = peer.sock.recv(20_000)
            assert data, "dropped"
            seen += len(data)
            time.sleep(0.1)
        # Whether it is open still, with the ping that nobody has answered, is not the question.
        sending.result()
        assert time.monotonic() - begin > 0.2 + 1.5


def test_a_peer_whose_pong_is_behind_what_nobody_reads_lives() -> None:
    with raw_pair(kind="tcp", ping_interval=0.2, ping_timeout=0.4) as (ws, peer):

        def answer() -> None:
            while (frame := peer.read_frame()) is not None:
                peer.send_frame(PONG, frame.payload)

        for _ in range(5):
            peer.send_frame(BINARY, bytes(60_000))
        answering = start(answer)
        time.sleep(2)  # the handler is busy
        assert not ws.closed
        for _ in range(5):
            assert len(ws.receive(DEADLINE)) == 60_000
        time.sleep(1)
        assert not ws.closed
        ws.abort()
        answering.result()


def test_a_peer_that_has_gone_behind_what_nobody_reads() -> None:
    with raw_pair(kind="tcp", ping_interval=0.2, ping_timeout=0.4) as (ws, peer):
        ended = threading.Event()
        ws.on_close(ended.set)
        for _ in range(5):
            peer.send_frame(BINARY, bytes(60_000))
        eventually(lambda: ws._reader.looked_ahead)
        peer.reset()
        assert ended.wait(DEADLINE)
        assert ws.close_code == 1006
        assert len(ws.receive()) == 60_000


def test_a_pong_that_nobody_has_read_in_time_is_one() -> None:
    with raw_pair(kind="tcp", ping_interval=0.2, ping_timeout=0.4) as (ws, peer):
        eventually(ws._turn.take_now)  # as by a thread that does not get any time
        frame = peer.read_frame()
        assert frame is not None
        peer.send_frame(PONG, frame.payload)
        time.sleep(1.5)
        ws._turn.release()
        assert not ws.closed


def test_any_bytes_are_a_sign_of_life() -> None:
    with raw_pair(ping_interval=0.2, ping_timeout=1.5) as (ws, peer):
        for _ in range(20):
            peer.send_frame(TEXT, b"here I am")
            time.sleep(0.2)
        assert not ws.closed


def test_no_pings() -> None:
    with raw_pair(ping_interval=None) as (ws, peer):
        time.sleep(3 * TICK)
        ws.send("first")
        assert peer.read_frame() == RawFrame(TEXT, b"first")


# Messages that do not come to their end.


@pytest.mark.parametrize(
    "begun",
    [b"\x81", b"\x81\x85\0\0\0\0hel", encode_frame(TEXT, b"first", fin=False, key=bytes(4)), b"\x89\x84"],
    ids=["header", "payload", "fragment", "ping"],
)
def test_the_rest_of_a_message_is_waited_for_while_the_handler_is_elsewhere(begun: bytes) -> None:
    with raw_pair(ping_interval=None, message_timeout=0.6) as (ws, peer):
        peer.send_frame(TEXT, b"whole")
        peer.send(begun)
        frame = peer.read_frame()
        assert frame is not None
        assert frame.opcode == CLOSE
        assert frame.payload == (1008).to_bytes(2, "big") + b"message unfinished after 0.6 s, the limit message_timeout"
        peer.close()
        assert ws.receive() == "whole"
        with pytest.raises(ConnectionClosed) as caught:
            ws.receive()
        assert caught.value.code == 1008


def test_each_message_has_its_own_time() -> None:
    with raw_pair(ping_interval=None, message_timeout=1.5) as (ws, peer):
        for number in range(5):  # each is complete in time; all together they take longer
            peer.send_frame(TEXT, b"one, ", fin=False)
            time.sleep(2 * TICK)
            peer.send_frame(CONTINUATION, b"%d" % number)
        peer.send_frame(PING, b"")
        assert peer.read_frame() == RawFrame(PONG, b"")
        assert [ws.receive(0) for _ in range(5)] == [f"one, {number}" for number in range(5)]


def test_each_piece_of_a_stream_has_its_own_time() -> None:
    with raw_pair(ping_interval=None, message_timeout=1.5) as (ws, peer):
        peer.send_frame(TEXT, b"0", fin=False)
        pieces = ws.receive_stream(DEADLINE)
        received = [next(pieces)]
        for number in range(1, 6):
            time.sleep(2 * TICK)
            peer.send_frame(CONTINUATION, b"%d" % number, fin=number == 5)
        received += list(pieces)
        assert received == list("012345")


# Compression.


def test_what_has_fallen_idle_gives_back_what_compression_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    released = []
    monkeypatch.setattr(Compressor, "release", lambda compressor: released.append("compressor"))
    monkeypatch.setattr(Inflater, "release", lambda inflater: released.append("inflater"))
    with raw_pair(compression=Deflate(), ping_interval=None) as (ws, _):
        now = time.monotonic()
        ws.send("a message")
        released.clear()
        due = ws._release_when_idle(now)
        assert released == []  # there has been something
        assert due > now
        ws._release_when_idle(due)
        assert released == ["compressor", "inflater"]
        released.clear()
        with ws._writer._lock:
            assert ws._turn.take_now()
            ws._release_when_idle(due)  # both are in use
            ws._turn.release()
        assert released == []


def test_without_compression_there_is_nothing_to_give_back() -> None:
    with raw_pair(ping_interval=None) as (ws, _):
        assert ws._release_when_idle(0.0) == math.inf
        ws._writer.release_compressor()
        ws._reader.release_inflater()


# Ages.


def test_idle() -> None:
    with raw_pair(ping_interval=0.1, ping_timeout=None, idle_timeout=1.5) as (ws, peer):
        begin = time.monotonic()
        for _ in range(7):
            time.sleep(0.3)
            ws.send("not idle")
        while (frame := peer.read_frame()) is not None and frame.opcode != CLOSE:
            pass
        assert frame is not None
        assert frame.payload == (1001).to_bytes(2, "big") + b"idle for 1.5 s"
        assert time.monotonic() - begin > 7 * 0.3 + 1.5


def test_messages_that_nobody_has_received_yet_are_not_idleness() -> None:
    with raw_pair(ping_interval=None, idle_timeout=0.8) as (ws, peer):
        for _ in range(15):
            peer.send_frame(TEXT, b"here I am")
            time.sleep(0.2)
        assert not ws.closed


def test_max_age() -> None:
    with raw_pair(ping_interval=None, max_age=0.5) as (ws, peer):
        receiving = start(ws.receive)
        frame = peer.read_frame()
        assert frame == RawFrame(CLOSE, (1001).to_bytes(2, "big") + b"open for 0.5 s, the limit")
        peer.send_frame(CLOSE, frame.payload)
        peer.close()
        with pytest.raises(ConnectionClosed):
            receiving.result()


# The end, without anybody who waits for it.


def test_a_peer_that_does_not_answer_a_close_frame_is_dropped() -> None:
    with raw_pair(ping_interval=None, close_timeout=0.3) as (ws, peer):
        ended = threading.Event()
        ws.on_close(ended.set)
        ws.begin_close(4000)
        assert peer.read_frame() == RawFrame(CLOSE, (4000).to_bytes(2, "big"))
        assert ended.wait(DEADLINE)
        assert (ws.close_code, ws.state) == (1006, State.CLOSED)


def test_a_close_frame_leaves_when_there_is_room() -> None:
    with raw_pair(buffer=4096, ping_interval=None) as (ws, peer):
        while not ws._writer.unsent:
            ws._writer.post_pong(b"x" * 125)
        ws.begin_close(4000)
        frames = iter(peer.read_frame, None)
        assert next(frame for frame in frames if frame.opcode == CLOSE).payload == (4000).to_bytes(2, "big")


def test_a_peer_that_closes_and_does_not_read_costs_little() -> None:
    for wait in (False, True):
        with raw_pair(buffer=4096, kind="tcp", ping_interval=None, close_timeout=2) as (ws, peer):
            ended = threading.Event()
            ws.on_close(ended.set)
            sending = start(ws.send, bytes(10**6)) if wait else None
            while not (ws._writer.busy or ws._writer.unsent):
                ws.send(bytes(10_000), wait=False)
            peer.send_frame(CLOSE, NORMAL)
            peer.sock.shutdown(socket.SHUT_WR)
            eventually(lambda: ws.closed)
            attended = 0
            attend = ws.attend

            def count(attend: Callable[[], int] = attend) -> int:
                nonlocal attended
                attended += 1
                return attend()

            ws.attend = count  # type: ignore[method-assign]
            assert ended.wait(DEADLINE)
            assert attended < 100
            if sending is not None:
                with pytest.raises(ConnectionClosed):
                    sending.result()


@pytest.mark.parametrize("how", ["age", "abort"])
def test_what_is_dropped_is_given_back_however_much_waits(how: str) -> None:
    options: dict[str, dict[str, float | None]] = {
        "age": {"ping_interval": None, "max_age": 0.5, "close_timeout": 0.3},
        "abort": {"ping_interval": None},
    }
    with raw_pair(max_message_size=None, **options[how]) as (ws, peer):
        ended = threading.Event()
        ws.on_close(ended.set)
        peer.send_frame(BINARY, bytes(10**5))
        peer.send_frame(BINARY, bytes(10**5))
        peer.send_frame(BINARY, bytes(10**5))
        if how == "abort":
            eventually(lambda: ws._reader.looked_ahead and ws._turn.take_now())
            ws.abort()
            ws._turn.release()
        assert ended.wait(DEADLINE)
        assert ws.state is State.CLOSED
        assert [len(ws.receive()) for _ in range(2)] == [10**5] * 2


# Callbacks.


def test_callbacks(caplog: pytest.LogCaptureFixture) -> None:
    with raw_pair(ping_interval=None) as (ws, _):
        called: list[object] = []

        def fail() -> None:
            raise ValueError("on purpose")

        ws.on_close(lambda: called.append(ws.close_code))
        ws.on_close(fail)
        ws.on_close(lambda: called.append("second"))
        ws.abort()
        assert called == [1006, "second"]
        ws.on_close(lambda: called.append("at once"))
        assert called == [1006, "second", "at once"]
    assert [record.message.startswith("a function for the end of <WebSocket") for record in caplog.records] == [True]


def test_a_failure_of_the_keeper_drops_the_connection() -> None:
    with raw_pair(ping_interval=None) as (ws, peer):
        ws.fail(ValueError("not for the peer"))
        assert peer.read_frame() is None
        with pytest.raises(ConnectionClosed, match="internal error: ValueError") as caught:
            ws.receive()
        assert caught.value.code == 1006
        assert ws.on_due(time.monotonic()) == math.inf


# The keeper itself.


@threads_only
def test_a_signal_handler_that_interrupts_a_call_of_the_keeper_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    push = heapq.heappush

    def interrupted(heap: list[Any], entry: Any) -> None:
        push(heap, entry)
        if threading.current_thread() is threading.main_thread():
            monkeypatch.setattr("heapq.heappush", push)
            signal.raise_signal(signal.SIGUSR1)

    with raw_pair(ping_interval=None) as (ws, _), raw_pair(ping_interval=None, close_timeout=1) as (other, peer):
        eventually(lambda: other._care.watched)

        def close_other(*_: object) -> None:
            peer.send_frame(CLOSE, NORMAL)
            # The keeper attends to it, unless it waits before that already for what this thread has.
            until = time.monotonic() + 1
            while not other._turn._lock.locked() and time.monotonic() < until:
                time.sleep(0.01)
            other.close()

        former = signal.signal(signal.SIGUSR1, close_other)
        try:
            monkeypatch.setattr("heapq.heappush", interrupted)
            ws.begin_close()
        finally:
            signal.signal(signal.SIGUSR1, former)
        eventually(lambda: other.state is State.CLOSED)


def test_a_connection_that_is_forgotten_is_not_kept_alive() -> None:
    one, two = socket.socketpair()
    ws = websocket(one, "server")
    alive = weakref.ref(ws)
    time.sleep(3 * TICK)  # it is watched
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del ws, one
        gc.collect()
        assert alive() is None
    # The next connection gets its descriptor.
    with raw_pair(ping_interval=None) as (_, peer):
        peer.send_frame(PING, b"there?")
        assert peer.read_frame() == RawFrame(PONG, b"there?")
    two.close()


PROGRAM = """
import os, socket, sys, threading, time
sys.path[:0] = [TESTS]
from peers import raw_pair, eventually
from syncws.protocol.codes import PING, PONG

with raw_pair(ping_interval=None) as (ws, peer):
    peer.send_frame(PING, b"parent")
    assert peer.read_frame().payload == b"parent"
    child = os.fork()
    if child == 0:
        # A new keeper for new connections; the old one is the parent's.
        assert not [thread for thread in threading.enumerate() if thread.name == "syncws-keeper"]
        with raw_pair(ping_interval=None) as (other, its_peer):
            its_peer.send_frame(PING, b"child")
            assert its_peer.read_frame().payload == b"child"
        os._exit(0)
    for _ in range(5):
        peer.send_frame(PING, b"parent again")
        assert peer.read_frame().payload == b"parent again"
    assert os.waitpid(child, 0)[1] == 0
eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "syncws-keeper"])
"""


def test_fork_and_the_end_of_the_keeper() -> None:
    program = PROGRAM.replace("TESTS", repr(os.path.dirname(__file__)))
    # Python 3.12 and later warn of a fork beside threads, which is what this is about.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_new_connection_is_left_to_its_handler() -> None:
    # The keeper comes at once to see what is due; what has arrived it does not read before the handler could.
    for _ in range(5):
        began = time.monotonic()
        with raw_pair() as (ws, peer):
            peer.send_frame(TEXT, b"first")
            time.sleep(TICK / 2)
            received = ws._received
            # Else this thread has been kept waiting for so long that the handler was elsewhere.
            assert received == 0 or time.monotonic() - began > TICK
            assert ws.receive() == "first"
