"""The servers: :class:`WebSocketServer` runs a handler for each WebSocket, :class:`WSGIServer` a WSGI app.

Both keep to the conventions of :mod:`socketserver`: ``serve_forever()`` accepts connections in the calling thread until
``shutdown()`` is called, from any thread; ``server_close()`` gives back the listening socket, and so does the end of a
with-statement. Each connection is served by one daemon thread, and by no other.
"""

from __future__ import annotations

import dataclasses
import ssl as _ssl
from collections.abc import Callable
from typing import Any, TypeVar

from .accept import accept_on
from .addresses import Address
from .http import DEFAULT_LIMITS, Limits
from .listener import Listener
from .options import Options, check_number
from .serving import ServedConnection, end_websocket
from .transport import Transport
from .websocket import WebSocket
from .wsgi import WSGIApp, WSGIConnection

__all__ = ["ServerOptions", "WSGIServer", "WSGIServerOptions", "WebSocketServer"]

Handler = Callable[[WebSocket], object]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What may be set for a server, besides the :class:`~syncws.options.Options` of its WebSockets.

    :param ssl: for TLS: a context with the server's certificate. Default: no TLS.
    :param max_connections: how many connections there may be at once, of any kind; one more is answered with 503 and
        closed (over TLS: closed). Default: 1000; ``None``: no limit.
    :param shutdown_timeout: seconds that ``shutdown()`` gives the connections to end. Default: 10; ``None``: for ever.
    :param max_target_size: length of a request's target, in bytes; over it: 414. Default: 8192.
    :param max_head_size: size of a request's head, in bytes; over it: 431. Default: 65536.
    :param max_head_fields: number of a request's header fields; over it: 431. Default: 100.
    :raises TypeError: a value of another type.
    :raises ValueError: a value that cannot be.
    """

    ssl: _ssl.SSLContext | None = None
    max_connections: int | None = 1000
    shutdown_timeout: float | None = 10.0
    max_target_size: int = DEFAULT_LIMITS.max_target
    max_head_size: int = DEFAULT_LIMITS.max_head
    max_head_fields: int = DEFAULT_LIMITS.max_fields

    def __post_init__(self) -> None:
        if self.ssl is not None and not isinstance(self.ssl, _ssl.SSLContext):
            raise TypeError(f"ssl must be an ssl.SSLContext or None, not {self.ssl!r}")
        for name in ("max_connections", "max_target_size", "max_head_size", "max_head_fields"):
            check_number(name, getattr(self, name), int, 1, optional=name == "max_connections")
        check_number("shutdown_timeout", self.shutdown_timeout, (int, float), 0, optional=True)

    @property
    def limits(self) -> Limits:
        """The limits of a request's head."""
        return Limits(self.max_target_size, self.max_head_size, self.max_head_fields)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WSGIServerOptions(ServerOptions):
    """What may be set for a :class:`WSGIServer`, besides the options of its WebSockets.

    :param keepalive_timeout: seconds a connection may be idle between two requests. Default: 5; ``None``: for ever.
    :param body_timeout: seconds to wait for the next bytes of a request's body. Default: 60; ``None``: for ever.
    """

    keepalive_timeout: float | None = 5.0
    body_timeout: float | None = 60.0

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one that the method was written in.
        ServerOptions.__post_init__(self)
        for name in ("keepalive_timeout", "body_timeout"):
            check_number(name, getattr(self, name), (int, float), 0, optional=True)


class WebSocketServer(Listener):
    """A server that calls ``handler(ws)`` for each WebSocket, in a thread of its own.

    When the handler returns, the WebSocket is closed with 1000; when it raises, with 1011, and the traceback is
    logged. A :class:`~syncws.ConnectionClosed` of this WebSocket that it lets escape is no error. Requests that are not
    the opening handshake of a WebSocket are answered with the HTTP error that fits.

    ``with server:`` ends with ``shutdown()`` and ``server_close()``: Ctrl-C in ``serve_forever()`` closes each
    WebSocket with 1001.

    :param address: ``(host, port)``, port 0 for any that is free; a host with a colon is an IPv6 address; a str is
        the path of a Unix socket. A file that an ended process left there is replaced; ``server_close()`` removes it.
    :param handler: called with the :class:`~syncws.WebSocket`.
    :param options: those of :class:`ServerOptions` and of :class:`~syncws.options.Options`.
    :raises OSError: the address cannot be listened on.
    :raises TypeError: an option that does not exist, or has a value of another type.
    :raises ValueError: an option with an impossible value.
    """

    def __init__(self, address: Address, handler: Handler, **options: Any) -> None:
        self._handler = handler
        self._settings, self._options = _split_options(ServerOptions, options)
        super().__init__(
            address,
            context=self._settings.ssl,
            max_connections=self._settings.max_connections,
            shutdown_timeout=self._settings.shutdown_timeout,
        )

    def _serve_on(self, transport: Transport) -> ServedConnection:
        return _HandlerConnection(transport, self._options, self._settings.limits, self._handler)


class WSGIServer(Listener):
    """A server that runs a WSGI app (PEP 3333), whose requests :func:`syncws.upgrade` turns into WebSockets.

    ``with server:`` ends as that of a :class:`WebSocketServer`.

    :param address: as for :class:`WebSocketServer`.
    :param app: the WSGI app; it is called from many threads at once.
    :param options: those of :class:`WSGIServerOptions` and of :class:`~syncws.options.Options`; ``upgrade()`` may
        set the latter anew for its WebSocket.
    :raises: as :class:`WebSocketServer`.
    """

    def __init__(self, address: Address, app: WSGIApp, **options: Any) -> None:
        self._app = app
        self._settings, self._options = _split_options(WSGIServerOptions, options)
        super().__init__(
            address,
            context=self._settings.ssl,
            max_connections=self._settings.max_connections,
            shutdown_timeout=self._settings.shutdown_timeout,
        )

    def _serve_on(self, transport: Transport) -> ServedConnection:
        return WSGIConnection(
            transport,
            self._app,
            self._options,
            self._settings.limits,
            keepalive_timeout=self._settings.keepalive_timeout,
            body_timeout=self._settings.body_timeout,
        )


class _HandlerConnection(ServedConnection):
    """A connection that is to become a WebSocket for a handler."""

    def __init__(self, transport: Transport, options: Options, limits: Limits, handler: Handler) -> None:
        super().__init__(transport, options)
        self._limits = limits
        self._handler = handler

    def _serve(self, deadline: float | None) -> None:
        # Busy before the 101 is sent: from then on stop() must close the WebSocket, not drop the connection.
        ws = accept_on(self._transport, self._options, deadline, self._limits, lambda: self._set_busy(True))
        self._attach(ws)
        error: BaseException | None = None
        try:
            self._handler(ws)
        except BaseException as caught:  # SystemExit too: the peer is to get a close frame
            error = caught
        end_websocket(ws, error)


_AnyServerOptions = TypeVar("_AnyServerOptions", bound=ServerOptions)


def _split_options(kind: type[_AnyServerOptions], options: dict[str, Any]) -> tuple[_AnyServerOptions, Options]:
    """Return the options of a server and those of its WebSockets."""
    names = [field.name for field in dataclasses.fields(kind)]
    others = [field.name for field in dataclasses.fields(Options)]
    for name in options:
        if name not in (*names, *others):
            raise TypeError(f"there is no option {name!r}; the options are {', '.join([*names, *others])}")
    own = {name: options[name] for name in names if name in options}
    return kind(**own), Options(**{name: options[name] for name in others if name in options})
