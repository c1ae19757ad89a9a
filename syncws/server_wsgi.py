"""The server for WSGI apps; what it has in common with the other one is in :mod:`syncws.server`.

They are apart so that a program with handlers of its own need not load what there is for WSGI.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from typing import Any

from .addresses import Address, named_in_errors
from .options import check_number
from .server import ServerOptions, WatchedServer, split_options
from .serving import ServedConnection
from .transport import Transport
from .wsgi import WSGIApp, WSGIConnection

__all__ = ["WSGIServer", "WSGIServerOptions"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WSGIServerOptions(ServerOptions):
    """What may be set for a :class:`WSGIServer`, besides the options of its WebSockets.

    :param keepalive_timeout: seconds a connection may be idle between two requests. Default: 5; ``None``: for ever;
        0: a connection serves one request.
    :param body_timeout: seconds to wait for the next bytes of a request's body. Default: 60; ``None``: for ever.
    """

    keepalive_timeout: float | None = 5.0
    body_timeout: float | None = 60.0

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one that the method was written in.
        ServerOptions.__post_init__(self)
        for name in ("keepalive_timeout", "body_timeout"):
            check_number(name, getattr(self, name), (int, float), 0, optional=True)


class WSGIServer(WatchedServer):
    """A server that runs a WSGI app (PEP 3333), whose requests :func:`syncws.upgrade` turns into WebSockets.

    ``with server:`` ends as that of a :class:`WebSocketServer`.

    :param address: as for :class:`WebSocketServer`.
    :param app: the WSGI app; it is called from many threads at once.
    :param options: those of :class:`WSGIServerOptions` and of :class:`~syncws.options.Options`; ``upgrade()`` may
        set the latter anew for its WebSocket.
    :raises: as :class:`WebSocketServer`.
    :ivar connection_class: what serves a connection; is called as :class:`~syncws.wsgi.WSGIConnection` is.
    """

    connection_class: Callable[..., ServedConnection] = WSGIConnection

    def __init__(self, address: Address | socket.socket, app: WSGIApp, **options: Any) -> None:
        if not callable(app):
            raise TypeError(f"the WSGI app must be a function or an object that can be called, not {app!r}")
        self._app = app
        self._settings, self._options = split_options(WSGIServerOptions, options)
        self._limits = self._settings.limits
        with named_in_errors(address):
            super().__init__(address, **self._settings.of_listener)

    def _serve_on(self, transport: Transport) -> ServedConnection:
        return self.connection_class(
            transport,
            self._app,
            self._options,
            self._limits,
            keepalive_timeout=self._settings.keepalive_timeout,
            body_timeout=self._settings.body_timeout,
        )
