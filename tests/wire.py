"""What the tests of the servers share: a client that knows nothing but bytes, and threads that tell how they ended."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import trustme

from syncws.protocol.headers import Headers

__all__ = [
    "DEADLINE",
    "WS_FIELDS",
    "ClientSocket",
    "Running",
    "frame",
    "get",
    "pair",
    "tls_contexts",
    "wait_until",
    "ws_request",
]

# Seconds that anything may take; a test that needs more has failed.
DEADLINE = 10.0

WS_FIELDS = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)


def get(target: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request without a body."""
    lines = [f"{method} {target} HTTP/{version}", "Host: example.com", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def ws_request(target: str = "/", *fields: str) -> bytes:
    """A correct opening handshake, RFC 6455's own example key."""
    return get(target, *WS_FIELDS, *fields)


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """A short client's frame, masked with the key 0."""
    assert len(payload) < 126
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


class ClientSocket:
    """The client's end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        sock.settimeout(DEADLINE)

    def send(self, *data: bytes) -> None:
        self.sock.sendall(b"".join(data))

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        while len(self.buffer) < size:
            data = self.sock.recv(65536)
            assert data, f"connection ended after {self.buffer!r}"
            self.buffer += data
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def read_until(self, end: bytes) -> bytes:
        while end not in self.buffer:
            data = self.sock.recv(65536)
            assert data, f"connection ended after {self.buffer!r}"
            self.buffer += data
        return self.read(self.buffer.index(end) + len(end))

    def read_to_end(self) -> bytes:
        """All bytes until the server ends the connection; a reset is an error."""
        data, self.buffer = self.buffer, b""
        while piece := self.sock.recv(65536):
            data += piece
        return data

    def read_head(self) -> tuple[int, Headers]:
        line, *fields = self.read_until(b"\r\n\r\n")[:-4].decode("latin-1").split("\r\n")
        version, status, _ = line.split(" ", 2)
        assert version == "HTTP/1.1"
        return int(status), Headers((name, value) for name, value in (field.split(": ", 1) for field in fields))

    def read_response(self, *, head_only: bool = False) -> tuple[int, Headers, bytes]:
        """A response with its body, however that is framed."""
        status, headers = self.read_head()
        if head_only or status in (204, 304):
            return status, headers, b""
        if "content-length" in headers:
            return status, headers, self.read(int(headers["content-length"]))
        if headers.get("transfer-encoding") != "chunked":
            return status, headers, self.read_to_end()
        body = b""
        while size := int(self.read_until(b"\r\n"), 16):
            body += self.read(size)
            assert self.read(2) == b"\r\n"
        assert self.read(2) == b"\r\n"
        return status, headers, body

    def read_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of a short frame."""
        first, second = self.read(2)
        assert first & 0x80
        assert second < 126
        return first & 0x0F, self.read(second)

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> ClientSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, ClientSocket]]:
    """A connection: the server's socket and the client."""
    server, client = socket.socketpair()
    with server, ClientSocket(client) as other:
        yield server, other


def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A context for the server and one for a client that trusts it; the host is localhost."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


class Running:
    """A function that runs in a thread, until the end of a with-statement at the latest."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        """Wait for the function; return what it returned, or raise what it raised."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the thread is still running"
        if self._error is not None:
            raise self._error
        return self._result

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.result()


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something that no event tells of."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)
