"""A WebSocket server that sends every message back, one thread for each connection.

Run: python examples/echo_server.py [PORT]
Try: python -m syncws connect ws://127.0.0.1:8765/, in several terminals at once.
"""

from __future__ import annotations

import contextlib
import sys

import syncws


def echo(ws: syncws.WebSocket) -> None:
    for message in ws:
        ws.send(message)


def main(port: int) -> None:
    with syncws.WebSocketServer(("127.0.0.1", port), echo) as server, contextlib.suppress(KeyboardInterrupt):
        host, port = server.server_address[:2]
        print(f"listening on ws://{host}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
