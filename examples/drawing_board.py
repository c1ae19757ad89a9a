"""A drawing board that all who open the page share. A stroke is 12 bytes of a binary message, not 100 of JSON.

Run: python examples/drawing_board.py [PORT]
Try: open the page in two windows and draw in both; reload one of them. In the browser's console: ws.send("clear").
"""

import contextlib
import struct
import sys
import threading
from pathlib import Path

import syncws

PAGE = Path(__file__).with_suffix(".html").read_bytes()
# From x, y to x, y in 16 bits each, the most significant byte first; then the width, and red, green and blue.
STROKE = struct.Struct("!HHHHBBBB")
MOST = 20_000 * STROKE.size  # bytes that are kept for those who come later

# Guards the two below. It is held while sending, so that all get the strokes in the same order and see the same: nobody
# has to wait for it long, as send(wait=False) does not wait.
lock = threading.Lock()
drawing = bytearray()
viewers: set[syncws.WebSocket] = set()


def are_strokes(message: bytes) -> bool:
    return len(message) % STROKE.size == 0 and all(1 <= stroke[4] <= 40 for stroke in STROKE.iter_unpack(message))


def change(message: str | bytes) -> None:
    """Change the drawing, and show it to everybody, whoever has drawn included."""
    prepared = syncws.PreparedMessage(message)  # encoded once, however many they are
    with lock:
        if isinstance(message, str):
            drawing.clear()
        else:
            drawing.extend(message)
            del drawing[:-MOST]  # the oldest strokes
        for ws in viewers:
            with contextlib.suppress(syncws.ConnectionClosed):  # it has gone; its own thread takes it out
                ws.send(prepared, wait=False)


def draw(ws: syncws.WebSocket) -> None:
    try:
        with lock:
            viewers.add(ws)
            ws.send(drawing, wait=False)
        for message in ws:
            if message == "clear" or (isinstance(message, bytes) and are_strokes(message)):
                change(message)
            else:
                ws.close(1008, f'send "clear", or strokes of {STROKE.size} bytes, of a width up to 40')
    finally:
        with lock:
            viewers.discard(ws)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/draw":
        with syncws.upgrade(environ, max_message_size=100 * STROKE.size) as ws:
            draw(ws)
        return []
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]


def main(port: int) -> None:
    with syncws.WSGIServer(("127.0.0.1", port), app) as server, contextlib.suppress(KeyboardInterrupt):
        host, port = server.server_address[:2]
        print(f"listening on http://{host}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
