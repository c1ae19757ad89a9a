"""A WSGI app with a page, an echo and a chat room: the smallest complete site with WebSockets.

============  =============================================================================================
``GET /``     the page
``/echo``     a WebSocket: every message comes back; ``/close CODE REASON`` makes the server close with them
``/chat``     a WebSocket: text is said to everybody in the room; ``?name=`` says who is talking
============  =============================================================================================

The room sends JSON objects, each with a ``type``: first ``welcome`` with the ``name`` that the newcomer got, then
``joined``, ``left`` and ``message`` as they happen. ``number`` counts the events of the room, and ``people`` are those
who were in it at that moment.

Any number of threads may call a :class:`DemoApp` at once, as WSGI servers do.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

from ..errors import ConnectionClosed
from ..websocket import WebSocket
from ..wsgi import upgrade

__all__ = ["DemoApp"]

_MAX_NAME = 32  # characters
_CHAT_MESSAGE_SIZE = 16 * 1024  # bytes
# One member who stops reading may hold up what another one says for this long, and is then dropped.
_CHAT_SEND_TIMEOUT = 5.0  # seconds


class DemoApp:
    """The demo as a WSGI app, with a chat room of its own."""

    def __init__(self) -> None:
        self._page = resources.files(__package__).joinpath("page.html").read_bytes()
        self._policy = _content_policy(self._page.decode())
        self._room = _Room()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/echo":
            _echo(upgrade(environ))
            return []
        if path == "/chat":
            ws = upgrade(environ, max_message_size=_CHAT_MESSAGE_SIZE, send_timeout=_CHAT_SEND_TIMEOUT)
            self._room.serve(ws, parse_qs(environ.get("QUERY_STRING", "")).get("name", [""])[0])
            return []
        if path not in ("/", ""):
            return _text(start_response, "404 Not Found", "There is only / here, and the WebSockets /echo and /chat.\n")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _text(start_response, "405 Method Not Allowed", "Use GET.\n", ("Allow", "GET, HEAD"))
        fields = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(self._page))),
            ("Content-Security-Policy", self._policy),
            ("Cache-Control", "no-cache"),
        ]
        start_response("200 OK", fields)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self._page]


def _text(start_response: Callable[..., Any], status: str, text: str, *fields: tuple[str, str]) -> list[bytes]:
    body = text.encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *fields])
    return [body]


def _content_policy(page: str) -> str:
    """Return the Content-Security-Policy that lets the page's own parts run, and nothing else load."""
    digests = {}
    for tag in ("style", "script"):
        parts = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests[tag] = " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in parts
        )
    return (
        f"default-src 'none'; style-src {digests['style']}; script-src {digests['script']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _echo(ws: WebSocket) -> None:
    with ws:
        for message in ws:
            if isinstance(message, str) and message.startswith("/close "):
                _close_as_asked(ws, message)
            else:
                ws.send(message)


def _close_as_asked(ws: WebSocket, command: str) -> None:
    _, code, *reason = command.split(" ", 2)
    if not code.isdecimal():
        ws.send(f"Write /close CODE REASON, for example /close 4000 bye: {code!r} is not a number.")
        return
    try:
        ws.close(int(code), "".join(reason))
    except ValueError as error:
        ws.send(f"The server cannot close like that: {error}")


class _Room:
    """The people in the chat. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below; never held while sending
        self._names: dict[WebSocket, str] = {}
        self._number = 0

    def serve(self, ws: WebSocket, wanted: str) -> None:
        """Have ``ws`` in the room for as long as its connection lives."""
        name = self._enter(ws, wanted)
        try:
            with ws:
                ws.send(json.dumps({"type": "welcome", "name": name}))
                self._tell("joined", name)
                for message in ws:
                    if isinstance(message, str):
                        self._tell("message", name, text=message)
                    else:
                        ws.close(1003, "the chat takes text, not binary messages")
        finally:
            with self._lock:
                del self._names[ws]
            self._tell("left", name)

    def _enter(self, ws: WebSocket, wanted: str) -> str:
        """Add a person under the wanted name, or one like it that nobody has yet, and return that."""
        base = " ".join(wanted.split())[:_MAX_NAME] or "Guest"
        with self._lock:
            taken = set(self._names.values())
            candidates = itertools.chain([base], (f"{base} {count}" for count in itertools.count(2)))
            self._names[ws] = name = next(candidate for candidate in candidates if candidate not in taken)
        return name

    def _tell(self, what: str, name: str, **details: str) -> None:
        """Send an event to everybody who is in the room."""
        with self._lock:
            self._number += 1
            people = sorted(self._names.values())
            members = list(self._names)
            event = {"type": what, "number": self._number, "name": name, "people": people, **details}
        data = json.dumps(event)
        for member in members:
            # Whoever cannot be reached is on the way out: the thread of that connection sees it, and leaves.
            with contextlib.suppress(ConnectionClosed, TimeoutError):
                member.send(data)
