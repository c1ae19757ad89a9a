"""Echo servers to compare with, each on its own: ``python peers.py NAME PORT``.

Every one listens on 127.0.0.1, without compression and without a limit on the size of a message.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import sys
import threading

__all__ = ["PEERS"]


def syncws(port: int) -> None:
    """This project's threaded server."""
    from syncws import WebSocket, WebSocketServer

    def echo(ws: WebSocket) -> None:
        for message in ws:
            ws.send(message)

    with WebSocketServer(("127.0.0.1", port), echo, max_message_size=None) as server:
        server.serve_forever()


def websockets_sync(port: int) -> None:
    """The threaded server of the websockets package, with its C extension if that is built."""
    from websockets.sync.server import ServerConnection, serve

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", port, compression=None, max_size=None) as server:
        server.serve_forever()


def raw_threads(port: int) -> None:
    """A thread a connection that sends back what it gets, without a protocol: the limit for threads.

    It cuts off the masking key to answer with as many bytes as a WebSocket server, and knows only small frames.
    """
    listener = socket.create_server(("127.0.0.1", port), backlog=256)

    def serve(sock: socket.socket) -> None:
        head = sock.recv(4096)
        found = re.search(rb"Sec-WebSocket-Key: (\S+)", head)
        assert found is not None
        digest = hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := sock.recv(65536):
            frames = len(data) // (data[1] % 128 + 6)
            sock.sendall(data[: len(data) - 4 * frames])

    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


PEERS = {"syncws": syncws, "websockets.sync": websockets_sync, "raw threads": raw_threads}

if __name__ == "__main__":
    PEERS[sys.argv[1]](int(sys.argv[2]))
