"""The servers: the accept loop, its limits, its end, on all kinds of sockets."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import resource
import selectors
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import DEADLINE, ClientSocket, Running, frame, get, tls_contexts, wait_until, ws_request

from syncws.listener import Listener
from syncws.server import WebSocketServer, WSGIServer
from syncws.websocket import WebSocket

TEXT, CLOSE = 1, 8
NORMAL, GOING_AWAY, INTERNAL_ERROR = b"\x03\xe8", b"\x03\xe9", b"\x03\xf3"
LOCAL = ("127.0.0.1", 0)


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode("latin-1")]


@contextlib.contextmanager
def running(server: Listener) -> Iterator[Listener]:
    """A server that accepts connections, and is shut down at the end."""
    with server, Running(lambda: server.serve_forever(poll_interval=0.05)):
        try:
            yield server
        finally:
            server.shutdown()


def connect(server: Listener, context: ssl.SSLContext | None = None) -> ClientSocket:
    address = server.server_address
    if isinstance(address, tuple):
        sock = socket.create_connection(address[:2])
    else:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
    if context is not None:
        sock = context.wrap_socket(sock, server_hostname="localhost")
    return ClientSocket(sock)


def open_websocket(server: Listener, context: ssl.SSLContext | None = None) -> ClientSocket:
    client = connect(server, context)
    client.send(ws_request())
    assert client.read_head()[0] == 101
    return client


def check_echo(client: ClientSocket) -> None:
    client.send(frame(TEXT, b"hello"))
    assert client.read_frame() == (TEXT, b"hello")


def end_websocket(client: ClientSocket, code: bytes) -> None:
    """The closing handshake that the server began; nothing may follow the close frame."""
    opcode, payload = client.read_frame()
    assert (opcode, payload[:2]) == (CLOSE, code)
    client.send(frame(CLOSE, code))
    assert client.read_to_end() == b""
    client.close()


@pytest.fixture(autouse=True)
def log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "syncws")


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


# Kinds of sockets.


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_tcp(host: str, secure: bool) -> None:
    server_context, client_context = tls_contexts() if secure else (None, None)
    with running(WebSocketServer((host, 0), echo, ssl=server_context)) as server:
        assert isinstance(server.server_address, tuple)
        assert server.server_address[1] > 0
        with open_websocket(server, client_context) as client:
            check_echo(client)
    with running(WSGIServer((host, 0), app, ssl=server_context)) as server:
        with connect(server, client_context) as client:
            for path in "/1", "/2":
                client.send(get(path))
                assert client.read_response()[2] == path.encode()


def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for _ in range(2):
        with running(WebSocketServer(str(path), echo)) as server:
            assert server.server_address == str(path)
            with open_websocket(server) as client:
                check_echo(client)
        assert not path.exists()
    # The file that a killed process leaves behind is no obstacle.
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with running(WSGIServer(str(path), app)) as server, connect(server) as client:
        client.send(get("/"))
        assert client.read_response()[2] == b"/"
        with pytest.raises(OSError, match="another server is listening"):
            WSGIServer(str(path), app)
        assert path.exists()
    assert not path.exists()


def test_address_in_use() -> None:
    with WebSocketServer(LOCAL, echo) as server:
        with pytest.raises(OSError, match="in use"):
            WebSocketServer(server.server_address, echo)


def test_port_can_be_used_again_at_once() -> None:
    with running(WebSocketServer(LOCAL, echo)) as server:
        client = open_websocket(server)
        with Running(server.shutdown):
            end_websocket(client, GOING_AWAY)
    WebSocketServer(server.server_address, echo).server_close()


# Handlers.


def test_handler_that_returns() -> None:
    with running(WebSocketServer(LOCAL, lambda ws: ws.send(ws.path))) as server:
        client = open_websocket(server)
        assert client.read_frame() == (TEXT, b"/")
        end_websocket(client, NORMAL)


def test_handler_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    def fail(ws: WebSocket) -> None:
        raise ValueError("secret")

    with running(WebSocketServer(LOCAL, fail)) as server:
        end_websocket(open_websocket(server), INTERNAL_ERROR)
    assert len(lines(caplog)) == 1
    assert "ValueError: secret" in caplog.text


def test_handler_that_lets_connection_closed_escape(caplog: pytest.LogCaptureFixture) -> None:
    with running(WebSocketServer(LOCAL, lambda ws: ws.receive())) as server:
        with open_websocket(server) as client:
            client.send(frame(CLOSE, b"\x0f\xa0"))
            assert client.read_frame() == (CLOSE, b"\x0f\xa0")
            assert client.read_to_end() == b""
    assert lines(caplog) == []


def test_requests_that_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    with running(WebSocketServer(LOCAL, echo, max_head_fields=10)) as server:
        for request, status in (
            (get(), 426),
            (ws_request("/", "Origin: http://elsewhere.example"), 403),
            (get("/", *["X: a"] * 10), 431),
        ):
            with connect(server) as client:
                client.send(request)
                answered, headers, _ = client.read_response()
                assert (answered, headers.get_all("connection")[-1]) == (status, "close")
                assert client.read_to_end() == b""
        # Each line is written by the thread of its connection.
        wait_until(lambda: len(caplog.records) == 3)
    assert sorted(record.levelname for record in caplog.records) == ["INFO", "INFO", "WARNING"]


def test_options_of_the_connection() -> None:
    with running(WebSocketServer(LOCAL, echo, subprotocols=["chat"], max_message_size=4)) as server:
        with connect(server) as client:
            client.send(ws_request("/", "Sec-WebSocket-Protocol: chat"), frame(TEXT, b"hello"))
            assert client.read_head()[1]["sec-websocket-protocol"] == "chat"
            opcode, payload = client.read_frame()
            assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, 1009)


def test_slow_clients_do_not_hold_up_others() -> None:
    server_context, client_context = tls_contexts()
    for context in None, server_context:
        with running(WebSocketServer(LOCAL, echo, ssl=context, open_timeout=0.2)) as server:
            slow = connect(server)
            with open_websocket(server, client_context if context else None) as client:
                check_echo(client)
            # TLS handshake and head have one deadline together; behind it the connection is gone.
            slow.read_to_end()
            slow.close()


def test_each_connection_has_one_thread() -> None:
    seen = []

    def handler(ws: WebSocket) -> None:
        seen.append(threading.current_thread())
        echo(ws)

    with running(WebSocketServer(LOCAL, handler)) as server:
        before = threading.active_count()
        clients = [open_websocket(server) for _ in range(5)]
        for client in clients:
            check_echo(client)
        assert threading.active_count() == before + 5
        assert len(set(seen)) == 5
        assert all(thread.daemon for thread in seen)
        for client in clients:
            client.close()
        wait_until(lambda: threading.active_count() == before)


# Limits.


def test_connection_cap(caplog: pytest.LogCaptureFixture) -> None:
    with running(WebSocketServer(LOCAL, echo, max_connections=2)) as server:
        clients = [open_websocket(server) for _ in range(2)]
        for _ in range(3):
            with connect(server) as refused:
                # The client's request arrives late, and the answer is still there.
                status, headers, body = refused.read_response()
                assert (status, headers["connection"]) == (503, "close")
                assert b"busy" in body
                refused.send(ws_request())
                assert refused.read_to_end() == b""
        check_echo(clients[0])
        clients.pop().close()
        wait_until(lambda: len(server._connections) == 1)
        clients.append(open_websocket(server))
        with connect(server) as refused:
            assert refused.read_response()[0] == 503
        for client in clients:
            check_echo(client)
            client.close()
    # One line until nobody has been refused for a while, however often a place becomes free and is taken.
    assert len(lines(caplog)) == 1
    assert "2 connections" in lines(caplog)[0]
    assert "max_connections" in lines(caplog)[0]


def test_connection_cap_over_tls(caplog: pytest.LogCaptureFixture) -> None:
    server_context, client_context = tls_contexts()
    with running(WebSocketServer(LOCAL, echo, max_connections=1, ssl=server_context)) as server:
        with open_websocket(server, client_context) as client:
            with connect(server) as refused:
                assert refused.read_to_end() == b""
            check_echo(client)
            client.close()
    assert len(lines(caplog)) == 1
    assert lines(caplog)[0].startswith("refusing connections: the server has 1 connections")


def test_no_connection_cap() -> None:
    with running(WebSocketServer(LOCAL, echo, max_connections=None)) as server:
        with open_websocket(server) as client:
            check_echo(client)


def test_refused_clients_that_do_not_go_away() -> None:
    with running(WebSocketServer(LOCAL, echo, max_connections=1)) as server:
        with open_websocket(server), connect(server) as refused:
            assert refused.read_response()[0] == 503
            assert server._refusals is not None
            wait_until(lambda: server._refusals and not server._refusals._kept)


def test_thread_that_cannot_be_started(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    failing = True

    def start_or_fail(thread: threading.Thread) -> None:
        if failing and thread.name == "syncws-connection":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_fail)
    with running(WebSocketServer(LOCAL, echo)) as server:
        for _ in range(3):
            with connect(server) as client:
                assert client.read_response()[0] == 503
        failing = False
        with open_websocket(server) as client:
            check_echo(client)
    assert len(lines(caplog)) == 1
    assert "can't start new thread" in lines(caplog)[0]


class CountingServer(WebSocketServer):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.attempts: list[float] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        self.attempts.append(time.monotonic())
        return super().get_request()


def test_out_of_descriptors(caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running(CountingServer(LOCAL, echo)) as server:
        assert isinstance(server, CountingServer)
        wait_until(lambda: server._wake)
        client = socket.socket()
        spare = os.open(os.devnull, os.O_RDONLY)
        fillers = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 10, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    fillers.append(os.dup(spare))
            client.connect(server.server_address)
            wait_until(lambda: len(server.attempts) > 3)
        finally:
            for descriptor in [spare, *fillers]:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        # It recovers, and the client that waited is served.
        with ClientSocket(client) as recovered:
            recovered.send(ws_request())
            assert recovered.read_head()[0] == 101
            check_echo(recovered)
        # The loop did not spin, and said once what is wrong.
        attempts = server.attempts[:4]
        assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(attempts))
    assert len(lines(caplog)) == 1
    assert "cannot accept connections for the moment" in lines(caplog)[0]


def test_client_that_is_gone_before_it_is_accepted(caplog: pytest.LogCaptureFixture) -> None:
    server_context, _ = tls_contexts()
    caplog.set_level(logging.DEBUG, "syncws")
    with WebSocketServer(LOCAL, echo, ssl=server_context) as server:
        client = socket.create_connection(server.server_address)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        server.handle_request()
        wait_until(lambda: not server._connections)
    assert lines(caplog) == []
    assert len(lines(caplog, logging.DEBUG)) == 1
    with WebSocketServer(LOCAL, echo) as server:
        server.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.get_request()


def test_verify_request(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Callable[[], bool]] = [lambda: False, lambda: bool(1 / 0), lambda: True]

    class Server(WebSocketServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return answers.pop(0)()

    with running(Server(LOCAL, echo)) as server:
        for _ in range(2):
            with connect(server) as client:
                assert client.read_to_end() == b""
        with open_websocket(server) as client:
            check_echo(client)
    assert len(lines(caplog)) == 1
    assert "ZeroDivisionError" in caplog.text


def test_handle_request() -> None:
    with WebSocketServer(LOCAL, echo, max_connections=1) as server:
        with Running(server.handle_request):
            client = open_websocket(server)
        check_echo(client)
        with Running(server.handle_request), connect(server) as refused:
            # Without the loop nobody could wait for the client to take an answer.
            assert refused.read_to_end() == b""
        with Running(server.shutdown):
            end_websocket(client, GOING_AWAY)


# The end.


def test_shutdown_tells_every_websocket(caplog: pytest.LogCaptureFixture) -> None:
    with running(WebSocketServer(LOCAL, echo)) as server:
        clients = [open_websocket(server) for _ in range(50)]
        with Running(server.shutdown), selectors.DefaultSelector() as selector:
            for client in clients:
                selector.register(client.sock, selectors.EVENT_READ)
            for client in clients:
                end_websocket(client, GOING_AWAY)
        assert server._connections == {}
    assert lines(caplog) == []


def test_shutdown_drops_idle_connections_and_finishes_requests() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        entered.set()
        assert go_on.wait(DEADLINE)
        return app(environ, start_response)

    with running(WSGIServer(LOCAL, slow, keepalive_timeout=None, open_timeout=None)) as server:
        with connect(server) as idle, connect(server) as busy:
            busy.send(get("/busy"))
            assert entered.wait(DEADLINE)
            wait_until(lambda: len(server._connections) == 2)
            with Running(server.shutdown) as shutdown:
                assert idle.read_to_end() == b""
                wait_until(lambda: all(connection._stopping for connection in server._others()))
                assert shutdown.running
                go_on.set()
                status, headers, body = busy.read_response()
                assert (status, headers["connection"], body) == (200, "close", b"/busy")
                assert busy.read_to_end() == b""
                busy.close()


def test_shutdown_drops_what_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()

    def handler(ws: WebSocket) -> None:
        assert go_on.wait(DEADLINE)

    with running(WebSocketServer(LOCAL, handler, shutdown_timeout=0.05)) as server:
        client = open_websocket(server)
        server.shutdown()
        assert client.read_frame()[1][:2] == GOING_AWAY
        assert client.read_to_end() == b""
        go_on.set()
        client.close()
        wait_until(lambda: not server._connections)
    assert lines(caplog) == ["dropping 1 connections that are still open after 0.05 s"]


def test_shutdown_before_serve_forever_and_twice() -> None:
    with WebSocketServer(LOCAL, echo) as server:
        server.shutdown()
        server.shutdown()
        server.serve_forever()
        # What was accepted by then is dropped.
        left, right = socket.socketpair()
        server.process_request(left, "")
        with ClientSocket(right) as client:
            assert client.read_to_end() == b""
        wait_until(lambda: not server._connections)


def test_shutdown_by_several_threads() -> None:
    with running(WebSocketServer(LOCAL, echo)) as server:
        client = open_websocket(server)
        with Running(server.shutdown), Running(server.shutdown):
            end_websocket(client, GOING_AWAY)


def test_shutdown_by_a_handler() -> None:
    def handler(ws: WebSocket) -> None:
        ws.receive()
        server.shutdown()
        done.set()

    done = threading.Event()
    with running(WebSocketServer(LOCAL, handler, shutdown_timeout=None)) as server:
        first, second = open_websocket(server), open_websocket(server)
        first.send(frame(TEXT, b"stop"))
        # It waits for the other one, and not for itself.
        end_websocket(second, GOING_AWAY)
        end_websocket(first, GOING_AWAY)
        assert done.wait(DEADLINE)


def test_shutdown_by_a_signal_handler() -> None:
    with WebSocketServer(LOCAL, echo) as server:
        previous = signal.signal(signal.SIGUSR1, lambda *_: server.shutdown())
        try:

            def stop() -> None:
                client = open_websocket(server)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                end_websocket(client, GOING_AWAY)

            with Running(stop):
                server.serve_forever()
        finally:
            signal.signal(signal.SIGUSR1, previous)


@pytest.mark.parametrize("path", [False, True], ids=["TCP", "Unix"])
def test_shutdown_leaves_nobody_in_the_queue(path: bool, tmp_path: Path) -> None:
    class Slow(WebSocketServer):
        """Is in no hurry: clients wait in its queue."""

        def service_actions(self) -> None:
            at_work.set()
            assert go_on.wait(DEADLINE)

    at_work, go_on = threading.Event(), threading.Event()
    socket_path = tmp_path / "socket"
    server = Slow(str(socket_path) if path else LOCAL, echo)
    with Running(lambda: server.serve_forever(poll_interval=0.01)):
        assert at_work.wait(DEADLINE)
        waiting = connect(server)
        with Running(server.shutdown):
            wait_until(lambda: server._stopping)
            go_on.set()
    with waiting, contextlib.suppress(ConnectionResetError):
        assert waiting.read_to_end() == b""
    with pytest.raises(ConnectionRefusedError):
        connect(server)
    assert socket_path.exists() == path
    server.server_close()
    assert not socket_path.exists()


def test_shutdown_without_serve_forever_leaves_nobody_in_the_queue() -> None:
    with WebSocketServer(LOCAL, echo) as server, connect(server) as waiting:
        server.shutdown()
        with contextlib.suppress(ConnectionResetError):
            assert waiting.read_to_end() == b""
        with pytest.raises(ConnectionRefusedError):
            connect(server)


def test_exception_in_serve_forever_ends_the_with_statement_with_shutdown(caplog: pytest.LogCaptureFixture) -> None:
    class Interrupted(WebSocketServer):
        def service_actions(self) -> None:
            if interrupted.is_set():
                raise KeyboardInterrupt

    def serve() -> None:
        with pytest.raises(KeyboardInterrupt):
            with server:
                server.serve_forever(poll_interval=0.01)

    interrupted = threading.Event()
    server = Interrupted(LOCAL, echo)
    with Running(serve):
        client = open_websocket(server)
        interrupted.set()
        end_websocket(client, GOING_AWAY)
    assert server._connections == {}
    assert server.fileno() == -1
    assert lines(caplog) == []


def test_later_shutdown_has_no_time_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()
    with Running(lambda: go_on.wait(DEADLINE)):
        with running(WebSocketServer(LOCAL, lambda ws: go_on.wait(DEADLINE), shutdown_timeout=0.05)) as server:
            client = open_websocket(server)
            for _ in range(3):
                server.shutdown()
        assert len(server._connections) == 1
        go_on.set()
        client.close()
        wait_until(lambda: not server._connections)
    assert len(lines(caplog)) == 1


def test_serve_forever_in_two_threads() -> None:
    with running(WebSocketServer(LOCAL, echo)) as server:
        wait_until(lambda: server._accepting)
        with pytest.raises(RuntimeError, match="running in another thread"):
            server.serve_forever()
        with open_websocket(server) as client:
            check_echo(client)


def test_server_close_leaves_connections_open() -> None:
    with running(WebSocketServer(LOCAL, echo)) as server:
        client = open_websocket(server)
        server.server_close()
        check_echo(client)
        with Running(server.shutdown):
            end_websocket(client, GOING_AWAY)


# Options.


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"colour": "red"}, TypeError, "no option 'colour'; the options are ssl, max_connections, "),
        ({"ssl": True}, TypeError, "ssl must be an ssl.SSLContext or None, not True"),
        ({"max_connections": 0}, ValueError, "max_connections must be at least 1"),
        ({"max_connections": 1.5}, TypeError, "max_connections must be an int or None"),
        ({"max_head_size": None}, TypeError, "max_head_size must be an int, not None"),
        ({"max_target_size": True}, TypeError, "max_target_size must be an int"),
        ({"max_head_fields": -1}, ValueError, "max_head_fields must be at least 1"),
        ({"shutdown_timeout": float("nan")}, ValueError, "shutdown_timeout must be at least 0"),
        ({"shutdown_timeout": "10"}, TypeError, "shutdown_timeout must be a number or None"),
        ({"open_timeout": -1}, ValueError, "open_timeout"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], words: str) -> None:
    for server_class, serves in (WebSocketServer, echo), (WSGIServer, app):
        with pytest.raises(error, match=words):
            server_class(LOCAL, serves, **options)


def test_options_of_the_wsgi_server_only() -> None:
    with pytest.raises(TypeError, match="keepalive_timeout must be a number or None"):
        WSGIServer(LOCAL, app, keepalive_timeout="5")
    with pytest.raises(ValueError, match="body_timeout must be at least 0"):
        WSGIServer(LOCAL, app, body_timeout=-1)
    with pytest.raises(TypeError, match="no option 'body_timeout'"):
        WebSocketServer(LOCAL, echo, body_timeout=1)


def test_wrong_address() -> None:
    with pytest.raises(TypeError, match="an address is"):
        WebSocketServer(8000, echo)  # type: ignore[arg-type]
