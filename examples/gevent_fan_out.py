"""Fan-out on greenlets: what a publisher sends goes to all subscribers of a topic, of whom there may be thousands.

Run: python examples/gevent_fan_out.py [PORT]    (needs gevent)
Try: python -m syncws connect ws://127.0.0.1:8765/news in some terminals, and in another one type into
     python -m syncws connect ws://127.0.0.1:8765/publish/news: it is told how many got it.
"""

from __future__ import annotations

import contextlib
import signal
import sys

import gevent

import syncws
from syncws.gevent import WebSocketServer

# No lock guards it: greenlets take turns only where they wait, and send(wait=False) does not wait.
topics: dict[str, set[syncws.WebSocket]] = {}


def publish(topic: str, message: str | bytes) -> int:
    """Send a message to all subscribers of a topic; return how many there are."""
    prepared = syncws.PreparedMessage(message)  # encoded once, however many they are
    reached = 0
    for ws in list(topics.get(topic, ())):
        with contextlib.suppress(syncws.ConnectionClosed):  # it has gone; its own greenlet takes it out
            ws.send(prepared, wait=False)
            reached += 1
    return reached


def subscribe(ws: syncws.WebSocket) -> None:
    """Be a subscriber until the connection ends."""
    subscribers = topics.setdefault(ws.path, set())
    subscribers.add(ws)
    try:
        for _ in ws:
            ws.send(f"to publish something, connect to /publish{ws.path}")
    finally:
        subscribers.discard(ws)
        if not subscribers:
            del topics[ws.path]


def serve(ws: syncws.WebSocket) -> None:
    if ws.path.startswith("/publish/"):
        for message in ws:
            ws.send(f"{publish(ws.path.removeprefix('/publish'), message)} got it")
    else:
        subscribe(ws)


def main(port: int) -> None:
    # Of what waits for a subscriber that reads slowly, the oldest is dropped; with "close" it would be thrown out.
    options = {"backlog_policy": "drop-oldest", "max_backlog": 65536, "max_connections": 10_000}
    with WebSocketServer(("127.0.0.1", port), serve, **options) as server:
        host, port = server.server_address[:2]
        # Not KeyboardInterrupt, which would be raised in the greenlet that happens to run.
        gevent.signal_handler(signal.SIGINT, server.shutdown)
        print(f"listening on ws://{host}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
