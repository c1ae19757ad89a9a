"""A client that writes its handshake and frames by hand, and servers to point it at; all of it over TCP.

Nothing that the client does goes through the library, so that the library is not judged by itself.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import ssl
import zlib
from collections.abc import Callable, Iterable, Iterator
from email.message import Message
from typing import Any, Literal, NamedTuple

import pytest
from peers import RawPeer, start
from wire import tls_contexts

import syncws
from syncws.listener import Listener

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "DEADLINE",
    "PING",
    "PONG",
    "TEXT",
    "WS_FIELDS",
    "Entrance",
    "RawClient",
    "Response",
    "both_servers",
    "deflated",
    "echo",
    "frame",
    "request",
    "running",
    "server_and_client_contexts",
    "serving",
]

# In seconds: how long anything may take that takes a fraction of one on a machine with nothing else to do.
DEADLINE = 30.0

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KEY = bytes.fromhex("37fa213d")  # RFC 6455, 5.7

# RFC 6455, 1.3: the key and what the server makes of it.
WS_FIELDS = (
    "Host: localhost",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)
_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

Entrance = Literal["handler", "wsgi"]
both_servers = pytest.mark.parametrize("entrance", ["handler", "wsgi"])
server_and_client_contexts = functools.lru_cache(tls_contexts)


def request(*fields: str, line: str = "GET / HTTP/1.1") -> bytes:
    """A request's head."""
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = KEY,
    length_bytes: int | None = None,
) -> bytes:
    """A client's frame, right or wrong.

    :param rsv: the three reserved bits: 4 is RSV1, 1 is RSV3.
    :param key: what to mask with; ``None``: not at all, which is wrong.
    :param length_bytes: of the extended length: 0, 2 or 8; ``None``: as many as needed.
    """
    size, mask = len(payload), 0 if key is None else 0x80
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2 if size < 65536 else 8
    short = {0: size, 2: 126, 8: 127}[length_bytes]
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode, mask | short])
    if length_bytes:
        head += size.to_bytes(length_bytes, "big")
    if key is None:
        return head + payload
    pad = (key * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
    return head + key + masked


def deflated(*pieces: bytes) -> bytes:
    """The payload of a message compressed on its own (RFC 7692, 7.2.1)."""
    compressor = zlib.compressobj(9, wbits=-15)
    parts = [compressor.compress(piece) for piece in pieces]
    return (b"".join(parts) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


class Response(NamedTuple):
    """The response to a request."""

    status: int
    headers: Message
    body: bytes


class RawClient(RawPeer):
    """A connection to a server; closed at the end of a with-statement.

    :param address: host and port, or the path of a Unix socket, which suits a client that never reads: where the small
        answers to what it sends fill the receive buffer of TCP, Linux drops packets there, acknowledgements with them,
        and both directions stand still for longer and longer (seen with Linux 6.18).
    :param buffer: bytes of the send and receive buffer, as far as the kernel goes along.
    :param tls: the context for TLS.
    """

    def __init__(self, address: Any, *, buffer: int | None = None, tls: ssl.SSLContext | None = None) -> None:
        sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.settimeout(DEADLINE)
        sock.connect(address)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname="localhost")
        super().__init__(sock, masked=True)
        sock.settimeout(DEADLINE)

    def open(self, *fields: str, target: str = "/", glued: bytes = b"") -> RawClient:
        """Shake hands; ``glued`` leaves in the same packet as the request."""
        self.send(request(*WS_FIELDS, *fields, line=f"GET {target} HTTP/1.1") + glued)
        response = self.read_response()
        assert response.status == 101, response
        assert response.headers["Sec-WebSocket-Accept"] == _ACCEPT
        return self

    def read_response(self) -> Response:
        """The response to the request that was sent."""
        version, status, _ = self._file.readline().decode("latin-1").split(" ", 2)
        assert version == "HTTP/1.1"
        headers = http.client.parse_headers(self._file)
        return Response(int(status), headers, self._file.read(int(headers.get("Content-Length", 0))))

    def read_to_end(self) -> bytes:
        """Whatever comes until the server ends its direction; ConnectionResetError if it resets the connection."""
        return self._file.read()

    def echo(self, text: str = "hello") -> None:
        """Have a message sent back."""
        self.send(frame(TEXT, text.encode()))
        answer = self.read_frame()
        assert answer is not None
        assert (answer.opcode, answer.payload) == (TEXT, text.encode())

    def read_close(self) -> int:
        """Read the close frame, and nothing behind it but the clean end of the stream; return the close code."""
        answer = self.read_frame()
        assert answer is not None, "the connection ended without a close frame"
        assert answer.opcode == CLOSE, answer
        assert self.read_to_end() == b""
        return int.from_bytes(answer.payload[:2], "big")

    def close_normally(self) -> None:
        """Do the closing handshake, as the side that begins it."""
        self.send(frame(CLOSE, b"\x03\xe8"))
        assert self.read_close() == 1000

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def echo(ws: syncws.WebSocket) -> None:
    """The usual handler."""
    for message in ws:
        ws.send(message)


def _as_app(handler: Callable[[syncws.WebSocket], object]) -> Callable[..., Iterable[bytes]]:
    def app(environ: dict[str, Any], start_response: Callable[..., Callable[[bytes], object]]) -> Iterable[bytes]:
        handler(syncws.upgrade(environ))
        # What hosts that do not know of the upgrade let through to the client (RFC 6455, 5.5.1).
        start_response("200 OK", [("Content-Type", "text/plain")])(b"behind the close frame")
        return [b"and more of it"]

    return app


@contextlib.contextmanager
def serving(
    entrance: Entrance = "handler",
    handler: Callable[[syncws.WebSocket], object] = echo,
    *,
    address: Any = ("127.0.0.1", 0),
    buffer: int | None = None,
    **options: Any,
) -> Iterator[Any]:
    """A server, on a free port of 127.0.0.1 unless ``address`` says otherwise; yields its address.

    :param entrance: whether the handler is a WebSocketServer's, or in an app that a WSGIServer runs.
    :param buffer: as for :class:`RawClient`, for the connections that are accepted.
    """
    with running(entrance, handler, address=address, buffer=buffer, **options) as server:
        yield server.server_address


@contextlib.contextmanager
def running(
    entrance: Entrance,
    handler: Callable[[syncws.WebSocket], object],
    *,
    address: Any = ("127.0.0.1", 0),
    buffer: int | None = None,
    **options: Any,
) -> Iterator[Listener]:
    """The same; yields the server."""
    server: Listener
    if entrance == "handler":
        server = syncws.WebSocketServer(address, handler, **options)
    else:
        server = syncws.WSGIServer(address, _as_app(handler), **options)
    if buffer is not None:  # accepted sockets inherit it
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    with server:
        accepting = start(server.serve_forever)
        try:
            yield server
        finally:
            start(server.shutdown).result(DEADLINE)
            accepting.result(DEADLINE)
