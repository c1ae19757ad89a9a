"""A dashboard in Flask: how busy the server is, plotted as it happens. The server pushes, the page only draws.

Run: python examples/flask_dashboard.py [PORT]    (needs Flask)
or:  flask --app examples/flask_dashboard.py run
Try: press the button, and watch the line rise; open the page a second time, and there is one more thread.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from pathlib import Path

from flask import Flask, Response

import syncws
from syncws.flask import Sock

PAGE = Path(__file__).with_suffix(".html")
INTERVAL = 0.5  # seconds from one point to the next

app = Flask(__name__)
sock = Sock(app)


@app.get("/")
def index() -> Response:
    return Response(PAGE.read_text(encoding="utf-8"))


@app.post("/work")
def work() -> str:
    """Keep the processor busy for two seconds."""
    end = time.monotonic() + 2
    while time.monotonic() < end:
        sum(range(10_000))
    return "done\n"


def seconds_used() -> tuple[float, float]:
    """Return how much time has passed, and how much of it the processor has worked for this program."""
    return time.monotonic(), time.process_time()


@sock.route("/load")
def load(ws: syncws.WebSocket) -> None:
    passed, worked = seconds_used()
    while True:
        # Waiting for a message, not sleeping: when the page goes, receive() raises ConnectionClosed at once.
        with contextlib.suppress(TimeoutError):
            ws.receive(timeout=INTERVAL)
            ws.close(1008, "the dashboard takes no messages")
        before, worked_before = passed, worked
        passed, worked = seconds_used()
        percent = 100 * (worked - worked_before) / (passed - before)
        ws.send(json.dumps({"percent": round(percent, 1), "threads": threading.active_count()}))


def main(port: int) -> None:
    with syncws.WSGIServer(("127.0.0.1", port), app) as server, contextlib.suppress(KeyboardInterrupt):
        host, port = server.server_address[:2]
        print(f"listening on http://{host}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
