"""A chat whose rooms are a plain dictionary: the path is the room, and ?name= says who speaks.

Run: python examples/chat_rooms.py [PORT]
Try: python -m syncws connect "ws://127.0.0.1:8765/kitchen?name=ann", and the same as bob in a second terminal. Somebody
     in ws://127.0.0.1:8765/garden hears nothing of them.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from urllib.parse import parse_qs

import syncws

lock = threading.Lock()  # guards the next one; many threads serve the connections
rooms: dict[str, set[syncws.WebSocket]] = {}


def say(room: str, text: str) -> None:
    message = syncws.PreparedMessage(text)  # encoded once, however many they are
    with lock:
        everybody = list(rooms.get(room, ()))
    for ws in everybody:
        # One that has gone, or that had to be closed because it reads too slowly: its own thread takes it out.
        with contextlib.suppress(syncws.ConnectionClosed):
            ws.send(message, wait=False)


def chat(ws: syncws.WebSocket) -> None:
    room = ws.path
    query = parse_qs(ws.request.target.partition("?")[2])
    name = query.get("name", ["somebody"])[0]
    with lock:
        rooms.setdefault(room, set()).add(ws)
    try:
        say(room, f"{name} is here")
        for message in ws:
            if isinstance(message, str):
                say(room, f"{name}: {message}")
            else:
                ws.send("only text is understood here")
    finally:
        with lock:
            rooms[room].discard(ws)
            if not rooms[room]:
                del rooms[room]  # or there would be more of them with every path that somebody thinks of
        say(room, f"{name} has left")


def main(port: int) -> None:
    with syncws.WebSocketServer(("127.0.0.1", port), chat) as server, contextlib.suppress(KeyboardInterrupt):
        host, port = server.server_address[:2]
        print(f"listening on ws://{host}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
