"""The WSGI gateway (PEP 3333): :func:`upgrade` for apps, and the connection of a server that runs an app.

An app is called once for each request of a connection, in the connection's thread. While it runs it may turn its
request into a WebSocket with ``ws = syncws.upgrade(environ)``; whatever it returns or passes to ``start_response()``
after that is not sent, and when it returns the WebSocket is closed: with 1000, or with 1011 if the app raised or has
answered with an error page (5xx), as web frameworks do when a view of theirs has raised.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

from .budgets import OverBudget
from .errors import HandshakeError
from .http import DEFAULT_LIMITS, BadRequest, Limits, RequestReader
from .logs import get_logger
from .opening import MoreFields, deadline_after, refusal
from .options import Options
from .protocol.handshake import RequestHead
from .runtime import THREADS
from .serving import GOING_AWAY, GOING_AWAY_REASON, ServedConnection, end_websocket, log_refusal, reason_of
from .transport import Transport
from .websocket import WebSocket
from .wsgi_exchange import EXCHANGE_KEY, ON_ERROR_KEY, Exchange, WSGIApp
from .wsgi_takeover import host_for, is_stopped, take_over

__all__ = ["WSGIApp", "WSGIConnection", "hand_over", "upgrade"]

_log = get_logger("syncws.server")

Handler = Callable[[WebSocket], object]

# IANA's registry of close codes: 1013, a temporary condition, such as overload.
_TRY_AGAIN_LATER = (1013, "try again later")


def upgrade(environ: dict[str, Any], *, more_fields: MoreFields | None = None, **options: Any) -> WebSocket:
    """Turn the request that a WSGI app is called with into a WebSocket; the 101 is sent now.

    The WebSocket is closed when the app returns, with 1000 if it is still open. What the app returns is ignored; all
    servers but our own insist that it calls ``start_response()`` nevertheless.

    Where requests are served by a pool of threads, as Gunicorn's gthread worker does, the WebSocket occupies one of
    them until the app returns. :func:`hand_over` does not.

    :param environ: the app's environ.
    :param more_fields: called when the request has been found good, just before the 101 is sent; returns header fields
        for it as pairs of name and value, besides those of the option ``headers``. For what is to happen only if there
        is a 101, such as saving a session.
    :param options: see :class:`~syncws.options.Options`; what is not given is as the server was set up.
    :raises HandshakeError: the request is not the opening handshake of a WebSocket, or is refused, for example because
        of its Origin. If the app lets it escape, our own servers answer with its ``status`` and ``headers``; on others
        the app has to: see :meth:`HandshakeError.respond() <syncws.HandshakeError.respond>`.
    :raises RuntimeError: the app runs on a server that syncws cannot take connections over from, the response has
        begun, or the request has been upgraded already.
    :raises TypeError: an option that does not exist, or has a value of another type.
    :raises ValueError: an option with an impossible value.
    """
    exchange = environ.get(EXCHANGE_KEY)
    if isinstance(exchange, Exchange):
        return exchange.upgrade(options, environ, more_fields)
    return take_over(environ, Options.of(options), more_fields)[1]


def hand_over(
    environ: dict[str, Any],
    handler: Handler,
    *,
    carry: Callable[[Handler], Handler] | None = None,
    more_fields: MoreFields | None = None,
    **options: Any,
) -> None:
    """Turn a WSGI app's request into a WebSocket as :func:`upgrade` does, and have ``handler(ws)`` serve it.

    When the handler has returned, the WebSocket is closed, with 1000 if it is still open. If the handler raises, it is
    closed with 1011 and the exception is logged; the end of its own WebSocket is no error.

    Returns when the handler has. Where requests are served by a pool of threads, as Gunicorn's gthread worker does, it
    returns at once, and the handler has a thread of its own: there are as many of them as there are WebSockets, and
    the pool remains for other requests. The handler sees the same context variables. As many as Gunicorn's setting
    ``worker_connections`` says may be open in a process, and no more than leave a quarter of its descriptors; one more
    is refused with 503.

    :param environ: the app's environ.
    :param handler: is called with the WebSocket.
    :param carry: called with the handler, in the request's thread, if that is not to be the handler's; returns what is
        called in its stead, for example with a web framework's contexts.
    :param more_fields: as for :func:`upgrade`.
    :param options: as for :func:`upgrade`.
    :raises: as :func:`upgrade`; what the handler raises is not passed on, except for what ends the program.
    :raises RuntimeError: there can be no thread for the handler; the WebSocket has been closed with 1013.
    """
    exchange = environ.get(EXCHANGE_KEY)
    if isinstance(exchange, Exchange):
        _run(handler, exchange.upgrade(options, environ, more_fields), environ)
        return
    room = host_for(environ).room
    pooled = room is not None
    if pooled and carry is not None:
        handler = carry(handler)
    guest, ws = take_over(environ, Options.of(options), more_fields, room=room and room())
    guest.detach()  # if it is not already

    def serve() -> None:
        try:
            _run(handler, ws, environ)
        finally:
            guest.forget()

    if not pooled:
        serve()
        return
    context = contextvars.copy_context()
    try:
        THREADS.spawn(lambda: context.run(serve), "syncws-handler")
    except RuntimeError as error:
        ws.close(*_TRY_AGAIN_LATER)
        guest.forget()
        raise RuntimeError(f"no thread for the handler of {ws.path}: {error}") from error


def _run(handler: Handler, ws: WebSocket, environ: dict[str, Any]) -> None:
    try:
        handler(ws)
    except BaseException as error:
        if is_stopped(error):
            ws.close(GOING_AWAY, GOING_AWAY_REASON)
            raise
        if ON_ERROR_KEY in environ:
            environ[ON_ERROR_KEY](error)
        end_websocket(ws, error)
    else:
        end_websocket(ws, None)


class WSGIConnection(ServedConnection):
    """A connection whose requests are answered by a WSGI app, one after the other.

    :param transport: the connection.
    :param app: the WSGI app.
    :param options: options for WebSockets; ``open_timeout`` and ``send_timeout`` hold for plain requests too.
    :param limits: how large the head of a request may be.
    :param keepalive_timeout: seconds the connection may be idle between two requests; ``None``: for ever; 0: there is
        one request only.
    :param body_timeout: seconds to wait for the next bytes of a request's body; ``None``: for ever.
    """

    def __init__(
        self,
        transport: Transport,
        app: WSGIApp,
        options: Options,
        limits: Limits = DEFAULT_LIMITS,
        *,
        keepalive_timeout: float | None = 5.0,
        body_timeout: float | None = 60.0,
    ) -> None:
        super().__init__(transport, options)
        self._app = app
        self._keepalive_timeout = keepalive_timeout
        self._body_timeout = body_timeout
        self._reader = RequestReader(self._recv, limits)
        self._reading_head = True
        self._first = True
        self._deadline: float | None = None  # for the first byte of a head, then for the rest of it

    def _serve(self, deadline: float | None) -> None:
        self._deadline = deadline
        while (head := self._next_head()) is not None:
            self._reading_head = False
            try:
                self.place.admit(head.headers)
            except OverBudget as error:
                self.on_refused(error.reason)
                self._transport.send_all(refusal(error, head.method, close=True), self._send_deadline())
                return
            exchange = Exchange(
                self._transport,
                self._reader,
                head,
                self._options,
                attach=self._attach,
                stopping=lambda: self._stopping or self._keepalive_timeout == 0,
            )
            alive = self._answer(exchange)
            self.place.idle()
            if exchange.refused is not None:
                self.on_refused(reason_of(exchange.refused))
            if not alive:
                return
            self._reading_head = True
            self._first = False
            # The next request may have come right behind this one.
            busy = self._reader.has_buffered
            self._deadline = deadline_after(self._options.open_timeout if busy else self._keepalive_timeout)
            self._set_busy(busy)

    def _answer(self, exchange: Exchange) -> bool:
        """Let the app answer a request; return whether the connection can serve another one. For subclasses."""
        return exchange.run(self._app)

    def _next_head(self) -> RequestHead | None:
        """Wait for a request; ``None`` if there is no other one, or one that breaks the rules, which is answered."""
        try:
            return self._reader.read_head()
        except BadRequest as error:
            self._refuse(HandshakeError(error.message, status=error.status))
        except TimeoutError:
            if self._busy:
                text = f"the request was not complete after {self._options.open_timeout} s (open_timeout)"
                self._refuse(HandshakeError(text, status=408))
        return None

    def _recv(self) -> bytes:
        if not self._reading_head:
            return self._transport.recv(deadline_after(self._body_timeout))
        data = self._transport.recv(self._deadline)
        if data and not self._busy:
            self._set_busy(True)
            if not self._first:
                self._deadline = deadline_after(self._options.open_timeout)
        return data

    def _refuse(self, error: HandshakeError) -> None:
        log_refusal(error, self.remote_address)
        self.on_refused(reason_of(error))
        self._transport.send_all(refusal(error, "", close=True), self._send_deadline())

    def _send_deadline(self) -> float | None:
        return deadline_after(self._options.send_timeout)
