"""Servers and client on greenlets, without monkey-patching; and the handler class for pywsgi.

A server has a thread with an event loop of its own here, so that clients which know nothing of greenlets can talk to
it. What a server on greenlets shares with that on threads is tested in ``test_server.py``.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import hashlib
import io
import logging
import resource
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import gevent.socket
import gevent.ssl
import pytest
import trustme
from gevent import pywsgi
from peers import RawPeer, websocket
from raw_client import CLOSE, TEXT, RawClient, frame, request
from wire import ClientSocket, get, tls_contexts, wait_until, ws_request

import syncws
import syncws.gevent
from syncws.errors import ConnectionClosed, HandshakeError
from syncws.gevent import WebSocketHandler, WebSocketServer, WSGIServer
from syncws.transport_gevent import transport_for_greenlets
from syncws.websocket import WebSocket

DEADLINE = 20.0
LOCAL = ("127.0.0.1", 0)
contexts = functools.lru_cache(tls_contexts)


class Loop:
    """A thread with an event loop of greenlets, which runs functions for other threads."""

    def __init__(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(DEADLINE)

    def _run(self, ready: threading.Event) -> None:
        self._hub = gevent.get_hub()
        self._over = gevent.event.Event()
        called = self._hub.loop.async_()  # without anything that could wake it up, an event loop ends
        called.start(lambda: None)
        ready.set()
        self._over.wait()
        called.close()
        self._hub.destroy(destroy_loop=True)

    def start(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Run a function in a greenlet."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        self._hub.loop.run_callback_threadsafe(gevent.spawn, run)
        return future

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function in a greenlet, and return its result."""
        return self.start(function, *args, **kwargs).result(DEADLINE)

    def end(self) -> None:
        self._hub.loop.run_callback_threadsafe(self._over.set)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.end()


