"""The body of a response that refuses a handshake: its beginning, which may say why.

:func:`beginning_of_body` blocks its thread for a moment at most, and never raises.
"""

from __future__ import annotations

import time

import httptools

from .protocol.handshake import ResponseHead
from .transport import Transport

__all__ = ["beginning_of_body"]

# How much of a body is kept, in bytes, and how long it is waited for, in seconds.
_BODY_SIZE = 1024
_BODY_WAIT = 2.0


class _Body:
    """httptools' callbacks while the body of a refusal is read."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.complete = False

    def on_body(self, piece: bytes) -> None:
        self.data += piece

    def on_message_complete(self) -> None:
        self.complete = True


def beginning_of_body(transport: Transport, head: ResponseHead, data: bytes, deadline: float | None) -> bytes:
    """Return the first bytes of a response's body, or what of them arrives in time; never raises.

    :param data: what has been received beyond the head.
    """
    limit = time.monotonic() + _BODY_WAIT
    body = _Body()
    parser = httptools.HttpResponseParser(body)
    names = ("Content-Length", "Transfer-Encoding")
    framing = [f"{name}: {value}" for name in names for value in head.headers.get_all(name)]
    data = "\r\n".join([f"HTTP/1.1 {head.status} ", *framing, "", ""]).encode("latin-1") + data
    try:
        while data:
            parser.feed_data(data)
            if body.complete or len(body.data) >= _BODY_SIZE:
                break
            data = transport.recv(limit if deadline is None else min(limit, deadline))
    except (OSError, httptools.HttpParserError):
        pass  # the answer's head says what happened; a body cut short must not hide it
    return bytes(body.data[:_BODY_SIZE])
