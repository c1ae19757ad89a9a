"""Both ends of an open connection for tests: two WebSockets, or one and a peer that reads and writes frames by hand.

:class:`RawPeer` has its own few lines of framing, so that the library is not judged by itself.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import pytest
import trustme

from syncws.options import Options
from syncws.protocol.deflate import Parameters
from syncws.protocol.handshake import Agreement, RequestHead
from syncws.protocol.headers import Headers
from syncws.transport import Transport, transport_for
from syncws.websocket import WebSocket

__all__ = [
    "DEADLINE",
    "DEFLATE",
    "PATCHED",
    "RawFrame",
    "RawPeer",
    "Task",
    "eventually",
    "open_descriptors",
    "pair",
    "raw_pair",
    "replace_call",
    "reset",
    "sockets",
    "start",
    "threads_only",
    "tls_transports",
    "websocket",
]

# With everything patched by gevent (tox -e gevent), threads are greenlets, and connections those of greenlets.
PATCHED = "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("threading")
if PATCHED:
    time.sleep(0)  # the event loop opens its descriptors, so that no test is blamed for them
threads_only = pytest.mark.skipif(PATCHED, reason="it is about native threads or sockets")

# In seconds: how long a test waits for what must happen.
DEADLINE = 10.0
DEFLATE = Parameters(
    server_no_context_takeover=False,
    client_no_context_takeover=False,
    server_max_window_bits=12,
    client_max_window_bits=12,
)
REQUEST = RequestHead("GET", "/chat?room=1", "1.1", Headers([("Host", "localhost"), ("Cookie", "a=1")]))
Kind = Literal["unix", "tcp"]
Role = Literal["server", "client"]


class Task(threading.Thread):
    """A thread whose result, or exception, is asked for with :meth:`result`."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error

    def result(self, timeout: float = DEADLINE) -> Any:
        self.join(timeout)
        assert not self.is_alive(), f"{self._function} has not returned"
        if self._error is not None:
            raise self._error
        return self._value


