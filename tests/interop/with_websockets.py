"""The ``websockets`` package, its threading implementation: client and server."""

from __future__ import annotations

import contextlib
import http
import queue
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import websockets.sync.client
import websockets.sync.server
from interop.peers import REDIRECT_PATH, REFUSED_BODY, REFUSED_PATH, ForeignServer, Library, Peer, Refusal
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from wire import DEADLINE, Running

__all__ = ["Websockets"]


class _Peer(Peer):
    def __init__(self, connection: Any, received: Headers, stack: contextlib.ExitStack | None = None) -> None:
        self._connection = connection
        self._stack = stack or contextlib.ExitStack()
        self.subprotocol = connection.subprotocol
        self.headers = {name.lower(): value for name, value in received.raw_items()}
        self.extensions = ", ".join(connection.response.headers.get_all("Sec-WebSocket-Extensions"))
        self.over = threading.Event()

    def send(self, data: str | bytes) -> None:
        self._connection.send(data)

    def send_fragments(self, pieces: Sequence[str | bytes]) -> None:
        self._connection.send(iter(pieces))

    def receive(self) -> str | bytes:
        try:
            message = self._connection.recv(timeout=DEADLINE)
        except ConnectionClosed:
            raise EOFError from None
        assert isinstance(message, (str, bytes))
        return message

    def ping(self, data: bytes) -> bytes:
        # It compares the payload itself.
        assert self._connection.ping(data).wait(DEADLINE)
        return data

    def close(self, code: int | None = None, reason: str = "") -> None:
        # While it waits for our answer it stops reading, unless somebody takes the messages.
        with Running(self.ended):
            if code is not None:
                self._connection.close(code, reason)
                return
            with contextlib.suppress(ConnectionClosed), self._connection.send_context():
                self._connection.protocol.send_close()

    def ended(self) -> tuple[int, str]:
        while True:
            try:
                self._connection.recv(timeout=DEADLINE)
            except ConnectionClosed as error:
                return (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")

    def dispose(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.socket.shutdown(socket.SHUT_RDWR)
        self._stack.close()
        self.over.set()


class Websockets(Library):
    def client(
        self,
        uri: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
        deflate: dict[str, Any] | None = None,
        max_size: int | None = None,
        tls: Any = None,
        unix: str | None = None,
    ) -> Peer:
        settings = {
            "subprotocols": list(subprotocols) or None,
            "additional_headers": list(headers),
            "max_size": max_size,
            "compression": None if deflate is None else "deflate",
            "extensions": [ClientPerMessageDeflateFactory(**deflate)] if deflate else None,
            "ssl": tls and tls.client,
        }
        if unix is None:
            connecting = websockets.sync.client.connect(uri, **settings)
        else:
            connecting = websockets.sync.client.unix_connect(unix, uri, **settings)
        stack = contextlib.ExitStack()
        connection: Any = stack.enter_context(connecting)
        return _Peer(connection, connection.response.headers, stack)

    def refused(self, uri: str, headers: Sequence[tuple[str, str]] = ()) -> Refusal:
        try:
            websockets.sync.client.connect(uri, additional_headers=list(headers))
        except InvalidStatus as error:
            answer = error.response
            fields = {name.lower(): value for name, value in answer.headers.raw_items()}
            return Refusal(answer.status_code, fields, bytes(answer.body or b""))
        raise AssertionError("the server did not refuse")

    @contextlib.contextmanager
    def server(
        self,
        host: str = "127.0.0.1",
        *,
        subprotocols: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
        deflate: dict[str, Any] | None = None,
        max_size: int | None = None,
        tls: Any = None,
        unix: str | None = None,
    ) -> Iterator[ForeignServer]:
        accepted: queue.SimpleQueue[_Peer] = queue.SimpleQueue()

        def handler(connection: Any) -> None:
            peer = _Peer(connection, connection.request.headers)
            accepted.put(peer)
            assert peer.over.wait(6 * DEADLINE)

        def add_headers(connection: Any, request: Request, response: Response) -> None:
            for name, value in headers:
                response.headers[name] = value

        settings = {
            "subprotocols": list(subprotocols) or None,
            "process_request": _refuse,
            "process_response": add_headers,
            "max_size": max_size,
            "compression": None if deflate is None else "deflate",
            "extensions": [ServerPerMessageDeflateFactory(**deflate)] if deflate else None,
            "ssl": tls and tls.server,
        }
        if unix is None:
            listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
            server = websockets.sync.server.serve(handler, sock=listener, **settings)
        else:
            server = websockets.sync.server.unix_serve(handler, unix, **settings)
        port = 0 if unix else server.socket.getsockname()[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield ForeignServer(port, lambda: accepted.get(timeout=DEADLINE))
        finally:
            server.shutdown()
            thread.join(DEADLINE)


def _refuse(connection: Any, request: Request) -> Response | None:
    if request.path == REDIRECT_PATH:
        return _response(302, ("Location", "/"))
    if request.path == REFUSED_PATH:
        return _response(401, ("WWW-Authenticate", "Basic"))
    return None


def _response(status: int, field: tuple[str, str]) -> Response:
    fields = [field, ("Content-Length", str(len(REFUSED_BODY))), ("Connection", "close")]
    return Response(status, http.HTTPStatus(status).phrase, Headers(fields), REFUSED_BODY)
