"""A WebSocket server that sends what one client says to all; a client that is slow to read delays no other.

Run: python examples/broadcast.py [PORT]
Try: python -m syncws connect ws://127.0.0.1:8765/ in two terminals; stop one with Ctrl-Z, and the other goes on.
"""

from __future__ import annotations

import contextlib
import sys
import threading

import syncws

lock = threading.Lock()
clients: set[syncws.WebSocket] = set()


def broadcast(text: str | bytes) -> None:
    message = syncws.PreparedMessage(text)  # encoded once, however many they are
    with lock:
        everybody = list(clients)
    for ws in everybody:
        # One that has gone, or that had to be closed because it reads too slowly: its own handler finds out as well.
        with contextlib.suppress(syncws.ConnectionClosed):
            ws.send(message, wait=False)


def serve(ws: syncws.WebSocket) -> None:
    with lock:
        clients.add(ws)
    try:
        for message in ws:
            broadcast(message)
    finally:
        with lock:
            clients.discard(ws)


def main(port: int) -> None:
    with syncws.WebSocketServer(("127.0.0.1", port), serve) as server, contextlib.suppress(KeyboardInterrupt):
        host, port = server.server_address[:2]
        print(f"listening on ws://{host}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