@pytest.fixture(autouse=True)
def log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "syncws")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Echoes on /ws; refuses on /refused; fails on /failed; says "plain" elsewhere."""
    path = environ["PATH_INFO"]
    if path in ("/ws", "/failed", "/refused"):
        ws = syncws.upgrade(environ, origins=["https://friend.example"])
        if path == "/failed":
            raise ValueError("this is secret")
        echo(ws)
        return [b"ignored"]
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"plain"]


@contextlib.contextmanager
def running(
    loop: Loop,
    kind: type[Any] = WebSocketServer,
    serves: Any = echo,
    address: Any = LOCAL,
    **options: Any,
) -> Iterator[Any]:
    """A server that runs in an event loop."""
    server = loop.run(kind, address, serves, **options)
    serving = loop.start(server.serve_forever)
    yield server
    loop.run(server.shutdown)
    serving.result(DEADLINE)
    loop.run(server.server_close)


def connect(server: Any, **options: Any) -> RawClient:
    return RawClient(server.server_address, **options)


# The servers.


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_server_serves_many_connections_in_one_thread(loop: Loop, tls: bool) -> None:
    threads = set()
    everybody = gevent.event.Event()
    waiting = []

    def handler(ws: WebSocket) -> None:
        threads.add(threading.get_native_id())
        waiting.append(ws)
        if len(waiting) == 10:
            everybody.set()
        everybody.wait()
        echo(ws)

    server_context, client_context = contexts()
    with running(loop, serves=handler, ssl=server_context if tls else None) as server:
        with contextlib.ExitStack() as stack:
            clients = [
                stack.enter_context(connect(server, tls=client_context if tls else None)).open() for _ in range(10)
            ]
            for client in clients:
                client.echo()
                client.close_normally()
    assert len(threads) == 1
    assert threading.get_native_id() not in threads


def test_what_is_glued_to_the_handshake_is_the_first_message(loop: Loop) -> None:
    with running(loop) as server, connect(server) as client:
        client.open(glued=frame(TEXT, b"first"))
        answer = client.read_frame()
        assert answer is not None
        assert answer.payload == b"first"
        client.close_normally()


def test_a_wsgi_server_serves_plain_requests_and_websockets(loop: Loop) -> None:
    with running(loop, WSGIServer, app) as server, connect(server) as client:
        for _ in range(2):
            client.send(get("/"))
            assert client.read_response().body == b"plain"
        client.open(target="/ws")
        client.echo()
        with connect(server) as other:
            other.send(get("/"))
            assert other.read_response().body == b"plain"
        client.close_normally()


def test_messages_larger_than_any_buffer_go_both_ways(loop: Loop) -> None:
    message = bytes(range(256)) * (8 << 12)  # 8 MiB
    with running(loop, max_message_size=None) as server:
        uri = "ws://{}:{}/".format(*server.server_address)
        with syncws.connect(uri, max_message_size=None) as ws:
            ws.send(message)
            assert hashlib.sha256(ws.receive()).digest() == hashlib.sha256(message).digest()  # type: ignore[arg-type]


def test_addresses(loop: Loop, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with running(loop, address=path), ClientSocket(socket.socket(socket.AF_UNIX)) as client:
        client.sock.connect(path)
        client.send(ws_request())
        assert client.read_head()[0] == 101
    with running(loop, address=("::1", 0)) as server, ClientSocket(socket.socket(socket.AF_INET6)) as client:
        client.sock.connect(server.server_address)
        client.send(ws_request())
        assert client.read_head()[0] == 101


@pytest.mark.parametrize("kind", [socket, gevent.socket], ids=["native", "gevent"])
def test_an_address_may_be_a_listening_socket(loop: Loop, kind: Any) -> None:
    def listen() -> Any:
        sock = kind.socket()
        sock.bind(LOCAL)
        sock.listen()
        return sock

    with running(loop, address=loop.run(listen)) as server, connect(server) as client:
        client.open().echo()
        client.close_normally()


def test_connections_beyond_the_limit_are_refused(loop: Loop) -> None:
    with running(loop, max_connections=1) as server:
        with connect(server) as client:
            client.open()
            with connect(server) as other:
                other.send(request(line="GET / HTTP/1.1"))
                assert other.read_response().status == 503
            client.close_normally()
        wait_until(lambda: not server._connections)
        with connect(server) as client:
            client.open().close_normally()


def test_a_server_without_descriptors_waits_for_better_times(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running(loop) as server:
        with connect(server) as early:
            early.open().echo()
            client = socket.socket()
            fillers = [socket.socket()]
            resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[0].fileno() + 5, hard))
            try:
                with contextlib.suppress(OSError):
                    while True:
                        fillers.append(socket.socket())
                client.connect(server.server_address)
                with ClientSocket(client) as refused:
                    assert refused.read_response()[0] == 503
                    early.echo()  # those that are there do not notice
            finally:
                for filler in fillers:
                    filler.close()
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            with connect(server) as late:
                late.open().echo()
    assert len(lines(caplog)) == 1
    assert "cannot accept connections for the moment" in lines(caplog)[0]


def test_shutdown_tells_the_clients_why(loop: Loop) -> None:
    server = loop.run(WebSocketServer, LOCAL, echo)
    serving = loop.start(server.serve_forever)
    with connect(server) as client:
        client.open()
        stopping = loop.start(server.shutdown, 1012, "back soon")
        answer = client.read_frame()
        assert answer is not None
        assert (answer.opcode, answer.payload) == (CLOSE, b"\x03\xf4back soon")
        client.send(frame(CLOSE, b"\x03\xf4"))
        assert client.read_to_end() == b""
        stopping.result(DEADLINE)
    serving.result(DEADLINE)
    loop.run(server.server_close)


@pytest.mark.parametrize("how", ["stop", "with"])
def test_a_server_starts_and_stops_as_those_of_gevent(loop: Loop, how: str) -> None:
    server = loop.run(WebSocketServer, LOCAL, echo)
    loop.run(server.start)
    with connect(server) as client:
        client.open()
        stopping = loop.start(server.stop if how == "stop" else functools.partial(server.__exit__, None, None, None))
        assert client.read_frame() == (CLOSE, b"\x03\xe9server is shutting down", True, False)
        client.close()
        stopping.result(DEADLINE)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.server_address)


def test_a_client_that_never_stops_does_not_keep_others_waiting(loop: Loop) -> None:
    received = []

    def handler(ws: WebSocket) -> None:
        for message in ws:
            received.append(len(message))
            if ws.path == "/echo":
                ws.send(message)

    over = threading.Event()

    def flood(client: RawClient) -> None:
        block = frame(TEXT, b"x" * 1000) * 100
        with contextlib.suppress(OSError):
            while not over.is_set():
                client.send(block)

    with running(loop, serves=handler) as server, connect(server) as busy, connect(server) as other:
        busy.open()
        flooding = threading.Thread(target=flood, args=(busy,))
        flooding.start()
        try:
            wait_until(lambda: len(received) > 1000)
            other.open(target="/echo")
            for _ in range(20):
                other.echo()
            with connect(server) as new:
                new.open(target="/echo").echo()
        finally:
            over.set()
            flooding.join(DEADLINE)


# Greenlets that are killed, or run out of time, in a connection.


@contextlib.contextmanager
def one_connection(
    loop: Loop, handler: Callable[[WebSocket], Any], kind: str = "handler", **options: Any
) -> Iterator[RawClient]:
    """The client of a server with a handler, in a WebSocketServer or in the app of a WSGIServer."""

    def as_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        handler(syncws.upgrade(environ))
        return []

    is_wsgi = kind == "wsgi"
    server_class = WSGIServer if is_wsgi else WebSocketServer
    with running(loop, server_class, as_app if is_wsgi else handler, **options) as server:
        with connect(server) as client:
            yield client.open()


def test_time_that_runs_out_in_receive_loses_nothing(loop: Loop) -> None:
    timeouts = []

    def handler(ws: WebSocket) -> None:
        for _ in range(2):
            with gevent.Timeout(0.05) as timeout:
                try:
                    ws.receive()
                except gevent.Timeout as caught:
                    assert caught is timeout
                    timeouts.append(caught)
                    ws.send("timeout")
        echo(ws)

    def next_payload(client: RawPeer) -> bytes:
        answer = client.read_frame()
        assert answer is not None
        return answer.payload

    with one_connection(loop, handler) as client:
        assert next_payload(client) == b"timeout"
        message = frame(TEXT, b"in two pieces")
        client.send(message[:10])
        assert next_payload(client) == b"timeout"
        client.send(message[10:])
        assert next_payload(client) == b"in two pieces"
        client.close_normally()
    assert len(timeouts) == 2


def test_time_that_runs_out_in_a_handler_is_its_failure(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    def handler(ws: WebSocket) -> None:
        with gevent.Timeout(0.01):
            ws.receive()

    with one_connection(loop, handler) as client:
        answer = client.read_frame()
        assert answer is not None
        assert answer.payload[:2] == b"\x03\xf3"
    assert len(lines(caplog)) == 1


@pytest.mark.parametrize("kind", ["handler", "wsgi"])
@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_who_kills_a_connections_greenlet_ends_the_websocket(
    loop: Loop, kind: str, again: bool, caplog: pytest.LogCaptureFixture
) -> None:
    greenlets: list[Any] = []

    def handler(ws: WebSocket) -> None:
        greenlets.append(gevent.getcurrent())
        ws.send("ready")
        ws.receive()

    with one_connection(loop, handler, kind) as client:
        client.read_frame()
        [greenlet] = greenlets
        killing = loop.start(greenlet.kill)
        answer = client.read_frame()
        assert answer is not None
        assert (answer.opcode, answer.payload[:2]) == (CLOSE, b"\x03\xe9")
        if again:  # it waits for the client's close frame now
            loop.run(greenlet.kill)
        else:
            client.send(frame(CLOSE, b"\x03\xe9"))
        killing.result(DEADLINE)
        assert client.read_to_end() == b""
    assert lines(caplog) == []


def test_a_killed_greenlet_leaves_the_connection_to_others(loop: Loop) -> None:
    def handler(ws: WebSocket) -> None:
        greenlet = gevent.spawn(ws.receive)
        gevent.sleep(0.01)
        greenlet.kill()
        ws.send("killed")
        echo(ws)

    with one_connection(loop, handler) as client:
        client.read_frame()
        client.echo()
        client.close_normally()


def test_close_from_another_greenlet_wakes_receive(loop: Loop) -> None:
    ended = []

    def handler(ws: WebSocket) -> None:
        gevent.spawn_later(0.01, ws.close, 4000)
        try:
            ws.receive()
        except ConnectionClosed as error:
            ended.append(error.code)

    with one_connection(loop, handler) as client:
        answer = client.read_frame()
        assert answer is not None
        assert answer.payload == b"\x0f\xa0"
        client.send(frame(CLOSE, b"\x0f\xa0"))
        assert client.read_to_end() == b""
    assert ended == [4000]


def test_a_callback_of_the_event_loop_sends_and_closes_without_waiting(
    loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    # Signal handlers run in the event loop as well, when it is waiting.
    def handler(ws: WebSocket) -> None:
        def callback() -> None:
            for _ in range(200):
                ws.send("from the event loop")
            ws.close(4000)

        gevent.get_hub().loop.run_callback(callback)
        echo(ws)

    with one_connection(loop, handler) as client:
        for _ in range(200):
            client.read_frame()
        assert client.read_frame() == (CLOSE, b"\x0f\xa0", True, False)
        client.send(frame(CLOSE, b"\x0f\xa0"))
        assert client.read_to_end() == b""
    assert capsys.readouterr().err == ""


def test_greenlets_may_send_at_once(loop: Loop) -> None:
    def handler(ws: WebSocket) -> None:
        def send(number: int) -> None:
            for _ in range(20):
                ws.send(bytes([number]) * 20_000)

        gevent.joinall([gevent.spawn(send, number) for number in range(20)], raise_error=True)

    with one_connection(loop, handler) as client:
        count = 0
        while (answer := client.read_frame()) is not None and answer.opcode != CLOSE:
            assert answer.payload == answer.payload[:1] * 20_000
            count += 1
        assert count == 400


# pywsgi.


@contextlib.contextmanager
def pywsgi_server(loop: Loop, app: Callable[..., Any] = app, **options: Any) -> Iterator[tuple[Any, io.StringIO]]:
    log = io.StringIO()

    def start() -> Any:
        server = pywsgi.WSGIServer(LOCAL, app, handler_class=WebSocketHandler, log=log, error_log=log, **options)
        server.start()
        return server

    server = loop.run(start)
    server.server_address = server.address
    yield server, log
    loop.run(server.stop)


def log_of(log: io.StringIO) -> list[str]:
    """What has been logged, without the address before and the duration behind."""
    return [line.split("] ")[1].rsplit(" ", 1)[0] for line in log.getvalue().splitlines()]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_handler_for_pywsgi(loop: Loop, tls: bool, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    client_context: Any = None
    options: dict[str, Any] = {}
    if tls:
        context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority_issue(context, tmp_path)
        client_context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        options["ssl_context"] = context
    with pywsgi_server(loop, **options) as (server, log):
        with connect(server, tls=client_context) as client:
            client.send(get("/"))
            assert client.read_response().body == b"plain"
            client.open(target="/ws", glued=frame(TEXT, b"first"))
            answer = client.read_frame()
            assert answer is not None
            assert answer.payload == b"first"
            client.echo()
            client.close_normally()
        wait_until(lambda: len(log_of(log)) == 2)
    plain, upgraded = log_of(log)
    assert plain.startswith('"GET / HTTP/1.1" 200')
    assert upgraded == '"GET /ws HTTP/1.1" 101 -'
    assert lines(caplog) == []


def authority_issue(context: Any, directory: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    certificate = directory / "both.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    context.load_cert_chain(str(certificate))


def test_pywsgi_app_that_fails_after_the_upgrade(
    loop: Loop, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with pywsgi_server(loop) as (server, log):
        with connect(server) as client:
            client.open(target="/failed")
            answer = client.read_frame()
            assert answer is not None
            assert (answer.opcode, answer.payload[:2]) == (CLOSE, b"\x03\xf3")
            assert b"secret" not in answer.payload
            client.send(frame(CLOSE, b"\x03\xf3"))
            assert client.read_to_end() == b""
        wait_until(lambda: len(log_of(log)) == 1)
        wait_until(lambda: capsys.readouterr().err.count("ValueError: this is secret") == 1)
    assert log_of(log) == ['"GET /failed HTTP/1.1" 101 -']
    assert lines(caplog) == []


def test_pywsgi_app_that_lets_a_refusal_escape(
    loop: Loop, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with pywsgi_server(loop) as (server, log):
        with connect(server) as client:
            client.send(ws_request("/refused", "Origin: https://evil.example"))
            response = client.read_response()
            assert response.status == 403
            # Plain HTTP goes on, as nothing has happened to the connection.
            client.send(get("/refused"))
            response = client.read_response()
            assert response.status == 426
            assert response.headers["Upgrade"] == "websocket"
        wait_until(lambda: len(log_of(log)) == 2)
    assert capsys.readouterr().err == ""
    assert all("refused" in line for line in lines(caplog))
    assert len(lines(caplog)) == 2


def test_pywsgi_app_whose_refusal_comes_too_late(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    def too_late(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
        yield b"begin"
        raise HandshakeError("too late", status=400)

    with pywsgi_server(loop, too_late) as (server, _):
        with ClientSocket(socket.create_connection(server.address)) as client:
            client.send(get("/"))
            assert client.read_head()[0] == 200
            assert client.read_to_end() == b"begin"
        wait_until(lambda: "too late" in capsys.readouterr().err)


# The client.


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_client_lets_other_greenlets_run(tls: bool) -> None:
    server_context, client_context = contexts()
    turns = []
    with socket.create_server(LOCAL) as listener:
        answered = threading.Event()

        def serve() -> None:
            sock, _ = listener.accept()
            if tls:
                sock = server_context.wrap_socket(sock, server_side=True)
            with syncws.accept(sock) as ws:
                ws.send("hello")
                assert answered.wait(DEADLINE)
                with contextlib.suppress(ConnectionClosed):
                    ws.receive()

        thread = threading.Thread(target=serve)
        thread.start()

        def take_turns() -> None:
            while len(turns) < 3:
                turns.append("turn")
                gevent.sleep(0)
            answered.set()

        scheme, host = ("wss", "localhost") if tls else ("ws", "127.0.0.1")
        options: dict[str, Any] = {"ssl": client_context} if tls else {}
        with syncws.gevent.connect(f"{scheme}://{host}:{listener.getsockname()[1]}/", **options) as ws:
            assert ws.receive() == "hello"
            gevent.spawn(take_turns)
            ws.close(4001)
        thread.join(DEADLINE)
    assert not thread.is_alive()
    assert len(turns) == 3


def test_a_client_on_a_socket_of_ones_own(loop: Loop) -> None:
    with running(loop) as server:
        sock = gevent.socket.create_connection(server.server_address)
        with syncws.gevent.connect("ws://example.com/", sock=sock) as ws:  # type: ignore[arg-type]
            ws.send("hello")
            assert ws.receive() == "hello"


def test_a_client_that_is_refused(loop: Loop) -> None:
    with running(loop) as server:
        uri = "ws://{}:{}/".format(*server.server_address)
        with pytest.raises(HandshakeError) as caught:
            syncws.gevent.connect(uri, headers={"Origin": "https://evil.example"})
        assert caught.value.status == 403
    with pytest.raises(OSError, match=r"."):
        syncws.gevent.connect(uri)


# Everything patched.

PATCHED = """
import gevent.monkey
gevent.monkey.patch_all()
import socket, threading
import syncws
from syncws.transport_gevent import GreenletTransport

