"""``send(wait=False)``: what waits for a slow peer, through real sockets that are full when it matters."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from peers import (
    DEADLINE,
    PATCHED,
    RawFrame,
    RawPeer,
    eventually,
    pair,
    raw_pair,
    sockets,
    start,
    threads_only,
    websocket,
)
from support import require_module

import syncws.keeper
from syncws.backlog import MAX_MESSAGES, Backlog
from syncws.errors import BacklogFull, ConcurrencyError, ConnectionClosed
from syncws.keeper import Keeper
from syncws.protocol.codes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from syncws.runtime import THREADS
from syncws.websocket import WebSocket
from syncws.writer import FrameWriter

NORMAL = (1000).to_bytes(2, "big")
BIG = bytes(range(256)) * 4096
POLICIES: list[Any] = ["close", "drop-oldest", "error"]


# The queue.


def test_messages_leave_in_order() -> None:
    backlog = Backlog()
    assert (backlog.size, backlog.take()) == (0, None)
    for payload in (b"one", b"", b"three"):
        assert backlog.put(TEXT, payload)
    assert backlog.size == 8
    assert [backlog.take() for _ in range(2)] == [(TEXT, b"one"), (TEXT, b"")]
    assert backlog.put(BINARY, b"four")
    assert backlog.size == 9
    assert [backlog.take() for _ in range(3)] == [(TEXT, b"three"), (BINARY, b"four"), None]
    assert backlog.size == 0


def test_it_holds_so_many_bytes() -> None:
    backlog = Backlog(limit=10)
    assert backlog.has_room(10, 0)
    assert not backlog.has_room(10, 1)
    assert backlog.put(TEXT, b"12345")
    with pytest.raises(BacklogFull) as caught:
        backlog.put(TEXT, b"12345", 1)
    assert (caught.value.size, caught.value.queued, caught.value.messages, caught.value.limit) == (5, 6, 1, 10)
    assert backlog.put(TEXT, b"12345")
    assert backlog.put(TEXT, b"")
    assert backlog.size == 10


def test_it_drops_the_oldest() -> None:
    backlog = Backlog(limit=10, drops=True)
    for number in range(10):
        backlog.put(TEXT, b"%d.." % number)
    assert [payload for _, payload, _ in backlog.items] == [b"7..", b"8..", b"9.."]
    # What has been begun cannot be dropped.
    backlog.put(TEXT, b"10...", 7)
    assert [payload for _, payload, _ in backlog.items] == [b"10..."]
    with pytest.raises(BacklogFull, match="a message of 11 bytes can never wait in a backlog of 10 bytes"):
        backlog.put(TEXT, bytes(11))
    assert backlog.size == 5


@pytest.mark.parametrize("drops", [False, True])
def test_it_holds_so_many_messages(drops: bool) -> None:
    backlog = Backlog(limit=10, drops=drops)
    for _ in range(MAX_MESSAGES):
        backlog.put(TEXT, b"")
    if drops:
        backlog.put(TEXT, b"last")
        assert backlog.items[-1][1] == b"last"
    else:
        with pytest.raises(BacklogFull, match=f"{MAX_MESSAGES} messages"):
            backlog.put(TEXT, b"last")
    assert len(backlog.items) == MAX_MESSAGES


def test_without_a_limit() -> None:
    backlog = Backlog()
    for _ in range(MAX_MESSAGES + 1):
        backlog.put(BINARY, BIG)
    assert backlog.size == len(BIG) * (MAX_MESSAGES + 1)


def test_the_end() -> None:
    backlog = Backlog(limit=10)
    backlog.put(TEXT, b"first")
    assert not backlog.end()
    assert backlog.put(TEXT, b"last")
    assert [backlog.take(), backlog.take()] == [(TEXT, b"first"), (TEXT, b"last")]
    assert backlog.end()
    assert backlog.end()
    assert not backlog.put(TEXT, b"late")
    other = Backlog(limit=10)
    other.put(TEXT, b"dropped")
    other.close()
    assert (other.size, other.take(), other.end()) == (0, None, True)


def test_a_signal_handler_comes_in_between() -> None:
    class Interrupted(Backlog):
        def has_room(self, size: int, begun: int) -> bool:
            room = super().has_room(size, begun)
            if size == 3:
                assert self.put(TEXT, b"handler")
            return room

    backlog = Interrupted(limit=10)
    backlog.put(TEXT, b"abc")
    assert [backlog.take(), backlog.take()] == [(TEXT, b"handler"), (TEXT, b"abc")]
    assert backlog.size == 0


@pytest.mark.parametrize("how", ["end", "close"])
def test_a_signal_handler_closes_it_in_between(how: str) -> None:
    class Interrupted(Backlog):
        def has_room(self, size: int, begun: int) -> bool:
            getattr(self, how)()
            return super().has_room(size, begun)

    backlog = Interrupted(limit=10)
    # The close frame may have left, so the message is not accepted.
    assert not backlog.put(TEXT, b"abc")
    assert (backlog.size, backlog.take()) == (0, None)


def test_a_signal_handler_sends_the_message_and_closes_it() -> None:
    class Taken(deque[Any]):
        def append(self, message: Any) -> None:
            super().append(message)
            assert not backlog.end()
            assert backlog.take() == (TEXT, b"abc")
            assert backlog.end()

    backlog = Backlog(limit=10)
    backlog.items = Taken()
    assert backlog.put(TEXT, b"abc")
    assert not backlog.put(TEXT, b"late")


def test_whoever_comes_first_makes_the_queue() -> None:
    class Late:
        """A lock that another thread has at first."""

        def __enter__(self) -> None:
            if not made:
                made.append(None)  # so that it gets no further than here the second time
                made[0] = backlog.prepare()

        def __exit__(self, *_: object) -> None:
            pass

    made: list[object] = []
    backlog = Backlog(dataclasses.replace(THREADS, rlock=Late))
    assert (backlog.size, backlog.take()) == (0, None)
    assert backlog.prepare() is made[0] is backlog.items is backlog.prepare()


# Slow readers.


def messages(number: int, size: int = 1000) -> list[bytes]:
    return [hashlib.shake_128(b"%d" % index).digest(size) for index in range(number)]


def queue(ws: WebSocket, *contents: str | bytes) -> None:
    for each in contents:
        ws.send(each, wait=False)


def stuff(ws: WebSocket) -> list[bytes]:
    """Send until the socket is full and messages wait, none of which has been begun; return what was sent."""
    sent = [b"%5d" % 0 + bytes(1000)]
    ws.send(sent[0], wait=False)
    while not ws._writer._backlog.items:
        sent.append(b"%5d" % len(sent) + bytes(1000))
        ws.send(sent[-1], wait=False)
    return sent


def read(peer: RawPeer, number: int) -> list[bytes]:
    frames = [peer.read_frame() for _ in range(number)]
    assert all(frame is not None and frame.opcode in (TEXT, BINARY) and frame.fin for frame in frames)
    return [frame.payload for frame in frames if frame is not None]


@pytest.mark.parametrize("role", ["server", "client"])
def test_what_fits_leaves_at_once(role: Any) -> None:
    with raw_pair(role, ping_interval=None) as (ws, peer):
        queue(ws, "text", b"bytes", "")
        assert ws.backlog == 0
        assert peer.read_frame() == RawFrame(TEXT, b"text")
        assert peer.read_frame() == RawFrame(BINARY, b"bytes")
        assert peer.read_frame() == RawFrame(TEXT, b"")


@pytest.mark.parametrize("handler", ["receives", "is elsewhere"])
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_the_rest_leaves_as_the_peer_reads(kind: Any, handler: str) -> None:
    with raw_pair(kind=kind, buffer=4096, ping_interval=None) as (ws, peer):
        receiving = start(ws.receive) if handler == "receives" else None
        sent = messages(500)
        queue(ws, *sent)  # nobody reads: it would never return if it waited
        assert 0 < ws.backlog < 500_000
        assert read(peer, 500) == sent
        eventually(lambda: ws.backlog == 0)
        peer.send_frame(TEXT, b"end")
        assert (receiving.result() if receiving else ws.receive(DEADLINE)) == "end"


def test_over_tls() -> None:
    with pair(buffer=4096, tls=True, max_backlog=None) as (server, client):
        sent = messages(100, 20_000)
        queue(server, *sent)
        assert server.backlog > 0
        assert [client.receive(DEADLINE) for _ in sent] == sent


def test_a_large_message() -> None:
    with raw_pair(buffer=4096, max_backlog=len(BIG)) as (ws, peer):
        queue(ws, BIG)
        # What has been begun counts as well.
        with pytest.raises(ConnectionClosed):
            queue(ws, BIG)
        assert peer.read_frame() == RawFrame(BINARY, BIG)


def test_pongs_overtake_messages() -> None:
    with raw_pair(buffer=4096, ping_interval=None) as (ws, peer):
        sent = stuff(ws)
        sent += messages(50)
        queue(ws, *sent[-50:])
        peer.send_frame(PING, b"there?")
        eventually(lambda: ws._writer._posted)
        frames = [peer.read_frame() for _ in range(len(sent) + 1)]
        assert RawFrame(PONG, b"there?") in frames[:-50]
        assert [frame.payload for frame in frames if frame and frame.opcode == BINARY] == sent


def test_many_threads() -> None:
    with raw_pair(buffer=65536, max_backlog=None) as (ws, peer):

        def send(name: int) -> None:
            for number in range(1000):
                ws.send(b"%d %d" % (name, number), wait=False)

        sending = [start(send, name) for name in range(8)]
        seen: dict[bytes, list[int]] = {b"%d" % name: [] for name in range(8)}
        for payload in read(peer, 8000):
            name, number = payload.split()
            seen[name].append(int(number))
        for task in sending:
            task.result()
        assert list(seen.values()) == [list(range(1000))] * 8


def test_one_slow_client_delays_no_other() -> None:
    with contextlib.ExitStack() as stack:
        ends = [
            stack.enter_context(pair("tcp", buffer=8192, backlog_policy="drop-oldest", max_backlog=2_000_000))
            for _ in range(20)
        ]
        sent = messages(100, 10_000)

        def read_all(client: WebSocket) -> bool:
            return [client.receive(DEADLINE) for _ in sent] == sent

        reading = [start(read_all, client) for _, client in ends[1:]]
        for message in sent:
            for server, _ in ends:
                server.send(message, wait=False)
        assert all(task.result() for task in reading)
        assert ends[0][0].backlog > 500_000
        assert not ends[0][0].closed


# What happens when too much waits.


def test_the_connection_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "syncws")
    with raw_pair(buffer=4096, max_backlog=20_000) as (ws, peer):
        ws.send(bytes(15_000), wait=False)
        with pytest.raises(ConnectionClosed, match="slow consumer: max_backlog is 20000 bytes") as caught:
            queue(ws, *messages(30))
        assert (caught.value.code, caught.value.initiator, ws.close_code) == (1013, "local", 1013)
        assert isinstance(caught.value.__cause__, BacklogFull)
        assert ws._writer._backlog.size == 0
        with pytest.raises(ConnectionClosed, match="1013"):
            ws.send("late", wait=False)
        assert [record.getMessage().partition(";")[0][-16:] for record in caplog.records] == ["reads too slowly"]
        # What had been begun is completed; then comes the close frame, and nothing of the backlog.
        assert peer.read_frame() == RawFrame(BINARY, bytes(15_000))
        assert peer.read_frame() == RawFrame(
            CLOSE, (1013).to_bytes(2, "big") + b"slow consumer: max_backlog is 20000 bytes"
        )
        peer.send_frame(CLOSE, (1013).to_bytes(2, "big"))
        assert peer.read_frame() is None
        eventually(lambda: ws.state.value == "closed")
        assert ws.close_code == 1013


def test_the_oldest_messages_are_dropped() -> None:
    with raw_pair(buffer=4096, max_backlog=20_000, backlog_policy="drop-oldest") as (ws, peer):
        sent = messages(300)
        for message in sent:
            ws.send(message, wait=False)
            assert ws.backlog <= 20_000
        waiting = len(ws._writer._backlog.items)
        assert waiting >= 18
        ws.begin_close()
        frames = list(iter(lambda: peer.read_frame() or RawFrame(CLOSE, b""), RawFrame(CLOSE, NORMAL)))
        # Each is whole; they are the first, which the socket has taken, and the last.
        seen = [frame.payload for frame in frames]
        assert seen == sent[: len(seen) - waiting] + sent[-waiting:]


def test_an_error_loses_nothing() -> None:
    with raw_pair(buffer=4096, max_backlog=20_000, backlog_policy="error") as (ws, peer):
        sent = messages(300)
        with pytest.raises(BacklogFull, match="no room for a message of 1000 bytes"):
            queue(ws, *sent)
        assert not ws.closed
        accepted = ws._writer.messages + len(ws._writer._backlog.items)
        assert accepted < 300
        assert read(peer, accepted) == sent[:accepted]
        ws.send("there is room again", wait=False)
        assert peer.read_frame() == RawFrame(TEXT, b"there is room again")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_message_that_can_never_wait_is_an_error(policy: Any) -> None:
    with raw_pair(max_backlog=1000, backlog_policy=policy) as (ws, peer):
        with pytest.raises(BacklogFull, match="a message of 1001 bytes can never wait in a backlog of 1000 bytes"):
            ws.send(bytes(1001), wait=False)
        ws.send(bytes(1000), wait=False)
        assert peer.read_frame() == RawFrame(BINARY, bytes(1000))


def test_room_that_nobody_has_noticed_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncws.keeper.Keeper, "add", lambda keeper, care: None)
    with raw_pair(buffer=4096, max_backlog=20_000, backlog_policy="error") as (ws, peer):
        sent = []
        with contextlib.suppress(BacklogFull):
            while True:
                ws.send(b"%05d" % len(sent) + bytes(2000), wait=False)
                sent.append(b"%05d" % len(sent) + bytes(2000))
        assert read(peer, 2) == sent[:2]
        ws.send("fits", wait=False)
        reading = start(read, peer, len(sent) - 1)
        ws.send("behind all of them")
        assert reading.result() == [*sent[2:], b"fits"]


# In order with everything else.


def test_send_goes_behind_the_backlog() -> None:
    with raw_pair(buffer=4096) as (ws, peer):
        sent = messages(200)
        queue(ws, *sent[:-1])
        sending = start(ws.send, sent[-1])
        eventually(lambda: ws._writer.busy)
        ws.send("and this behind it", wait=False)
        assert read(peer, 200) == sent
        sending.result()
        assert peer.read_frame() == RawFrame(TEXT, b"and this behind it")


def test_send_waits_for_the_backlog_as_long_as_it_may() -> None:
    with raw_pair(buffer=4096) as (ws, _):
        queue(ws, *messages(200))
        with pytest.raises(TimeoutError, match=r"the peer has not read for 0\.1 s"):
            ws.send("last", timeout=0.1)
        assert ws.close_code == 1006
        assert ws._writer._backlog.size == 0
        with pytest.raises(ConnectionClosed):
            ws.send("late", wait=False)


@pytest.mark.parametrize("compression", [None, True])
def test_nothing_gets_between_fragments(compression: Any) -> None:
    with pair(buffer=4096, compression=compression, max_backlog=None) as (server, client):
        sent = [message.hex() for message in messages(40)]

        def pieces() -> Iterator[str]:
            for number in range(20):
                yield sent[number]
                server.send(f"{number}" * 100, wait=False)
                with pytest.raises(ConcurrencyError):
                    server.send("this would wait for itself")

        queue(server, *sent)
        sending = start(server.send_fragments, pieces())
        assert [client.receive(DEADLINE) for _ in sent] == sent
        assert client.receive(DEADLINE) == "".join(sent[:20])
        assert [client.receive(DEADLINE) for _ in range(20)] == [f"{number}" * 100 for number in range(20)]
        sending.result()


@pytest.mark.parametrize("policy", POLICIES)
def test_compression(policy: Any) -> None:
    options = {"compression": True, "max_backlog": 30_000, "backlog_policy": policy}
    with pair(buffer=4096, **options) as (server, client):
        # The same words again and again: what comes later refers to what came before.
        sent = [f"message {number} " * 60 + message.hex() for number, message in enumerate(messages(200, 400))]
        accepted = []
        for message in sent:
            try:
                server.send(message, wait=False)
                accepted.append(message)
            except (BacklogFull, ConnectionClosed):
                break
        if policy != "close":
            sending = start(server.send, "the end " * 100)
        seen = []
        with contextlib.suppress(ConnectionClosed):
            while (message := str(client.receive(DEADLINE))) != "the end " * 100:
                seen.append(message)
        assert len(seen) > 2
        if policy == "error":
            assert seen == accepted
        elif policy == "drop-oldest":
            assert len(accepted) == 200
            assert seen == sent[: len(seen) - len(tail(seen, sent))] + tail(seen, sent)
            assert seen[-1] == sent[-1]
        else:
            assert seen == sent[: len(seen)]
            assert client.close_code == 1013
        if policy != "close":
            sending.result()


def tail(seen: list[str], sent: list[str]) -> list[str]:
    """The most that both end with."""
    count = 0
    while count < len(seen) and seen[-count - 1] == sent[-count - 1]:
        count += 1
    return sent[len(sent) - count :]


# The end.


@pytest.mark.parametrize("how", ["close", "begin_close", "the peer closes", "the peer closes, the handler receives"])
def test_the_close_frame_goes_behind_the_backlog(how: str) -> None:
    with raw_pair(buffer=4096) as (ws, peer):
        sent = messages(300)
        queue(ws, *sent)
        closing = None
        if how == "close":
            closing = start(ws.close)
        elif how == "begin_close":
            ws.begin_close()
        else:
            if "receives" in how:
                closing = start(list, ws)
            peer.send_frame(CLOSE, NORMAL)
        eventually(lambda: ws.closed)
        with pytest.raises(ConnectionClosed):
            ws.send("late", wait=False)
        assert read(peer, 300) == sent
        assert peer.read_frame() == RawFrame(CLOSE, NORMAL)
        if "peer" not in how:
            peer.send_frame(CLOSE, NORMAL)
        assert peer.read_frame() is None
        peer.sock.shutdown(socket.SHUT_WR)
        if closing:
            closing.result()
        eventually(lambda: ws.state.value == "closed")
        assert ws.close_code == 1000


def test_a_message_that_is_accepted_while_another_thread_closes_arrives() -> None:
    for _ in range(100):
        with raw_pair() as (ws, peer):
            closing = start(ws.begin_close)
            count = 0
            with contextlib.suppress(ConnectionClosed):
                while True:
                    ws.send(b"%d" % count, wait=False)
                    count += 1
            closing.result()
            assert read(peer, count) == [b"%d" % number for number in range(count)]
            assert peer.read_frame() == RawFrame(CLOSE, NORMAL)


def test_a_peer_that_never_reads_does_not_hold_up_a_close() -> None:
    with raw_pair(buffer=4096, close_timeout=0.2) as (ws, _):
        queue(ws, *messages(300))
        ws.close()
        assert (ws.close_code, ws.state.value, ws.backlog) == (1006, "closed", 0)


def test_a_broken_rule_drops_the_backlog() -> None:
    with raw_pair(buffer=4096) as (ws, peer):
        sent = stuff(ws)
        queue(ws, *messages(100))
        peer.send(b"\xff\xff")
        eventually(lambda: ws.closed)
        frames = peer.read_all()
        assert len(frames) <= len(sent) + 1
        assert frames[-1].opcode == CLOSE
        assert frames[-1].payload[:2] == (1002).to_bytes(2, "big")


def test_a_message_that_is_given_up_takes_the_backlog_with_it() -> None:
    with raw_pair() as (ws, peer):

        def pieces() -> Iterator[str]:
            yield "half"
            ws.send("can never leave", wait=False)
            assert ws.backlog
            raise LookupError

        with pytest.raises(LookupError):
            ws.send_fragments(pieces())
        assert peer.read_frame() == RawFrame(TEXT, b"half", fin=False)
        frame = peer.read_frame()
        assert frame is not None
        assert frame.opcode == CLOSE
        assert ws.backlog == 0


@pytest.mark.parametrize("how", ["abort", "reset"])
def test_a_connection_that_is_over(how: str) -> None:
    with raw_pair(kind="tcp", buffer=4096) as (ws, peer):
        queue(ws, *messages(100))
        if how == "abort":
            ws.abort()
        else:
            peer.reset()
            eventually(lambda: ws.closed)
        with pytest.raises(ConnectionClosed) as caught:
            ws.send("late", wait=False)
        assert caught.value.code == 1006
        eventually(lambda: ws.backlog == 0)


def test_a_write_that_fails_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncws.keeper.Keeper, "add", lambda keeper, care: None)
    with raw_pair(kind="tcp") as (ws, peer):
        peer.reset()
        ws._transport.wait_ready(None)
        with pytest.raises(ConnectionClosed, match=r"reset by peer|Broken pipe"):
            while True:
                ws.send("into the void", wait=False)


def test_another_thread_closes_just_then(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_pair(ping_interval=None) as (ws, _):

        def queue(writer: FrameWriter, opcode: int, payload: bytes) -> bool:
            ws.begin_close(4000)
            return False

        monkeypatch.setattr(FrameWriter, "queue", queue)
        with ws._writer._lock, pytest.raises(ConnectionClosed) as caught:
            ws.send("too late", wait=False)
        assert caught.value.code == 4000


def test_what_waits_for_the_close_frame_of_another_policy_is_not_dropped() -> None:
    # A thread finds no room while another one closes: what was accepted before goes in front of that close frame.
    with raw_pair(buffer=4096, max_backlog=20_000) as (ws, peer):
        sent = stuff(ws)
        error = BacklogFull(1, 2, 3, 4)
        ws.begin_close()
        ws._close_slow(error)
        assert read(peer, len(sent)) == sent
        assert peer.read_frame() == RawFrame(CLOSE, NORMAL)


def test_there_is_no_timeout_for_what_does_not_wait() -> None:
    with raw_pair() as (ws, _), pytest.raises(TypeError, match=r"send\(wait=False\) does not wait"):
        ws.send("text", wait=False, timeout=1)


@pytest.mark.parametrize("data", [None, 1, "\ud800"])
def test_wrong_data(data: Any) -> None:
    with raw_pair() as (ws, _), pytest.raises((TypeError, ValueError)):
        ws.send(data, wait=False)


# Signal handlers.


@threads_only
@pytest.mark.parametrize("main", ["sends", "receives"])
def test_a_signal_handler_sends(main: str) -> None:
    with raw_pair(buffer=4096) as (ws, peer):
        before = signal.signal(signal.SIGUSR1, lambda *_: ws.send("from the handler", wait=False))
        try:

            def interrupt() -> None:
                eventually(lambda: ws._writer.busy or ws._receiving)
                os.kill(os.getpid(), signal.SIGUSR1)
                if main == "sends":
                    eventually(lambda: ws.backlog)
                    assert peer.read_frame() == RawFrame(BINARY, BIG)
                assert peer.read_frame() == RawFrame(TEXT, b"from the handler")
                peer.send_frame(TEXT, b"end")

            interrupting = start(interrupt)
            if main == "sends":
                ws.send(BIG)
            assert ws.receive(DEADLINE) == "end"
            interrupting.result()
        finally:
            signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("where", ["try_send", "_new_key", "compress_piece"])
def test_a_signal_handler_sends_in_the_middle_of_a_send(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pair(compression=True) as (server, client):
        owner: Any = {
            "try_send": client._transport,
            "_new_key": client._writer,
            "compress_piece": client._writer.compressor,
        }[where]
        real = getattr(owner, where)

        def interrupted(*args: Any, **kwargs: Any) -> Any:
            monkeypatch.undo()
            client.send("handler " * 100, wait=False)
            return real(*args, **kwargs)

        if where == "try_send":
            monkeypatch.setattr(owner, where, interrupted)
        else:
            monkeypatch.setattr(f"{type(owner).__module__}.{type(owner).__name__}.{where}", staticmethod(interrupted))
        start(client.send, "interrupted " * 100, timeout=DEADLINE).result()  # step by step, to come to all of these
        assert server.receive(DEADLINE) == "interrupted " * 100
        assert server.receive(DEADLINE) == "handler " * 100


@threads_only
def test_a_signal_handler_sends_in_the_middle_of_a_read_over_tls() -> None:
    with pair(tls=True) as (server, client):
        tls: Any = client._transport._tls  # type: ignore[attr-defined]
        real = tls.read

        def interrupted(size: int) -> Any:
            del tls.read
            client.send("from the handler", wait=False)
            return real(size)

        tls.read = interrupted
        receiving = start(client.receive)
        assert server.receive(DEADLINE) == "from the handler"
        server.send("end")
        assert receiving.result() == "end"


@pytest.mark.parametrize("how", ["try_send", "compress_piece"])
def test_what_interrupts_the_way_out_ends_the_connection(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pair(compression=True) as (server, client):

        def interrupted(*args: Any, **kwargs: Any) -> Any:
            monkeypatch.undo()
            raise KeyboardInterrupt

        if how == "try_send":
            monkeypatch.setattr(server._writer, "_try_send", interrupted)
        else:
            monkeypatch.setattr(type(server._writer.compressor), how, interrupted)
        with pytest.raises(KeyboardInterrupt):
            server.send("nobody will see it " * 100, wait=False)
        with pytest.raises(ConnectionClosed, match="KeyboardInterrupt interrupted a"):
            server.send("late", wait=False)
        with pytest.raises(ConnectionClosed):
            client.receive(DEADLINE)


@pytest.mark.parametrize("where", ["_take_posted", "_send", "_send_rest"])
@pytest.mark.parametrize("how", ["send", "send_fragments"])
def test_what_interrupts_a_send_behind_the_backlog_ends_the_connection(
    where: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What has been taken from the backlog, or had been begun, would be lost, and what follows it could not be read.
    monkeypatch.setattr(syncws.keeper.Keeper, "add", lambda keeper, care: None)
    with raw_pair(buffer=4096, max_backlog=None, compression=True) as (ws, _):
        stuff(ws)

        def interrupted(*_: Any) -> Any:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(type(ws._writer), where, interrupted)
            ws.send("last") if how == "send" else ws.send_fragments(["la", "st"])
        assert ws.close_reason == "KeyboardInterrupt interrupted a message"
        with pytest.raises(ConnectionClosed, match="KeyboardInterrupt interrupted a message"):
            ws.send("late")


# The keeper is woken.


@contextlib.contextmanager
def drowsy_keeper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    """A keeper that looks at all connections once in an hour, for those that are made meanwhile."""
    monkeypatch.setattr(syncws.keeper, "TICK", 3600.0)
    keeper = Keeper(THREADS)
    monkeypatch.setattr("syncws.attended.keeper_of", lambda runtime: keeper)
    yield keeper
    bell = keeper._bell
    assert bell is not None
    with keeper._lock:
        keeper._selector = None
        bell.ring()
    eventually(lambda: bell.fileno() == -1)


@pytest.mark.skipif(PATCHED, reason="the keeper is that of threads")
@pytest.mark.parametrize("handler", ["receives", "is elsewhere"])
def test_the_keeper_is_woken(handler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with drowsy_keeper(monkeypatch), raw_pair(buffer=4096, ping_interval=None) as (ws, peer):
        receiving = start(ws.receive) if handler == "receives" else None
        if receiving:
            eventually(lambda: ws._receiving)
        for _ in range(3):
            sent = messages(300)
            queue(ws, *sent)
            assert ws.backlog
            assert read(peer, 300) == sent
            eventually(lambda: not ws.backlog)
        peer.send_frame(TEXT, b"end")
        assert (receiving.result() if receiving else ws.receive(DEADLINE)) == "end"


@pytest.mark.skipif(PATCHED, reason="the keeper is that of threads")
@pytest.mark.parametrize("handler", ["receives", "is elsewhere"])
def test_the_keeper_is_not_woken_again_and_again(handler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[WebSocket] = []
    attend = WebSocket.attend
    monkeypatch.setattr(WebSocket, "attend", lambda ws: looks.append(ws) or attend(ws))  # type: ignore[func-returns-value]
    with (
        drowsy_keeper(monkeypatch) as keeper,
        raw_pair(buffer=4096, max_backlog=None, ping_interval=None) as (ws, peer),
    ):
        receiving = start(ws.receive) if handler == "receives" else None
        if receiving:
            eventually(lambda: ws._receiving)
        queue(ws, *messages(100))
        eventually(lambda: ws._care.room_awaited and not keeper._awake)
        before = len(looks)
        queue(ws, *messages(1000))
        assert len(looks) <= before + 1  # one look may have been under way
        assert not keeper._awake
        assert len(read(peer, 1100)) == 1100
        peer.send_frame(TEXT, b"end")
        assert (receiving.result() if receiving else ws.receive(DEADLINE)) == "end"


PROGRAM = """
import gc, os, sys, threading
sys.path[:0] = [TESTS]
from peers import raw_pair, eventually
from syncws.protocol.codes import BINARY

