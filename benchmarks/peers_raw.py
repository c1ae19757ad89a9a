"""Sockets without a protocol: a blocking loop for each connection. What is left for a protocol to lose.

After the handshake they do not look at frames: they count bytes, and answer each message with one of as many bytes out
of a buffer that was made before. All messages have to be of one size.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import threading
from typing import Any

from scenario import PREPARED, Scenario

__all__ = ["raw_gevent", "raw_threads"]

_PIECE = 65536  # bytes that one recv() asks for
_CONNECTIONS: list[Any] = []


def raw_threads(scenario: Scenario) -> None:
    """A thread a connection: the limit for threads."""
    listener = socket.create_server(("127.0.0.1", scenario.port), backlog=1024)
    serve = _fan_out if scenario.fan_out else _echo
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


def raw_gevent(scenario: Scenario) -> None:
    """A greenlet a connection, with gevent's own sockets."""
    import gevent
    from gevent import socket as gevent_socket

    listener = gevent_socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", scenario.port))
    listener.listen(1024)
    serve = _fan_out if scenario.fan_out else _echo
    while True:
        sock, _ = listener.accept()
        gevent.spawn(serve, sock)


def _handshake(sock: Any) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(4096)
        if not data:
            raise ConnectionError("no request")
        head += data
    found = re.search(rb"Sec-WebSocket-Key: (\S+)", head)
    assert found is not None
    digest = hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _answers(head: bytes) -> tuple[int, bytes]:
    """Return how long a message is whose frame begins so, and many frames to answer with."""
    short = head[1] & 127
    if short < 126:
        length, answer = 2, bytes((0x82, short)) + bytes(short)
    else:
        length = 4 if short == 126 else 10
        size = int.from_bytes(head[2:length], "big")
        answer = bytes((0x82, short)) + head[2:length] + bytes(size)
    frame = len(answer) + 4  # with the masking key
    return frame, answer * (_PIECE // len(answer) + 2)


def _echo(sock: Any) -> None:
    try:
        _handshake(sock)
    except OSError:
        return  # somebody has only looked whether there is a server
    data = sock.recv(_PIECE)
    if not data:
        return
    frame, answers = _answers(data)
    unmasked, view = frame - 4, memoryview(answers)
    received = sent = 0
    recv, sendall = sock.recv, sock.sendall
    while data:
        received += len(data)
        whole, rest = divmod(received, frame)
        due = whole * unmasked + min(rest, unmasked)
        begin = sent % unmasked
        sendall(view[begin : begin + due - sent])
        sent = due
        data = recv(_PIECE)


def _fan_out(sock: Any) -> None:
    try:
        _handshake(sock)
    except OSError:
        return
    _CONNECTIONS.append(sock)
    answer = bytes((0x82, len(PREPARED))) + PREPARED
    while data := sock.recv(_PIECE):
        for _ in range(data.count(b"\x82")):  # as many requests as frames: their payload has no such byte
            for each in _CONNECTIONS:
                each.sendall(answer)