transports = []

def app(environ, start_response):
    ws = syncws.upgrade(environ)
    transports.append(type(ws._transport))
    for message in ws:
        ws.send(message)
    return []

with syncws.WSGIServer(("127.0.0.1", 0), app) as server:
    accepting = threading.Thread(target=server.serve_forever)
    accepting.start()
    with syncws.connect("ws://%s:%d/" % server.server_address) as ws:
        transports.append(type(ws._transport))
        ws.send("x" * 1000000)
        assert len(ws.receive()) == 1000000
    server.shutdown()
    accepting.join()
assert transports == [GreenletTransport] * 2, transports
print("done")
"""


def test_with_everything_patched_the_servers_for_threads_have_greenlets() -> None:
    result = subprocess.run([sys.executable, "-c", PATCHED], capture_output=True, text=True, timeout=DEADLINE * 3)
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)


SIGNALLED = """
import signal
import gevent
import syncws.gevent

def echo(ws):
    for message in ws:
        ws.send(message)

server = syncws.gevent.WebSocketServer(("127.0.0.1", 0), echo)
HOW
codes = []

def client():
    ws = syncws.gevent.connect("ws://127.0.0.1:%d/" % server.server_address[1])
    ws.send("ready")
    ws.receive()
    # In a moment, when everybody waits: then the event loop is what the signal interrupts.
    gevent.get_hub().loop.run_callback(signal.raise_signal, signal.SIGTERM)
    try:
        ws.receive()
    except syncws.ConnectionClosed as error:
        codes.append(error.code)

