"""A server, and a client for it, each in a process of its own, for the tests of half-open peers.

``server threads|greenlets HOST`` prints its port, then a line of JSON for each connection that is over: what its
handler was doing, the close code and reason it saw, and when, on the clock that all processes share. ``client HOST PORT
PATH`` opens a WebSocket, answers pings, prints ``open``, and reads all that comes.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import syncws
import syncws.gevent

INTERVAL, TIMEOUT = 1.0, 1.5


def handler(ws: syncws.WebSocket) -> None:
    over: list[float] = []
    ws.on_close(lambda: over.append(time.monotonic()))
    try:
        while True:
            if ws.path == "/send":
                ws.send(bytes(100_000), timeout=None)
            elif ws.path == "/receive":
                ws.receive()
            else:
                pause(0.01)
                if ws.closed:
                    ws.send("is anybody there?")
    except syncws.ConnectionClosed as error:
        found = time.monotonic()
        while not over:
            pause(0.01)
        print(json.dumps([ws.path, error.code, error.reason, found, over[0]]), flush=True)


def serve(kind: str, host: str) -> None:
    options = {"ping_interval": INTERVAL, "ping_timeout": TIMEOUT}
    server: Any
    if kind == "greenlets":
        server = syncws.gevent.WebSocketServer((host, 0), handler, **options)
    else:
        server = syncws.WebSocketServer((host, 0), handler, **options)
    with server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


def stay(host: str, port: str, path: str) -> None:
    with syncws.connect(f"ws://{host}:{port}{path}", ping_interval=None, max_message_size=None) as ws:
        print("open", flush=True)
        for _ in ws:
            pass


if __name__ == "__main__":
    if sys.argv[1] == "server":
        pause: Any = time.sleep
        if sys.argv[2] == "greenlets":
            from gevent import sleep as pause
        serve(*sys.argv[2:])
    else:
        stay(*sys.argv[2:])
