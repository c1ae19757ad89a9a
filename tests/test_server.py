"""The servers: the accept loop, its limits, its end, on all kinds of sockets."""

from __future__ import annotations

import contextlib
import errno
import gc
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
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import no_idle_threads, pair
from wire import DEADLINE, ClientSocket, Running, frame, get, tls_contexts, wait_until, ws_request

from syncws.listener import Listener
from syncws.listener_headroom import NoHeadroom
from syncws.server import WebSocketServer
from syncws.server_wsgi import WSGIServer
from syncws.serving import ServedConnection
from syncws.transport import Transport
from syncws.websocket import WebSocket
from syncws.wsgi import upgrade

TEXT, CLOSE = 1, 8
NORMAL, GOING_AWAY, INTERNAL_ERROR, RESTART = b"\x03\xe8", b"\x03\xe9", b"\x03\xf3", b"\x03\xf4"
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


# What is wrong when it is made.


def generator_function(ws: WebSocket) -> Iterator[str]:
    yield from map(str, ws)


@pytest.mark.parametrize("handler", [None, "echo", generator_function(None)])  # type: ignore[arg-type]
def test_handler_that_is_no_function(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"a function that takes a WebSocket, not .*; write handler, not handler\(\)"):
        WebSocketServer(LOCAL, handler)


@pytest.mark.parametrize("app", [None, "module:app", []])
def test_app_that_is_no_function(app: Any) -> None:
    with pytest.raises(TypeError, match=r"the WSGI app must be a function or an object that can be called, not "):
        WSGIServer(LOCAL, app)


def test_host_and_port_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for server, argument in (WebSocketServer, echo), (WSGIServer, app):
        with pytest.raises(ValueError, match=r"write \('', 8000\)"):
            server(":8000", argument)
    assert list(tmp_path.iterdir()) == []


def test_port_in_use() -> None:
    with socket.create_server(LOCAL) as other:
        address = other.getsockname()
        for server, argument in (WebSocketServer, echo), (WSGIServer, app):
            with pytest.raises(OSError, match=rf"in use: '127\.0\.0\.1:{address[1]}'"):
                server(address, argument)


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


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_socket_that_listens_already(family: int, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listening = socket.socket(family)
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    listening.bind(str(path) if family == socket.AF_UNIX else (host, 0))
    listening.listen()
    name = listening.getsockname()
    # Another process may go on to use it.
    copy = listening.dup()
    with running(WebSocketServer(listening, echo)) as server:
        assert (server.server_address, server.address_family) == (name, family)
        assert server.fileno() == listening.fileno()
        with open_websocket(server) as client:
            check_echo(client)
    assert listening.fileno() == -1
    assert path.exists() == (family == socket.AF_UNIX)
    with running(WSGIServer(copy, app)) as server, connect(server) as client:
        client.send(get("/"))
        assert client.read_response()[2] == b"/"


def test_socket_that_does_not_listen() -> None:
    with socket.socket() as sock:
        with pytest.raises(ValueError, match="does not listen"):
            WebSocketServer(sock, echo)
        # It stays the caller's.
        assert sock.fileno() > 0


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


def fail(ws: WebSocket) -> None:
    ws.receive()
    raise RuntimeError("the handler's own")


def send_on(ws: WebSocket) -> None:
    while True:
        ws.send(bytes(1000))


@pytest.mark.parametrize("wsgi", [False, True], ids=["handler", "wsgi"])
@pytest.mark.parametrize("handler", [fail, echo, send_on])
@pytest.mark.parametrize("data", [frame(0x1, b"text"), frame(0x1, b"\xff"), b""], ids=["text", "no UTF-8", "nothing"])
def test_thread_of_a_connection_that_ended_badly_waits_for_no_garbage_collector(
    wsgi: bool, handler: Callable[[WebSocket], None], data: bytes
) -> None:
    threads: list[weakref.ref[threading.Thread]] = []

    def noting(ws: WebSocket) -> None:
        threads.append(weakref.ref(threading.current_thread()))
        handler(ws)

    def app(environ: dict[str, Any], start_response: object) -> Iterable[bytes]:
        noting(upgrade(environ))
        return []

    server = WSGIServer(LOCAL, app) if wsgi else WebSocketServer(LOCAL, noting)
    gc.disable()
    logging.disable()  # pytest keeps what is logged, with tracebacks and all that they hold
    try:
        with running(server):
            client = open_websocket(server)
            client.send(data)
            client.close()
            wait_until(lambda: threads and threads[0]() is None)
    finally:
        logging.disable(logging.NOTSET)
        gc.enable()


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


@contextlib.contextmanager
def keeper_running() -> Iterator[None]:
    """The keeper runs, and neither begins nor ends, which takes or gives back a thread and a descriptor."""
    # Not those of a server, whose accept loop would ask for descriptors as well.
    with pair():
        # One that was about to end may still be there.
        wait_until(lambda: [thread.name for thread in threading.enumerate()].count("syncws-keeper") == 1)
        yield


def test_many_who_have_been_waiting() -> None:
    server = WebSocketServer(LOCAL, echo)
    clients = [connect(server) for _ in range(50)]
    with running(server):
        for client in clients:
            client.send(ws_request())
        for client in clients:
            assert client.read_head()[0] == 101
            check_echo(client)
            client.close()


def test_each_connection_has_one_thread() -> None:
    seen = []

    def handler(ws: WebSocket) -> None:
        seen.append(threading.current_thread())
        echo(ws)

    no_idle_threads()
    with keeper_running(), running(WebSocketServer(LOCAL, handler)) as server:
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
                assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "5")
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

    no_idle_threads()
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