talking = gevent.spawn(client)
server.serve_forever()
talking.join()
server.server_close()
assert codes == [1001], codes
"""


@pytest.mark.parametrize(
    "how",
    [
        "signal.signal(signal.SIGTERM, lambda *_: server.shutdown())",
        "gevent.signal_handler(signal.SIGTERM, server.shutdown)",
    ],
    ids=["signal", "gevent"],
)
def test_shutdown_in_a_signal_handler(how: str) -> None:
    program = SIGNALLED.replace("HOW", how)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_timeout_while_the_end_of_tcp_is_waited_for() -> None:
    one, two = socket.socketpair()
    with contextlib.closing(two):
        ws = websocket(transport_for_greenlets(one), "client")
        two.sendall(b"\x88\x02\x03\xe8")  # and it keeps TCP open
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
            ws.receive()
        # The peer has a second in all, and not for ever.
        with pytest.raises(ConnectionClosed) as caught, gevent.Timeout(DEADLINE):
            ws.receive()
        assert caught.value.code == 1000


def test_a_tls_socket_of_gevent_is_taken_as_it_is(loop: Loop) -> None:
    with running(loop, ssl=contexts()[0]) as server:

        def talk() -> str:
            raw = gevent.socket.create_connection(server.server_address[:2])
            context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            ws = syncws.gevent.connect("wss://localhost/", sock=context.wrap_socket(raw))
            with ws:
                ws.send("hello")
                return str(ws.receive(DEADLINE))

        assert loop.run(talk) == "hello"
