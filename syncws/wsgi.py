"""The WSGI gateway (PEP 3333): :func:`upgrade` for apps, and the connection of a server that runs an app.

An app is called once for each request of a connection, in the connection's thread. While it runs it may turn its
request into a WebSocket with ``ws = syncws.upgrade(environ)``; whatever it returns or passes to ``start_response()``
after that is ignored, and when it returns the WebSocket is closed: with 1000, or with 1011 if the app raised.
"""

from __future__ import annotations

import logging
from typing import Any

from .accept import deadline_after
from .http import DEFAULT_LIMITS, BadRequest, Limits, RequestReader, text_response
from .options import Options
from .protocol.handshake import RequestHead
from .serving import ServedConnection
from .transport import Transport
from .websocket import WebSocket
from .wsgi_exchange import EXCHANGE_KEY, Exchange, WSGIApp

__all__ = ["WSGIApp", "WSGIConnection", "upgrade"]

_log = logging.getLogger("syncws.server")


def upgrade(environ: dict[str, Any], **options: Any) -> WebSocket:
    """Turn the request that a WSGI app is called with into a WebSocket; the 101 is sent now.

    The WebSocket is closed when the app returns, with 1000 if it is still open. What the app returns is ignored.

    :param environ: the app's environ.
    :param options: see :class:`~syncws.options.Options`; what is not given is as the server was set up.
    :raises HandshakeError: the request is not the opening handshake of a WebSocket, or is refused, for example because
        of its Origin. If the app lets it escape, the server answers with its ``status`` and ``headers``.
    :raises RuntimeError: the app runs on a server that syncws cannot take connections over from, the response has
        begun, or the request has been upgraded already.
    :raises TypeError: an option that does not exist, or has a value of another type.
    :raises ValueError: an option with an impossible value.
    """
    exchange = environ.get(EXCHANGE_KEY)
    if not isinstance(exchange, Exchange):
        host = environ.get("SERVER_SOFTWARE", "this server")
        raise RuntimeError(
            f"syncws cannot upgrade a request that is served by {host}; run the app with syncws.WSGIServer, "
            "or with: python -m syncws serve module:app"
        )
    return exchange.upgrade(options)


class WSGIConnection(ServedConnection):
    """A connection whose requests are answered by a WSGI app, one after the other.

    :param transport: the connection.
    :param app: the WSGI app.
    :param options: options for WebSockets; ``open_timeout`` and ``send_timeout`` hold for plain requests too.
    :param limits: how large the head of a request may be.
    :param keepalive_timeout: seconds the connection may be idle between two requests; ``None``: for ever.
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
            exchange = Exchange(
                self._transport,
                self._reader,
                head,
                self._options,
                attach=self._attach,
                stopping=lambda: self._stopping,
            )
            if not exchange.run(self._app):
                return
            self._reading_head = True
            self._first = False
            # The next request may have come right behind this one.
            busy = self._reader.has_buffered
            self._deadline = deadline_after(self._options.open_timeout if busy else self._keepalive_timeout)
            self._set_busy(busy)

    def _next_head(self) -> RequestHead | None:
        """Wait for a request; ``None`` if there is no other one, or one that breaks the rules, which is answered."""
        try:
            return self._reader.read_head()
        except BadRequest as error:
            self._refuse(error.status, error.message)
        except TimeoutError:
            if self._busy:
                self._refuse(408, f"the request was not complete after {self._options.open_timeout} s (open_timeout)")
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

    def _refuse(self, status: int, text: str) -> None:
        _log.info("refused %s with %d: %s", self.remote_address, status, text)
        self._transport.send_all(text_response(status, text, ""), deadline_after(self._options.send_timeout))
