"""The access log: a line for each WebSocket of a server at its end, whatever server that is."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import socket
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from commands import running as running_command
from peers import pair, raw_pair
from servers import RunsOn, both, running
from support import require_module
from wire import ClientSocket, Running, frame, wait_until, ws_request

import syncws
from syncws import access_log
from syncws.errors import ConnectionClosed
from syncws.protocol.codes import CLOSE, TEXT
from syncws.websocket import WebSocket

FIELDS = {
    "client_address",
    "path",
    "close_code",
    "duration",
    "messages_received",
    "messages_sent",
    "bytes_received",
    "bytes_sent",
}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[int], list[logging.LogRecord]]:
    """Switch the log on; waits for so many lines, and returns them."""
    caplog.set_level(logging.INFO, "syncws.access")

    def records() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.name == "syncws.access"]

    def wait_for(count: int) -> list[logging.LogRecord]:
        wait_until(lambda: len(records()) >= count)
        assert len(records()) == count
        return records()

    return wait_for


Log = Callable[[int], list[logging.LogRecord]]


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    echo(syncws.upgrade(environ))
    start_response("200 OK", [])
    return []


def talk(client: ClientSocket, target: str = "/chat?token=secret", *fields: str) -> None:
    """Three messages there and back, and the closing handshake."""
    client.send(ws_request(target, *fields))
    assert client.read_head()[0] == 101
    for _ in range(3):
        client.send(frame(TEXT, b"hello"))
        assert client.read_frame() == (TEXT, b"hello")
    client.send(frame(CLOSE, b"\x0f\xa0"))
    assert client.read_frame() == (CLOSE, b"\x0f\xa0")
    assert client.read_to_end() == b""
    client.close()


def client_of(server: Any) -> ClientSocket:
    if isinstance(server.server_address, tuple):
        return ClientSocket(socket.create_connection(server.server_address))
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(server.server_address)
    return ClientSocket(sock)


def check(record: logging.LogRecord, client: str = "127.0.0.1", path: str = "/chat") -> None:
    """The line of talk()."""
    fields = {name: value for name, value in vars(record).items() if name in FIELDS}
    assert 0 < fields.pop("duration") < 60
    assert fields == {
        "client_address": client,
        "path": path,
        "close_code": 4000,
        "messages_received": 3,
        "messages_sent": 3,
        "bytes_received": 3 * 11 + 8,
        "bytes_sent": 3 * 7 + 4,
    }
    start, _, rest = record.getMessage().partition(" s, ")
    start, _, duration = start.rpartition(" ")
    assert start == f"{client} {path} 4000"
    assert 0 <= float(duration) < 60
    assert rest == "received 3 messages (41 bytes), sent 3 messages (25 bytes)"
    assert record.levelno == logging.INFO


# Wherever it comes from.


@both
@pytest.mark.parametrize("kind", ["WebSocketServer", "WSGIServer"])
def test_on_our_servers(runs_on: RunsOn, kind: Any, log: Log) -> None:
    with running(runs_on, kind, echo if kind == "WebSocketServer" else app) as server:
        with client_of(server) as client:
            talk(client)
    check(*log(1))


def test_on_a_plain_socket(log: Log) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with ClientSocket(socket.create_connection(listening.getsockname())) as client:
            sock = listening.accept()[0]
            with Running(lambda: echo_quietly(syncws.accept(sock))):
                talk(client)
    check(*log(1))


def echo_quietly(ws: WebSocket) -> None:
    with contextlib.suppress(ConnectionClosed):
        echo(ws)


@contextlib.contextmanager
def on_wsgiref(app: Any) -> Iterator[Any]:
    class Handler(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            """Not its own log."""

    with make_server("127.0.0.1", 0, app, handler_class=Handler) as server, Running(lambda: server.serve_forever(0.01)):
        yield server
        server.shutdown()


@contextlib.contextmanager
def on_werkzeug(app: Any) -> Iterator[Any]:
    require_module("werkzeug")
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    with Running(lambda: server.serve_forever(poll_interval=0.01)):
        yield server
        server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", [on_wsgiref, on_werkzeug])
def test_on_servers_of_others(host: Any, log: Log) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    def quiet_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        echo_quietly(syncws.upgrade(environ))
        start_response("200 OK", [])
        return []

    with host(quiet_app) as server, client_of(server) as client:
        talk(client)
        check(*log(1))


def test_clients_are_not_logged(log: Log) -> None:
    with pair() as (server, client):
        with Running(lambda: echo_quietly(server)):
            client.close()
    assert len(log(1)) == 1


# The address.


@both
@pytest.mark.parametrize("kind", ["WebSocketServer", "WSGIServer"])
def test_a_client_behind_a_proxy(runs_on: RunsOn, kind: Any, log: Log) -> None:
    serves = echo if kind == "WebSocketServer" else app
    with running(runs_on, kind, serves, trusted_proxies=["127.0.0.1"]) as server:
        with client_of(server) as client:
            talk(client, "/chat", "X-Forwarded-For: 203.0.113.9, 192.0.2.1")
    check(*log(1), client="192.0.2.1")


def test_a_proxy_that_is_not_trusted(log: Log) -> None:
    with running("threads", "WebSocketServer", echo) as server, client_of(server) as client:
        talk(client, "/chat", "X-Forwarded-For: 192.0.2.1")
    check(*log(1))


def test_a_middleware_that_knows_the_client(log: Log) -> None:
    def middleware(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["REMOTE_ADDR"] = environ["HTTP_X_FORWARDED_FOR"] + "\x1b[31m"
        return app(environ, start_response)

    with running("threads", "WSGIServer", middleware) as server, client_of(server) as client:
        talk(client, "/chat", "X-Forwarded-For: 192.0.2.1")
    check(*log(1), client=r"192.0.2.1\x1b[31m")


@pytest.mark.parametrize(
    ("options", "client"), [({}, "-"), ({"trusted_proxies": ["unix"]}, "192.0.2.1")], ids=["direct", "proxied"]
)
@pytest.mark.parametrize("kind", ["WebSocketServer", "WSGIServer"])
def test_a_unix_socket(kind: Any, options: dict[str, Any], client: str, log: Log, tmp_path: Path) -> None:
    serves = echo if kind == "WebSocketServer" else app
    with running("threads", kind, serves, str(tmp_path / "socket"), **options) as server:
        with client_of(server) as sock:
            talk(sock, "/chat", "X-Forwarded-For: 192.0.2.1")
    check(*log(1), client=client)


def test_a_proxy_that_names_nobody(log: Log, tmp_path: Path) -> None:
    with running("threads", "WebSocketServer", echo, str(tmp_path / "socket"), trusted_proxies=["unix"]) as server:
        with client_of(server) as client:
            talk(client)
    check(*log(1), client="-")


# What is in the line.


def test_what_peers_send_is_escaped(log: Log) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with ClientSocket(socket.create_connection(listening.getsockname())) as client:
            sock = listening.accept()[0]

            def serve() -> None:
                ws = syncws.accept(sock)
                # As a host may hand it over, which reads the head itself.
                object.__setattr__(ws.request, "target", "/a\r\nb\x1b[31m\u202e\x85c\xe9?token=\n")
                echo_quietly(ws)

            with Running(serve):
                talk(client)
    check(*log(1), path=r"/a\r\nb\x1b[31m\u202e\x85c" + "\xe9")


def test_the_record_for_a_formatter(log: Log) -> None:
    class JSONFormatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            standard = vars(logging.makeLogRecord({}))
            return json.dumps({name: value for name, value in vars(record).items() if name not in standard})

    with running("threads", "WebSocketServer", echo) as server, client_of(server) as client:
        talk(client)
    (record,) = log(1)
    assert set(json.loads(JSONFormatter().format(record))) - {"message"} == FIELDS
    assert not FIELDS & {*vars(logging.makeLogRecord({})), "message", "asctime"}


# When.


def test_a_handler_that_is_elsewhere(log: Log) -> None:
    done = threading.Event()
    received: list[str | bytes] = []

    def handler(ws: WebSocket) -> None:
        assert done.wait(10)
        received.extend(ws)

    with running("threads", "WebSocketServer", handler) as server:
        with client_of(server) as client:
            client.send(ws_request(), frame(TEXT, b"one"), frame(TEXT, b"two"), frame(CLOSE, b"\x03\xe8"))
            assert client.read_head()[0] == 101
            assert client.read_frame() == (CLOSE, b"\x03\xe8")
        (record,) = log(1)
        assert record.threadName == "syncws-on-close"
        assert vars(record)["messages_received"] == 2
        done.set()
    assert received == ["one", "two"]
    log(1)


def test_no_thread_to_log_in(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name == "syncws-on-close":
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    with raw_pair(ping_interval=None) as (ws, peer):
        over = threading.Event()
        ws.on_close(over.set)
        peer.send_frame(CLOSE, b"\x03\xe8")
        assert peer.read_frame()
        peer.close()
        assert over.wait(10)
        log(1)


def test_a_connection_that_is_dropped_twice(log: Log) -> None:
    with raw_pair() as (ws, _):
        ws.abort()
        ws.abort()
    (record,) = log(1)
    assert vars(record)["close_code"] == 1006


def test_switched_on_later(caplog: pytest.LogCaptureFixture, log: Log) -> None:
    caplog.set_level(logging.WARNING, "syncws.access")
    with raw_pair() as (ws, _):
        caplog.set_level(logging.INFO, "syncws.access")
        ws.abort()
    log(1)


def test_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "syncws.access")
    assert not access_log.is_on()
    with running("threads", "WebSocketServer", echo) as server, client_of(server) as client:
        talk(client)
    assert caplog.records == []


def test_it_keeps_no_websocket_alive(log: Log) -> None:
    with raw_pair() as (ws, _):
        reference = weakref.ref(ws)
        ws.abort()
    log(1)
    del ws

    def gone() -> bool:
        gc.collect()
        return reference() is None

    wait_until(gone)


# The command line.

HELLO = """
import syncws

def app(environ, start_response):
    for message in syncws.upgrade(environ):
        pass
    start_response("200 OK", [])
    return []
"""


@pytest.mark.parametrize("level", ["info", "error"])
@pytest.mark.parametrize("wanted", [True, False])
def test_command_line(wanted: bool, level: str, tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    arguments = ["serve", "hello:app", "--bind", "127.0.0.1:0", "--log-level", level]
    with running_command(*arguments, *(["--access-log"] if wanted else []), cwd=tmp_path) as server:
        with syncws.connect(server.ws_url + "chat?token=secret") as ws:
            ws.send("hello")
        if wanted:
            server.wait_for_log(" INFO 127.0.0.1 /chat 1000 ")
        assert server.stop() == 0
        assert ("/chat" in server.log()) == wanted
        assert "secret" not in server.log()
