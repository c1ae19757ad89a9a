"""What a WSGI app answers: ``start_response()``, ``write()`` and the framing of the body (PEP 3333).

A :class:`Response` belongs to one request and to the thread that serves it. Nothing is sent before the first byte of
the body, or :meth:`Response.finish`, so until then an error can still become another response. What an app does wrong
raises :class:`TypeError`, :class:`ValueError` or :class:`RuntimeError`; a client that went away or stopped reading
raises :class:`OSError`, which is kept in :attr:`Response.failure`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO

from .http import date
from .protocol.fields import is_token, split_list

__all__ = ["FileWrapper", "Response"]

ExcInfo = tuple[type[BaseException], BaseException, TracebackType]

# PEP 3333: "a three-digit status code, a single space, and a reason phrase", no control characters.
_STATUS = re.compile(r"[2-5]\d\d( [\t\x20-\x7e\x80-\xff]*)?")
# RFC 9110, 5.5: visible characters, space, tab and obs-text.
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# PEP 3333: an app must not use hop-by-hop fields; these would break the framing. Connection and Upgrade are let
# through, because a 426 needs them and "Connection: close" is a wish that can be fulfilled.
_FORBIDDEN = frozenset(
    ["keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"],
)
# A piece of the body below this size, in bytes, is copied to be sent with its frame in one system call.
_JOIN_BELOW = 65536


class FileWrapper:
    """``wsgi.file_wrapper``: iterates over a file in blocks (PEP 3333, "Optional Platform-Specific File Handling").

    :param block_size: bytes that are read at once.
    """

    def __init__(self, file: BinaryIO, block_size: int = 65536) -> None:
        self._file = file
        self._block_size = block_size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self._file.read(self._block_size), b"")

    def close(self) -> None:
        """Close the file, if it can be closed."""
        close = getattr(self._file, "close", None)
        if close is not None:
            close()


class Response:
    """The response to one request.

    :param send: writes bytes to the client; raises OSError.
    :param method: the request's method; a response to HEAD has no body.
    :param version: the HTTP version of the request; a client of HTTP/1.0 does not know chunks.
    :param may_keep_alive: asked when the head is sent: whether the connection may serve another request.
    :ivar status: as it was given to start_response(); ``""`` before that.
    :ivar fields: the header fields, likewise.
    :ivar sent: bytes of the body.
    :ivar started: something has been sent.
    :ivar keep_alive: the connection may serve another request; decided with the head.
    :ivar failure: what ``send`` raised.
    :ivar discarding: the connection belongs to a WebSocket, and whatever the app still answers is dropped.
    :ivar failed: what was dropped is an error page (5xx): a web framework has met an exception of its app.
    """

    def __init__(
        self, send: Callable[[bytes], None], method: str, version: str, may_keep_alive: Callable[[], bool]
    ) -> None:
        self._send = send
        self._method = method
        self._version = version
        self._may_keep_alive = may_keep_alive
        self.status = ""
        self.fields: list[tuple[str, str]] = []
        self._length: int | None = None  # the Content-Length, if there is one
        self.sent = 0  # bytes of the body
        self._chunked = False
        self.started = False
        self.keep_alive = False
        self.failure: OSError | None = None
        self.discarding = False
        self.failed = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], None]:
        """Set status and header fields; they are sent with the first byte of the body.

        :param exc_info: from ``sys.exc_info()``, to replace what was set before with an error page; raised again if
            it is too late for that.
        :returns: the ``write()`` that PEP 3333 keeps for old code.
        """
        if self.discarding:
            self.failed = status.startswith("5")
            return self.write
        try:
            if exc_info is not None and self.started:
                raise exc_info[1].with_traceback(exc_info[2])
            if exc_info is None and self.status:
                raise RuntimeError("start_response() was called a second time, without exc_info")
        finally:
            exc_info = None  # PEP 3333: avoid a reference cycle through the traceback
        if not isinstance(status, str) or not isinstance(headers, list):
            raise TypeError(f"start_response() takes a str and a list, not {status!r:.80} and {headers!r:.80}")
        if not _STATUS.fullmatch(status):
            raise ValueError(f"status must be like '200 OK', from 200 to 599, not {status!r:.80}")
        fields = [_check_field(field) for field in headers]
        self._length = _content_length(fields)
        self.fields = fields
        self.status = status
        return self.write

    def write(self, data: bytes, *, only: bool = False) -> None:
        """Send a piece of the body, with the head in front of the first one. An empty piece does nothing.

        :param only: this is the whole body; its length becomes the Content-Length, if the app gave none.
        :raises TypeError: ``data`` is not bytes.
        :raises RuntimeError: the body is longer than the Content-Length, or start_response() was not called.
        """
        if self.discarding:
            return
        if not isinstance(data, bytes):
            raise TypeError(f"the body of a WSGI response is made of bytes, not {type(data).__name__}")
        if not data:
            return
        sent = self.sent + len(data)
        if self._length is not None and sent > self._length and not self._bodiless:
            raise RuntimeError(f"response body is longer than its Content-Length, {self._length} bytes")
        head = b"" if self.started else self._head(len(data) if only else None)
        self.sent = sent
        if self._bodiless:
            self._transmit(head)
        elif self._chunked:
            # RFC 9112, 7.1: size in hexadecimal digits, CRLF, data, CRLF.
            self._transmit(head + b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._transmit(head, data)

    def fitting(self, data: bytes) -> bytes:
        """Return as much of ``data`` as the Content-Length has room for; all of it, if there is none."""
        return data if self._length is None else data[: max(0, self._length - self.sent)]

    def finish(self) -> None:
        """Complete the response: send a head that is still to be sent, and the end of a chunked body.

        :raises RuntimeError: the body is shorter than the Content-Length, or start_response() was not called.
        """
        if self.discarding:
            return
        if not self.started:
            self._transmit(self._head(0))
        if self._length is not None and self.sent < self._length and not self._bodiless:
            raise RuntimeError(f"response body has {self.sent} bytes, its Content-Length is {self._length}")
        if self._chunked:
            self._transmit(b"0\r\n\r\n")

    @property
    def _bodiless(self) -> bool:
        # RFC 9112, 6.3: responses to HEAD, and 204 and 304, end with the head.
        return self._method == "HEAD" or self.status[:3] in ("204", "304")

    def _head(self, size: int | None) -> bytes:
        """Return the head, and settle how the body is framed and whether the connection goes on.

        :param size: the size of the whole body, if it is known.
        """
        if not self.status:
            raise RuntimeError("the app did not call start_response() before its body")
        fields = [(name, value) for name, value in self.fields if name.lower() != "connection"]
        framed = self._length is not None or self._bodiless
        if not framed and size is not None:
            fields.append(("Content-Length", str(size)))
        elif not framed and self._version == "1.1":
            self._chunked = True
            fields.append(("Transfer-Encoding", "chunked"))
        elif not framed:
            # RFC 9112, 6.3: what HTTP/1.0 has for a body of unknown size is to end the connection behind it.
            self._may_keep_alive = lambda: False
        if self.status.startswith("204"):
            # RFC 9110, 8.6: a server MUST NOT send Content-Length with a 204.
            fields = [(name, value) for name, value in fields if name.lower() != "content-length"]
        connection = self._connection()
        if connection:
            fields.append(("Connection", ", ".join(connection)))
        names = {name.lower() for name, _ in fields}
        # RFC 9110, 6.6.1: an origin server with a clock MUST generate Date.
        for name, value in (("Date", date()), ("Server", "syncws")):
            if name.lower() not in names:
                fields.append((name, value))
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in fields), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def _connection(self) -> list[str]:
        """Decide whether the connection may be used again; return what Connection is to say (RFC 9112, 9.3)."""
        values = [value for name, value in self.fields if name.lower() == "connection"]
        wishes = split_list(values)
        options = [wish for wish in wishes if wish.lower() not in ("close", "keep-alive")]
        self.keep_alive = self._may_keep_alive() and "close" not in map(str.lower, wishes)
        if not self.keep_alive:
            return [*options, "close"]
        return [*options, "keep-alive"] if self._version == "1.0" else options

    def _transmit(self, before: bytes, data: bytes = b"", after: bytes = b"") -> None:
        self.started = True
        small = len(data) < _JOIN_BELOW
        try:
            for piece in (before + data + after,) if small else (before, data, after):
                self._send(piece)
        except OSError as error:
            self.failure = error
            raise


def _check_field(field: object) -> tuple[str, str]:
    if not isinstance(field, tuple) or len(field) != 2:
        raise TypeError(f"a header must be a tuple of name and value, not {field!r:.80}")
    name, value = field
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"name and value of a header must be str; got {name!r:.80}: {value!r:.80}")
    if not is_token(name):
        raise ValueError(f"header name {name!r:.80} is not a token (RFC 9110, 5.6.2)")
    if name.lower() in _FORBIDDEN:
        raise ValueError(f"header {name} is the server's business: an app must not set it (PEP 3333)")
    if not _VALUE.fullmatch(value):
        # RFC 9110, 5.5: with CR or LF in a value, whoever controls it forges header fields.
        raise ValueError(f"header {name} has a character in its value that cannot be sent: {value!r:.80}")
    return name, value


def _content_length(fields: list[tuple[str, str]]) -> int | None:
    values = [value for name, value in fields if name.lower() == "content-length"]
    if not values:
        return None
    if len(values) > 1 or not (values[0].isascii() and values[0].isdigit()):
        raise ValueError(f"Content-Length must be one number of bytes, not {' and '.join(values)!r:.80}")
    return int(values[0])
