"""The hook of the option trace: it reports what has really passed, in order, and never hurts the connection."""

from __future__ import annotations

import http.server
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import pytest
from peers import DEADLINE, reset, sockets, start, tls_transports
from wire import ClientSocket, Running, frame, ws_request

import syncws
import syncws.gevent
import syncws.testing
from syncws.errors import HandshakeError
from syncws.runtime import THREADS
from syncws.runtime_gevent import GREENLETS
from syncws.trace import Chunk, Frame, Handshake, Recorder, annotated
from syncws.transport import NOW, Transport, transport_for
from syncws.transport_gevent import transport_for_greenlets
from syncws.transport_traced import TracedTransport, traced


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def ends(recorder: Recorder) -> Iterator[tuple[Transport, socket.socket]]:
    """A server's traced transport, and the client's socket."""
    one, two = sockets("tcp", buffer=4096)
    transport = traced(transport_for(one), "server", recorder)
    yield transport, two
    transport.close()
    two.close()


def passed(recorder: Recorder) -> list[tuple[str, bytes]]:
    """What has passed, with what one side sends in a row joined."""
    joined: list[tuple[str, bytes]] = []
    for chunk in recorder.chunks:
        if joined and chunk.data and joined[-1][0] == chunk.sender and joined[-1][1]:
            joined[-1] = (chunk.sender, joined[-1][1] + chunk.data)
        else:
            joined.append((chunk.sender, chunk.data))
    return joined


def kinds(recorder: Recorder) -> list[str]:
    return [
        item.kind if isinstance(item, Handshake) else item.name if isinstance(item, Frame) else type(item).__name__
        for item in annotated(recorder.chunks)
    ]


def test_without_a_tracer_there_is_nothing_in_between() -> None:
    one, two = sockets()
    transport = transport_for(one)
    assert traced(transport, "server", None) is transport
    transport.close()
    two.close()


def test_what_passes_is_reported(ends: tuple[Transport, socket.socket], recorder: Recorder) -> None:
    transport, client = ends
    client.sendall(b"question")
    assert transport.recv() == b"question"
    transport.send_all(b"answer")
    assert transport.try_send(memoryview(b"more")) == 4
    transport.send_all(b"")
    assert transport.sent == 10
    client.shutdown(socket.SHUT_WR)
    assert transport.recv() == b""
    assert transport.recv() == b""
    transport.shutdown_write()
    transport.close()
    assert passed(recorder) == [("client", b"question"), ("server", b"answermore"), ("client", b""), ("server", b"")]


def test_it_looks_like_the_other_one(ends: tuple[Transport, socket.socket]) -> None:
    transport, client = ends
    assert transport.remote_address == client.getsockname()
    assert transport.sock.fileno() >= 0
    assert transport.runtime is THREADS
    transport.pause()
    assert not transport.secure
    transport.handshake()
    transport.wait_ready()
    assert traced(transport, "server", Recorder()) is transport


def test_only_what_was_sent_is_reported(ends: tuple[Transport, socket.socket], recorder: Recorder) -> None:
    transport, client = ends
    data = bytes(range(256)) * 40000
    with pytest.raises(TimeoutError):
        transport.send_all(data, NOW)
    assert 0 < transport.sent < len(data)
    assert passed(recorder) == [("server", data[: transport.sent])]
    client.close()


def test_a_write_that_sends_nothing_is_not_reported(recorder: Recorder) -> None:
    one, two = sockets("unix", buffer=4096)
    transport = traced(transport_for(one), "server", recorder)
    while transport.try_send(bytes(1000)):
        pass
    sent = passed(recorder)
    with pytest.raises(TimeoutError):
        transport.send_all(b"x", NOW)
    assert passed(recorder) == sent == [("server", bytes(transport.sent))]
    transport.close()
    two.close()


def test_a_large_write_is_reported_whole(ends: tuple[Transport, socket.socket], recorder: Recorder) -> None:
    transport, client = ends
    data = bytes(range(256)) * 4000
    with Running(lambda: transport.send_all(data)):
        client.settimeout(DEADLINE)
        got = b""
        while len(got) < len(data):
            got += client.recv(65536)
    assert passed(recorder) == [("server", data)]


