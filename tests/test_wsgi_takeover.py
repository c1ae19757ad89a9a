"""WebSockets on the connections of real servers, which run in this process: Werkzeug, wsgiref, gevent, Gunicorn."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import gc
import io
import logging
import math
import os
import selectors
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import gevent
import gevent.event
import gevent.pywsgi
import gunicorn.config
import gunicorn.workers.gthread
import pytest
import waitress.server
import waitress.wasyncore
import werkzeug.serving
from wire import DEADLINE, WS_FIELDS, ClientSocket, Running, frame, get, wait_until, ws_request

from syncws import wsgi_takeover
from syncws.errors import ConnectionClosed, HandshakeError
from syncws.options import Options
from syncws.runtime import THREADS
from syncws.transport import transport_for
from syncws.websocket import WebSocket
from syncws.wsgi import hand_over, upgrade
from syncws.wsgi_hosts import HOSTS, Room
from syncws.wsgi_takeover import Guest, is_stopped, request_head, take_over

TEXT, CLOSE = 1, 8
NORMAL, GOING_AWAY, FAILED = b"\x03\xe8", b"\x03\xe9server is shutting down", b"\x03\xf3internal error"

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Log(io.StringIO):
    """What a server logs, besides accesses."""

    def access(self, *_: object) -> None:
        """What Gunicorn calls for each request."""

    def entry(self, text: str, *args: object, exc_info: bool = True) -> None:
        self.write(text % args)
        if exc_info and sys.exc_info()[1] is not None:
            self.write(f": {sys.exc_info()[1]!r}\n")

    exception = error = warning = entry

    def info(self, *_: object) -> None:
        """Not worth noting."""

    debug = info


@contextlib.contextmanager
def werkzeug_server(app: App, _log: Log) -> Iterator[int]:
    server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True)
    with Running(lambda: server.serve_forever(poll_interval=0.01)):
        yield server.port
        server.shutdown()
    server.server_close()


@contextlib.contextmanager
def wsgiref_server(app: App, log: Log) -> Iterator[int]:
    class Handler(WSGIRequestHandler):
        def get_stderr(self) -> Any:
            return log

        def log_message(self, *_: object) -> None:
            """Accesses are not logged."""

    with make_server("127.0.0.1", 0, app, handler_class=Handler) as server, Running(lambda: server.serve_forever(0.01)):
        yield server.server_port
        server.shutdown()


@contextlib.contextmanager
def pywsgi_server(app: App, log: Log) -> Iterator[int]:
    started = threading.Event()
    server: Any = None
    stop: Any = None

    def serve() -> None:
        nonlocal server, stop
        stop = gevent.get_hub().loop.async_()
        stopped = gevent.event.Event()
        stop.start(stopped.set)
        server = gevent.pywsgi.WSGIServer(("127.0.0.1", 0), app, log=None, error_log=log, spawn=100)
        hub = gevent.get_hub()
        hub.exception_stream = log
        server.start()
        started.set()
        stopped.wait()
        server.stop(timeout=0.01)
        stop.close()
        hub.destroy(destroy_loop=True)

    with Running(serve):
        assert started.wait(DEADLINE)
        yield server.server_port
        stop.send()


@contextlib.contextmanager
def gthread_server(app: App, log: Log) -> Iterator[int]:
    config = gunicorn.config.Config()
    config.set("threads", 2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        worker: Any = gunicorn.workers.gthread.ThreadWorker(1, os.getppid(), [listener], None, 30, config, log)
        worker.tpool = worker.get_thread_pool()
        worker.poller = selectors.DefaultSelector()
        worker.method_queue.init()
        worker.wsgi = app
        with Running(worker.run):
            yield listener.getsockname()[1]
            worker.handle_exit(0, None)
        worker.tmp.close()
        # What it has in its hands it must have let go.
        assert worker.nr_conns == 0
        worker.tpool.shutdown()


@contextlib.contextmanager
def waitress_server(app: App) -> Iterator[int]:
    sockets: dict[int, Any] = {}
    server: Any = waitress.server.create_server(app, map=sockets, host="127.0.0.1", port=0)
    with Running(server.run) as running:
        yield server.effective_port
        server.task_dispatcher.shutdown()  # its threads tell the loop when they have done something
        server.trigger.pull_trigger(lambda: waitress.wasyncore.close_all(sockets))
        running.result()


SERVERS = {"werkzeug": werkzeug_server, "wsgiref": wsgiref_server, "pywsgi": pywsgi_server, "gthread": gthread_server}
on_all_servers = pytest.mark.parametrize("server", SERVERS)


@contextlib.contextmanager
def serving(server: str, app: App) -> Iterator[tuple[Callable[[], ClientSocket], Log]]:
    """A server that runs the app; yields what connects to it, and its log."""
    log = Log()
    with SERVERS[server](app, log) as port, contextlib.ExitStack() as clients:

        def connect() -> ClientSocket:
            return clients.enter_context(ClientSocket(socket.create_connection(("127.0.0.1", port))))

        yield connect, log
        wait_until(lambda: not wsgi_takeover._open)


@pytest.fixture(autouse=True)
def state(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    for name in "_registered", "_leave_until", "_full_logged_until":
        monkeypatch.setattr(wsgi_takeover, name, getattr(wsgi_takeover, name))


def errors(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    """What a logger has got that is worse than a warning."""
    return [r.getMessage() for r in caplog.records if r.name.startswith(name) and r.levelno >= logging.ERROR]


def echo(ws: WebSocket) -> None:
    for message in ws:
        if message == "leave":
            return
        if message == "fail":
            raise ValueError("on purpose")
        ws.send(message)


def page(start_response: Callable[..., Any], text: bytes = b"behind the close frame") -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]


def app_of(handler: Callable[[WebSocket], object], how: str = "upgrade") -> App:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/plain":
            return page(start_response, b"plain")
        try:
            if how == "hand_over":
                hand_over(environ, handler)
            else:
                handler(upgrade(environ))
        except HandshakeError as error:
            return error.respond(start_response)
        return page(start_response)

    return app


def open_websocket(client: ClientSocket, *behind: bytes) -> ClientSocket:
    client.send(ws_request(), *behind)
    assert client.read_head()[0] == 101
    return client


def close_with(client: ClientSocket, payload: bytes, answer: bytes = NORMAL) -> None:
    """Expect a close frame, answer it, and expect that nothing follows."""
    assert client.read_frame() == (CLOSE, payload)
    client.send(frame(CLOSE, answer))
    end(client)


def end(client: ClientSocket) -> None:
    """Expect that nothing follows; the server waits for the client to close its socket too."""
    assert client.read_to_end() == b""
    client.close()


both_ways = pytest.mark.parametrize("how", ["upgrade", "hand_over"])


@on_all_servers
@both_ways
def test_client_closes(server: str, how: str, caplog: pytest.LogCaptureFixture) -> None:
    with serving(server, app_of(echo, how)) as (connect, log):
        # Frames in the packet of the request are not lost, nor taken for another request.
        client = open_websocket(connect(), frame(TEXT, b"with the request"), frame(TEXT, b"too"))
        assert client.read_frame() == (TEXT, b"with the request")
        assert client.read_frame() == (TEXT, b"too")
        client.send(frame(TEXT, b"later"))
        assert client.read_frame() == (TEXT, b"later")
        client.send(frame(CLOSE, NORMAL))
        assert client.read_frame() == (CLOSE, NORMAL)
        end(client)
    assert (log.getvalue(), errors(caplog, "")) == ("", [])


@on_all_servers
@both_ways
def test_app_returns(server: str, how: str, caplog: pytest.LogCaptureFixture) -> None:
    with serving(server, app_of(echo, how)) as (connect, log):
        close_with(open_websocket(connect(), frame(TEXT, b"leave")), NORMAL)
    assert (log.getvalue(), errors(caplog, "")) == ("", [])


@on_all_servers
def test_app_fails(server: str, caplog: pytest.LogCaptureFixture) -> None:
    with serving(server, app_of(echo)) as (connect, log):
        close_with(open_websocket(connect(), frame(TEXT, b"fail")), FAILED)
    wait_until(lambda: log.getvalue() or errors(caplog, "werkzeug"))  # Werkzeug does it at last
    logged = log.getvalue() + "".join(errors(caplog, "werkzeug"))
    # Once: a traceback, or Gunicorn's one line.
    assert logged.count("Traceback") == (server != "gthread")
    assert "on purpose" in logged.splitlines()[0 if server == "gthread" else -3 if server == "pywsgi" else -1]
    assert errors(caplog, "syncws") == []


@on_all_servers
def test_handler_fails(server: str, caplog: pytest.LogCaptureFixture) -> None:
    with serving(server, app_of(echo, "hand_over")) as (connect, log):
        close_with(open_websocket(connect(), frame(TEXT, b"fail")), FAILED)
    assert log.getvalue() == ""
    assert ["handler of / from" in text for text in errors(caplog, "")] == [True]


@on_all_servers
@both_ways
def test_end_of_the_websocket_escapes(server: str, how: str, caplog: pytest.LogCaptureFixture) -> None:
    def handler(ws: WebSocket) -> None:
        while True:
            ws.receive()

    with serving(server, app_of(handler, how)) as (connect, log):
        client = open_websocket(connect(), frame(CLOSE, NORMAL))
        assert client.read_frame() == (CLOSE, NORMAL)
        end(client)
    assert (log.getvalue(), errors(caplog, "")) == ("", [])


@on_all_servers
def test_other_connection_lost(server: str, caplog: pytest.LogCaptureFixture) -> None:
    """Servers take that for the end of the client, and are quiet; but it is a failure that nobody has logged."""

    def handler(ws: WebSocket) -> None:
        raise ConnectionClosed(1006, "the database is gone")

    with serving(server, app_of(handler)) as (connect, log):
        close_with(open_websocket(connect()), FAILED)
    assert log.getvalue() == ""
    assert ["without a response" in text for text in errors(caplog, "")] == [True]


@on_all_servers
def test_error_page_of_a_framework(server: str, caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        upgrade(environ)
        start_response("503 Service Unavailable", [("Content-Length", "4")])
        return [b"page"]

    with serving(server, app) as (connect, log):
        close_with(open_websocket(connect()), FAILED)
    assert (log.getvalue(), errors(caplog, "")) == ("", [])


@on_all_servers
def test_plain_http_and_refusals(server: str, caplog: pytest.LogCaptureFixture) -> None:
    with serving(server, app_of(echo)) as (connect, log):
        for request, status, text in (
            (get("/plain"), b"200 OK", b"plain"),
            (get("/"), b"426 Upgrade Required", b"this address speaks WebSocket only"),
            (ws_request("/", "Origin: https://other.example"), b"403 Forbidden", b"origin is not allowed"),
            (ws_request().replace(b"13", b"12"), b"426 Upgrade Required", b"Sec-WebSocket-Version must be 13"),
            (ws_request("/", WS_FIELDS[2]), b"400 Bad Request", b"exactly one Sec-WebSocket-Key"),
            (ws_request().replace(b"/1.1", b"/1.0"), b"505 HTTP Version Not Supported", b"HTTP/1.0"),
        ):
            client = connect()
            client.send(request)
            client.sock.shutdown(socket.SHUT_WR)
            head, body = client.read_to_end().split(b"\r\n\r\n", 1)
            assert status in head.split(b"\r\n")[0]
            assert text in body
            if b"426" in status:
                assert (b"\r\nUpgrade: websocket" in head) == (server != "wsgiref")
                assert (b"\r\nSec-WebSocket-Version: 13" in head) == (b"Version" in text)
    assert (log.getvalue(), errors(caplog, "")) == ("", [])
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [text for text in warnings if "https://other.example" in text and "origins=" in text]


@both_ways
def test_plain_http_on_a_server_that_hides_its_socket(how: str, caplog: pytest.LogCaptureFixture) -> None:
    def app_with_a_page(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return app_of(echo, how)(environ, start_response)
        except RuntimeError as error:
            return page(start_response, str(error).encode())

    with waitress_server(app_with_a_page) as port:
        for request, status, text in (
            (get("/plain"), 200, b"plain"),
            (get("/"), 426, b"this address speaks WebSocket only"),
            (get("/", method="DELETE"), 405, b"a WebSocket is opened with GET"),
            (ws_request("/"), 200, b"waitress does not let an app have the connection"),
        ):
            with ClientSocket(socket.create_connection(("127.0.0.1", port))) as client:
                client.send(request)
                head, _, body = client.read_response()
            assert head == status
            assert text in body
    assert [text for text in caplog.messages if "with 426: this address" in text]
    assert errors(caplog, "") == []


@pytest.mark.parametrize("server", ["pywsgi", "gthread"])
def test_keep_alive_after_a_refusal(server: str) -> None:
    with serving(server, app_of(echo)) as (connect, _):
        client = connect()
        client.send(ws_request("/", "Origin: https://other.example"))
        assert client.read_response()[0] == 403
        client.send(get("/plain"))
        assert client.read_response()[2] == b"plain"
        open_websocket(client, frame(TEXT, b"leave"))
        close_with(client, NORMAL)


@on_all_servers
def test_upgrade_twice(server: str) -> None:
    raised = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        upgrade(environ)
        for again in upgrade, functools.partial(hand_over, handler=echo):
            with pytest.raises(RuntimeError, match="upgraded already") as caught:
                again(environ)
            raised.append(caught.value)
        return page(start_response)

    with serving(server, app) as (connect, _):
        close_with(open_websocket(connect()), NORMAL)
    assert len(raised) == 2


@on_all_servers
@both_ways
def test_fields_that_are_known_at_the_end(server: str, how: str) -> None:
    """Only a request that becomes a WebSocket has any."""
    called = []

    def more_fields() -> list[tuple[str, str]]:
        called.append(how)
        return [("Set-Cookie", "a=1")]

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        function: Any = {"upgrade": upgrade, "hand_over": functools.partial(hand_over, handler=echo)}[how]
        try:
            function(environ, more_fields=more_fields, headers={"X-Name": "value"})
        except HandshakeError as error:
            return error.respond(start_response)
        with pytest.raises(RuntimeError, match="upgraded already"):
            function(environ, more_fields=more_fields)
        return page(start_response)

    with serving(server, app) as (connect, _):
        client = connect()
        client.send(ws_request("/", "Origin: https://other.example"))
        client.sock.shutdown(socket.SHUT_WR)
        assert b" 403 " in client.read_to_end()
        client.close()
        assert called == []
        client = connect()
        client.send(ws_request(), frame(TEXT, b"leave"))
        _, headers = client.read_head()
        assert (headers["x-name"], headers["set-cookie"]) == ("value", "a=1")
        close_with(client, NORMAL)
    assert called == [how]


def test_server_is_interrupted_while_it_starts_the_thread_of_the_app(caplog: pytest.LogCaptureFixture) -> None:
    """The loop of socketserver then closes the connection, which has been upgraded by that thread meanwhile."""
    socks: list[Any] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        socks.append(environ["werkzeug.socket"])
        ws = upgrade(environ)
        ws.send("ready")
        with contextlib.suppress(ConnectionClosed):
            ws.receive()
        start_response("200 OK", [])
        return []

    with serving("werkzeug", app) as (connect, log):
        client = open_websocket(connect())
        assert client.read_frame() == (TEXT, b"ready")
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            socks[0].close()
        close_with(client, GOING_AWAY)
    assert (log.getvalue(), errors(caplog, "")) == ("", [])


def test_app_without_a_response(caplog: pytest.LogCaptureFixture) -> None:
    """PEP 3333 does not allow that; most servers call it an error, pywsgi does not."""

    def app(environ: dict[str, Any], _: Callable[..., Any]) -> list[bytes]:
        upgrade(environ)
        return []

    with serving("pywsgi", app) as (connect, log):
        close_with(open_websocket(connect()), FAILED)
    assert log.getvalue() == ""
    assert ["without a response" in text for text in errors(caplog, "")] == [True]


# Threads.


def test_handed_over_websockets_leave_the_pool(caplog: pytest.LogCaptureFixture) -> None:
    variable = contextvars.ContextVar[str]("variable")
    carried, threads = [], []

    def handler(ws: WebSocket) -> None:
        threads.append(threading.current_thread())
        ws.send(variable.get())
        echo(ws)

    def carry(handler: Any) -> Any:
        carried.append(threading.current_thread())
        return handler

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/plain":
            return page(start_response, b"plain")
        variable.set(environ["PATH_INFO"])
        hand_over(environ, handler, carry=carry, origins=None)
        return page(start_response)

    with serving("gthread", app) as (connect, log):
        clients = [open_websocket(connect()) for _ in range(10)]  # there are two threads in the pool
        client = connect()
        client.send(get("/plain"), get("/plain"))
        assert [client.read_response()[2] for _ in range(2)] == [b"plain"] * 2
        for client in clients:
            assert client.read_frame() == (TEXT, b"/")
            client.send(frame(TEXT, b"hello"), frame(TEXT, b"leave"))
            assert client.read_frame() == (TEXT, b"hello")
            close_with(client, NORMAL)
    assert len(set(threads)) == 10 == len(carried)
    assert not set(threads) & set(carried)
    assert {thread.name for thread in threads} == {"syncws-handler"}
    assert (log.getvalue(), errors(caplog, "")) == ("", [])


def test_handed_over_elsewhere() -> None:
    """Where each request has a thread of its own, nothing is carried."""
    threads = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        hand_over(environ, lambda ws: threads.append(threading.current_thread()), carry=pytest.fail)
        assert threads == [threading.current_thread()]
        return page(start_response)

    with serving("werkzeug", app) as (connect, _):
        close_with(open_websocket(connect()), NORMAL)


def test_as_many_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    row = next(host for host in HOSTS if host.room is not None)
    monkeypatch.setattr(type(row), "room", property(lambda _: lambda: Room(2, "a setting")))

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return app_of(echo, environ["PATH_INFO"][1:])(environ, start_response)

    with serving("gthread", app) as (connect, log):
        # One that occupies a thread of the pool does not count.
        clients = [connect() for _ in range(3)]
        for client, how in zip(clients, ["upgrade", "hand_over", "hand_over"], strict=True):
            client.send(ws_request(f"/{how}"))
            assert client.read_head()[0] == 101
        refused = connect()
        for _ in range(2):
            refused.send(ws_request("/hand_over"))
            status, _, body = refused.read_response()
            assert (status, body) == (503, b"The server is busy; try again later.\n")
        for client in clients:
            client.send(frame(TEXT, b"leave"))
            close_with(client, NORMAL)
        wait_until(lambda: not wsgi_takeover._open)
        refused.send(ws_request("/hand_over"), frame(TEXT, b"leave"))
        assert refused.read_head()[0] == 101
        close_with(refused, NORMAL)
    assert log.getvalue() == ""
    assert ["2 WebSockets" in text for text in errors(caplog, "")] == [True]


def no_thread(function: Callable[[], object], name: str) -> None:
    raise RuntimeError("can't start new thread")


def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = dataclasses.replace(THREADS, spawn=no_thread)
    monkeypatch.setattr("syncws.wsgi.THREADS", runtime)
    monkeypatch.setattr(Guest, "runtime", runtime)


def test_no_thread_to_hand_over_to(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    without_threads(monkeypatch)
    with serving("gthread", app_of(pytest.fail, "hand_over")) as (connect, log):
        close_with(open_websocket(connect()), b"\x03\xf5try again later")
    assert log.getvalue().count("can't start new thread") == 1
    assert errors(caplog, "") == []


def test_no_thread_to_close_in(monkeypatch: pytest.MonkeyPatch) -> None:
    without_threads(monkeypatch)

    def handler(ws: WebSocket) -> None:
        raise ConnectionResetError("the database's")

    with serving("gthread", app_of(handler)) as (connect, _):
        client = open_websocket(connect())
        with contextlib.suppress(ConnectionResetError):
            assert client.read_to_end() in (b"", b"\x88\x10" + FAILED)


@on_all_servers
def test_upgrade_that_is_lost(server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The client goes away before the 101; nothing of it is left."""
    entered, gone = threading.Event(), threading.Event()
    raised = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        entered.set()
        while not gone.is_set():
            time.sleep(0.001)
        try:
            upgrade(environ)
        except HandshakeError as error:
            raised.append(error)
            return error.respond(start_response)
        return page(start_response)

    with serving(server, app) as (connect, log):
        client = connect()
        # A reset, so that writing fails.
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.send(ws_request())
        assert entered.wait(DEADLINE)
        client.close()
        gone.set()
        wait_until(lambda: raised)
    assert [error.status for error in raised] == [0]
    assert (log.getvalue(), errors(caplog, "")) == ("", [])