def check(ws, peer):
    for _ in range(300):
        ws.send(bytes(1000), wait=False)
    assert ws.backlog
    for _ in range(300):
        assert peer.read_frame().payload == bytes(1000)

with raw_pair(buffer=4096, ping_interval=None) as (ws, peer):
    check(ws, peer)
    child = os.fork()
    if child == 0:
        gc.collect()
        with raw_pair(buffer=4096, ping_interval=None) as ends:
            check(*ends)
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    check(ws, peer)
eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "syncws-keeper"])
"""


@threads_only
def test_fork() -> None:
    program = PROGRAM.replace("TESTS", repr(os.path.dirname(__file__)))
    warnings = ["-W", "error::ResourceWarning", "-W", "ignore::DeprecationWarning"]  # fork() with threads
    command = [sys.executable, *warnings, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Greenlets.


def in_event_loop(function: Callable[..., Any], *args: Any) -> Any:
    """Run a function in a thread of its own, and the event loop of greenlets meanwhile in this one."""
    import gevent

    task = start(function, *args)
    while task.is_alive():
        gevent.sleep(0.001)
    return task.result()


@contextlib.contextmanager
def greenlet_pair(**options: Any) -> Iterator[tuple[WebSocket, RawPeer]]:
    require_module("gevent")
    from syncws.transport_gevent import transport_for_greenlets

    one, two = sockets("tcp", buffer=4096)
    ws, peer = websocket(transport_for_greenlets(one), "server", **options), RawPeer(two, masked=True)
    try:
        yield ws, peer
    finally:
        peer.close()
        ws.abort()
        ws.close()


@threads_only
@pytest.mark.parametrize("handler", ["receives", "is elsewhere"])
def test_greenlets(handler: str) -> None:
    with greenlet_pair(ping_interval=None) as (ws, peer):
        import gevent

        receiving = gevent.spawn(ws.receive) if handler == "receives" else None
        gevent.sleep(0)
        sent = messages(500)
        queue(ws, *sent)
        assert ws.backlog
        assert in_event_loop(read, peer, 500) == sent
        peer.send_frame(TEXT, b"end")
        assert (receiving.get(timeout=DEADLINE) if receiving else ws.receive(DEADLINE)) == "end"


@threads_only
@pytest.mark.parametrize("policy", POLICIES)
def test_a_callback_of_the_event_loop_sends(policy: Any) -> None:
    with greenlet_pair(ping_interval=None, max_backlog=20_000, backlog_policy=policy) as (ws, peer):
        import gevent

        sent = messages(500)
        errors: list[BaseException] = []

        def send() -> None:
            try:
                queue(ws, *sent)
            except BaseException as error:
                errors.append(error)

        gevent.get_hub().loop.run_callback(send)
        gevent.sleep(0.001)
        expected = {"close": ConnectionClosed, "drop-oldest": None, "error": BacklogFull}[policy]
        assert [type(error) for error in errors] == ([expected] if expected else [])
        if policy == "drop-oldest":
            assert ws.backlog <= 20_000
        gevent.get_hub().loop.run_callback(ws.begin_close)

        def read_to_the_close_frame() -> list[RawFrame]:
            frames = []
            while not frames or frames[-1].opcode != CLOSE:
                frame = peer.read_frame()
                assert frame is not None
                frames.append(frame)
            return frames

        frames = in_event_loop(read_to_the_close_frame)
        assert [frame.opcode for frame in frames[:-1]] == [BINARY] * (len(frames) - 1)
        assert all(frame.payload in sent for frame in frames[:-1])
        assert frames[-1].payload[:2] == (1013 if policy == "close" else 1000).to_bytes(2, "big")
        if policy == "drop-oldest":
            assert frames[-2].payload == sent[-1]


@threads_only
def test_send_of_a_greenlet_goes_behind_the_backlog() -> None:
    with greenlet_pair() as (ws, peer):
        import gevent

        sent = messages(200)
        queue(ws, *sent)
        sending = gevent.spawn(ws.send, "last")
        assert in_event_loop(read, peer, 201) == [*sent, b"last"]
        sending.get(timeout=DEADLINE)


def test_continuation_is_for_fragments() -> None:
    with raw_pair() as (ws, peer):
        ws.send_fragments(["one", "two"])
        ws.send("whole", wait=False)
        assert [peer.read_frame() for _ in range(4)] == [
            RawFrame(TEXT, b"one", fin=False),
            RawFrame(CONTINUATION, b"two", fin=False),
            RawFrame(CONTINUATION, b""),
            RawFrame(TEXT, b"whole"),
        ]


def test_threads_that_wait_and_threads_that_do_not() -> None:
    with pair(buffer=8192, compression=True, max_backlog=None) as (server, client):
        ready = threading.Barrier(6)

        def send(name: int) -> None:
            ready.wait(DEADLINE)
            for number in range(100):
                text = f"{name} {number} " + "x" * (number * 37 % 900)
                if name < 3:
                    server.send(text, wait=False)
                elif number % 10:
                    server.send(text)
                else:
                    server.send_fragments([text[:2], text[2:]])

        sending = [start(send, name) for name in range(6)]
        seen: list[list[int]] = [[] for _ in range(6)]
        for _ in range(600):
            name, number, rest = str(client.receive(DEADLINE)).split(" ")
            assert rest == "x" * (int(number) * 37 % 900)
            seen[int(name)].append(int(number))
        for task in sending:
            task.result()
        assert seen == [list(range(100))] * 6