def test_a_large_write_is_reported_as_it_goes(ends: tuple[Transport, socket.socket], recorder: Recorder) -> None:
    transport, client = ends
    client.settimeout(DEADLINE)
    size, read = 4_000_000, 0
    with Running(lambda: transport.send_all(bytes(size))):
        for part in (size // 4, size // 2):
            while read < part:
                read += len(client.recv(part - read))
            client.sendall(b"got it")
            assert transport.recv() == b"got it"
            answered = max(index for index, chunk in enumerate(recorder.chunks) if chunk.data == b"got it")
            before = [chunk.data for chunk in recorder.chunks[:answered] if chunk.sender == "server"]
            assert len(b"".join(before)) >= part
        while read < size:
            read += len(client.recv(65536))
    assert len(b"".join(chunk.data for chunk in recorder.chunks if chunk.sender == "server")) == size


@pytest.mark.parametrize("greenlets", [False, True], ids=["threads", "greenlets"])
def test_large_writes_over_tls(recorder: Recorder, greenlets: bool) -> None:
    server, client = tls_transports("tcp", buffer=4096)
    with Running(server.handshake):
        client.handshake()
    data = bytes(range(256)) * 4000
    inner = transport_for_greenlets(client.sock) if greenlets else client
    writing = traced(inner, "client", recorder)

    def read() -> bytes:
        got = b""
        while len(got) < len(data):
            got += server.recv()
        return got

    with Running(read) as reading:
        writing.send_all(data)
        assert reading.result() == data
    assert passed(recorder) == [("client", data)]
    writing.close()
    server.close()


def test_a_timeout_is_nothing_that_passes(ends: tuple[Transport, socket.socket], recorder: Recorder) -> None:
    with pytest.raises(TimeoutError):
        ends[0].recv(NOW)
    assert recorder.chunks == []


def test_a_lost_connection_is_the_end(recorder: Recorder) -> None:
    one, two = sockets("tcp")
    transport = traced(transport_for(one), "client", recorder)
    reset(two)
    with pytest.raises(ConnectionError):
        transport.recv()
    transport.close()
    assert passed(recorder) == [("server", b""), ("client", b"")]


def test_abort_ends_our_side(ends: tuple[Transport, socket.socket], recorder: Recorder) -> None:
    transport, _ = ends
    transport.abort()
    assert passed(recorder) == [("server", b"")]
    assert transport.recv() == b""
    assert passed(recorder) == [("server", b""), ("client", b"")]


def test_over_tls_the_plain_text_is_reported(recorder: Recorder) -> None:
    server, client = tls_transports()
    traced_client = traced(client, "client", recorder)
    with Running(server.handshake):
        traced_client.handshake()
    assert traced_client.secure
    traced_client.send_all(b"plain")
    assert server.recv() == b"plain"
    assert passed(recorder) == [("client", b"plain")]
    server.close()
    traced_client.close()


class Failing(Recorder):
    """A recorder whose sink fails at the second chunk."""

    def __init__(self) -> None:
        super().__init__(self.fail)
        self.seen: list[Chunk] = []

    def fail(self, chunk: Chunk) -> None:
        self.seen.append(chunk)
        if len(self.seen) > 1:
            raise OSError("the disk is full")


def test_a_recorder_that_fails_does_not_hurt(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Failing()
    one, two = sockets()
    with caplog.at_level(logging.ERROR, "syncws.trace"):
        transport = traced(transport_for(one), "server", recorder)
        two.sendall(b"a")
        assert transport.recv() == b"a"
        transport.send_all(b"b")
        transport.send_all(b"c")
        assert two.recv(10) == b"bc"
        transport.close()
    assert [chunk.data for chunk in recorder.seen] == [b"a", b"b"]
    assert len(caplog.records) == 1
    assert "its recorder has failed" in caplog.text
    assert "the disk is full" in caplog.text
    two.close()


def test_a_tracer_that_cannot_be_attached_does_not_hurt(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def attach(self) -> Any:
            raise RuntimeError("no")

    one, two = sockets()
    transport = traced(transport_for(one), "server", Broken())
    transport.send_all(b"a")
    assert two.recv(1) == b"a"
    assert "its recorder has failed" in caplog.text
    transport.close()
    two.close()


def test_an_answer_is_not_reported_before_the_question(recorder: Recorder) -> None:
    one, two = sockets()
    transport = traced(transport_for(one), "client", recorder)

    def answer() -> None:
        while data := two.recv(100):
            two.sendall(data.upper())

    answering = start(answer)
    receiving = start(lambda: [transport.recv() for _ in range(200)])
    for _ in range(200):
        transport.send_all(b"a")
        # One at a time: it has been answered when the answer has been recorded.
        while sum(len(c.data) for c in list(recorder.chunks) if c.sender == "server") < transport.sent:
            threading.Event().wait(0.0001)
    receiving.result()
    transport.close()
    answering.result()
    senders = [chunk.sender for chunk in recorder.chunks if chunk.data]
    assert senders == ["client", "server"] * 200
    two.close()


# Where it is attached.


def test_accept(recorder: Recorder) -> None:
    one, two = sockets()
    with ClientSocket(two) as client, Running(lambda: syncws.accept(one, trace=recorder)) as accepting:
        client.send(ws_request(), frame(8))
        accepting.result().close()
    assert kinds(recorder) == ["request", "response", "close", "close", "End", "End"]
    assert not any(chunk.rebuilt for chunk in recorder.chunks)


def test_a_refused_request_is_recorded(recorder: Recorder) -> None:
    one, two = sockets()
    with ClientSocket(two) as client, Running(lambda: syncws.accept(one, trace=recorder)) as accepting:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response()[0] == 426
        client.close()
        with pytest.raises(HandshakeError):
            accepting.result()
        accepting.result = lambda: None  # type: ignore[method-assign]
    assert kinds(recorder)[:2] == ["request", "response"]


def echo(ws: syncws.WebSocket) -> None:
    for message in ws:
        ws.send(message)


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    echo(syncws.upgrade(environ))
    return []


@pytest.mark.parametrize("make", [syncws.WebSocketServer, syncws.WSGIServer])
def test_servers_and_connect(make: Any) -> None:
    ours, theirs = Recorder(), Recorder()
    with make(("127.0.0.1", 0), app if make is syncws.WSGIServer else echo, trace=theirs) as server:
        start(server.serve_forever)
        with syncws.connect(f"ws://127.0.0.1:{server.server_address[1]}/", trace=ours, proxy=None) as ws:
            ws.send("a")
            assert ws.receive() == "a"
    assert kinds(ours) == ["request", "response", "text", "text", "close", "close", "End", "End"]
    assert kinds(theirs)[:6] == kinds(ours)[:6]
    # The head has been read when an app upgrades.
    assert theirs.chunks[0].rebuilt is (make is syncws.WSGIServer)
    assert theirs.chunks[0].data == ours.chunks[0].data


def test_bytes_behind_a_request_that_was_read_are_recorded_as_they_are(recorder: Recorder) -> None:
    with syncws.WSGIServer(("127.0.0.1", 0), app, trace=recorder) as server:
        start(server.serve_forever)
        with ClientSocket(socket.create_connection(server.server_address)) as client:
            client.send(ws_request("/", "X: \xe9"), frame(1, b"a"), frame(8))
            client.read_to_end()
    assert [chunk.rebuilt for chunk in recorder.chunks[:3]] == [True, False, False]
    assert recorder.chunks[0].data == ws_request("/", "X: \xe9")
    assert recorder.chunks[1].data == frame(1, b"a") + frame(8)


def test_in_a_handler_of_http_server(recorder: Recorder) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            echo(syncws.accept(self, trace=recorder))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        start(server.serve_forever)
        with syncws.connect(f"ws://127.0.0.1:{server.server_address[1]}/", proxy=None) as ws:
            ws.send("a")
            assert ws.receive() == "a"
        server.shutdown()
    assert kinds(recorder)[:4] == ["request", "response", "text", "text"]
    assert recorder.chunks[0].rebuilt


def test_in_process() -> None:
    client, server = Recorder(), Recorder()

    def traced_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        echo(syncws.upgrade(environ, trace=server))
        return []

    with syncws.testing.connect(traced_app, "/", trace=client) as ws:
        ws.send("a")
        assert ws.receive() == "a"
    assert kinds(client)[:6] == kinds(server)[:6] == ["request", "response", "text", "text", "close", "close"]


def test_on_greenlets() -> None:
    ours, theirs = Recorder(), Recorder()
    with syncws.gevent.WebSocketServer(("127.0.0.1", 0), echo, trace=theirs) as server:
        server.start()
        with syncws.gevent.connect(f"ws://127.0.0.1:{server.server_address[1]}/", trace=ours) as ws:
            assert isinstance(ws._transport, TracedTransport)
            assert ws._transport.runtime is GREENLETS
            assert ws._transport.pause is not None
            ws.send("a" * 200000)
            assert ws.receive() == "a" * 200000
    assert kinds(ours) == ["request", "response", "text", "text", "close", "close", "End", "End"]
    assert kinds(theirs)[:6] == kinds(ours)[:6]


def test_a_callback_of_the_event_loop_does_not_wait_for_a_report() -> None:
    one, two = gevent.socket.socketpair()
    seen: list[bytes] = []

    def sink(chunk: Chunk) -> None:
        seen.append(chunk.data)
        if chunk.data == b"a":
            # It must not wait, but it does; meanwhile the event loop sends.
            gevent.get_hub().loop.run_callback(lambda: transport.try_send(b"b"))
            gevent.sleep(0)

    transport = traced(transport_for(one), "server", Recorder(sink))
    transport.try_send(b"a")
    transport.try_send(b"c")
    assert sorted(seen) == [b"a", b"b", b"c"]
    assert two.recv(10) == b"abc"
    transport.close()
    two.close()


@pytest.mark.parametrize("wrong", [True, "trace.txt", object()])
def test_what_is_no_recorder(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"trace must be a syncws\.trace\.Recorder or None, not "):
        syncws.Options.of({"trace": wrong})