@both_ways
def test_greenlet_is_killed_while_the_101_is_sent(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []

    def killed(*_: object, **__: object) -> bytes:
        raise gevent.GreenletExit

    def note(sock: Any) -> Any:
        taken.append(transport_for(sock))
        return taken[0]

    monkeypatch.setattr(sys.modules["syncws.opening"], "response_bytes", killed)
    monkeypatch.setattr(wsgi_takeover, "transport_for", note)
    with serving("pywsgi", app_of(echo, how)) as (connect, log):
        client = connect()
        client.send(ws_request())
        end(client)
    # Not left to the garbage collector.
    assert [transport.sock.fileno() for transport in taken] == [-1]
    assert log.getvalue() == ""


# The end of the program.


def test_is_stopped() -> None:
    for error in KeyboardInterrupt(), SystemExit(), gevent.GreenletExit():
        assert is_stopped(error)
    for other in ValueError(), gevent.Timeout(), None:
        assert not is_stopped(other)


def test_is_stopped_without_greenlets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "greenlet")
    assert is_stopped(KeyboardInterrupt())
    assert not is_stopped(gevent.GreenletExit())


@both_ways
def test_greenlets_are_killed(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """As pywsgi does it when it is stopped."""
    ended = []

    def handler(ws: WebSocket) -> None:
        try:
            echo(ws)
        finally:
            ended.append(ws)

    log = Log()
    with pywsgi_server(app_of(handler, how), log) as port:
        client = ClientSocket(socket.create_connection(("127.0.0.1", port)))
        open_websocket(client, frame(TEXT, b"hello"))
        assert client.read_frame() == (TEXT, b"hello")
        answering = Running(lambda: close_with(client, GOING_AWAY))
    with client:
        answering.result()
    assert len(ended) == 1
    assert (log.getvalue(), errors(caplog, "")) == ("", [])


def test_end_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SERVERS:
        if name == "wsgiref":
            continue  # has one thread, which runs the app
        monkeypatch.setattr(wsgi_takeover, "_leave_until", math.inf)
        with serving(name, app_of(echo)) as (connect, log):
            open_ones = [open_websocket(connect()) for _ in range(2)]
            wait_until(lambda: len(wsgi_takeover._open) == 2)
            with Running(wsgi_takeover._leave) as leaving:
                for client in open_ones:
                    close_with(client, GOING_AWAY)
                leaving.result()
            # One that is opened now learns at once that it is too late.
            late = open_websocket(connect())
            close_with(late, GOING_AWAY)
        assert log.getvalue() == ""


def test_handler_that_does_not_return(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(wsgi_takeover, "_LEAVING_TIMEOUT", 0.05)
    go_on = threading.Event()
    with serving("werkzeug", app_of(lambda _: go_on.wait(DEADLINE))) as (connect, _):
        client = open_websocket(connect())
        wait_until(lambda: wsgi_takeover._open)
        wsgi_takeover._leave()
        assert client.read_frame() == (CLOSE, GOING_AWAY)
        assert client.read_to_end() == b""
        go_on.set()
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        "dropping 1 WebSockets whose handlers have not returned in time"
    ]


def test_forked_process_leaves_the_websockets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("werkzeug", app_of(echo)) as (connect, _):
        client = open_websocket(connect())
        wait_until(lambda: wsgi_takeover._open)
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: -1)
            wsgi_takeover._leave()
        monkeypatch.setattr(wsgi_takeover, "_leave_until", math.inf)
        client.send(frame(TEXT, b"hello"))
        assert client.read_frame() == (TEXT, b"hello")
        client.send(frame(TEXT, b"leave"))
        close_with(client, NORMAL)


