"""The opening handshake on connected sockets, plain and TLS, and within handlers of http.server."""

from __future__ import annotations

import dataclasses
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import SimpleQueue
from typing import Any

import pytest
from wire import DEADLINE, WS_FIELDS, ClientSocket, Running, frame, get, pair, tls_contexts, ws_request

from syncws import opening
from syncws.errors import HandshakeError
from syncws.opening import accept, deadline_after, open_websocket
from syncws.options import Options
from syncws.protocol.handshake import RequestHead
from syncws.protocol.headers import Headers
from syncws.transport import Transport, transport_for

ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3
TEXT, CLOSE = 1, 8


def refused(sock: socket.socket, **options: Any) -> HandshakeError:
    """The error that accept() raises; by then the socket is closed."""
    with pytest.raises(HandshakeError) as caught:
        accept(sock, **options)
    assert sock.fileno() == -1
    return caught.value


def exchange(sock: socket.socket, client: ClientSocket, request: bytes) -> HandshakeError:
    """Send a request that is refused, and end the connection; the error."""
    client.send(request)
    client.sock.shutdown(socket.SHUT_WR)
    return refused(sock)


def test_opens_a_websocket() -> None:
    with pair() as (sock, client):
        # The first frame may share a packet with the request.
        client.send(ws_request("/chat?room=1", "Sec-WebSocket-Protocol: a, b", "Cookie: x=y"), frame(TEXT, b"hello"))
        ws = accept(sock, subprotocols=["b"], headers={"X-Name": "value"})
        status, headers = client.read_head()
        assert status == 101
        assert headers["sec-websocket-accept"] == ACCEPT
        assert headers["sec-websocket-protocol"] == ws.subprotocol == "b"
        assert headers["x-name"] == "value"
        assert (ws.path, ws.headers["cookie"]) == ("/chat", "x=y")
        assert ws.receive(timeout=10) == "hello"
        ws.send("world")
        assert client.read_frame() == (TEXT, b"world")
        client.send(frame(CLOSE, b"\x03\xe8"))
        with Running(ws.close):
            assert client.read_frame() == (CLOSE, b"\x03\xe8")
            assert client.read_to_end() == b""
            client.close()
        assert sock.fileno() == -1


def test_fields_that_are_known_at_the_end() -> None:
    order = []

    def more_fields() -> list[tuple[str, str]]:
        order.append("fields")
        return [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]

    with pair() as (sock, client):
        transport = transport_for(sock)

        def take() -> tuple[Transport, bytes]:
            order.append("take")
            return transport, b""

        options = Options(headers={"X-Name": "value"})
        good = RequestHead("GET", "/", "1.1", Headers(field.split(": ") for field in ("Host: localhost", *WS_FIELDS)))
        with pytest.raises(HandshakeError):
            open_websocket(dataclasses.replace(good, headers=Headers([])), options, take, more_fields)
        assert order == []
        # What is no header field is found before the connection is taken.
        with pytest.raises(ValueError, match="Upgrade"):
            open_websocket(good, options, take, lambda: [("Upgrade", "other")])
        assert order == []
        ws = open_websocket(good, options, take, more_fields)
        _, headers = client.read_head()
        assert (headers["x-name"], headers.get_all("set-cookie")) == ("value", ["a=1", "b=2"])
        ws.abort()
        ws.close()
    assert order == ["fields", "take"]


@pytest.mark.parametrize("ready", [True, False], ids=["handshake done", "handshake to be done"])
def test_opens_a_websocket_over_tls(ready: bool) -> None:
    server_context, client_context = tls_contexts()
    with pair() as (sock, plain):

        def connect() -> ClientSocket:
            return ClientSocket(client_context.wrap_socket(plain.sock, server_hostname="localhost"))

        with Running(connect) as connecting:
            wrapped = server_context.wrap_socket(sock, server_side=True, do_handshake_on_connect=ready)
            serving = Running(lambda: accept(wrapped))
        with connecting.result() as client:
            client.send(ws_request(), frame(TEXT, b"hello"))
            assert client.read_head()[0] == 101
            ws = serving.result()
            assert ws.receive(timeout=10) == "hello"
            ws.abort()
            ws.close()


