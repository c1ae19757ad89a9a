"""What a second and a third thread, or a signal handler, must not come in between: each of these once went wrong."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

import pytest
from peers import DEADLINE, RawFrame, eventually, raw_pair, replace_call, sockets, start, websocket

import syncws.prepared
import syncws.protocol.compressor
from syncws import compiled
from syncws.coalescer import Coalescer
from syncws.errors import ConnectionClosed
from syncws.prepared import PreparedMessage
from syncws.protocol.codes import BINARY, CLOSE, TEXT
from syncws.protocol.deflate import Compressor, Deflate
from syncws.writer import FrameWriter


def test_a_handler_closes_while_a_prepared_message_is_compressed(monkeypatch: Any) -> None:
    real = syncws.prepared.compress_once
    took = []
    with raw_pair(compression=Deflate(threshold=0), close_timeout=1.0) as (ws, peer):

        def interrupted(*args: Any, **kw: Any) -> bytes:
            began = time.monotonic()
            ws.close()  # a signal handler
            took.append(time.monotonic() - began)
            return real(*args, **kw)

        monkeypatch.setattr(syncws.prepared, "compress_once", interrupted)
        task = start(ws.send, PreparedMessage("x" * 100))
        task.join(4)
        assert not task.is_alive(), "deadlock"
        assert took
        peer.close()


@pytest.mark.skipif(compiled, reason="no handler runs in compiled code, nor in what this calls")
@pytest.mark.parametrize("takeover", [False, True])
def test_a_handler_closes_while_a_message_is_compressed(monkeypatch: Any, takeover: bool) -> None:
    names = ["compress_once", "new_stream"] if takeover else ["compress_once"]  # for the first message, and the second
    with raw_pair(compression=Deflate(threshold=0), close_timeout=1.0) as (ws, peer):
        ws._writer.compressor = Compressor(12, takeover, Deflate(threshold=0))
        real = getattr(syncws.protocol.compressor, names[-1])
        took = []

        def interrupted(*args: Any, **kw: Any) -> Any:
            began = time.monotonic()
            ws.close()  # a signal handler
            took.append(time.monotonic() - began)
            return real(*args, **kw)

        for _ in names[1:]:
            ws.send("the first one")
        monkeypatch.setattr(syncws.protocol.compressor, names[-1], interrupted)
        task = start(ws.send, "x" * 100)
        task.join(4)
        assert not task.is_alive(), "deadlock"
        assert took
        assert took[0] < 1.0
        # The message leaves, and the close frame behind it.
        assert [peer.read_frame().opcode & 0x0F for _ in range(len(names) + 1)][-2:] == [TEXT, CLOSE]
        peer.close()


def test_what_is_left_by_the_coalescer_leaves_when_there_is_room() -> None:
    ready, over = threading.Event(), threading.Event()
    one, two = sockets(buffer=4096)
    from peers import RawPeer

    peer = RawPeer(two, masked=True)
    peer.sock.settimeout(3)
    ws = websocket(one, "server", peer.frame(TEXT, b"a") + peer.frame(TEXT, b"b"))

    def handler() -> None:
        ws.receive()
        time.sleep(2.0)  # the keeper looks at it
        for _ in range(50):
            ws.send(b"x" * 1000)
        ready.set()
        over.wait(DEADLINE)

    task = start(handler)
    time.sleep(2.5)
    try:
        for n in range(50):
            assert peer.read_frame() == RawFrame(BINARY, b"x" * 1000), n
    finally:
        over.set()
        task.result()
        ws.abort()
        ws.close()
        peer.close()


def test_send_does_not_return_while_another_thread_sends_the_rest(monkeypatch: Any) -> None:
    go = threading.Event()
    real = FrameWriter.write_rest

    def write_rest(self: Any, *args: Any) -> Any:
        go.wait(DEADLINE)
        return real(self, *args)

    monkeypatch.setattr(FrameWriter, "write_rest", write_rest)
    with raw_pair(buffer=4096) as (ws, peer):
        first = start(ws.send, b"x" * 1000000)
        eventually(lambda: len(ws._writer._unsent))
        second = start(ws.send, b"y")
        eventually(lambda: ws._writer.busy)
        time.sleep(0.1)
        go.set()
        first.join(0.5)
        returned = not first.is_alive()
        assert not returned
        assert peer.read_frame() == RawFrame(BINARY, b"x" * 1000000)
        assert peer.read_frame() == RawFrame(BINARY, b"y")
        first.result()
        second.result()


def test_send_fails_when_another_thread_fails_with_the_rest(monkeypatch: Any) -> None:
    go = threading.Event()
    real = FrameWriter.write_rest

    def write_rest(self: Any, *args: Any) -> Any:
        go.wait(DEADLINE)
        return real(self, *args)

    monkeypatch.setattr(FrameWriter, "write_rest", write_rest)
    with raw_pair(buffer=4096) as (ws, _peer):
        first = start(ws.send, b"x" * 1000000)
        eventually(lambda: len(ws._writer._unsent))
        second = start(ws.send, b"y", timeout=0.1)
        with pytest.raises(TimeoutError):
            second.result()
        go.set()
        with pytest.raises(ConnectionClosed):
            first.result()


class Note:
    def __init__(self) -> None:
        self.times = 0

    def flush(self) -> None:
        self.times += 1


def test_what_is_added_while_the_thread_falls_asleep_is_not_forgotten() -> None:
    coalescer = Coalescer()
    note = Note()
    done = []

    class Watched(deque):  # type: ignore[type-arg]
        def __bool__(self) -> bool:
            found = len(self) > 0
            if coalescer._asleep and not done:
                done.append(True)
                start(coalescer.add, note).result()
            return found

    coalescer._waiting = Watched()
    coalescer.add(Note())
    eventually(lambda: done)
    time.sleep(0.2)
    assert note.times == 1


def test_the_thread_survives() -> None:
    coalescer = Coalescer()

    class Fails:
        def flush(self) -> None:
            raise SystemExit

    coalescer.add(Fails())
    time.sleep(0.1)
    note = Note()
    coalescer.add(note)
    time.sleep(0.1)
    assert note.times == 1


def test_a_read_that_fails_once() -> None:
    with raw_pair() as (ws, peer):
        real = ws._transport.read

        def read() -> Any:
            replace_call(ws, "read", real)
            raise OSError(113, "no route to host")

        replace_call(ws, "read", read)
        task = start(ws.receive)
        task.join(1)
        alive = task.is_alive()
        peer.close()
        with pytest.raises(ConnectionClosed):
            task.result()
        assert not alive


def test_a_client_does_not_gather_what_is_large() -> None:
    with raw_pair("client", buffer=4096, send_timeout=0.3) as (ws, peer):
        peer.send(peer.frame(TEXT, b"a") + peer.frame(TEXT, b"b"))
        time.sleep(0.1)
        ws.receive()
        with pytest.raises(TimeoutError):
            ws.send(b"x" * 10_000_000)
            raise AssertionError("it has not waited")


def test_a_close_frame_that_was_left_to_a_sender_leaves(monkeypatch: Any) -> None:
    with raw_pair() as (ws, peer):
        ws._writer._lock.acquire()  # a thread in send_now(), which finds something in its way
        ws._writer._midway = True
        ws.begin_close()
        ws._writer._lock.release()
        with pytest.raises(ConnectionClosed):
            ws.send("x")
        peer.sock.settimeout(0.3)
        assert peer.read_frame() == RawFrame(CLOSE, b"\x03\xe8")


def test_a_receiver_does_not_miss_a_message_while_the_decompressor_is_released(monkeypatch: Any) -> None:
    from syncws.protocol.inflater import Inflater

    inside, go = threading.Event(), threading.Event()
    real = Inflater.release

    def release(self: Any) -> None:
        inside.set()
        go.wait(0.5)
        real(self)

    with raw_pair(compression=Deflate()) as (ws, peer):
        peer.send_frame(TEXT, b"a")
        eventually(lambda: ws.activity)
        ws._seen = ws._reader.arrived + ws._writer.messages
        monkeypatch.setattr(Inflater, "release", release)
        task = start(ws._release_when_idle, time.monotonic())
        assert inside.wait(DEADLINE)
        assert ws.receive(timeout=0) == "a"
        task.result()


def test_the_turn_is_given_back_if_the_decompressor_cannot_be_released(monkeypatch: Any) -> None:
    from syncws.protocol.inflater import Inflater

    def release(self: Any) -> None:
        raise MemoryError

    with raw_pair(compression=Deflate()) as (ws, _peer):
        with monkeypatch.context() as patched:
            patched.setattr(Inflater, "release", release)
            ws._seen = ws._reader.arrived + ws._writer.messages
            with pytest.raises(MemoryError):
                ws._release_when_idle(time.monotonic())
        assert ws._turn.take_now()
        ws._turn.release()


def test_what_a_thread_waits_for_is_not_in_the_backlog(monkeypatch: Any) -> None:
    go = threading.Event()
    real = FrameWriter.write_rest

    def write_rest(self: Any, *args: Any) -> Any:
        go.wait(DEADLINE)
        return real(self, *args)

    monkeypatch.setattr(FrameWriter, "write_rest", write_rest)
    with raw_pair(buffer=4096, max_backlog=1000) as (ws, peer):
        task = start(ws.send, b"x" * 1000000)
        eventually(lambda: len(ws._writer._unsent))
        ws.send(b"y" * 1000, wait=False)
        go.set()
        assert peer.read_frame() == RawFrame(BINARY, b"x" * 1000000)
        assert peer.read_frame() == RawFrame(BINARY, b"y" * 1000)
        task.result()
