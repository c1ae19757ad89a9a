"""The figures: those of a connection, of a server on threads and on greenlets, and what it has refused."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import resource
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from peers import no_idle_threads, pair, raw_pair, sockets, websocket
from servers import RunsOn, both, running
from wire import WS_FIELDS, ClientSocket, Running, frame, get, tls_contexts, wait_until, ws_request

import syncws
from syncws.errors import HandshakeError
from syncws.protocol.codes import CLOSE, PING, TEXT
from syncws.serving_totals import Totals
from syncws.stats import REASONS, LatencyCounts, ServerStats
from syncws.websocket import WebSocket


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/ws":
        echo(syncws.upgrade(environ))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"plain"]


def connect(server: Any) -> WebSocket:
    return syncws.connect("ws://{}:{}/ws".format(*server.server_address))


def read_to_the_end(ws: WebSocket) -> None:
    with pytest.raises(syncws.ConnectionClosed):
        ws.receive()


def client_of(server: Any, context: ssl.SSLContext | None = None) -> ClientSocket:
    sock = socket.create_connection(server.server_address)
    return ClientSocket(context.wrap_socket(sock, server_hostname="localhost") if context else sock)


# Latencies.


def test_latencies() -> None:
    counts = LatencyCounts()
    assert counts.value().mean is None
    for seconds in (0.0004, 0.001, 0.03, 60.0):
        counts.note(seconds)
    value = counts.value()
    assert value.count == 4
    assert value.total == pytest.approx(60.0314)
    assert value.mean == pytest.approx(15.00785)
    assert list(value.buckets) == sorted(value.buckets)
    assert [value.buckets[bound] for bound in (0.001, 0.025, 0.05, 10.0, math.inf)] == [2, 2, 3, 3, 4]
    other = LatencyCounts()
    other.note(0.03)
    other.add(counts)
    assert other.value().count == 5
    assert counts.value() == value


# A connection.


def test_figures_of_a_connection() -> None:
    with raw_pair(ping_interval=None) as (ws, peer):
        assert {name: value for name, value in dataclasses.asdict(ws.stats()).items() if value} == {
            "duration": pytest.approx(0.0, abs=10.0)
        }
        peer.send_frame(TEXT, b"he", fin=False)
        peer.send_frame(PING, b"?")
        peer.send_frame(0, b"llo")
        assert ws.receive() == "hello"
        assert peer.read_frame()
        ws.send(bytes(1000))
        assert peer.read_frame()
        stats = ws.stats()
        assert (stats.messages_received, stats.bytes_received) == (1, 8 + 7 + 9)
        assert (stats.messages_sent, stats.bytes_sent) == (1, 3 + 1004)
        peer.send_frame(CLOSE, b"\x0f\xa0")
        with pytest.raises(syncws.ConnectionClosed):
            peer.sock.shutdown(socket.SHUT_WR)
            ws.receive()
        stats = ws.stats()
        assert (stats.close_code, stats.bytes_received, stats.bytes_sent) == (4000, 24 + 8, 1007 + 4)
        time.sleep(0.01)
        assert ws.stats() == stats
        ws.abort()
        ws.abort()
        assert ws.stats() == stats


def test_duration() -> None:
    began = time.monotonic()
    with raw_pair() as (ws, _):
        first = ws.stats().duration
        assert 0 <= first < ws.stats().duration <= time.monotonic() - began


def test_bytes_behind_the_handshake_count() -> None:
    one, two = sockets("unix")
    with two:
        ws = websocket(one, "server", leftover=frame(TEXT, b"first"))
        assert ws.stats().bytes_received == 11
        assert ws.receive() == "first"
        assert (ws.stats().bytes_received, ws.stats().messages_received) == (11, 1)
        ws.abort()


def test_what_a_slow_peer_has_taken_counts() -> None:
    with raw_pair(kind="tcp", buffer=4096, ping_interval=None) as (ws, peer):
        with Running(lambda: ws.send(bytes(10**6))):
            answer = peer.read_frame()
        assert answer is not None
        assert ws.stats().bytes_sent == 10**6 + 10


def test_messages_count_when_they_arrive() -> None:
    with raw_pair(ping_interval=None) as (ws, peer):
        for number in range(3):
            peer.send_frame(TEXT, b"a", fin=False)
            peer.send_frame(0, b"b")
            wait_until(lambda number=number: ws.stats().messages_received == number + 1)
        peer.send_frame(TEXT, b"c")
        for _ in range(3):
            assert ws.receive() == "ab"
            assert ws.stats().messages_received >= 3
        assert ws.receive() == "c"
        assert ws.stats().messages_received == 4


def test_compressed_messages_count_as_they_are_on_the_wire() -> None:
    with pair(compression=True) as (server, client):
        client.send("x" * 100_000)
        assert len(server.receive()) == 100_000
        assert server.stats().bytes_received == client.stats().bytes_sent < 1000


def test_latency_of_pings() -> None:
    with pair(ping_interval=None) as (server, client):
        assert (server.latencies, server.stats().latency) == (None, None)
        with Running(lambda: read_to_the_end(client)):
            latencies = [server.ping() for _ in range(3)]
            assert server.latencies is not None
            value = server.latencies.value()
            assert (value.count, value.total) == (3, pytest.approx(sum(latencies)))
            assert server.stats().latency == latencies[-1]
            server.close()


# A server.


@both
@pytest.mark.parametrize("kind", ["WebSocketServer", "WSGIServer"])
def test_figures_of_a_server(runs_on: RunsOn, kind: Any) -> None:
    with running(runs_on, kind, echo if kind == "WebSocketServer" else app) as server:
        stats = server.stats()
        assert (stats.open, stats.opened, stats.closed) == (0, 0, {})
        assert server.connections == ()
        assert stats.rejected == dict.fromkeys(REASONS, 0)
        first, second = connect(server), connect(server)
        for client, count in ((first, 2), (second, 3)):
            for _ in range(count):
                client.send("hello")
                assert client.receive() == "hello"
        wait_until(lambda: server.stats().bytes_sent == 5 * 7)  # it is counted when it has been sent
        assert len(server.connections) == 2
        assert {ws.remote_address for ws in server.connections} == {
            client._transport.sock.getsockname() for client in (first, second)
        }
        stats = server.stats()
        assert (stats.open, stats.opened, stats.closed) == (2, 2, {})
        assert (stats.messages_received, stats.messages_sent) == (5, 5)
        assert (stats.bytes_received, stats.bytes_sent) == (5 * 11, 5 * 7)
        first.close(4000)
        wait_until(lambda: server.stats().open == 1)
        assert len(server.connections) == 1
        second.abort()
        wait_until(lambda: server.stats().open == 0)
        stats = server.stats()
        assert (stats.opened, stats.closed) == (2, {1006: 1, 4000: 1})
        assert (stats.messages_received, stats.bytes_received, stats.bytes_sent) == (5, 5 * 11 + 8, 5 * 7 + 4)
        assert sum(stats.rejected.values()) == stats.backlog == 0


@both
def test_latencies_of_a_server(runs_on: RunsOn) -> None:
    with running(runs_on, "WebSocketServer", echo, ping_interval=0.1) as server:
        client = connect(server)
        with Running(lambda: read_to_the_end(client)):
            wait_until(lambda: server.stats().latencies.count >= 2)
            client.close()
        wait_until(lambda: not server.stats().open)
        latencies = server.stats().latencies
        assert latencies.count >= 2
        assert latencies.mean is not None
        assert latencies.buckets[math.inf] == latencies.count


@both
def test_a_websocket_that_is_closing(runs_on: RunsOn) -> None:
    done = threading.Event()
    pause = time.sleep if runs_on == "threads" else gevent.sleep

    def handler(ws: WebSocket) -> None:
        with contextlib.suppress(syncws.ConnectionClosed):
            ws.receive()
        while not done.is_set():
            pause(0.01)

    with running(runs_on, "WebSocketServer", handler) as server:
        client = connect(server)
        wait_until(lambda: server.stats().open == 1)  # the client has the 101 a moment earlier
        client.close(4001)
        # Over, although its handler is not.
        wait_until(lambda: server.stats().closed == {4001: 1})
        assert (server.stats().open, server.stats().opened, server.connections) == (0, 1, ())
        done.set()
        wait_until(lambda: not len(server._connections))
        assert (server.stats().opened, server.stats().closed) == (1, {4001: 1})


def test_a_snapshot_is_all_that_keeps_a_websocket_alive() -> None:
    with running("threads", "WebSocketServer", echo) as server:
        client = connect(server)
        wait_until(lambda: server.connections)
        snapshot = server.connections
        (reference,) = map(weakref.ref, snapshot)
        client.close()
        wait_until(lambda: not server.stats().open)
        assert snapshot[0].closed
        del snapshot

        def gone() -> bool:
            gc.collect()
            return reference() is None

        wait_until(gone)
        assert server.stats().closed == {1000: 1}


def totals_of(stats: ServerStats) -> list[float]:
    return [
        stats.opened,
        sum(stats.closed.values()),
        stats.messages_received,
        stats.messages_sent,
        stats.bytes_received,
        stats.bytes_sent,
        stats.latencies.count,
    ]


@both
def test_totals_only_grow_while_connections_come_and_go(runs_on: RunsOn) -> None:
    with running(runs_on, "WebSocketServer", echo) as server:
        over = threading.Event()

        def watch() -> int:
            before, looks = totals_of(server.stats()), 0
            while not over.is_set():
                stats = server.stats()
                assert stats.opened == stats.open + sum(stats.closed.values())
                now = totals_of(stats)
                assert all(one <= two for one, two in zip(before, now, strict=True))
                assert all(ws.request.path == "/ws" for ws in server.connections)
                before, looks = now, looks + 1
            return looks

        def talk() -> None:
            for _ in range(20):
                with connect(server) as client:
                    for _ in range(5):
                        client.send("hello")
                        client.receive()

        with Running(watch) as watching:
            clients = [Running(talk) for _ in range(3)]
            for client in clients:
                client.result()
            over.set()
        assert watching.result()
        wait_until(lambda: not server.stats().open)
        stats = server.stats()
        assert (stats.opened, stats.closed) == (60, {1000: 60})
        assert (stats.messages_received, stats.messages_sent) == (300, 300)


def test_a_websocket_whose_end_is_not_seen_yet() -> None:
    totals = Totals()
    with pair(ping_interval=None) as (server, _):
        server.begin_close(1001)
        assert totals.stats(lambda: [server]).open == 1
        totals.end(lambda: server)
        stats = totals.stats(list)
        assert (stats.open, stats.closed) == (0, {1001: 1})
        totals.end(lambda: None)
        assert totals.stats(list) == stats


# What a server has refused.


def refusals(server: Any) -> dict[str, int]:
    return {reason: count for reason, count in server.stats().rejected.items() if count}


def without(*names: str) -> list[str]:
    return [field for field in WS_FIELDS if field.partition(":")[0] not in names]


BAD_REQUESTS = [
    (ws_request("/ws", "Origin: https://elsewhere.example"), 403, "origin"),
    (get("/ws", *without("Upgrade")), 426, "upgrade"),
    (get("/ws", *without("Sec-WebSocket-Version"), "Sec-WebSocket-Version: 8"), 426, "upgrade"),
    (get("/ws", *WS_FIELDS, method="POST"), 405, "method"),
    (get("/ws", *without("Sec-WebSocket-Key")), 400, "bad-request"),
    (b"nonsense\r\n\r\n", 400, "bad-request"),
    (get("/" + "x" * 9000), 414, "too-large"),
    (get("/", "X: " + "x" * 70_000), 431, "too-large"),
]


@both
@pytest.mark.parametrize("kind", ["WebSocketServer", "WSGIServer"])
@pytest.mark.parametrize(("request_", "status", "reason"), BAD_REQUESTS)
def test_requests_that_are_refused(runs_on: RunsOn, kind: Any, request_: bytes, status: int, reason: str) -> None:
    with running(runs_on, kind, echo if kind == "WebSocketServer" else app) as server:
        with client_of(server) as client:
            client.send(request_)
            assert client.read_response()[0] == status
        wait_until(lambda: refusals(server))
        assert refusals(server) == {reason: 1}
        assert server.stats().opened == 0


@both
@pytest.mark.parametrize("kind", ["WebSocketServer", "WSGIServer"])
def test_a_request_that_is_too_slow(runs_on: RunsOn, kind: Any) -> None:
    with running(runs_on, kind, echo if kind == "WebSocketServer" else app, open_timeout=0.2) as server:
        with client_of(server) as client:
            client.send(b"GET")
            assert client.read_response()[0] == 408
        wait_until(lambda: refusals(server) == {"timeout": 1})


def test_a_client_that_goes_away() -> None:
    with running("threads", "WebSocketServer", echo) as server:
        client_of(server).close()
        wait_until(lambda: refusals(server) == {"lost": 1})


@both
def test_tls_that_fails(runs_on: RunsOn) -> None:
    with running(runs_on, "WebSocketServer", echo, ssl=tls_contexts()[0]) as server:
        with client_of(server) as client:
            client.send(get())
            with contextlib.suppress(ConnectionResetError):
                client.read_to_end()
        wait_until(lambda: refusals(server) == {"tls": 1})


@both
@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("max_connections", "connections"),
        ("max_connections_per_address", "address"),
        ("max_handshakes", "handshakes"),
    ],
)
def test_over_budget(runs_on: RunsOn, option: str, reason: str) -> None:
    with running(runs_on, "WebSocketServer", echo, **{option: 1}) as server:
        with client_of(server) as first:
            first.send(b"GET" if option == "max_handshakes" else ws_request())
            wait_until(lambda: len(server._connections) == 1)
            for count in (1, 2):
                with client_of(server) as client:
                    assert client.read_response()[0] in (429, 503)
                assert refusals(server) == {reason: count}


@both
def test_a_request_of_a_proxy_over_budget(runs_on: RunsOn) -> None:
    options = {"max_connections_per_address": 1, "trusted_proxies": ["127.0.0.1"]}
    forwarded = "X-Forwarded-For: 192.0.2.1"
    with running(runs_on, "WSGIServer", app, **options) as server:
        with client_of(server) as first, client_of(server) as second:
            first.send(ws_request("/ws", forwarded))
            assert first.read_head()[0] == 101
            second.send(get("/", forwarded))
            assert second.read_response()[0] == 429
            assert refusals(server) == {"address": 1}


def test_no_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running("threads", "WebSocketServer", echo) as server:
        wait_until(lambda: server._refusals is not None)
        client, fillers = socket.socket(), [socket.socket()]
        resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[0].fileno() + 5, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    fillers.append(socket.socket())
            client.connect(server.server_address)
            with ClientSocket(client) as refused:
                assert refused.read_response()[0] == 503
        finally:
            for filler in fillers:
                filler.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert refusals(server) == {"descriptors": 1}


def test_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name == "syncws-connection":
            raise RuntimeError("can't start new thread")
        begin(thread)

    no_idle_threads()
    monkeypatch.setattr(threading.Thread, "start", fail)
    with running("threads", "WebSocketServer", echo) as server:
        with client_of(server) as client:
            assert client.read_response()[0] == 503
        assert refusals(server) == {"threads": 1}


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (6 << 20), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_no_memory_for_a_thread() -> None:
    with running("threads", "WebSocketServer", echo) as server:
        with connect(server):  # whatever has to be imported is
            pass
        with little_memory(), client_of(server) as client:
            assert client.read_response()[0] == 503
        assert refusals(server) == {"memory": 1}


def test_no_memory_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise MemoryError

    with running("threads", "WebSocketServer", echo) as server:
        monkeypatch.setattr(server, "verify_request", fail)
        with client_of(server) as client:
            assert client.read_to_end().startswith(b"HTTP/1.1 503 ")
        wait_until(lambda: refusals(server) == {"memory": 1})


@both
def test_a_handshake_that_the_app_refuses(runs_on: RunsOn) -> None:
    def refuse() -> Iterable[tuple[str, str]]:
        raise HandshakeError("who are you?", status=401)

    def closed_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        syncws.upgrade(environ, more_fields=refuse)
        return []

    with running(runs_on, "WSGIServer", closed_app) as server:
        with client_of(server) as client:
            client.send(ws_request())
            assert client.read_response()[0] == 401
            client.send(ws_request())
            assert client.read_response()[0] == 401
        wait_until(lambda: refusals(server) == {"other": 2})


def test_plain_requests_are_neither_opened_nor_rejected() -> None:
    with running("threads", "WSGIServer", app) as server:
        with client_of(server) as client:
            client.send(get("/"))
            assert client.read_response()[2] == b"plain"
            assert server.connections == ()
        wait_until(lambda: not len(server._connections))
        assert (server.stats().opened, refusals(server)) == (0, {})


def test_asking_needs_no_event_loop() -> None:
    # Nor one of the thread that asks.
    with running("greenlets", "WebSocketServer", echo) as server, connect(server) as client:
        client.send("hello")
        assert client.receive() == "hello"
        with Running(lambda: (server.stats(), server.connections)) as asking:
            stats, connections = asking.result()
        assert (stats.open, len(connections)) == (1, 1)
