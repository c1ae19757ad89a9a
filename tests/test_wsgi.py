"""The WSGI gateway on connections: plain HTTP, upgrades, and everything that goes wrong on the way."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import io
import logging
import socket
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any
from wsgiref.validate import validator

import pytest
from greenlet import GreenletExit
from wire import DEADLINE, WS_FIELDS, ClientSocket, Running, frame, get, pair, ws_request

from syncws.budgets import OverBudget, Place
from syncws.errors import ConnectionClosed, HandshakeError
from syncws.http import Limits
from syncws.options import Options
from syncws.protocol.headers import Headers
from syncws.runtime import THREADS
from syncws.transport import SocketTransport
from syncws.websocket import WebSocket
from syncws.wsgi import WSGIConnection, hand_over, upgrade
from syncws.wsgi_exchange import Exchange

TEXT, CLOSE = 1, 8
NORMAL, GOING_AWAY, INTERNAL_ERROR = b"\x03\xe8", b"\x03\xe9", b"\x03\xf3"
PLAIN = ("Content-Type", "text/plain")

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@pytest.fixture(autouse=True)
def log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "syncws")


@contextlib.contextmanager
def serving(app: App, **settings: Any) -> Iterator[tuple[ClientSocket, WSGIConnection]]:
    """A client whose connection is served by the app, which the standard library's validator watches."""
    timeouts = {name: settings.pop(name) for name in ("keepalive_timeout", "body_timeout") if name in settings}
    limits = settings.pop("limits", Limits())
    with pair() as (sock, client):
        connection = WSGIConnection(
            SocketTransport(sock), app, Options.of({"close_timeout": DEADLINE, **settings}), limits, **timeouts
        )
        with Running(connection.serve):
            yield client, connection
            client.close()
        assert sock.fileno() == -1


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """An app that tells what it was asked."""
    body = environ["wsgi.input"].read(1000)
    start_response("200 OK", [PLAIN])
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} ".encode(), body]


def close_normally(client: ClientSocket) -> None:
    """The closing handshake that the server began with 1000; nothing may follow the close frame."""
    assert client.read_frame() == (CLOSE, NORMAL)
    client.send(frame(CLOSE, NORMAL))
    assert client.read_to_end() == b""


# Plain HTTP.


def test_keep_alive() -> None:
    with serving(validator(hello)) as (client, _):
        for number in range(3):
            client.send(get(f"/{number}"))
            status, headers, body = client.read_response()
            assert (status, body) == (200, f"GET /{number} ".encode())
            assert "connection" not in headers


