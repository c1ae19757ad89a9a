"""The servers: :class:`WebSocketServer` runs a handler for each WebSocket; for a WSGI app: :mod:`syncws.server_wsgi`.

Both keep to the conventions of :mod:`socketserver`: ``serve_forever()`` accepts connections in the calling thread until
``shutdown()`` is called, from any thread; ``server_close()`` gives back the listening socket, and so does the end of a
with-statement. Each connection is served by one daemon thread, and by no other. That thread may have served others
before, if nothing of them is left in it (:mod:`syncws.runtime_threads`).
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .addresses import Address, named_in_errors
from .budgets import Budget
from .forwarded import TrustedProxies
from .http import DEFAULT_LIMITS, Limits
from .listener import Listener
from .opening import accept_on
from .options import Options, check_number
from .protocol.handshake import RequestHead
from .serving import ServedConnection, end_websocket
from .stats import ServerStats
from .transport import Transport
from .websocket import WebSocket

if TYPE_CHECKING:
    import ssl as _ssl

    from .tls import Files

__all__ = ["ServerOptions", "WatchedServer", "WebSocketServer", "check_handler", "split_options"]

Handler = Callable[[WebSocket], object]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What may be set for a server, besides the :class:`~syncws.options.Options` of its WebSockets.

    :param ssl: for TLS: the file with the server's certificate and key, or the files ``(certificate, key)``, for which
        there will be a context with modern settings (:func:`syncws.tls.server_context`); or a context of your own.
        Default: no TLS.
    :param max_connections: how many connections there may be at once, of any kind; one more is answered with 503 and
        closed (over TLS: closed). Default: 1000; ``None``: no limit.
    :param max_handshakes: of how many connections the opening handshake, TLS included, or the head of the first
        request may be incomplete at once; one more is refused like one over ``max_connections``. Default: 1000;
        ``None``: no limit.
    :param max_connections_per_address: how many connections one address may have at once, of IPv6 one /64 network; one
        more is answered with 429. Default: ``None``, no limit.
    :param trusted_proxies: addresses and networks of proxies, such as ``["127.0.0.1", "10.0.0.0/8", "unix"]``, which
        tell the address of a client in ``X-Forwarded-For``: their connections count for their clients, from when a
        request has been read until it has been served. Default: none, the field is not believed.
    :param shutdown_timeout: seconds that ``shutdown()`` gives the connections to end. Default: 10; ``None``: for ever.
    :param max_target_size: length of a request's target, in bytes; over it: 414. Default: 8192.
    :param max_head_size: size of a request's head, in bytes; over it: 431. Default: 65536.
    :param max_head_fields: number of a request's header fields; over it: 431. Default: 100.
    :raises TypeError: a value of another type.
    :raises ValueError: a value that cannot be.
    """

    ssl: _ssl.SSLContext | Files | None = None
    max_connections: int | None = 1000
    max_handshakes: int | None = 1000
    max_connections_per_address: int | None = None
    trusted_proxies: Sequence[str] = ()
    shutdown_timeout: float | None = 10.0
    max_target_size: int = DEFAULT_LIMITS.max_target
    max_head_size: int = DEFAULT_LIMITS.max_head
    max_head_fields: int = DEFAULT_LIMITS.max_fields

    def __post_init__(self) -> None:
        if self.ssl is not None:
            from .tls import check_kind  # with OpenSSL behind it

            check_kind(self.ssl)
        for name in ("max_connections", "max_handshakes", "max_connections_per_address"):
            check_number(name, getattr(self, name), int, 1)
        for name in ("max_target_size", "max_head_size", "max_head_fields"):
            check_number(name, getattr(self, name), int, 1, optional=False)
        check_number("shutdown_timeout", self.shutdown_timeout, (int, float), 0, optional=True)
        TrustedProxies(self.trusted_proxies)  # raises if they cannot be

    @property
    def limits(self) -> Limits:
        """The limits of a request's head."""
        return Limits(self.max_target_size, self.max_head_size, self.max_head_fields)

    @property
    def of_listener(self) -> dict[str, Any]:
        """What a :class:`~syncws.listener.Listener` is to know."""
        budget = Budget(
            max_connections=self.max_connections,
            max_handshakes=self.max_handshakes,
            max_connections_per_address=self.max_connections_per_address,
            trusted_proxies=TrustedProxies(self.trusted_proxies),
        )
        return {"context": self._context(), "budget": budget, "shutdown_timeout": self.shutdown_timeout}

    def _context(self) -> _ssl.SSLContext | None:
        """The context for TLS. Files are read now."""
        if self.ssl is None:
            return None
        from .tls import context_for

        return context_for(self.ssl)