@pytest.mark.parametrize("too_late", [False, True])
def test_what_is_done_once(too_late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[Any] = []

    def register(function: Callable[[], object]) -> None:
        registered.append(function)
        if too_late:
            raise RuntimeError("can't register atexit after shutdown")

    monkeypatch.setattr(wsgi_takeover, "_registered", False)
    monkeypatch.setattr(threading, "_register_atexit", register)
    with serving("werkzeug", app_of(echo)) as (connect, _):
        for _ in range(2):
            client = open_websocket(connect())
            client.send(frame(TEXT, b"leave"))
            close_with(client, GOING_AWAY if too_late else NORMAL)
    assert registered == [wsgi_takeover._leave]


def test_server_that_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Callable[[float | None], object]] = []
    monkeypatch.setattr(wsgi_takeover, "_registered", False)
    monkeypatch.setattr(threading, "_register_atexit", lambda _: None)
    row = next(host for host in HOSTS if host.on_stop is not None)
    monkeypatch.setattr(type(row), "on_stop", property(lambda _: told.append))
    with serving("gthread", app_of(echo)) as (connect, _):
        client = open_websocket(connect())
        wait_until(lambda: told)
        (stop,) = told
        before = time.monotonic()
        stop(30.0)
        close_with(client, GOING_AWAY)
        assert before + 30 <= wsgi_takeover._leave_until <= time.monotonic() + 30
        # A quick stop may come behind it; never more time than has been said.
        stop(None)
        assert before + 5 <= wsgi_takeover._leave_until <= time.monotonic() + 5
        stop(10.0)
        wsgi_takeover._leave()
        assert wsgi_takeover._leave_until <= time.monotonic() + 5


