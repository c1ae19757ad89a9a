"""The incremental part of :mod:`syncws.http`: how the head of an HTTP/1.1 message is collected, and its limits.

:func:`receive_head` calls ``recv()`` until a buffer begins with a whole head, so "need more" is never visible. It
raises :class:`BadRequest` for a head that breaks a rule or a limit; whatever ``recv()`` raises passes through. One
thread at a time.

Limits apply while the head arrives, and the work is linear in its size however it is cut into pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httptools

from .errors import SyncwsError

__all__ = ["DEFAULT_LIMITS", "BadRequest", "HeadEvents", "Limits", "receive_head"]

# Room for the method and the version beside the target, while a request line is still arriving.
_LINE_SLACK = 64
_END_OF_HEAD = b"\r\n\r\n"
# Methods and "HTTP" begin with a capital letter.
_FIRST_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_TLS_HANDSHAKE = 0x16
_PAUSED = "Pause on CONNECT/Upgrade"


@dataclass(frozen=True, slots=True)
class Limits:
    """How large the head of a message may be.

    :param max_target: length of the request target, in bytes (over it: 414).
    :param max_head: size of the whole head, in bytes (over it: 431).
    :param max_fields: number of header fields (over it: 431).
    """

    max_target: int = 8192
    max_head: int = 65536
    max_fields: int = 100


DEFAULT_LIMITS = Limits()


class BadRequest(SyncwsError):
    """A request that cannot be served; the connection cannot be used for another one.

    :param status: the HTTP status code that answers it: 400, 414, 431, 501 or 505.
    :param message: what is wrong with it, for a person to read.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return self.message


# Names and values that most requests have, so that a thousand connections share them; httptools hands out bytes.
_COMMON = {
    text.encode(): text
    for text in (
        *("Host", "Connection", "Upgrade", "Origin", "User-Agent", "Accept", "Accept-Encoding", "Accept-Language"),
        *("Cache-Control", "Cookie", "Pragma", "Sec-WebSocket-Key", "Sec-WebSocket-Version"),
        *("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site"),
        *("websocket", "13", "permessage-deflate; client_max_window_bits", "no-cache", "keep-alive, Upgrade"),
        *("gzip, deflate, br", "gzip, deflate, br, zstd", "*/*", "same-origin", "empty"),
    )
}


class HeadEvents:
    """httptools' callbacks while a head is read."""

    __slots__ = ("fields", "reason")

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []
        self.reason = ""

    def on_status(self, reason: bytes) -> None:
        # Called for each piece, but a status line is always fed whole.
        self.reason = reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        # RFC 9110, 5.5: bytes above 127 are opaque; latin-1 keeps them. Whitespace around a value is not part of it.
        common = _COMMON.get
        self.fields.append((common(name) or _text(name), common(value) or _text(value)))


def _text(data: bytes) -> str:
    return data.decode("latin-1").strip(" \t")


def receive_head(
    buffer: bytearray,
    recv: Callable[[], bytes],
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser,
    head: HeadEvents,
    limits: Limits,
) -> int:
    """Fill ``buffer`` until it begins with a whole head, fed to ``parser``; return its size, 0 at a clean end."""
    fed = scanned = 0
    if not buffer:
        buffer += recv()
        if not buffer:
            return 0
    while True:
        if fed == 0:
            scanned = 0 if _skip_empty_lines(buffer) else scanned
        end = buffer.find(_END_OF_HEAD, max(0, scanned - 3))
        # Only whole lines are fed, because httptools joins the pieces of a value in quadratic time.
        stop = end + len(_END_OF_HEAD) if end >= 0 else buffer.rfind(b"\n", scanned) + 1
        if max(fed, stop) == 0 and len(buffer) > limits.max_target + _LINE_SLACK:
            raise BadRequest(414, f"request target is over {limits.max_target} bytes")
        if (stop if end >= 0 else len(buffer)) > limits.max_head:
            raise BadRequest(431, f"head is over {limits.max_head} bytes")
        if stop > fed:
            _feed(parser, bytes(buffer[fed:stop]))
            fed = stop
        if len(head.fields) > limits.max_fields:
            raise BadRequest(431, f"head has more than {limits.max_fields} fields")
        if end >= 0:
            return stop
        scanned = len(buffer)
        data = recv()
        if not data:
            if not buffer:
                return 0
            raise BadRequest(400, "connection ended in the middle of a head")
        buffer += data


def _skip_empty_lines(buffer: bytearray) -> bool:
    """Drop empty lines before a head, and look at its first byte; say whether something was dropped."""
    size = 0
    # RFC 9112, 2.2: SHOULD ignore at least one empty line received before the request line.
    while buffer.startswith(b"\r\n", size):
        size += 2
    del buffer[:size]
    # What cannot become a head is refused at its first byte: the line's end that is waited for may never come.
    if buffer and buffer != b"\r" and buffer[0] not in _FIRST_BYTES:
        hint = "; it looks like TLS" if buffer[0] == _TLS_HANDSHAKE else ""
        raise BadRequest(400, f"head begins with byte 0x{buffer[0]:02x}{hint}")
    return size > 0


def _feed(parser: httptools.HttpRequestParser | httptools.HttpResponseParser, data: bytes) -> None:
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        # llhttp stops behind a head that asks for an upgrade, to whatever. What that means is decided elsewhere.
        pass
    except httptools.HttpParserError as error:
        if _PAUSED in str(error):
            return  # the same behind a 101 whose Connection does not list Upgrade; what that means is as well
        raise BadRequest(400, f"malformed head: {error}") from None
