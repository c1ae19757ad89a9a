"""A WSGI app with a page and its WebSockets: the smallest complete site that shows what they do.

===============  ==========================================================================================
``GET /``        the page; its style, its scripts and its icon lie beside it
``/echo``        a WebSocket: every message comes back, see :mod:`syncws.demo.echo`
``/chat``        a WebSocket: text is said to everybody in the room, see :mod:`syncws.demo.chat`
``/ticker``      a WebSocket: the server pushes a price every second, see :mod:`syncws.demo.ticker`
``/inspector``   a WebSocket: every frame of the three above, see :mod:`syncws.demo.inspector`
===============  ==========================================================================================

A page makes up a session, 32 random hexadecimal digits, and names it in the query of each of its WebSockets; by that
its inspector sees the page's own connections and no others. A connection without one is not traced.

Any number of threads may call a :class:`DemoApp` at once, as WSGI servers do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from ..protocol.deflate import Deflate
from ..wsgi import upgrade
from .chat import CHAT_OPTIONS, Room
from .echo import echo
from .inspector import INSPECTOR_OPTIONS, Inspection
from .ticker import TICKER_OPTIONS, Ticker

__all__ = ["DemoApp"]

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
# The page may use what this server sends, and nothing else: no code or style within the page, no other host.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Every message of the echo, however short, so that there is something to see.
_COMPRESSION = Deflate(threshold=0)


class _File(NamedTuple):
    type: str
    data: bytes


class DemoApp:
    """The demo as a WSGI app, with a chat room and a market of its own.

    :param tick: seconds from one price to the next.
    """

    def __init__(self, *, tick: float = 1.0) -> None:
        self._files = _load_files()
        self._inspection = Inspection()
        self._room = Room()
        self._ticker = Ticker(tick)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "") or "/"
        query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        session = query.get("session", "")
        if path == "/inspector":
            self._inspection.show(upgrade(environ, **INSPECTOR_OPTIONS), session)
        elif path == "/echo":
            with self._inspection.recorder(session, "echo") as trace:
                echo(upgrade(environ, trace=trace, compression=_COMPRESSION if "compress" in query else None))
        elif path == "/chat":
            with self._inspection.recorder(session, "chat") as trace:
                self._room.serve(upgrade(environ, trace=trace, **CHAT_OPTIONS), query.get("name", ""))
        elif path == "/ticker":
            with self._inspection.recorder(session, "ticker") as trace:
                self._ticker.serve(upgrade(environ, trace=trace, **TICKER_OPTIONS))
        else:
            return self._send_file(path, environ["REQUEST_METHOD"], start_response)
        return []

    def _send_file(self, path: str, method: str, start_response: Callable[..., Any]) -> list[bytes]:
        file = self._files.get(path)
        if file is None:
            sockets = "the WebSockets /echo, /chat, /ticker and /inspector"
            return _text(start_response, "404 Not Found", f"There is only the page at /, and {sockets}.\n")
        if method not in ("GET", "HEAD"):
            return _text(start_response, "405 Method Not Allowed", "Use GET.\n", ("Allow", "GET, HEAD"))
        fields = [
            ("Content-Type", file.type),
            ("Content-Length", str(len(file.data))),
            ("Content-Security-Policy", _POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-cache"),
        ]
        start_response("200 OK", fields)
        return [] if method == "HEAD" else [file.data]


def _load_files() -> dict[str, _File]:
    """Return what may be fetched, by its path: all that lies beside this module and is no Python."""
    files = {}
    for resource in resources.files(__package__).iterdir():
        kind = _TYPES.get(resource.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if resource.name == "page.html" else f"/{resource.name}"
            files[path] = _File(kind, resource.read_bytes())
    return files


def _text(start_response: Callable[..., Any], status: str, text: str, *fields: tuple[str, str]) -> list[bytes]:
    body = text.encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *fields])
    return [body]
