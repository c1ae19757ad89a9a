"""The server's side of the opening handshake on a connected socket.

:func:`open_websocket` is the one place where the 101 is sent, whatever entrance a request came in by: :func:`accept`,
the servers, or a WSGI app. Everything here waits, with deadlines, and is called by the thread that serves the
connection. A handshake that does not succeed raises :class:`~syncws.errors.HandshakeError`; its ``status`` is that of
the answer, or 0 if the client went away and there was nobody to answer.
"""

from __future__ import annotations

import contextlib
import io
import socket
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .errors import HandshakeError
from .http import DEFAULT_LIMITS, BadRequest, Limits, RequestReader, response_bytes, text_response
from .options import Options
from .protocol.fields import check_fields
from .protocol.handshake import RequestHead, respond
from .protocol.headers import Headers
from .transport import Transport, transport_for
from .transport_traced import traced
from .websocket import WebSocket

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

__all__ = [
    "MoreFields",
    "accept",
    "accept_on",
    "answer",
    "deadline_after",
    "hang_up",
    "open_websocket",
    "refusal",
    "tls_handshake",
]

MoreFields = Callable[[], Iterable[tuple[str, str]]]

# How long, in seconds, a client may take for the last response and for ending its side of the connection.
_HANG_UP_TIMEOUT = 2.0


def accept(sock: socket.socket | BaseHTTPRequestHandler, **options: Any) -> WebSocket:
    """Answer the opening handshake on a connected socket and return the open WebSocket.

    The socket belongs to the WebSocket from now on. Within an :mod:`http.server` handler (its ``do_GET``), pass the
    handler itself: its request has been read already, and bytes behind it may wait in its buffer. The handler's
    method must not return before the WebSocket is closed.

    A request that is refused is answered with the HTTP error; the socket is then closed.

    :param sock: a connected stream socket, an :class:`ssl.SSLSocket` (its TLS handshake may be still to come), or a
        :class:`http.server.BaseHTTPRequestHandler`.
    :param options: see :class:`~syncws.options.Options`; ``open_timeout`` covers TLS handshake and request together.
    :raises HandshakeError: no WebSocket was opened; ``status`` and ``headers`` are those of the answer, ``status`` is
        0 if the client went away before there was anything to answer.
    :raises TypeError: an option that does not exist, or has a value of another type.
    :raises ValueError: an option with an impossible value.
    """
    settings = Options.of(options)
    http_server = sys.modules.get("http.server")  # if nobody has imported it, there is no handler of it
    if http_server is not None and isinstance(sock, http_server.BaseHTTPRequestHandler):
        return _accept_in_handler(sock, settings)
    transport = transport_for(sock)  # type: ignore[arg-type]  # a socket
    deadline = deadline_after(settings.open_timeout)
    try:
        tls_handshake(transport, deadline)
        return accept_on(transport, settings, deadline)
    except BaseException:
        transport.close()
        raise


def accept_on(
    transport: Transport,
    options: Options,
    deadline: float | None,
    limits: Limits = DEFAULT_LIMITS,
    on_request: Callable[[RequestHead], None] = lambda head: None,
) -> WebSocket:
    """Read a request, answer it, and return the open WebSocket.

    :param deadline: when the request has to be complete.
    :param on_request: called with it when it is, before it is answered; may raise a HandshakeError to answer with.
    :raises HandshakeError: as :func:`accept`; the transport is not closed, but nothing more can be done with it.
    """
    if options.trace is not None:
        transport = traced(transport, "server", options.trace)
    reader = RequestReader(lambda: transport.recv(deadline), limits)
    method = ""
    try:
        head = _read_head(reader, options.open_timeout)
        method = head.method
        on_request(head)
        return open_websocket(head, options, lambda: (transport, reader.leftover()))
    except HandshakeError as error:
        answer(transport, error, method)
        hang_up(transport)
        raise