class WatchedServer(Listener):
    """A server that can be watched."""

    @property
    def connections(self) -> tuple[WebSocket, ...]:
        """The WebSockets that are open at the moment. Any thread, whatever the server runs on.

        It is a snapshot: those that end meanwhile are still in it, and the server knows nothing of it.
        """
        return tuple(ws for ws in self._connections.websockets() if not ws.closed)

    def stats(self) -> ServerStats:
        """Return what the server does, and what it has done: WebSockets, messages, bytes, refused clients, pings.

        Any thread, whatever the server runs on. Requests of plain HTTP are not counted, unless they break its rules.
        """
        return self._connections.stats()


class WebSocketServer(WatchedServer):
    """A server that calls ``handler(ws)`` for each WebSocket, in a thread of its own.

    When the handler returns, the WebSocket is closed with 1000; when it raises, with 1011, and the traceback is
    logged. A :class:`~syncws.ConnectionClosed` of this WebSocket that it lets escape is no error. Requests that are not
    the opening handshake of a WebSocket are answered with the HTTP error that fits.

    ``with server:`` ends with ``shutdown()`` and ``server_close()``: Ctrl-C in ``serve_forever()`` closes each
    WebSocket with 1001.

    :param address: ``(host, port)``, port 0 for any that is free; a host with a colon is an IPv6 address; a str is
        the path of a Unix socket. A file that an ended process left there is replaced; ``server_close()`` removes it.
        Or a socket that listens already, such as ``socket.socket(fileno=3)`` under systemd: the server takes it over
        and closes it; ``server_address`` is its name.
    :param handler: called with the :class:`~syncws.WebSocket`.
    :param options: those of :class:`ServerOptions` and of :class:`~syncws.options.Options`.
    :raises OSError: the address cannot be listened on.
    :raises TypeError: no address, no handler, an option that does not exist, or has a value of another type.
    :raises ValueError: an option with an impossible value, a socket that does not listen, host and port in one str.
    """

    def __init__(self, address: Address | socket.socket, handler: Handler, **options: Any) -> None:
        self._handler = check_handler(handler)
        self._settings, self._options = split_options(ServerOptions, options)
        self._limits = self._settings.limits
        with named_in_errors(address):
            super().__init__(address, **self._settings.of_listener)

    def _serve_on(self, transport: Transport) -> ServedConnection:
        return _HandlerConnection(transport, self._options, self._limits, self._handler)


class _HandlerConnection(ServedConnection):
    """A connection that is to become a WebSocket for a handler."""

    __slots__ = ("_handler", "_limits")

    def __init__(self, transport: Transport, options: Options, limits: Limits, handler: Handler) -> None:
        super().__init__(transport, options)
        self._limits = limits
        self._handler = handler

    def _serve(self, deadline: float | None) -> None:
        ws = accept_on(self._transport, self._options, deadline, self._limits, self._on_request)
        self._attach(ws)
        error: BaseException | None = None
        try:
            self._handler(ws)
        except BaseException as caught:  # SystemExit too: the peer is to get a close frame
            error = caught
        try:
            # Not while it is handled: what is raised in there would remember it.
            end_websocket(ws, error)
        finally:
            # Its traceback holds this frame: the thread would stay, with its stack, until the garbage collector comes.
            del error

    def _on_request(self, head: RequestHead) -> None:
        # Busy before the 101 is sent: from then on stop() must close the WebSocket, not drop the connection.
        self._set_busy(True)
        self.place.admit(head.headers)


def check_handler(handler: Handler) -> Handler:
    """Return what a person has given as a handler.

    :raises TypeError: it cannot be called.
    """
    if not callable(handler):
        raise TypeError(
            f"the handler must be a function that takes a WebSocket, not {handler!r}; write handler, not handler()"
        )
    return handler


_AnyServerOptions = TypeVar("_AnyServerOptions", bound=ServerOptions)


def split_options(kind: type[_AnyServerOptions], options: dict[str, Any]) -> tuple[_AnyServerOptions, Options]:
    """Return the options of a server and those of its WebSockets."""
    names = [field.name for field in dataclasses.fields(kind)]
    others = [field.name for field in dataclasses.fields(Options)]
    for name in options:
        if name not in (*names, *others):
            raise TypeError(f"there is no option {name!r}; the options are {', '.join([*names, *others])}")
    own = {name: options[name] for name in names if name in options}
    return kind(**own), Options(**{name: options[name] for name in others if name in options})
