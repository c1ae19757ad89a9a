"""A long task that tells how far it is, and that can be cancelled while it runs.

Run: python examples/progress_bar.py [PORT]
Try: count the primes below 3000000, and cancel it halfway. Ask for the primes below "many".
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from typing import TYPE_CHECKING

import syncws

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment  # in the standard library from Python 3.11 on

PAGE = b"""<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Progress</title>
<form id=form><label>Primes below <input id=below value=1000000></label> <button>Count</button>
<button type=button onclick="ws.send('cancel')">Cancel</button></form>
<p><progress id=bar max=100 value=0 aria-label=Progress></progress> <span id=text role=status>ready</span></p>
<script>
const ws = new WebSocket("ws://" + location.host + "/count");
form.onsubmit = event => { event.preventDefault(); ws.send(below.value); };
ws.onmessage = event => {
    const news = JSON.parse(event.data);
    if ("percent" in news) bar.value = news.percent;
    text.textContent = news.error ?? `${news.primes} primes ${news.end ?? "so far"}`;
};
ws.onclose = event => text.textContent = `closed (${event.code} ${event.reason})`;
</script>
"""


def is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def is_cancelled(ws: syncws.WebSocket) -> bool:
    try:
        return ws.receive(timeout=0) == "cancel"
    except TimeoutError:
        return False  # nothing has arrived


def count_primes(ws: syncws.WebSocket, below: int) -> None:
    primes = 0
    for percent in range(100):
        if is_cancelled(ws):
            ws.send(json.dumps({"primes": primes, "end": "when it was cancelled"}))
            return
        primes += sum(map(is_prime, range(below * percent // 100, below * (percent + 1) // 100)))
        ws.send(json.dumps({"primes": primes, "percent": percent + 1}))
    ws.send(json.dumps({"primes": primes, "end": f"below {below}"}))


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    if environ["PATH_INFO"] == "/count":
        with syncws.upgrade(environ, max_message_size=100) as ws:
            for message in ws:
                if isinstance(message, str) and message.isdecimal() and int(message) <= 10_000_000:
                    count_primes(ws, int(message))
                elif message != "cancel":  # which may come when all is done
                    ws.send(json.dumps({"error": f"send a number up to 10000000, not {message!r:.40}"}))
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