@on_all_servers
def test_nothing_is_left_behind(server: str) -> None:
    references: list[weakref.ref[Any]] = []

    def handler(ws: WebSocket) -> None:
        references.append(weakref.ref(ws))

    for how in "upgrade", "hand_over":
        with serving(server, app_of(handler, how)) as (connect, _):
            for _ in range(3):
                close_with(open_websocket(connect()), NORMAL)
    gc.collect()
    assert [reference() for reference in references] == [None] * 6


# The request's head.


def environ_of(**values: str) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost", **values}


@pytest.mark.parametrize(
    ("values", "target"),
    [
        ({}, "/"),
        ({"PATH_INFO": "/chat", "QUERY_STRING": "room=1"}, "/chat?room=1"),
        ({"SCRIPT_NAME": "/app", "PATH_INFO": "/a b/\xe4?"}, "/app/a%20b/%E4%3F"),
        ({"PATH_INFO": "/decoded", "REQUEST_URI": "/en%63oded?a"}, "/en%63oded?a"),
        ({"PATH_INFO": "/decoded", "RAW_URI": "/en%63oded", "REQUEST_URI": "/other"}, "/en%63oded"),
        ({"PATH_INFO": "/chat", "RAW_URI": ""}, "/chat"),
    ],
)
def test_target(values: dict[str, str], target: str) -> None:
    assert request_head(environ_of(**values)).target == target


