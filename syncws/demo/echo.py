"""The demo's echo: every message comes back, and a few commands show what a server can do besides.

=======================  ==================================================================================
``/close CODE REASON``   the server closes with them
``/ping``                the server sends a ping, waits for the pong, and says how long it took
``/fragments TEXT``      the text comes back as one message in several frames, a word in each
=======================  ==================================================================================
"""

from __future__ import annotations

import re

from ..websocket import WebSocket

__all__ = ["echo"]

_PING_TIMEOUT = 5.0  # seconds


def echo(ws: WebSocket) -> None:
    """Answer messages until the connection is over."""
    with ws:
        for message in ws:
            if isinstance(message, str) and message.startswith("/"):
                _obey(ws, message)
            else:
                ws.send(message)


def _obey(ws: WebSocket, message: str) -> None:
    command, space, rest = message.partition(" ")
    if command == "/close" and space:
        _close_as_asked(ws, rest)
    elif message == "/ping":
        ws.send(_ping(ws))
    elif command == "/fragments" and space:
        # Each word with the space around it; of no word, one piece.
        ws.send_fragments(re.findall(r"\s*\S+\s*", rest) or [rest])
    else:
        ws.send(message)


def _close_as_asked(ws: WebSocket, wanted: str) -> None:
    code, _, reason = wanted.partition(" ")
    if not code.isdecimal():
        ws.send(f"Write /close CODE REASON, for example /close 4000 bye: {code!r} is not a number.")
        return
    try:
        ws.close(int(code), reason)
    except ValueError as error:
        ws.send(f"The server cannot close like that: {error}")


def _ping(ws: WebSocket) -> str:
    try:
        return f"The pong came after {ws.ping(b'still there?', timeout=_PING_TIMEOUT) * 1000:.2f} ms."
    except TimeoutError:
        return f"No pong came within {_PING_TIMEOUT:g} s."
