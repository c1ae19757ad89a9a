"""The same echo without a server class: sockets and threads of our own, and syncws.accept() for the handshake.

Run: python examples/plain_socket.py [PORT]
Try: python -m syncws connect ws://127.0.0.1:8765/; curl http://127.0.0.1:8765/ is refused with 426.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading

import syncws


def serve(connection: socket.socket) -> None:
    try:
        ws = syncws.accept(connection)
    except syncws.HandshakeError as error:
        print(f"refused: {error}", file=sys.stderr)
        return
    try:
        with ws:
            for message in ws:
                ws.send(message)
    except syncws.ConnectionClosed as closed:
        print(f"lost: {closed}", file=sys.stderr)


def main(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as listener, contextlib.suppress(KeyboardInterrupt):
        host, port = listener.getsockname()
        print(f"listening on ws://{host}:{port}/", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