class OnePlace(Place):
    """Admits the first request only."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def admit(self, headers: Headers) -> None:
        self.calls.append(f"admit {headers['X-Number']}")
        if len(self.calls) > 2:
            raise OverBudget(429)

    def idle(self) -> None:
        self.calls.append("idle")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_request_over_budget(method: str, caplog: pytest.LogCaptureFixture) -> None:
    called = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        called.append(environ["PATH_INFO"])
        return hello(environ, start_response)

    with serving(app) as (client, connection):
        connection.place = place = OnePlace()
        client.send(get("/1", "X-Number: 1"))
        assert client.read_response()[0] == 200
        client.send(get("/2", "X-Number: 2", method=method))
        status, headers, body = client.read_response(head_only=method == "HEAD")
        assert (status, headers["Retry-After"], headers["Connection"]) == (429, "5", "close")
        assert body.startswith(b"Too many connections") == (method == "GET")
        assert client.read_to_end() == b""
    assert place.calls == ["admit 1", "idle", "admit 2"]
    assert called == ["/1"]
    assert caplog.records == []


def test_pipelined_requests() -> None:
    post = b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    with serving(validator(hello)) as (client, _):
        client.send(get("/1"), post, get("/3", method="HEAD"), get("/4", "Connection: close"), get("/5"))
        assert client.read_response()[2] == b"GET /1 "
        assert client.read_response()[2] == b"POST /2 body"
        assert client.read_response(head_only=True)[0] == 200
        status, headers, body = client.read_response()
        assert (status, body, headers["connection"]) == (200, b"GET /4 ", "close")
        assert client.read_to_end() == b""


def test_http_1_0() -> None:
    with serving(validator(hello)) as (client, _):
        client.send(get("/", "Connection: keep-alive", version="1.0"))
        status, headers, body = client.read_response()
        # A body without a length ends with the connection.
        assert (status, headers["connection"], body) == (200, "close", b"GET / ")


def test_expect_continue() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with serving(validator(hello)) as (client, _):
        client.send(head)
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"body")
        assert client.read_response()[2] == b"POST / body"


def test_expect_continue_of_an_app_that_does_not_read() -> None:
    def refuse(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        write = start_response("413 Too Large", [PLAIN])
        write(b"no")
        # Too late to ask for the body: it may come, or not.
        assert environ["wsgi.input"].read(4) == b"body"
        return []

    with serving(refuse) as (client, _):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbody")
        status, headers, body = client.read_response()
        assert (status, headers["connection"], body) == (413, "close", b"no")
        assert client.read_to_end() == b""


def ignore(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [PLAIN])
    return [b"ignored"]


@pytest.mark.parametrize(("size", "kept"), [(1000, True), (1_000_000, False)])
def test_body_that_the_app_does_not_read(size: int, kept: bool) -> None:
    with serving(ignore) as (client, _):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size, bytes(size))
        assert client.read_response()[2] == b"ignored"
        if kept:
            client.send(get())
            assert client.read_response()[2] == b"ignored"
        else:
            assert client.read_to_end() == b""


def test_single_piece_has_a_content_length() -> None:
    with serving(ignore) as (client, _):
        client.send(get())
        assert client.read_response()[1]["content-length"] == "7"


def test_file_wrapper() -> None:
    def send_file(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [PLAIN])
        return environ["wsgi.file_wrapper"](file, 1000)

    file = io.BytesIO(b"a" * 2500)
    with serving(send_file) as (client, _):
        client.send(get())
        assert client.read_response()[2] == b"a" * 2500
        client.send(b"not even")
    assert file.closed


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("length", [0, 999, 1000, 1500, 2500])
def test_file_wrapper_of_a_file_longer_than_the_content_length(method: str, length: int) -> None:
    def send_file(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [PLAIN, ("Content-Length", str(length))])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"a" * 2500), 1000)

    with serving(send_file) as (client, _):
        client.send(get(method=method), get("/", "Connection: close", method=method))
        for _ in range(2):
            status, headers = client.read_head()[:2]
            assert (status, headers["content-length"]) == (200, str(length))
            assert client.read(length if method == "GET" else 0) == b"a" * (length if method == "GET" else 0)
        assert client.read_to_end() == b""


def test_no_keep_alive_after_a_write_that_failed() -> None:
    size = 20_000_000
    given_up = threading.Event()
    calls = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        calls.append(environ["PATH_INFO"])
        write = start_response("200 OK", [PLAIN, ("Content-Length", str(size))])
        with pytest.raises(TimeoutError):
            write(bytes(size))
        given_up.set()
        return []

    with serving(app, send_timeout=0.1) as (client, _):
        client.send(get("/1"), get("/2"))
        assert given_up.wait(DEADLINE)
        assert client.read_head()[0] == 200
        # What follows the part that was sent would be taken for the rest of it.
        assert set(client.read_to_end()) == {0}
    assert calls == ["/1"]


def test_iterable_is_closed() -> None:
    closed = []

    class Result:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a", b"b"])

        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Result:
        start_response("200 OK", [PLAIN])
        return Result()

    with serving(validator(app)) as (client, _):
        client.send(get(), get())
        assert client.read_response()[2] == client.read_response()[2] == b"ab"
    assert closed == [True, True]


# Plain HTTP that goes wrong.


def error_lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= level]


@pytest.mark.parametrize("kind", [ValueError, SystemExit, ConnectionClosed])
def test_app_that_raises(kind: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    def fail(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [PLAIN])
        raise kind(1006)

    with serving(fail) as (client, _):
        client.send(get("/path?query"))
        status, headers, body = client.read_response()
        assert (status, headers["connection"], body) == (500, "close", b"internal server error\n")
        assert client.read_to_end() == b""
    [record] = error_lines(caplog)
    assert record.getMessage() == "GET /path failed"
    assert record.exc_info is not None
    assert record.exc_info[0] is kind


def test_app_whose_greenlet_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        raise GreenletExit

    with pair() as (sock, client):
        client.send(get())
        with pytest.raises(GreenletExit):
            WSGIConnection(SocketTransport(sock), app, Options()).serve()
        assert client.read_to_end() == b""
    assert error_lines(caplog, logging.WARNING) == []


def test_app_that_raises_too_late(caplog: pytest.LogCaptureFixture) -> None:
    def fail(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [PLAIN])
        yield b"begin"
        raise ValueError("too late")

    with serving(fail) as (client, _):
        client.send(get())
        assert client.read_head()[0] == 200
        # The client sees that the end is missing: no last chunk, and no error page in the middle of the body.
        assert client.read_to_end() == b"5\r\nbegin\r\n"
    assert len(error_lines(caplog)) == 1


def test_close_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    class Result(list[bytes]):
        def close(self) -> None:
            raise ValueError("in close()")

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Result:
        start_response("200 OK", [PLAIN])
        return Result([b"fine"])

    with serving(app) as (client, _):
        client.send(get())
        assert client.read_response()[2] == b"fine"
        assert client.read_to_end() == b""
    assert len(error_lines(caplog)) == 1
    assert "in close()" in caplog.text


@pytest.mark.parametrize("result", [None, ["text"], 5])
def test_app_that_returns_nonsense(result: Any, caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [PLAIN])
        return result

    with serving(app) as (client, _):
        client.send(get())
        assert client.read_response()[0] == 500
    assert len(error_lines(caplog)) == 1


def test_client_that_goes_away(caplog: pytest.LogCaptureFixture) -> None:
    seen = []

    def endless(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [PLAIN])
        try:
            while True:
                yield bytes(100_000)
        finally:
            seen.append("closed")

    with serving(endless) as (client, _):
        client.send(get())
        client.read_head()
        client.close()
    assert seen == ["closed"]
    assert error_lines(caplog) == []


def test_client_that_is_gone_before_the_error_page(caplog: pytest.LogCaptureFixture) -> None:
    gone = threading.Event()

    def fail(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        assert gone.wait(DEADLINE)
        raise ValueError("nobody sees it")

    with serving(fail) as (client, _):
        client.send(get())
        client.close()
        gone.set()
    assert len(error_lines(caplog)) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"5\r\nab", None), (b"5\r\nabcdefg", 400), (b"x\r\n", 400)],
)
def test_broken_body(body: bytes, status: int | None, caplog: pytest.LogCaptureFixture) -> None:
    with serving(hello) as (client, _):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", body)
        client.sock.shutdown(socket.SHUT_WR)
        answered, headers, _ = client.read_response()
        assert (answered, headers["connection"]) == (status or 400, "close")
        assert client.read_to_end() == b""
    [record] = error_lines(caplog)
    assert (record.levelname, record.exc_info) == ("INFO", None)


def test_broken_body_of_an_app_that_does_not_mind() -> None:
    def lenient(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        with contextlib.suppress(Exception):
            environ["wsgi.input"].read()
        start_response("200 OK", [PLAIN])
        return [b"fine"]

    with serving(lenient) as (client, _):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", get())
        _, headers, body = client.read_response()
        assert (headers["connection"], body) == ("close", b"fine")
        assert client.read_to_end() == b""


def test_body_that_does_not_come() -> None:
    with serving(hello, body_timeout=0.01) as (client, _):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        assert client.read_response()[0] == 408
        assert client.read_to_end() == b""


def test_body_that_does_not_come_after_the_response_has_begun(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [PLAIN])(b"begin")
        environ["wsgi.input"].read()
        return []

    with serving(app, body_timeout=0.01) as (client, _):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        client.read_head()
        assert client.read_to_end() == b"5\r\nbegin\r\n"
    assert len(error_lines(caplog)) == 1


def test_connection_that_is_lost_in_a_body(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = ClientSocket(socket.create_connection(listener.getsockname()))
        sock, _ = listener.accept()
        with Running(WSGIConnection(SocketTransport(sock), hello, Options()).serve):
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
    [record] = error_lines(caplog)
    assert record.levelname == "INFO"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (get("/" + "a" * 100), 414),
        (get("/", *["X: a"] * 10), 431),
        (get(version="2.0"), 505),
        (b"\x16\x03\x01", 400),
    ],
)
def test_bad_requests(request_bytes: bytes, status: int, caplog: pytest.LogCaptureFixture) -> None:
    with serving(hello, limits=Limits(max_target=100, max_fields=10)) as (client, _):
        client.send(get("/first"))
        client.read_response()
        client.send(request_bytes)
        answered, headers, _ = client.read_response()
        assert (answered, headers["connection"]) == (status, "close")
        assert client.read_to_end() == b""
    [record] = error_lines(caplog)
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert f"with {status}: " in record.getMessage()


# Timeouts of the head.


def test_idle_connection_is_closed() -> None:
    with serving(ignore, keepalive_timeout=0.01) as (client, _):
        client.send(get())
        assert client.read_response()[2] == b"ignored"
        assert client.read_to_end() == b""


def test_connection_without_a_request_is_closed() -> None:
    with serving(ignore, open_timeout=0.01) as (client, _):
        assert client.read_to_end() == b""


def test_head_that_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    with serving(ignore, open_timeout=0.05) as (client, _):
        client.send(b"GET / HTTP/1.1\r\n")
        assert client.read_response()[0] == 408
        assert client.read_to_end() == b""
    with serving(ignore, open_timeout=0.05, keepalive_timeout=DEADLINE) as (client, _):
        # The time for a later head begins with its first byte, whether that came with the request before or not.
        client.send(get(), b"GET / HTTP/1.1\r\n")
        assert client.read_response()[2] == b"ignored"
        assert client.read_response()[0] == 408
        assert client.read_to_end() == b""
    with serving(ignore, open_timeout=0.05, keepalive_timeout=DEADLINE) as (client, _):
        client.send(get())
        assert client.read_response()[2] == b"ignored"
        client.send(b"GET / HTTP/1.1\r\n")
        assert client.read_response()[0] == 408


# Upgrades.


def echo_handler(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    ws = upgrade(environ)
    for message in ws:
        ws.send(message)
    return []


def test_upgrade() -> None:
    with serving(validator(hello)) as (client, connection):
        client.send(get("/plain"))
        assert client.read_response()[2] == b"GET /plain "
        connection._app = echo
        client.send(ws_request("/chat", "Origin: http://example.com"), frame(TEXT, b"first"))
        assert client.read_head()[0] == 101
        assert client.read_frame() == (TEXT, b"first")
        client.send(frame(TEXT, b"second"))
        assert client.read_frame() == (TEXT, b"second")
        client.send(frame(CLOSE, NORMAL))
        assert client.read_frame() == (CLOSE, NORMAL)
        assert client.read_to_end() == b""


def test_options_of_server_and_upgrade() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        with pytest.raises(TypeError, match="no option 'colour'"):
            upgrade(environ, colour="red")
        upgrade(environ, headers={"X-Name": "value"})
        return []

    with serving(app, subprotocols=["chat"]) as (client, _):
        client.send(ws_request("/", "Sec-WebSocket-Protocol: chat"))
        status, headers = client.read_head()
        assert (status, headers["sec-websocket-protocol"], headers["x-name"]) == (101, "chat", "value")
        close_normally(client)


def test_an_error_page_after_the_upgrade_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    # A web framework turns the exception of a view into such a page, and logs it.
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        upgrade(environ)
        start_response("500 Internal Server Error", [PLAIN])
        return [b"sorry"]

    with serving(app) as (client, _):
        client.send(ws_request())
        assert client.read_head()[0] == 101
        assert client.read_frame() == (CLOSE, INTERNAL_ERROR + b"internal error")
    assert error_lines(caplog) == []


def test_what_the_app_answers_after_the_upgrade_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    closed = []
    iterated: list[object] = []

    class Result(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            return map(iterated.append, [b"ignored"])  # type: ignore[arg-type]

        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Result:
        ws = upgrade(environ)
        write = start_response("200 OK", [PLAIN])
        write(b"ignored")
        assert not ws.closed
        assert environ["wsgi.input"].read(10) == b""
        return Result([b"ignored"])

    with serving(validator(app)) as (client, _):
        client.send(ws_request())
        assert client.read_head()[0] == 101
        close_normally(client)
    assert closed == [True]
    assert iterated == []
    assert error_lines(caplog) == []


def test_generator_that_upgrades() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        ws = upgrade(environ)
        yield b"ignored"
        ws.send("still there")
        yield b"ignored"

    with serving(app) as (client, _):
        client.send(ws_request())
        assert client.read_head()[0] == 101
        assert client.read_frame() == (TEXT, b"still there")
        close_normally(client)


def test_app_that_raises_after_the_upgrade(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        upgrade(environ)
        raise ValueError("secret")

    with serving(app) as (client, _):
        client.send(ws_request("/chat"))
        assert client.read_head()[0] == 101
        opcode, payload = client.read_frame()
        assert (opcode, payload[:2]) == (CLOSE, INTERNAL_ERROR)
        assert b"secret" not in payload
        client.send(frame(CLOSE, INTERNAL_ERROR))
        assert client.read_to_end() == b""
    [record] = error_lines(caplog)
    assert record.exc_info is not None
    assert "/chat" in record.getMessage()


def test_connection_closed_that_escapes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "syncws")

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        upgrade(environ).receive()
        raise AssertionError("no message came")

    with serving(app) as (client, _):
        client.send(ws_request("/chat"), frame(CLOSE, b"\x0f\xa0bye"))
        assert client.read_head()[0] == 101
        assert client.read_frame() == (CLOSE, b"\x0f\xa0bye")
        assert client.read_to_end() == b""
    [record] = error_lines(caplog, logging.DEBUG)
    assert record.levelname == "DEBUG"
    assert "closed by the peer with 4000: bye" in record.getMessage()


def test_refusal_that_escapes(caplog: pytest.LogCaptureFixture) -> None:
    with serving(echo) as (client, _):
        # The connection goes on with plain HTTP, bytes that were received already included.
        client.send(get(), ws_request("/", "Origin: http://elsewhere.example"), ws_request())
        status, headers, body = client.read_response()
        assert (status, headers["upgrade"], headers["connection"]) == (426, "websocket", "Upgrade")
        assert b"WebSocket" in body
        assert client.read_response()[0] == 403
        assert client.read_head()[0] == 101
        client.send(frame(CLOSE, NORMAL))
        close_normally(client)
    assert [record.levelname for record in error_lines(caplog)] == ["INFO", "WARNING"]


def test_refusal_closes_the_connection_if_need_be() -> None:
    with serving(echo) as (client, _):
        client.send(get("/", "Connection: close", method="HEAD"))
        status, headers, _ = client.read_response(head_only=True)
        assert (status, headers["allow"], headers["connection"]) == (405, "GET", "close")
        assert client.read_to_end() == b""


def test_refusal_after_the_response_has_begun(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        try:
            upgrade(environ)
        except HandshakeError:
            start_response("200 OK", [PLAIN])(b"begin")
            raise
        raise AssertionError("it was upgraded")

    with serving(app) as (client, _):
        client.send(get())
        client.read_head()
        assert client.read_to_end() == b"5\r\nbegin\r\n"


def test_refusal_that_the_app_has_given_fields_that_cannot_be_sent(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        try:
            upgrade(environ)
        except HandshakeError as error:
            error.headers.append(("Location", "/a\r\nSet-Cookie: b"))
            raise
        raise AssertionError("it was upgraded")

    with serving(app) as (client, _):
        client.send(get())
        status, headers, body = client.read_response()
        assert (status, body) == (500, b"internal server error\n")
        assert "set-cookie" not in headers
        assert client.read_to_end() == b""
    assert "ValueError" in caplog.text


def test_refusal_that_the_app_answers() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        try:
            upgrade(environ)
        except HandshakeError as error:
            start_response(f"{error.status} Mine", [*error.headers, PLAIN])
            return [b"mine"]
        raise AssertionError("it was upgraded")

    with serving(app) as (client, _):
        for _ in range(2):
            client.send(get())
            status, headers, body = client.read_response()
            assert (status, headers["upgrade"], body) == (426, "websocket", b"mine")


def test_error_of_another_handshake_is_the_apps_own(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        raise HandshakeError("from another server", status=404)

    with serving(app) as (client, _):
        client.send(get())
        assert client.read_response()[0] == 500
    assert len(error_lines(caplog, logging.ERROR)) == 1


def test_client_that_is_gone_before_the_101(caplog: pytest.LogCaptureFixture) -> None:
    for request in ws_request(), get():
        gone = threading.Event()

        def app(environ: dict[str, Any], start_response: Callable[..., Any], gone: Any = gone) -> list[bytes]:
            assert gone.wait(DEADLINE)
            return echo(environ, start_response)

        with serving(app) as (client, _):
            client.send(request)
            client.close()
            gone.set()
    assert [record.levelname for record in error_lines(caplog)] == ["INFO", "INFO"]


def test_upgrade_twice_or_too_late() -> None:
    environs = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environs.append(environ)
        if environ["PATH_INFO"] == "/late":
            start_response("200 OK", [PLAIN, ("Content-Length", "4")])(b"late")
            with pytest.raises(RuntimeError, match="too late to upgrade"):
                upgrade(environ)
            return []
        upgrade(environ)
        with pytest.raises(RuntimeError, match="upgraded already"):
            upgrade(environ)
        return []

    with serving(app) as (client, _):
        client.send(ws_request("/late"))
        assert client.read_response()[2] == b"late"
        client.send(ws_request())
        assert client.read_head()[0] == 101
        close_normally(client)
    with pytest.raises(RuntimeError, match="too late to upgrade"):
        upgrade(environs[0])


def test_fields_that_are_known_at_the_end() -> None:
    called = []

    def more_fields() -> list[tuple[str, str]]:
        called.append(1)
        return [("Set-Cookie", "a=1")]

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/upgrade":
            upgrade(environ, more_fields=more_fields)
        else:
            hand_over(environ, lambda ws: None, more_fields=more_fields)
        with pytest.raises(RuntimeError, match="upgraded already"):
            upgrade(environ, more_fields=more_fields)
        return hello(environ, start_response)

    for target in "/upgrade", "/hand_over":
        with serving(app, headers={"X-Server": "1"}) as (client, _):
            client.send(ws_request(target, "Origin: http://elsewhere.example"))
            assert client.read_response()[0] == 403
            assert called == []
            client.send(ws_request(target))
            _, headers = client.read_head()
            assert (headers["x-server"], headers["set-cookie"]) == ("1", "a=1")
            assert called.pop() == 1
            close_normally(client)


def test_upgrade_on_another_server() -> None:
    environ = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "a", "HTTP_UPGRADE": "websocket"}
    with pytest.raises(RuntimeError, match=r"Other/1\.0 does not let an app have the connection"):
        upgrade({"SERVER_SOFTWARE": "Other/1.0", **environ})
    with pytest.raises(RuntimeError, match=r"this server does not .*python -m syncws serve"):
        hand_over({**environ}, echo_handler)


def test_plain_request_on_another_server() -> None:
    environ = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "a"}
    for call in (lambda: upgrade(environ), lambda: hand_over(environ, echo_handler)):
        with pytest.raises(HandshakeError) as refused:
            call()
        assert refused.value.status == 426


# Handing over.


def test_hand_over() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        hand_over(environ, echo_handler, carry=pytest.fail, subprotocols=["chat"])
        start_response("200 OK", [PLAIN])
        return [b"not sent"]

    with serving(app) as (client, _):
        client.send(ws_request("/", "Sec-WebSocket-Protocol: chat"), frame(TEXT, b"first"))
        status, headers = client.read_head()
        assert (status, headers["Sec-WebSocket-Protocol"]) == (101, "chat")
        assert client.read_frame() == (TEXT, b"first")
        client.send(frame(CLOSE, NORMAL))
        close_normally(client)


@pytest.mark.parametrize(
    ("error", "told", "logged"),
    [
        (None, NORMAL, 0),
        (ValueError("on purpose"), INTERNAL_ERROR + b"internal error", 1),
        (ConnectionClosed(1000), INTERNAL_ERROR + b"internal error", 1),  # that of another connection
    ],
)
def test_end_of_a_handler(
    error: BaseException | None, told: bytes, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    noted = []

    def handler(ws: WebSocket) -> None:
        if error is not None:
            raise error

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environ["syncws.on_error"] = noted.append
        hand_over(environ, handler)
        return hello(environ, start_response)

    with serving(app) as (client, _):
        client.send(ws_request())
        assert client.read_head()[0] == 101
        assert client.read_frame() == (CLOSE, told)
        client.send(frame(CLOSE, NORMAL))
        assert client.read_to_end() == b""
    assert noted == [error] * logged
    assert [record.exc_info is not None for record in error_lines(caplog, logging.ERROR)] == [True] * logged


def test_exception_that_nobody_asks_for(caplog: pytest.LogCaptureFixture) -> None:
    with pair() as (sock, client):
        environ = foreign_environ(sock, pooled=False)
        with Running(lambda: hand_over(environ, lambda ws: 1 / 0)):
            assert client.read_head()[0] == 101
            assert client.read_frame()[1][:2] == INTERNAL_ERROR
            client.send(frame(CLOSE, NORMAL))
            assert client.read_to_end() == b""
            client.close()
    assert len(error_lines(caplog, logging.ERROR)) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_program_is_ended_in_a_handler(error: type[BaseException]) -> None:
    raised = []

    def handler(ws: WebSocket) -> None:
        raise error

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        with pytest.raises(error) as caught:
            hand_over(environ, handler)
        raised.append(caught.value)
        return hello(environ, start_response)

    with serving(app) as (client, _):
        client.send(ws_request())
        assert client.read_head()[0] == 101
        assert client.read_frame()[1][:2] == GOING_AWAY
        client.send(frame(CLOSE, NORMAL))
        assert client.read_to_end() == b""
    assert len(raised) == 1


def foreign_environ(sock: socket.socket, *, pooled: bool) -> dict[str, Any]:
    """The environ of an opening handshake on Werkzeug's server, or in Gunicorn's pool of threads."""
    fields = dict(field.split(": ") for field in ("Host: example.com", *WS_FIELDS))
    environ: dict[str, Any] = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in fields.items()}
    environ.update({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SERVER_PROTOCOL": "HTTP/1.1"})
    if pooled:
        stream = SimpleNamespace(unreader=SimpleNamespace(buf=io.BytesIO()))
        return {**environ, "gunicorn.socket": sock, "wsgi.multithread": True, "wsgi.input": stream}
    return {**environ, "werkzeug.socket": sock, "wsgi.input": sock.makefile("rb")}


@pytest.mark.parametrize("pooled", [False, True])
def test_hand_over_on_another_server(pooled: bool) -> None:
    carried = []

    def carry(handler: Any) -> Any:
        carried.append(handler)
        return handler

    with pair() as (sock, client):
        environ = foreign_environ(sock, pooled=pooled)
        with Running(lambda: hand_over(environ, echo_handler, carry=carry)) as serving:
            assert client.read_head()[0] == 101
            if pooled:
                serving.result()
            client.send(frame(TEXT, b"hello"))
            assert client.read_frame() == (TEXT, b"hello")
            assert serving.running != pooled
            client.send(frame(CLOSE, NORMAL))
            close_normally(client)
            client.close()
    assert carried == [echo_handler] * pooled


def test_no_thread_to_hand_over_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(function: Callable[[], object], name: str) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("syncws.wsgi.THREADS", dataclasses.replace(THREADS, spawn=spawn))
    with pair() as (sock, client), Running(lambda: hand_over(foreign_environ(sock, pooled=True), hello)) as serving:
        assert client.read_head()[0] == 101
        assert client.read_frame() == (CLOSE, b"\x03\xf5try again later")
        client.send(frame(CLOSE, NORMAL))
        assert client.read_to_end() == b""
        client.close()
        with pytest.raises(RuntimeError, match="no thread for the handler of /: can't start new thread"):
            serving.result()
        serving._error = None


def test_upgrade_with_a_body() -> None:
    with serving(echo) as (client, _):
        client.send(ws_request("/", "Content-Length: 4"), b"body", ws_request())
        status, headers, _ = client.read_response()
        assert (status, headers.get("connection")) == (400, None)
        assert client.read_head()[0] == 101
        client.send(frame(CLOSE, NORMAL))
        close_normally(client)


def test_other_upgrades_are_plain_http() -> None:
    with serving(validator(hello)) as (client, _):
        client.send(get("/1", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk"))
        assert client.read_response()[2] == b"GET /1 "
        client.send(get("/2"))
        assert client.read_response()[2] == b"GET /2 "


# Stopping.


def test_stop_drops_an_idle_connection() -> None:
    with serving(ignore, keepalive_timeout=None) as (client, connection):
        client.send(get())
        client.read_response()
        connection.stop()
        assert client.read_to_end() == b""


def test_stop_drops_a_new_connection() -> None:
    with serving(ignore, open_timeout=None) as (client, connection):
        connection.stop()
        assert client.read_to_end() == b""


def test_stop_lets_a_request_finish() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/late":
            start_response("200 OK", [PLAIN])(b"begin ")
        entered.set()
        assert go_on.wait(DEADLINE)
        if environ["PATH_INFO"] != "/late":
            start_response("200 OK", [PLAIN])
        return [b"end"]

    for path, connection_field, expected in ("/", "close", b"end"), ("/late", None, b"begin end"):
        entered.clear()
        go_on.clear()
        with serving(app, keepalive_timeout=None) as (client, connection):
            client.send(get(path))
            assert entered.wait(DEADLINE)
            connection.stop()
            go_on.set()
            _, headers, body = client.read_response()
            assert (headers.get("connection"), body) == (connection_field, expected)
            assert client.read_to_end() == b""


def test_stop_closes_a_websocket() -> None:
    received = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        received.extend(upgrade(environ))
        return []

    with serving(app) as (client, connection):
        client.send(ws_request())
        client.read_head()
        client.send(frame(TEXT, b"last"))
        connection.stop()
        connection.stop()
        assert client.read_frame() == (CLOSE, GOING_AWAY + b"server is shutting down")
        client.send(frame(CLOSE, GOING_AWAY))
        assert client.read_to_end() == b""
    assert received == ["last"]


def test_stop_before_the_upgrade() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        entered.set()
        assert go_on.wait(DEADLINE)
        return echo(environ, start_response)

    with serving(app) as (client, connection):
        client.send(ws_request())
        assert entered.wait(DEADLINE)
        connection.stop()
        go_on.set()
        assert client.read_head()[0] == 101
        assert client.read_frame()[1][:2] == GOING_AWAY
        client.send(frame(CLOSE, GOING_AWAY))
        assert client.read_to_end() == b""


class Observed(WSGIConnection):
    """A connection that tells what became of its requests."""

    outcomes: list[tuple[str, tuple[str, list[tuple[str, str]], int | None]]]

    def _answer(self, exchange: Exchange) -> bool:
        try:
            return super()._answer(exchange)
        finally:
            self.outcomes.append((exchange.head.path, exchange.outcome))


def test_outcome_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/failure":
            raise ValueError
        if environ["PATH_INFO"] == "/echo":
            return echo(environ, start_response)
        return hello(environ, start_response)

    monkeypatch.setitem(globals(), "WSGIConnection", Observed)
    Observed.outcomes = []
    with serving(app) as (client, _):
        for request in get("/hello"), get("/echo"):
            client.send(request)
            client.read_response()
        client.send(ws_request("/echo"))
        assert client.read_head()[0] == 101
        client.send(frame(CLOSE))
        assert client.read_frame() == (CLOSE, b"")
    with serving(app) as (client, _):
        client.send(get("/failure"))
        client.read_response()
    lost = b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
    with serving(app) as (client, _):
        client.send(lost)
        client.sock.shutdown(socket.SHUT_WR)
        client.read_to_end()
    assert Observed.outcomes == [
        ("/hello", ("200 OK", [PLAIN], 11)),
        ("/echo", ("426 Upgrade Required", [], None)),
        ("/echo", ("101 Switching Protocols", [], None)),
        ("/failure", ("500 Internal Server Error", [], None)),
        ("/hello", ("400 Bad Request", [], None)),
    ]


def test_no_keep_alive() -> None:
    with serving(hello, keepalive_timeout=0) as (client, _):
        client.send(get("/1"), get("/2"))
        status, headers, body = client.read_response()
        assert (status, headers["connection"], body) == (200, "close", b"GET /1 ")
        assert client.read_to_end() == b""


def test_nothing_is_left_behind() -> None:
    references: list[weakref.ref[Any]] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        ws: WebSocket = upgrade(environ)
        references.append(weakref.ref(ws))
        references.append(weakref.ref(environ["syncws.connection"]))
        return []

    with serving(app) as (client, connection):
        client.send(ws_request())
        client.read_head()
        close_normally(client)
    del connection
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_upgrade_sees_the_host_that_a_middleware_has_set() -> None:
    def behind_a_proxy(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["HTTP_HOST"] = environ["HTTP_X_FORWARDED_HOST"]
        return echo(environ, start_response)

    with serving(behind_a_proxy) as (client, _):
        client.send(ws_request("/", "X-Forwarded-Host: public.example", "Origin: https://public.example"))
        assert client.read_head()[0] == 101
        client.send(frame(CLOSE, NORMAL))
        assert client.read_frame() == (CLOSE, NORMAL)
    with serving(behind_a_proxy) as (client, _):
        client.send(ws_request("/", "X-Forwarded-Host: public.example", "Origin: http://example.com"))
        assert client.read_response()[0] == 403
