"""One request of a WSGI app: the call of the app, its response or its upgrade (PEP 3333).

An :class:`Exchange` is used by the thread that serves the connection; an app may call :meth:`Exchange.upgrade` from
another one while its own waits. :meth:`Exchange.run` does not raise, unless its greenlet is killed: what the app, the
client or the network do wrong is answered and logged here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .errors import HandshakeError
from .http import BadRequest, RequestReader, reason_phrase, text_response
from .logs import get_logger
from .opening import MoreFields, deadline_after, open_websocket, refusal
from .options import Options
from .protocol.handshake import RequestHead
from .protocol.headers import Headers
from .runtime import is_killed
from .serving import end_websocket, log_refusal
from .transport import Transport
from .websocket import WebSocket
from .wsgi_environ import make_environ
from .wsgi_input import RequestBody, input_stream
from .wsgi_response import FileWrapper, Response

__all__ = ["EXCHANGE_KEY", "ON_ERROR_KEY", "Exchange", "WSGIApp"]

_log = get_logger("syncws.server")

# Where an app's environ has the exchange that upgrade() needs.
EXCHANGE_KEY = "syncws.connection"
# Where syncws.testing has a function that is to be called with an exception that will not reach the server.
ON_ERROR_KEY = "syncws.on_error"
WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# Rather than read more than this of a body that the app did not want, in bytes, the connection is closed.
_MAX_UNREAD = 262144


class Exchange:
    """A request that has been read, and what comes of it.

    :param transport: the connection.
    :param reader: has read the head, and will read the body.
    :param options: options for the WebSocket that the connection may become.
    :param attach: called with the WebSocket when the connection has become one.
    :param stopping: tells whether the server is about to stop, so that the connection must not be kept alive.
    :ivar head: the request's head.
    :ivar websocket: what the connection has become, if it was upgraded.
    :ivar refused: why it was not, if that was wanted.
    """

    def __init__(
        self,
        transport: Transport,
        reader: RequestReader,
        head: RequestHead,
        options: Options,
        *,
        attach: Callable[[WebSocket], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._transport = transport
        self._reader = reader
        self.head = head
        self._options = options
        self._attach = attach
        self._stopping = stopping
        self._body = RequestBody(reader, self._send_continue)
        self._response = Response(self._send, head.method, head.version, self._may_keep_alive)
        self.refused: HandshakeError | None = None
        self._error_status = 0  # of the error that was answered in the app's stead
        self._over = False
        self.websocket: WebSocket | None = None

    def run(self, app: WSGIApp) -> bool:
        """Call the app and send its response; return whether the connection can serve another request."""
        error = self._call(app)
        self._over = True
        try:
            if self.websocket is not None:
                end_websocket(self.websocket, error, failed=self._response.failed)
                return False
            if error is not None and is_killed(error):
                raise error  # whoever has killed the greenlet does not want it to wait for the client once more
            if error is not None:
                self._answer_error(error)
        finally:
            # Its traceback holds this frame: the thread would stay, with its stack, until the garbage collector comes.
            del error
        # After a write that failed, the client may have a part of it: what came next would be taken for the rest.
        intact = self._response.failure is None
        return self._response.keep_alive and intact and self._body.drain(_MAX_UNREAD)

    @property
    def outcome(self) -> tuple[str, list[tuple[str, str]], int | None]:
        """What the request was answered with, for a log: status line, header fields, bytes of the body.

        The status is ``""`` if there was no answer; the size of the body is ``None`` if it is none of the app's.
        """
        if self.websocket is not None:
            return _status_line(101), [], None
        if self._error_status:
            return _status_line(self._error_status), [], None
        return self._response.status, self._response.fields, self._response.sent

    def upgrade(
        self, options: Mapping[str, Any], environ: Mapping[str, Any], more_fields: MoreFields | None = None
    ) -> WebSocket:
        """Answer the request with the 101; see :func:`syncws.upgrade`."""
        settings = self._options.replace(options)
        if self.websocket is not None:
            raise RuntimeError("this request has been upgraded already")
        if self._over or self._response.started:
            raise RuntimeError("too late to upgrade: the response to this request has been sent, or a part of it")
        try:
            head = self._head_as_seen_by(environ)
            ws = open_websocket(head, settings, lambda: (self._transport, self._reader.leftover()), more_fields)
        except HandshakeError as error:
            log_refusal(error, self._transport.remote_address)
            self.refused = error
            raise
        self._response.discarding = True
        self.websocket = ws
        ws.logged_address = self._client_named_by(environ)
        self._attach(ws)
        return ws

    def _head_as_seen_by(self, environ: Mapping[str, Any]) -> RequestHead:
        """Return the head, with the host that a middleware for proxies may have put in the place of this server's."""
        head, host = self.head, environ.get("HTTP_HOST")
        if host is None or host == head.headers.get("Host"):
            return head
        others = [(name, value) for name, value in head.headers.pairs() if name.lower() != "host"]
        return dataclasses.replace(head, headers=Headers([("Host", host), *others]))

    def _client_named_by(self, environ: Mapping[str, Any]) -> str:
        """Return the address that a middleware for proxies has put in the place of the peer's, if one has."""
        named, peer = str(environ.get("REMOTE_ADDR") or ""), self._transport.remote_address
        return "" if isinstance(peer, tuple) and named == peer[0] else named

    def _call(self, app: WSGIApp) -> BaseException | None:
        """Call the app, send what it returns, close that; return what was raised on the way."""
        environ = make_environ(self.head, self._transport)
        environ["wsgi.input"] = input_stream(self._body, self._reader)
        environ[EXCHANGE_KEY] = self
        result: Iterable[bytes] = ()
        try:
            try:
                result = app(environ, self._response.start_response)
                self._send_body(result)
            finally:
                # PEP 3333: close() is called upon completion of the request, whether that was normal or not.
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # SystemExit too: it must not leave the client without an answer
            return error
        return None

    def _send_body(self, result: Iterable[bytes]) -> None:
        if self.websocket is not None:
            return
        # PEP 3333: with a single piece, its length is the Content-Length.
        only = isinstance(result, (list, tuple)) and len(result) == 1
        # A generator may upgrade while it runs; it runs to its end, and what it yields is dropped.
        for piece in result:
            if isinstance(result, FileWrapper):
                # PEP 3333: of a file that is longer than the Content-Length, no more than that is sent.
                piece = self._response.fitting(piece)
                if not piece:
                    break
            self._response.write(piece, only=only)
        self._response.finish()

    def _answer_error(self, error: BaseException) -> None:
        """Answer and log what the app raised."""
        where = f"{self.head.method} {self.head.path}"
        client = self._transport.remote_address
        self._response.keep_alive = False
        if error is self.refused:
            try:
                self._send_refusal(self.refused)
                return
            except ValueError as mistake:  # the app has given it header fields that cannot be sent
                error = mistake
        if error is self._response.failure:
            _log.debug("%s: %s went away: %s", where, client, error)
        elif error is self._body.failure:
            _log.info("%s: cannot read the body from %s: %s", where, client, error)
            if isinstance(error, BadRequest):
                self._send_error(error.status, error.message)
            elif isinstance(error, TimeoutError):
                self._send_error(408, "the request's body did not arrive in time")
        else:
            _log.error("%s failed", where, exc_info=error)
            self._send_error(500, "internal server error")

    def _send_refusal(self, error: HandshakeError) -> None:
        """Answer a handshake that was refused; plain HTTP may go on after that."""
        if error.status != 0 and not self._response.started:
            self._error_status = error.status
            keep_alive = self._may_keep_alive()
            sent = self._try_send(refusal(error, self.head.method, close=not keep_alive))
            self._response.keep_alive = keep_alive and sent

    def _send_error(self, status: int, text: str) -> None:
        """Send an error page and no more than that, unless the app's response has begun to go out."""
        if not self._response.started:
            self._error_status = status
            self._try_send(text_response(status, text, self.head.method))

    def _try_send(self, data: bytes) -> bool:
        try:
            self._send(data)
        except OSError as error:
            _log.debug("%s went away: %s", self._transport.remote_address, error)
            return False
        return True

    def _send(self, data: bytes) -> None:
        self._transport.send_all(data, deadline_after(self._options.send_timeout))

    def _send_continue(self) -> None:
        # RFC 9110, 10.1.1: not once the final response has begun.
        if not self._response.started:
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _may_keep_alive(self) -> bool:
        # RFC 9110, 10.1.1: a client that still waits for 100 Continue may send its body now, or never.
        in_order = not self._body.continue_due and self._body.failure is None
        return self._reader.keep_alive and in_order and not self._stopping()


def _status_line(status: int) -> str:
    return f"{status} {reason_phrase(status)}"
