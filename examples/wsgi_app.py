"""A WSGI app with a page and a WebSocket. The page's request is answered, the WebSocket's request is upgraded in place.

Run: python examples/wsgi_app.py [PORT]
or:  python -m syncws serve examples.wsgi_app:app
Try: the page, and then the same in any other WSGI server that hands out its socket, such as gunicorn -k gthread.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import syncws

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment  # in the standard library from Python 3.11 on

PAGE = b"""<!DOCTYPE html>
<title>Shout</title>
<form><input autofocus><button>Send</button></form>
<ol></ol>
<script>
const ws = new WebSocket(`ws://${location.host}/shout`);
const input = document.querySelector("input");
document.querySelector("form").onsubmit = event => { event.preventDefault(); ws.send(input.value); input.value = ""; };
ws.onmessage = event => document.querySelector("ol").append(
    Object.assign(document.createElement("li"), {textContent: event.data}));
</script>
"""


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/shout":
        with syncws.upgrade(environ) as ws:
            for message in ws:
                if isinstance(message, str):
                    ws.send(message.upper())
        return []  # the connection is over: there is nothing left to answer
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]


def main(port: int) -> None:
    with syncws.WSGIServer(("127.0.0.1", port), app) as server, contextlib.suppress(KeyboardInterrupt):
        host, port = server.server_address[:2]
        print(f"listening on http://{host}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