def test_tls_handshake_that_fails() -> None:
    server_context, _ = tls_contexts()
    with pair() as (sock, client):
        client.send(get())
        wrapped = server_context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        with pytest.raises(HandshakeError, match="TLS handshake failed: ") as caught:
            accept(wrapped)
        assert caught.value.status == 0
        assert wrapped.fileno() == -1


@pytest.mark.parametrize(
    ("request_bytes", "status", "words"),
    [
        (get(), 426, "Upgrade must list"),
        (get(method="POST"), 405, "GET"),
        (ws_request("/", "Origin: http://elsewhere.example"), 403, "origins"),
        (ws_request("/", "Host: second.example"), 400, "2 Host fields"),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400, "malformed head"),
        (ws_request("/" + "a" * 9000), 414, "8192"),
        (get("/", *[f"X-{number}: a" for number in range(100)]), 431, "100 fields"),
        (get(version="2.0"), 505, "HTTP/2.0"),
    ],
)
def test_refuses_with_an_answer(request_bytes: bytes, status: int, words: str) -> None:
    with pair() as (sock, client):
        error = exchange(sock, client, request_bytes)
        assert error.status == status
        assert words in str(error)
        answered, headers, body = client.read_response()
        # The message is for a person who reads the response, unless it is for the log only.
        assert (answered, body.decode()) == (status, error.body.decode() or f"{error}\n")
        assert "origins" not in body.decode()
        assert headers.get_all("connection")[-1] == "close"
        for name, value in error.headers:
            assert value in headers.get_all(name)
        assert client.read_to_end() == b""


def test_answer_to_head_has_no_body() -> None:
    with pair() as (sock, client):
        error = exchange(sock, client, get(method="HEAD"))
        assert error.status == 405
        status, headers, _ = client.read_response(head_only=True)
        assert (status, headers["allow"], headers["content-length"]) == (405, "GET", str(len(str(error)) + 1))
        assert client.read_to_end() == b""


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost:", ws_request()[:-1]])
def test_client_that_is_too_slow(sent: bytes) -> None:
    with pair() as (sock, client):
        client.send(sent)
        with Running(lambda: refused(sock, open_timeout=0.01)) as running:
            assert client.read_response()[0] == 408
            client.close()
        error = running.result()
        assert (error.status, str(error)) == (408, "no complete request within 0.01 s (open_timeout)")


def test_client_that_goes_away_without_a_request() -> None:
    with pair() as (sock, client):
        client.close()
        with pytest.raises(HandshakeError, match="ended the connection without a request") as caught:
            accept(sock)
        assert caught.value.status == 0
        assert sock.fileno() == -1


def test_client_that_resets_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        sock, _ = listener.accept()
        client.sendall(b"GET / HTTP/1.1\r\n")
        # Closing with a linger time of 0 sends a reset.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        with pytest.raises(HandshakeError, match="lost before the request was complete") as caught:
            accept(sock)
        assert caught.value.status == 0


def test_client_that_is_gone_when_it_is_answered() -> None:
    with pair() as (sock, client):
        client.send(ws_request())
        client.close()
        with pytest.raises(HandshakeError, match="lost while the 101 was sent") as caught:
            accept(sock)
        assert caught.value.status == 0
    with pair() as (sock, client):
        client.send(get())
        client.close()
        with pytest.raises(HandshakeError) as caught:
            accept(sock)
        assert caught.value.status == 426


def test_client_that_does_not_hang_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_HANG_UP_TIMEOUT", 0.05)
    with pair() as (sock, client):
        client.send(get(), b"and more")
        with pytest.raises(HandshakeError):
            accept(sock)
        assert client.read_response()[0] == 426
        assert client.read_to_end() == b""


def test_unread_input_does_not_destroy_the_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with ClientSocket(socket.create_connection(listener.getsockname())) as client:
            sock, _ = listener.accept()
            with Running(lambda: refused(sock)):
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", bytes(1000000))
                assert client.read_response()[0] == 405
                assert client.read_to_end() == b""
                client.close()


def test_wrong_options_leave_the_socket_alone() -> None:
    with pair() as (sock, _):
        with pytest.raises(TypeError, match="no option 'colour'"):
            accept(sock, colour="red")
        with pytest.raises(ValueError, match="open_timeout"):
            accept(sock, open_timeout=-1)
        assert sock.fileno() != -1


