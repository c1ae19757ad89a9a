"""The standard library's http.server with a WebSocket at /clock that tells the time once a second.

Run: python examples/http_server.py [PORT]
Try: python -m syncws connect ws://127.0.0.1:8000/clock; any other path gets the error of an HTTP server.
"""

from __future__ import annotations

import contextlib
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import syncws


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/clock":
            self.clock()
        else:
            self.send_error(404, explain="There is only the WebSocket /clock.")

    def clock(self) -> None:
        try:
            with syncws.accept(self) as ws:
                while True:
                    ws.send(time.strftime("%H:%M:%S"))
                    try:
                        ws.receive(timeout=1)
                    except TimeoutError:
                        continue  # nothing came for a second: time to tell the time
        except syncws.HandshakeError as error:
            self.log_error("refused: %s", error)  # the answer has been sent
        except syncws.ConnectionClosed as closed:
            self.log_message("%s", closed)


def main(port: int) -> None:
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server, contextlib.suppress(KeyboardInterrupt):
        host, port = server.server_address[:2]
        print(f"listening on ws://{host}:{port}/clock", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
