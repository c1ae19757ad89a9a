"""A gevent.pywsgi server whose app has a WebSocket at /time, and a page that shows what comes from it.

Run: python examples/gevent_pywsgi.py [PORT]    (needs gevent)
Try: the page, in as many windows as you like.

One greenlet serves one connection. Nothing is monkey-patched here; an app that uses blocking libraries has to call
gevent.monkey.patch_all() before it imports them.
"""

from __future__ import annotations

import signal
import sys
import time

import gevent
from gevent import pywsgi

import syncws
from syncws.gevent import WebSocketHandler

PAGE = b"""<!doctype html><title>Time</title><p id=time>...</p>
<script>
new WebSocket(location.href.replace("http", "ws") + "time").onmessage = event => {
    document.getElementById("time").textContent = event.data
}
</script>
"""


def app(environ, start_response):
    if environ["PATH_INFO"] == "/time":
        with syncws.upgrade(environ) as ws:
            while True:
                ws.send(time.strftime("%H:%M:%S"))
                try:
                    ws.receive(timeout=1)
                except TimeoutError:
                    continue  # nothing came for a second: time to tell the time
    found = environ["PATH_INFO"] == "/"
    start_response("200 OK" if found else "404 Not Found", [("Content-Type", "text/html")])
    return [PAGE if found else b"<p>There is nothing here."]


def main(port: int) -> None:
    server = pywsgi.WSGIServer(("127.0.0.1", port), app, handler_class=WebSocketHandler)
    server.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, server.stop, timeout=5)
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