def test_deadline_after() -> None:
    assert deadline_after(None) is None
    first, second = deadline_after(0), deadline_after(100)
    assert first is not None
    assert second is not None
    assert second - first >= 100


# Handlers of http.server.


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    outcomes: SimpleQueue[Any]  # of do_GET, as it ends

    def do_GET(self) -> None:
        if self.path == "/plain":
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"plain")
            return
        try:
            with accept(self) as ws:
                for message in ws:
                    ws.send(message)
                self.outcomes.put(ws.close_code)
        except HandshakeError as error:
            self.outcomes.put(error)

    do_POST = do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        raise AssertionError(f"the handler logs: {args}")

    def log_request(self, *_: object) -> None:
        pass


class UnbufferedHandler(Handler):
    rbufsize = 0


ServeHandler = Callable[..., tuple[HTTPServer, type[Handler]]]


@pytest.fixture
def serve() -> Iterator[ServeHandler]:
    """Start an HTTP server with a handler class of its own."""
    servers = []

    def start(base: type[Handler] = Handler, context: ssl.SSLContext | None = None) -> tuple[HTTPServer, type[Handler]]:
        handler = type("Handler", (base,), {"outcomes": SimpleQueue()})
        server = HTTPServer(("127.0.0.1", 0), handler)
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return server, handler

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def echo_and_close(client: ClientSocket) -> None:
    client.send(frame(TEXT, b"second"))
    assert client.read_frame() == (TEXT, b"second")
    client.send(frame(CLOSE, b"\x03\xe8"))
    assert client.read_frame() == (CLOSE, b"\x03\xe8")
    # Nothing follows the close frame: the handler's server does not answer on top of it.
    assert client.read_to_end() == b""


def test_handler_of_http_server(serve: ServeHandler) -> None:
    server, handler = serve()
    with ClientSocket(socket.create_connection(server.server_address[:2])) as client:
        # Plain HTTP on the same connection before, the request with a frame right behind it.
        client.send(get("/plain"))
        assert client.read_response()[2] == b"plain"
        client.send(ws_request(), frame(TEXT, b"first"))
        assert client.read_head()[0] == 101
        assert client.read_frame() == (TEXT, b"first")
        echo_and_close(client)
    assert handler.outcomes.get(timeout=DEADLINE) == 1000


def test_handler_with_an_empty_buffer(serve: ServeHandler) -> None:
    server, _ = serve()
    with ClientSocket(socket.create_connection(server.server_address[:2])) as client:
        client.send(ws_request())
        assert client.read_head()[0] == 101
        echo_and_close(client)


def test_handler_without_a_buffer(serve: ServeHandler) -> None:
    server, _ = serve(UnbufferedHandler)
    with ClientSocket(socket.create_connection(server.server_address[:2])) as client:
        client.send(ws_request(), frame(TEXT, b"first"))
        assert client.read_head()[0] == 101
        assert client.read_frame() == (TEXT, b"first")
        echo_and_close(client)


@pytest.mark.parametrize("glued", [True, False])
def test_handler_over_tls(serve: ServeHandler, glued: bool) -> None:
    server_context, client_context = tls_contexts()
    server, _ = serve(context=server_context)
    plain = socket.create_connection(server.server_address[:2])
    with ClientSocket(client_context.wrap_socket(plain, server_hostname="localhost")) as client:
        client.send(ws_request(), frame(TEXT, b"first") if glued else b"")
        assert client.read_head()[0] == 101
        if not glued:
            client.send(frame(TEXT, b"first"))
        assert client.read_frame() == (TEXT, b"first")
        echo_and_close(client)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [(get("/"), 426), (get("/", method="POST"), 405), (get("/", method="HEAD"), 405)],
)
def test_handler_that_is_asked_for_something_else(serve: ServeHandler, request_bytes: bytes, status: int) -> None:
    server, handler = serve()
    with ClientSocket(socket.create_connection(server.server_address[:2])) as client:
        client.send(request_bytes)
        answered, headers, _ = client.read_response(head_only=b"HEAD" in request_bytes)
        assert (answered, headers.get_all("connection")[-1]) == (status, "close")
        assert client.read_to_end() == b""
    assert handler.outcomes.get(timeout=DEADLINE).status == status
