"""A Bottle app: a page with a clock that the server keeps going, and how many people look at it.

Run: python examples/bottle_ticker.py [PORT]    (needs Bottle)
Try: open the page in two windows, and press Faster in one of them; a private window counts as somebody else.
"""

from __future__ import annotations

import collections
import sys
import threading
import time

import bottle
from bottle import request, response

import syncws
from syncws.bottle import SyncwsServer, WebSocketPlugin

PAGE = """<!DOCTYPE html>
<title>Ticker</title>
<h1 id="time">…</h1>
<p><span id="people"></span> looking. <button onclick="ws.send('faster')">Faster</button></p>
<script>
const ws = new WebSocket(`ws://${location.host}/ticker/2`);
ws.onmessage = event => {
    const tick = JSON.parse(event.data);
    for (const name in tick) document.getElementById(name).textContent = tick[name];
};
</script>
"""

app = bottle.Bottle()
app.install(WebSocketPlugin(max_message_size=100))
people: collections.Counter[str] = collections.Counter()  # how many windows each visitor has
lock = threading.Lock()


@app.hook("before_request")
def remember_visitor() -> None:
    """Cookies that are set before the handler runs go out with the 101, too."""
    if not request.get_cookie("visitor"):
        response.set_cookie("visitor", f"{time.time_ns():x}", httponly=True)


@app.route("/")
def page() -> str:
    return PAGE


@app.route("/ticker/<times:int>", websocket=True)
def ticker(ws: syncws.WebSocket, times: int) -> None:
    """Send the time so many times a second, or twice as often each time that the page asks for it."""
    visitor = request.get_cookie("visitor") or "somebody"
    with lock:
        people[visitor] += 1
    try:
        pause = 1 / max(1, times)
        while True:
            ws.send(f'{{"time": "{time.strftime("%X")}", "people": {len(people)}}}')
            try:
                if ws.receive(timeout=pause) == "faster":
                    pause = max(pause / 2, 0.01)
            except TimeoutError:
                pass  # nobody asked for anything: time for the next tick
    finally:
        # Reached when the page is closed: receive() and send() raise ConnectionClosed then.
        with lock:
            people[visitor] -= 1
            if not people[visitor]:
                del people[visitor]


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    bottle.run(app, server=SyncwsServer, port=port)