def start(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Task:
    """Run a function in a thread."""
    task = Task(functools.partial(function, *args, **kwargs))
    task.start()
    return task


def eventually(condition: Callable[[], object]) -> None:
    """Wait until something is true that nothing signals."""
    limit = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < limit, "it has not become true"
        time.sleep(0.001)


def no_idle_threads() -> None:
    """Wait until no thread that has served a connection waits for another one; there must be no connections."""
    eventually(lambda: all(thread.name != "syncws-connection" for thread in threading.enumerate()))


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def replace_call(ws: WebSocket, name: Literal["read", "try_send"], function: Callable[..., Any]) -> None:
    """Have a function called in place of one of the transport's, by the common case as well, which knows them."""
    setattr(ws._transport, name, function)
    if name == "read":
        ws._read_some = function
    else:
        ws._writer._try_send = function


def sockets(kind: Kind = "unix", *, buffer: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets.

    :param buffer: bytes of each send and receive buffer, as far as the kernel goes along.
    """

    def shrink(sock: socket.socket) -> socket.socket:
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        return sock

    if kind == "unix":
        one, two = socket.socketpair()
        return shrink(one), shrink(two)
    with shrink(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        one = shrink(socket.socket())
        one.connect(listener.getsockname())
        return one, shrink(listener.accept()[0])


@functools.lru_cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


def tls_transports(kind: Kind = "unix", *, ragged: bool = True, **options: Any) -> tuple[Transport, Transport]:
    """A server's and a client's transport, before the TLS handshake.

    :param ragged: take a TCP connection that ends without a word of TLS for the end of the stream.
    """
    server_context, client_context = _contexts()
    one, two = sockets(kind, **options)
    arguments: dict[str, Any] = {"do_handshake_on_connect": False, "suppress_ragged_eofs": ragged}
    return (
        transport_for(server_context.wrap_socket(one, server_side=True, **arguments)),
        transport_for(client_context.wrap_socket(two, server_hostname="localhost", **arguments)),
    )


def websocket(transport: Any, role: Role, leftover: bytes = b"", **options: Any) -> WebSocket:
    """An open WebSocket on a transport or a socket."""
    if isinstance(transport, socket.socket):
        transport = transport_for(transport)
    settings = Options.of(options)
    agreement = Agreement("chat", ("permessage-deflate",), DEFLATE) if settings.deflate else Agreement()
    return WebSocket(transport, role, REQUEST, agreement, settings, leftover=leftover)


@contextlib.contextmanager
def pair(
    kind: Kind = "unix", *, buffer: int | None = None, tls: bool = False, **options: Any
) -> Iterator[tuple[WebSocket, WebSocket]]:
    """A server's and a client's WebSocket, connected to each other; dropped at the end."""
    ends: tuple[Any, Any]
    if tls:
        ends = tls_transports(kind, buffer=buffer)
        handshake = start(ends[0].handshake)
        ends[1].handshake()
        handshake.result()
    else:
        ends = sockets(kind, buffer=buffer)
    server, client = websocket(ends[0], "server", **options), websocket(ends[1], "client", **options)
    try:
        yield server, client
    finally:
        for end in (server, client):
            end.abort()
            end.close()


class RawFrame(NamedTuple):
    """A frame as it was on the wire, unmasked."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv1: bool = False


class RawPeer:
    """The other end, by hand.

    :param masked: mask what is sent: the peer of a server.
    """

    def __init__(self, sock: socket.socket, masked: bool) -> None:
        self.sock = sock
        self.masked = masked
        self.sock.settimeout(DEADLINE)
        self._file = sock.makefile("rb")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        self.send(self.frame(opcode, payload, fin=fin))

    def frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
        size, mask = len(payload), 0x80 if self.masked else 0
        head = bytes([opcode | (0x80 if fin else 0)])
        if size < 126:
            head += bytes([mask | size])
        elif size < 65536:
            head += struct.pack(">BH", mask | 126, size)
        else:
            head += struct.pack(">BQ", mask | 127, size)
        # The key 0 leaves the payload as it is.
        return head + (b"\0\0\0\0" if self.masked else b"") + payload

    def read_frame(self) -> RawFrame | None:
        """The next frame; ``None`` at the end of the stream."""
        head = self._file.read(2)
        if not head:
            return None
        assert (head[1] > 127) is not self.masked, "RFC 6455, 5.1: a client masks, a server does not"
        size = head[1] & 0x7F
        if size > 125:
            size = int.from_bytes(self._file.read(2 if size == 126 else 8), "big")
        key = b"" if self.masked else self._file.read(4)
        payload = self._file.read(size)
        assert len(payload) == size, "the stream ends within a frame"
        if key:
            pad = (key * (size // 4 + 1))[:size]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
        return RawFrame(head[0] & 0x0F, payload, head[0] > 127, bool(head[0] & 0x40))

    def read_all(self) -> list[RawFrame]:
        """Every frame up to the end of the stream."""
        return list(iter(self.read_frame, None))

    def close(self) -> None:
        self._file.close()
        self.sock.close()

    def reset(self) -> None:
        """End the connection by a reset: TCP only."""
        self._file.close()
        reset(self.sock)


def reset(sock: socket.socket) -> None:
    """Close a TCP socket so that the peer gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextlib.contextmanager
def raw_pair(
    role: Role = "server", kind: Kind = "unix", *, buffer: int | None = None, **options: Any
) -> Iterator[tuple[WebSocket, RawPeer]]:
    """A WebSocket in a role, and a peer by hand; both are dropped at the end."""
    one, two = sockets(kind, buffer=buffer)
    ws, peer = websocket(one, role, **options), RawPeer(two, masked=role == "server")
    try:
        yield ws, peer
    finally:
        peer.close()
        ws.abort()
        ws.close()
