"""The load generator: one process that drives WebSocket servers on 127.0.0.1 and counts what they answer.

The loops are in C (``load.c``), compiled on first use by ``cc``, or what the environment variable ``CC`` names, into a
directory that is gone again afterwards; :exc:`LoadError` says so if there is no compiler. A message costs them about
1 µs, with its two system calls. :attr:`Measured.busy` tells whether the load generator was the limit: the share of the
time that it needed a processor, and did not wait for the server.

Answers are checked: unmasked frames of messages, as many as were asked for, anything else is a :exc:`LoadError`.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import functools
import os
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from load_tls import TLS

__all__ = [
    "BINARY",
    "RSV1",
    "TEXT",
    "LoadError",
    "Measured",
    "connections",
    "echo_rate",
    "fan_out_rate",
    "frame",
    "handshake_rate",
    "open_connection",
]

BINARY, TEXT, CLOSE = 0x82, 0x81, 0x88
RSV1 = 0x40
_KEY = b"\x11\x22\x33\x44"
_PATIENCE = 20.0  # seconds for the opening handshake


class LoadError(Exception):
    """The server did not do what an echo server does, or there is no compiler for the load generator."""


class Measured(NamedTuple):
    """What came out.

    :ivar rate: per second.
    :ivar busy: the share of the time that the load generator needed a processor, 0 to 1.
    """

    rate: float
    busy: float


class _Burst(ctypes.Structure):
    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_int64))


class _Outcome(ctypes.Structure):
    _fields_ = (("count", ctypes.c_int64), ("seconds", ctypes.c_double))


@functools.cache
def _library() -> ctypes.CDLL:
    """Compile the loops, and load them."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "load.so"
        compiler = shlex.split(os.environ.get("CC", "cc"))
        command = [*compiler, "-O2", "-shared", "-fPIC", "-o", str(file), str(Path(__file__).with_name("load.c"))]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            raise LoadError(
                f"the load generator is written in C, and its compiler {compiler[0]!r} cannot be run ({error}): "
                "install one, such as gcc, or name it in the environment variable CC"
            ) from error
        if done.returncode:
            raise LoadError(f"{shlex.join(command)} has failed:\n{done.stderr}")
        return ctypes.CDLL(str(file))