def test_headers() -> None:
    head = request_head(
        environ_of(
            HTTP_SEC_WEBSOCKET_KEY="key",
            HTTP_COOKIE="a=1; b=2",
            CONTENT_TYPE="text/plain",
            CONTENT_LENGTH="",
            SERVER_NAME="name",
        )
    )
    assert (head.method, head.version) == ("GET", "1.1")
    assert sorted(head.headers.pairs()) == [
        ("Content-Type", "text/plain"),
        ("Cookie", "a=1; b=2"),
        ("Host", "localhost"),
        ("Sec-Websocket-Key", "key"),
    ]
    # A host may have a comma (RFC 3986, 3.2.2), but this is two of them.
    assert request_head(environ_of(HTTP_HOST="a,b")).headers.get_all("Host") == ["a", "b"]


def test_http_2() -> None:
    with pytest.raises(HandshakeError, match=r"HTTP/1\.1, not with HTTP/2\.0") as caught:
        request_head(environ_of(SERVER_PROTOCOL="HTTP/2.0"))
    assert caught.value.status == 505


def test_request_that_is_refused_is_not_looked_at_further() -> None:
    """A socket that cannot be had is of no importance then."""
    with pytest.raises(HandshakeError, match="Upgrade must list"):
        take_over(environ_of(SERVER_SOFTWARE="WSGIServer/0.2"), Options())