def test_memory_that_is_not_enough_for_another_thread(caplog: pytest.LogCaptureFixture) -> None:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with keeper_running(), running(WebSocketServer(LOCAL, echo)) as server:
        with open_websocket(server) as early:
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + (6 << 20), limits[1]))
            try:
                began = time.monotonic()
                for _ in range(25):
                    with connect(server) as client:
                        assert client.read_response()[0] == 503
                # Two pauses, in which nobody was accepted.
                assert time.monotonic() - began > 0.1
                check_echo(early)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limits)
        with open_websocket(server) as client:
            check_echo(client)
    assert len(lines(caplog)) == 1
    assert "no thread for the connection: not even 10 MiB" in lines(caplog)[0]


class CountingServer(WebSocketServer):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.attempts: list[float] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        self.attempts.append(time.monotonic())
        return super().get_request()


@contextlib.contextmanager
def no_descriptors() -> Iterator[list[int]]:
    """This process has all the descriptors that it may have, the keeper's among them; yields some to be closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with keeper_running():
        spare = os.open(os.devnull, os.O_RDONLY)
        fillers = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 10, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    fillers.append(os.dup(spare))
            yield fillers
        finally:
            for descriptor in [spare, *fillers]:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect_with(sock: socket.socket, server: Listener) -> ClientSocket:
    """Connect with a socket that was made while there were descriptors."""
    sock.connect(server.server_address)
    return ClientSocket(sock)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_out_of_descriptors(secure: bool, caplog: pytest.LogCaptureFixture) -> None:
    server_context, client_context = tls_contexts() if secure else (None, None)
    with running(CountingServer(LOCAL, echo, ssl=server_context)) as server:
        assert isinstance(server, CountingServer)
        # The loop has what it needs, and its spare descriptor.
        open_websocket(server, client_context).close()
        wait_until(lambda: not server._connections)
        first = len(server.attempts)
        sockets = [socket.socket() for _ in range(15)]
        with no_descriptors():
            clients = [connect_with(sock, server) for sock in sockets]
            for client in clients:
                if not secure:
                    status, headers, _ = client.read_response()
                    assert (status, headers["retry-after"]) == (503, "5")
                assert client.read_to_end() == b""
        for client in clients:
            client.close()
        with open_websocket(server, client_context) as client:
            check_echo(client)
        # It does not spin, however many have come.
        assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(server.attempts[first:-1]))
    assert len(lines(caplog)) == 1
    assert "cannot accept connections for the moment" in lines(caplog)[0]


def test_out_of_descriptors_and_of_the_spare_one(caplog: pytest.LogCaptureFixture) -> None:
    with running(CountingServer(LOCAL, echo)) as server:
        assert isinstance(server, CountingServer)
        wait_until(lambda: server._refusals)
        first, second = socket.socket(), socket.socket()
        with no_descriptors():
            assert server._refusals is not None
            server._refusals.lend()
            server._refusals.restore = lambda: False  # type: ignore[method-assign]  # another thread is always faster
            thief = os.dup(0)
            client = connect_with(first, server)
            wait_until(lambda: len(server.attempts) > 3)
            os.close(thief)
            # It has waited all the time, and is served.
            client.send(ws_request())
            assert client.read_head()[0] == 101
            waiting = connect_with(second, server)
            wait_until(lambda: len(server.attempts) > 6)
            check_echo(client)
            waiting.close()
            client.close()
        attempts = server.attempts[:4]
        assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(attempts))
    assert len(lines(caplog)) == 1


def test_last_descriptor_is_enough_for_the_last_client(caplog: pytest.LogCaptureFixture) -> None:
    with running(CountingServer(LOCAL, echo)) as server:
        assert isinstance(server, CountingServer)
        wait_until(lambda: server._refusals)
        sock = socket.socket()
        with no_descriptors() as fillers:
            os.close(fillers.pop())
            with connect_with(sock, server) as client:
                client.send(ws_request())
                assert client.read_head()[0] == 101
                check_echo(client)
                # It has looked for another one, and that there was no descriptor for nobody is no error.
                wait_until(lambda: len(server.attempts) > 1)
    assert lines(caplog) == []


def test_refused_clients_that_stay_do_not_take_the_descriptors_of_others(caplog: pytest.LogCaptureFixture) -> None:
    with running(WebSocketServer(LOCAL, echo, max_connections=1)) as server:
        first = open_websocket(server)
        sock = socket.socket()
        refused = [connect(server) for _ in range(3)]
        assert [client.read_response()[0] for client in refused] == [503] * 3
        with no_descriptors():
            first.close()
            wait_until(lambda: not server._connections)
            fillers = []
            with contextlib.suppress(OSError):
                while True:
                    fillers.append(os.dup(0))
            with connect_with(sock, server) as client:
                client.send(ws_request())
                assert client.read_head()[0] == 101
            for filler in fillers:
                os.close(filler)
        for client in refused:
            client.close()
    assert len(lines(caplog)) == 1


def test_descriptors_that_are_there_again_when_the_spare_one_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spare:
        def give_way(self) -> bool:
            return False

        def lend(self) -> bool:
            return True

        def restore(self) -> bool:
            return True

    class Short:
        """A listening socket that is out of descriptors for once."""

        def accept(self) -> Any:
            monkeypatch.undo()
            raise OSError(errno.EMFILE, "Too many open files")

    with WebSocketServer(LOCAL, echo) as server, socket.create_connection(server.server_address) as client:
        server._refusals = Spare()  # type: ignore[assignment]
        monkeypatch.setattr(server, "socket", Short())
        accepted, address = server.get_request()
        assert address == client.getsockname()
        accepted.close()
        server._refusals = None


def test_out_of_descriptors_without_the_loop() -> None:
    with CountingServer(LOCAL, echo) as server:
        sock = socket.socket()
        with no_descriptors():
            client = connect_with(sock, server)
            began = time.monotonic()
            with pytest.raises(OSError, match="Too many open files"):
                server.get_request()
            assert time.monotonic() - began > 0.05
        with Running(server.handle_request):
            client.send(ws_request())
            assert client.read_head()[0] == 101
            client.close()


def test_out_of_memory(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Server(WebSocketServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            if short:
                raise MemoryError
            return True

        def service_actions(self) -> None:
            if short and server._places._taken:
                raise MemoryError

    short = False
    with running(Server(LOCAL, echo)) as server:
        with open_websocket(server) as early:
            short = True
            for _ in range(3):
                with connect(server) as client:
                    client.send(ws_request())
                    assert client.read_response()[0] == 503, "no reset, because of the request that nobody reads"
            check_echo(early)
            short = False
            with open_websocket(server) as client:
                check_echo(client)
    assert lines(caplog) == ["no memory for the moment: the connection that came is closed"]


def test_connection_that_cannot_be_served_takes_no_place(caplog: pytest.LogCaptureFixture) -> None:
    class Server(WebSocketServer):
        def _serve_on(self, transport: Transport) -> ServedConnection:
            if failures:
                raise failures.pop()
            return super()._serve_on(transport)

    failures = [ConnectionResetError(), ValueError("a mistake")]
    with running(Server(LOCAL, echo, max_connections=1)) as server:
        while failures:
            with connect(server) as client:
                assert client.read_to_end() == b""
        failures.append(MemoryError())
        with connect(server) as client:
            assert client.read_response()[0] == 503
        with open_websocket(server) as client:
            check_echo(client)
    assert len(lines(caplog)) == 2
    assert "cannot serve" in lines(caplog)[0]
    assert "no memory" in lines(caplog)[1]


def test_memory_runs_out_behind_a_refusal(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Server(WebSocketServer):
        def _pause(self) -> None:
            if failures:
                raise failures.pop()

    def no_headroom(runtime: object) -> None:
        raise NoHeadroom

    failures = [MemoryError()]
    monkeypatch.setattr("syncws.listener._REFUSED_AT_ONCE", 1)
    monkeypatch.setattr("syncws.listener.check_headroom", no_headroom)
    with running(Server(LOCAL, echo)) as server:
        for _ in range(2):
            with connect(server) as client:
                client.send(ws_request())
                assert client.read_to_end().count(b"HTTP/1.1 503 ") == 1
    assert not failures
    assert ["no memory" in line for line in lines(caplog)] == [False, True]


def test_log_when_a_shortage_is_over(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncws.bursts._CALM", 0.2)
    with running(WebSocketServer(LOCAL, echo, max_connections=1)) as server:
        with open_websocket(server):
            for _ in range(3):
                with connect(server) as client:
                    assert client.read_response()[0] == 503
            wait_until(lambda: len(lines(caplog)) == 2)
    assert "max_connections" in lines(caplog)[0]
    assert lines(caplog)[1].startswith("over: refusing connections (max_connections), 3 times in 0.")


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
        assert len(server._connections) == 0
    assert lines(caplog) == []


@pytest.mark.parametrize("arguments", [(1012,), (1012, "back soon")])
def test_shutdown_with_another_code(arguments: tuple[Any, ...]) -> None:
    with running(WebSocketServer(LOCAL, echo)) as server:
        client = open_websocket(server)
        for wrong, error in ((1005,), ValueError), ((1000, "x" * 124), ValueError), (("1000",), TypeError):
            with pytest.raises(error):
                server.shutdown(*wrong)
        check_echo(client)
        with Running(lambda: server.shutdown(*arguments)):
            reason = arguments[1] if len(arguments) == 2 else "server is shutting down"
            assert client.read_frame() == (CLOSE, RESTART + reason.encode())
            client.send(frame(CLOSE, RESTART))
            assert client.read_to_end() == b""
            client.close()


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
                wait_until(lambda: all(connection._stopping for connection in server._connections._served))
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
            wait_until(lambda: server._connections.stopping)
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
    assert len(server._connections) == 0
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
        ({"ssl": True}, TypeError, "ssl must be an ssl.SSLContext, the files .*, or None, not True"),
        ({"max_connections": 0}, ValueError, "max_connections must be at least 1"),
        ({"max_connections": 1.5}, TypeError, "max_connections must be an int or None"),
        ({"max_handshakes": 0}, ValueError, "max_handshakes must be at least 1"),
        ({"max_connections_per_address": "1"}, TypeError, "max_connections_per_address must be an int or None"),
        ({"trusted_proxies": "10.0.0.0/8"}, TypeError, "trusted_proxies must be a list"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, ValueError, "10.0.0.1/8 has host bits set"),
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


def test_serve_forever_without_a_poll_interval() -> None:
    server = WebSocketServer(LOCAL, lambda ws: None)
    with server, Running(lambda: server.serve_forever(poll_interval=None)):
        with contextlib.closing(connect(server)) as client:
            client.send(ws_request())
            assert client.read_head()[0] == 101
        server.shutdown()


def test_shutdown_in_the_thread_of_the_loop() -> None:
    """As a signal handler calls it, which cannot wait for the loop that it has interrupted."""

    class Stopping(WebSocketServer):
        def service_actions(self) -> None:
            self.shutdown()

    with Stopping(LOCAL, lambda ws: None) as server:
        server.serve_forever(poll_interval=0.01)


def test_files_for_tls_are_read_at_once() -> None:
    for server_class, serves in (WebSocketServer, echo), (WSGIServer, app):
        for files in ("missing.pem", ("missing.pem", "missing.key")):
            with pytest.raises(ValueError, match=r"cannot use the certificate in missing\.pem"):
                server_class(LOCAL, serves, ssl=files)