def frame(payload: bytes, first: int = BINARY) -> bytes:
    """Return a client's frame: ``first`` is its first octet, FIN, the reserved bits and the opcode."""
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    key = int.from_bytes(_KEY * (size // 4 + 1), "big") >> 8 * (4 - size % 4)
    return head + _KEY + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")


def _request(port: int, extensions: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    offer = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    return (
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
    ).encode()


def open_connection(port: int, extensions: str = "", tls: TLS | None = None) -> tuple[socket.socket, Any, str]:
    """Do the opening handshake.

    :param extensions: what to offer.
    :return: the socket, non-blocking if it is one of TLS; OpenSSL's object for it, or ``None``; and the extensions
        that the server has accepted.
    """
    sock = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
    try:
        # From C as well, where a socket with a timeout would be one that does not block.
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, int(_PATIENCE).to_bytes(8, "little") + bytes(8))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = tls.connect(sock) if tls else None
        head = _ask(_request(port, extensions), sock, tls, session)
        sock.setblocking(tls is None)
    except BaseException:
        sock.close()
        raise
    return sock, session, _field(head.decode("latin-1"), "sec-websocket-extensions")


def _ask(request: bytes, sock: socket.socket, tls: TLS | None, session: Any) -> bytes:
    """Send the request of an opening handshake, and return the head of its answer."""
    if tls:
        tls.send(session, request)
    else:
        sock.sendall(request)
    head = b""
    while b"\r\n\r\n" not in head:
        data = tls.receive(session) if tls else sock.recv(4096)
        if not data:
            raise LoadError(f"no answer to the opening handshake: {head!r}")
        head += data
    if not head.startswith(b"HTTP/1.1 101 "):
        raise LoadError(f"the opening handshake was refused: {head!r}")
    return head


def _field(head: str, name: str) -> str:
    fields = (line.partition(":") for line in head.split("\r\n")[1:])
    return ", ".join(value.strip() for key, _, value in fields if key.strip().lower() == name)


@contextlib.contextmanager
def connections(
    port: int, count: int, extensions: str = "", tls: TLS | None = None
) -> Iterator[tuple[list[socket.socket], list[Any]]]:
    """Open so many connections; yield the sockets, and OpenSSL's objects for them."""
    with contextlib.ExitStack() as stack:
        socks, sessions = [], []
        for _ in range(count):
            sock, session, accepted = open_connection(port, extensions, tls)
            stack.callback(sock.close)
            if tls:
                stack.callback(tls.free, session)
            if extensions and "permessage-deflate" not in accepted:
                raise LoadError(f"the server does not compress; it accepted {accepted!r}")
            socks.append(sock)
            sessions.append(session)
        yield socks, sessions


def _bursts(bursts: Sequence[bytes]) -> Any:
    return (_Burst * len(bursts))(*(_Burst(burst, len(burst)) for burst in bursts))


def _run(function: Any, *arguments: Any) -> Measured:
    """Call one of the loops, whose last argument is what came out."""
    outcome = _Outcome()
    cpu, wall = time.process_time(), time.perf_counter()
    error = function(*arguments, ctypes.byref(outcome))
    busy = (time.process_time() - cpu) / (time.perf_counter() - wall)
    if error:
        raise LoadError(f"the server did not do its part: {os.strerror(-error)}")
    return Measured(outcome.count / outcome.seconds, busy)


def _drive(
    opened: tuple[list[socket.socket], list[Any]],
    bursts: Sequence[bytes],
    seconds: float,
    in_flight: int = 1,
    credits: int = 0,
    tls: TLS | None = None,
) -> Measured:
    socks, sessions = opened
    return _run(
        _library().run,
        (ctypes.c_int * len(socks))(*(sock.fileno() for sock in socks)),
        (ctypes.c_void_p * len(socks))(*sessions) if tls else None,
        len(socks),
        _bursts(bursts),
        len(bursts),
        in_flight,
        credits,
        ctypes.c_double(seconds / 5),
        ctypes.c_double(seconds),
        tls.read_address if tls else None,
        tls.write_address if tls else None,
    )


def echo_rate(
    port: int,
    frames: Sequence[bytes],
    *,
    count: int,
    in_flight: int = 1,
    seconds: float = 2.0,
    extensions: str = "",
    tls: TLS | None = None,
) -> Measured:
    """Return how many messages per second the echo server on ``port`` answers.

    :param frames: what is sent, in turns; see :func:`frame`.
    :param count: connections open at once.
    :param in_flight: messages sent before their echoes are awaited, per connection.
    :param seconds: how long to measure, after a fifth of it to warm up.
    :param extensions: what to offer.
    """
    with connections(port, count, extensions, tls) as opened:
        return _drive(opened, [each * in_flight for each in frames], seconds, in_flight, tls=tls)


def fan_out_rate(port: int, *, count: int, credits: int = 4, seconds: float = 2.0) -> Measured:
    """Return how many frames per second a server sends that answers a message on each of its connections.

    :param count: connections open at once; the first of them asks.
    :param credits: messages sent before their answers are awaited, so that the server need not wait.
    """
    with connections(port, count) as opened:
        return _drive(opened, [frame(b"next")], seconds, credits=credits)


def handshake_rate(port: int, *, at_once: int, seconds: float = 2.0) -> Measured:
    """Return how many connections per second a server opens and closes: opening handshake, closing handshake.

    :param at_once: connections that are being opened or closed at any time.
    """
    request, close = _request(port, ""), frame((1000).to_bytes(2, "big"), CLOSE)
    times = ctypes.c_double(seconds / 5), ctypes.c_double(seconds)
    return _run(_library().handshakes, port, at_once, _bursts([request]), _bursts([close]), *times)
