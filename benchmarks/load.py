"""A load generator for echo servers: one process, plain non-blocking sockets, frames built by hand.

It spends about 5 µs a message, which is less than any of the measured servers does, so it is not what is measured; the
raw echo server among the peers (``peers.py``) shows how far it goes.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import time

__all__ = ["echo_rate"]

_KEY = b"\x11\x22\x33\x44"


def _frame(payload: bytes) -> bytes:
    masked = bytes(byte ^ _KEY[i % 4] for i, byte in enumerate(payload))
    size = len(payload)
    if size < 126:
        head = bytes((0x82, 0x80 | size))
    elif size < 65536:
        head = b"\x82\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x82\xff" + size.to_bytes(8, "big")
    return head + _KEY + masked


def _open(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(4096)
        if not data:
            raise ConnectionError(f"no answer to the opening handshake: {head!r}")
        head += data
    if b" 101 " not in head.split(b"\r\n")[0]:
        raise ConnectionError(f"handshake refused: {head!r}")
    return sock


def echo_rate(port: int, *, connections: int, size: int, in_flight: int = 1, seconds: float = 2.0) -> float:
    """Return how many messages per second the echo server on ``port`` answers.

    :param connections: open at once.
    :param size: payload bytes of a message.
    :param in_flight: messages sent before their echoes are awaited, per connection.
    :param seconds: how long to measure, after a fifth of it to warm up.
    """
    burst = _frame(b"x" * size) * in_flight
    header = 2 if size < 126 else 4 if size < 65536 else 10
    answer = (header + size) * in_flight
    socks = [_open(port) for _ in range(connections)]
    epoll = select.epoll()
    waiting = {}
    for sock in socks:
        epoll.register(sock, select.EPOLLIN)
        waiting[sock.fileno()] = [sock, answer]
    for sock in socks:
        sock.sendall(burst)
    begin = time.perf_counter() + seconds / 5
    end = begin + seconds
    bursts = 0
    buffer = bytearray(1 << 20)
    while (now := time.perf_counter()) < end:
        for descriptor, _ in epoll.poll(5):
            state = waiting[descriptor]
            received = state[0].recv_into(buffer)
            if not received:
                raise ConnectionError("the server closed the connection")
            state[1] -= received
            if state[1] == 0:
                state[1] = answer
                state[0].sendall(burst)
                bursts += now >= begin
    for sock in socks:
        sock.close()
    return bursts * in_flight / seconds