def open_websocket(
    head: RequestHead,
    options: Options,
    take: Callable[[], tuple[Transport, bytes]],
    more_fields: MoreFields | None = None,
) -> WebSocket:
    """Check a request, send the 101, and return the open WebSocket.

    :param take: called when the request has been found good; returns the connection and the bytes received behind the
        request. A connection that is not the caller's until then stays as it is if the request is refused.
    :param more_fields: called before that, when the request has been found good; returns header fields for the 101,
        besides those of the options. What it raises is passed on, and nothing has been sent.
    :raises HandshakeError: the request is refused, and nothing has been sent; or the connection was lost (status 0).
    :raises ValueError: what ``more_fields`` has returned is no header fields.
    """
    agreement, fields = respond(
        head,
        subprotocols=options.subprotocols,
        origins=options.origins,
        compression=options.deflate,
        headers=options.fields,
    )
    if more_fields is not None:
        fields += check_fields(more_fields())
    transport, leftover = take()
    if options.trace is not None:
        transport = traced(transport, "server", options.trace, [(_written_again(head), True), (leftover, False)])
    try:
        transport.send_all(response_bytes(101, None, fields, close=False), deadline_after(options.open_timeout))
    except OSError as error:
        raise HandshakeError(f"the connection was lost while the 101 was sent: {error}", status=0) from error
    return WebSocket(transport, "server", head, agreement, options, leftover=leftover)


def _written_again(head: RequestHead) -> bytes:
    """Return a head that has been read already, for a trace."""
    lines = [f"{head.method} {head.target} HTTP/{head.version}"]
    lines += [f"{name}: {value}" for name, value in head.headers.pairs()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def refusal(error: HandshakeError, method: str, *, close: bool) -> bytes:
    """Return the HTTP response that a handshake error describes: with its body, or else its message as text."""
    if error.body:
        # The message is for the log only: it tells how the server is set up.
        return response_bytes(error.status, None, error.headers, error.body, close=close)
    return text_response(error.status, str(error), method, fields=error.headers, close=close)


def answer(transport: Transport, error: HandshakeError, method: str) -> None:
    """Send the response that a handshake error describes, if there is anybody to get it."""
    if error.status == 0:
        return
    with contextlib.suppress(OSError):  # the client has gone: nobody to tell
        transport.send_all(refusal(error, method, close=True), deadline_after(_HANG_UP_TIMEOUT))


def hang_up(transport: Transport) -> None:
    """End our direction and wait for the client to end its own, two seconds at the most, so that it is safe to close.

    A socket that is closed with unread input sends a reset, which can destroy the response on its way (RFC 9112, 9.6).
    """
    transport.shutdown_write()
    deadline = time.monotonic() + _HANG_UP_TIMEOUT
    with contextlib.suppress(OSError):  # lost, or still sending after all that time
        # What has arrived is returned after the deadline as well, and a client can keep it from ever being all.
        while transport.recv(deadline) and time.monotonic() < deadline:
            pass


def deadline_after(seconds: float | None) -> float | None:
    """Return the point in time, of :func:`time.monotonic`, that is so many seconds away; ``None`` for never."""
    return None if seconds is None else time.monotonic() + seconds


def tls_handshake(transport: Transport, deadline: float | None) -> None:
    """Run the TLS handshake of a connection, unless it is done already, or there is none to be done.

    :raises HandshakeError: it failed (status 0).
    """
    try:
        transport.handshake(deadline)
    except OSError as error:
        raise HandshakeError(f"TLS handshake failed: {error}", status=0) from error


def _read_head(reader: RequestReader, open_timeout: float | None) -> RequestHead:
    try:
        head = reader.read_head()
    except BadRequest as error:
        raise HandshakeError(error.message, status=error.status) from error
    except TimeoutError as error:
        raise HandshakeError(f"no complete request within {open_timeout} s (open_timeout)", status=408) from error
    except OSError as error:
        raise HandshakeError(f"the connection was lost before the request was complete: {error}", status=0) from error
    if head is None:
        raise HandshakeError("the client ended the connection without a request", status=0)
    return head


def _accept_in_handler(handler: BaseHTTPRequestHandler, options: Options) -> WebSocket:
    # Whatever comes of it, the handler must not look for another request on this connection.
    handler.close_connection = True
    version = handler.request_version.removeprefix("HTTP/")
    head = RequestHead(handler.command, handler.path, version, Headers(handler.headers.items()))
    leftover = _buffered(handler)
    transport = transport_for(handler.connection)
    try:
        return open_websocket(head, options, lambda: (transport, leftover))
    except HandshakeError as error:
        # Not left to the handler's server: what it has is empty if it was one of gevent's sockets.
        answer(transport, error, head.method)
        hang_up(transport)
        transport.close()
        raise


def _buffered(handler: BaseHTTPRequestHandler) -> bytes:
    """Return what the handler has read behind the request's head."""
    if not isinstance(handler.rfile, io.BufferedReader):
        return b""
    # peek() reads from the socket if the buffer is empty; it must not wait there.
    handler.connection.setblocking(False)
    try:
        return handler.rfile.peek()
    except OSError:
        return b""  # TLS has nothing yet; or the connection is lost, which the WebSocket will notice
