"""Heads and bodies of HTTP/1.1 messages (RFC 9112) on a byte stream that is read with a function.

Reading pulls: :class:`RequestReader` and :func:`read_response_head` call ``recv()`` until they have what was asked
for, so "need more" is never visible. ``recv()`` returns the next bytes, or ``b""`` at the end of the stream;
whatever it raises (a timeout, a lost connection) passes through, and the reader is of no use afterwards. One thread
at a time may use a reader.

The syntax is checked by httptools (llhttp in its strict mode): bare LF, NUL, folded fields, whitespace before a
colon, two framings of one body and chunks that do not add up are all refused. What it leaves out is checked here:
the Host field, the version, and every limit. Limits apply while a head arrives, and the work is linear in its size
however it is cut into pieces.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus

import httptools

from .errors import HandshakeError
from .http_head import DEFAULT_LIMITS, BadRequest, HeadEvents, Limits, receive_head
from .protocol.fields import split_list, values_by_name
from .protocol.handshake import RequestHead, ResponseHead
from .protocol.headers import Headers

__all__ = [
    "DEFAULT_LIMITS",
    "BadRequest",
    "Limits",
    "RequestReader",
    "date",
    "read_response_head",
    "reason_phrase",
    "request_bytes",
    "response_bytes",
    "text_response",
]

_PIECE = 65536
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
# In English, whatever the language of the program.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# A line that frames a chunk: its size and extensions (RFC 9112, 7.1.1: the length of extensions is to be limited).
_MAX_CHUNK_LINE = 4096
# RFC 9110, 7.2: Host = uri-host [ ":" port ]; the characters of a reg-name or an IP-literal (RFC 3986, 3.2.2).
_HOST = re.compile(r"(?:\[[0-9A-Fa-fv:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*)(?::[0-9]*)?")
# RFC 9112, 3.2.2: the absolute form of a request target, whose authority stands for the Host field.
_ABSOLUTE = re.compile(r"https?://([^/?]*)", re.IGNORECASE)
# RFC 9110, 5.5: a head has visible characters, space, tab and obs-text.
_FORBIDDEN = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


class RequestReader:
    """Reads the requests of one connection, one after the other.

    After :meth:`read_head` the attributes describe the current request: ``keep_alive`` (the client wants to go on
    with the connection), ``expects_continue`` (it waits for ``100 Continue`` before it sends the body) and
    ``has_body``.

    :param recv: returns the next bytes of the connection, ``b""`` at its end.
    :param limits: how large a head may be.
    :param data: bytes of the connection that were read before.
    """

    def __init__(self, recv: Callable[[], bytes], limits: Limits = DEFAULT_LIMITS, data: bytes = b"") -> None:
        self._recv = recv
        self._limits = limits
        self._buffer = bytearray(data)
        self._body_left = 0
        self._chunks: httptools.HttpRequestParser | None = None
        self.keep_alive = False
        self.expects_continue = False

    @property
    def has_body(self) -> bool:
        """Whether a part of the current request's body is still to be read."""
        return self._body_left > 0 or self._chunks is not None

    @property
    def has_buffered(self) -> bool:
        """Whether bytes were received beyond what has been handed out: of the body, or the next request."""
        return bool(self._buffer)

    def read_head(self) -> RequestHead | None:
        """Read the next request's head; ``None`` if the connection ends before its first byte.

        The body of the request before it must have been read to its end.

        :raises BadRequest: the head breaks a rule or a limit, or the connection ends in the middle of it.
        """
        head = HeadEvents()
        parser = httptools.HttpRequestParser(head)
        size = receive_head(self._buffer, self._recv, parser, head, self._limits)
        if size == 0:
            return None
        line = self._buffer[: self._buffer.index(b"\r\n")].decode("latin-1")
        del self._buffer[:size]
        method, target, version = _request_line(line, self._limits)
        headers = Headers(head.fields)
        values = values_by_name(headers)
        _check_host(values.get("host", ()), version)
        connection = _tokens(values, "connection")
        # RFC 9112, 9.3: persistent unless the client says close; before HTTP/1.1 only if it asks for it.
        self.keep_alive = "close" not in connection and (version == "1.1" or "keep-alive" in connection)
        # RFC 9110, 10.1.1: a server MUST ignore the expectation of an HTTP/1.0 request.
        self.expects_continue = version == "1.1" and "100-continue" in _tokens(values, "expect")
        self._frame_body(values, version)
        return RequestHead(method, target, version, headers)

    def _frame_body(self, values: Mapping[str, Sequence[str]], version: str) -> None:
        """Set up the reading of the body. llhttp has checked that one valid framing is there at the most."""
        if "transfer-encoding" not in values:
            # llhttp has seen to it that the value fits into 64 bits, whatever zeros it begins with; and int() refuses
            # a text of thousands of digits.
            self._body_left = int(", ".join(values.get("content-length", ())).lstrip("0") or "0")
            return
        if version == "1.0":
            # RFC 9112, 6.1: Transfer-Encoding in an HTTP/1.0 request means that the framing is faulty.
            raise BadRequest(400, "Transfer-Encoding in an HTTP/1.0 request")
        codings = ", ".join(values["transfer-encoding"])
        if codings.lower() != "chunked":
            # RFC 9112, 6.1: SHOULD respond with 501 to a transfer coding that is not understood. A list of none, or one
            # with empty elements, is no less so: others may read it in another way, and then find another body.
            raise BadRequest(501, f"transfer coding {codings!r:.100} is not supported, only 'chunked'")
        # A parser of its own: the one that read the head skips the body if the head mentions an upgrade.
        self._chunks = httptools.HttpRequestParser(object())
        self._chunks.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")

    def read_body(self, size: int = _PIECE) -> bytes:
        """Return the next piece of the current request's body, at most ``size`` bytes; ``b""`` at its end.

        :raises BadRequest: the chunks break a rule, or the connection ends in the middle of the body.
        """
        if self._chunks is not None and self._body_left == 0:
            self._next_chunk(self._chunks)
        if self._body_left == 0:
            return b""
        if not self._buffer:
            self._fill()
        piece = bytes(self._buffer[: min(size, self._body_left)])
        del self._buffer[: len(piece)]
        self._body_left -= len(piece)
        if self._chunks is not None:
            self._chunks.feed_data(piece)
            if self._body_left == 0:
                self._feed_line(self._chunks)
        return piece

    def _next_chunk(self, chunks: httptools.HttpRequestParser) -> None:
        """Read the line before a chunk; after the last chunk the trailer section too, which is dropped."""
        line = self._feed_line(chunks)
        self._body_left = int(line.partition(b";")[0], 16)
        if self._body_left:
            return
        received = 0
        while self._feed_line(chunks) != b"\r\n":
            received += 1
            if received > self._limits.max_fields:
                raise BadRequest(431, f"more than {self._limits.max_fields} trailer fields")
        self._chunks = None

    def _feed_line(self, chunks: httptools.HttpRequestParser) -> bytes:
        """Read a line of the chunked coding, have it checked by ``chunks``, and return it."""
        start = 0
        while True:
            end = self._buffer.find(b"\n", start) + 1
            if (end or len(self._buffer)) > _MAX_CHUNK_LINE:
                raise BadRequest(400, f"line in a chunked body is over {_MAX_CHUNK_LINE} bytes")
            if end:
                break
            start = len(self._buffer)
            self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        try:
            chunks.feed_data(line)
        except httptools.HttpParserError as error:
            raise BadRequest(400, f"malformed chunk: {error}") from None
        return line

    def _fill(self) -> None:
        data = self._recv()
        if not data:
            raise BadRequest(400, "connection ended in the middle of the body")
        self._buffer += data

    def leftover(self) -> bytes:
        """Hand over the bytes received beyond the current request; after an upgrade they are WebSocket frames."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data


def read_response_head(recv: Callable[[], bytes], limits: Limits = DEFAULT_LIMITS) -> tuple[ResponseHead, bytes]:
    """Read the head of the response to a WebSocket request; interim responses before it are skipped.

    :returns: the head, and the bytes received beyond it.
    :raises HandshakeError: what came is not an HTTP response, or over a limit, or ended early (``status`` 0).
    """
    limits = dataclasses.replace(limits, max_target=limits.max_head)  # a status line has no target
    buffer = bytearray()
    skipped = 0
    while True:
        head = HeadEvents()
        parser = httptools.HttpResponseParser(head)
        try:
            size = receive_head(buffer, recv, parser, head, limits)
        except BadRequest as error:
            raise HandshakeError(f"server's answer is not a valid HTTP response: {error.message}", status=0) from None
        if size == 0:
            raise HandshakeError("server closed the connection without an answer", status=0)
        status = parser.get_status_code()
        if status < 100:
            raise HandshakeError(f"server's answer has status {status}, which HTTP does not have", status=0)
        del buffer[:size]
        # RFC 9110, 15.2: a client MUST be able to parse interim responses; it MAY ignore those it does not expect.
        if status >= 200 or status == 101:
            return ResponseHead(status, head.reason, Headers(head.fields)), bytes(buffer)
        skipped += size
        if skipped > limits.max_head:
            raise HandshakeError(f"interim responses of more than {limits.max_head} bytes", status=0)


def response_bytes(
    status: int,
    reason: str | None,
    fields: Iterable[tuple[str, str]],
    body: bytes = b"",
    *,
    close: bool = True,
) -> bytes:
    """Return a small response as one bytes object.

    Content-Length is added except where a response has no body (1xx, 204, 304), and Date except to a 1xx.

    :param reason: the reason phrase; ``None`` for the usual one of ``status``.
    :param fields: header fields, already checked.
    :param close: add ``Connection: close``.
    :raises ValueError: a line of the head would have a line break in it, or another character that cannot be sent.
    """
    lines = [f"HTTP/1.1 {status} {reason_phrase(status) if reason is None else reason}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if status >= 200:
        lines.append(f"Date: {date()}")
        if status not in (204, 304):
            lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return _head_bytes(lines) + body


def text_response(
    status: int, text: str, method: str, *, fields: Iterable[tuple[str, str]] = (), close: bool = True
) -> bytes:
    """Return a response with a line of plain text, for example an error, to a request of any method."""
    body = f"{text}\n".encode()
    fields = [*fields, ("Content-Type", "text/plain; charset=utf-8")]
    response = response_bytes(status, None, fields, body, close=close)
    # RFC 9110, 9.3.2: a server MUST NOT send content in the response to HEAD.
    return response[: -len(body)] if method == "HEAD" else response


def request_bytes(method: str, target: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """Return the head of an HTTP/1.1 request; the arguments are already checked."""
    return _head_bytes([f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)])


def _head_bytes(lines: list[str]) -> bytes:
    """Return a head. Whoever made the lines has checked them; one that was forgotten must not become two."""
    if _FORBIDDEN.search("\t".join(lines)):
        line = next(filter(_FORBIDDEN.search, lines))
        raise ValueError(f"a line of a head has a character that cannot be sent: {line!r:.120}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def reason_phrase(status: int) -> str:
    """Return the usual reason phrase of a status code; ``""`` for one that is not registered."""
    return _PHRASES.get(status, "")


def date(seconds: float | None = None) -> str:
    """Return a time as header fields have it (RFC 9110, 5.6.7).

    :param seconds: as :func:`time.time` returns them; ``None``: now.
    """
    when = time.gmtime(seconds)
    day, month = _DAYS[when.tm_wday], _MONTHS[when.tm_mon - 1]
    return f"{day}, {when.tm_mday:02} {month} {when.tm_year} {when.tm_hour:02}:{when.tm_min:02}:{when.tm_sec:02} GMT"


def _tokens(by_name: Mapping[str, Sequence[str]], name: str) -> Sequence[str]:
    values = by_name.get(name)
    return [member.lower() for member in split_list(values)] if values else ()


def _request_line(line: str, limits: Limits) -> tuple[str, str, str]:
    """Split a request line, whose characters llhttp has checked, into method, target and version."""
    # llhttp takes "GET /" and a bare LF for a request of HTTP/0.9, and what follows for a field.
    if "\n" in line:
        raise BadRequest(400, "bare LF in the request line (RFC 9112, 2.2)")
    method, _, rest = line.partition(" ")
    target, _, protocol = rest.rpartition(" ")
    if len(target) > limits.max_target:
        raise BadRequest(414, f"request target is {len(target)} bytes, the limit is {limits.max_target}")
    if protocol not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(505, f"request line ends with {protocol!r}; only HTTP/1.1 is supported")
    # RFC 9112, 3.2: no whitespace in a target, and no fragment; RFC 6455, 3: fragments MUST NOT be used.
    if " " in target or "#" in target:
        raise BadRequest(400, "request target with a space or a fragment")
    if method == "CONNECT":
        # RFC 9110, 9.3.6: a proxy in front takes any 2xx for the beginning of a tunnel, and what comes next for none
        # of its business. There is nothing here that an app could do with it.
        raise BadRequest(501, "CONNECT is for proxies")
    absolute = None if target.startswith("/") else _ABSOLUTE.match(target)
    # RFC 9112, 3.2: origin-form, absolute-form, or the asterisk, which only OPTIONS has.
    if not (absolute or target.startswith("/") or (target == "*" and method == "OPTIONS")):
        raise BadRequest(400, f"request target {target[:80]!r} is neither a path nor an http(s) URI")
    if absolute and not (absolute[1] and _HOST.fullmatch(absolute[1])):
        raise BadRequest(400, f"request target {target[:80]!r} has no valid host")
    return method, target, protocol[5:]


def _check_host(hosts: Sequence[str], version: str) -> None:
    """RFC 9112, 3.2: MUST respond with 400 to a request with no Host (from 1.1 on), several, or an invalid one."""
    if len(hosts) > 1:
        raise BadRequest(400, f"{len(hosts)} Host fields")
    if not hosts and version != "1.0":
        raise BadRequest(400, "no Host field")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise BadRequest(400, f"Host field {hosts[0][:80]!r} is not a host name with an optional port")
