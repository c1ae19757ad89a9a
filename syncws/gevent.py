"""Servers and client for greenlets: what ``syncws`` has for threads, on gevent's event loop. Needs gevent.

Nothing has to be monkey-patched, and nothing changes if it is. A server's accept loop is a greenlet, and each of its
connections has another; the greenlets of one connection belong to one thread, that of its event loop. Functions and
methods raise what their namesakes for threads do.

:class:`WebSocketHandler` is for a :class:`gevent.pywsgi.WSGIServer` that there is already; without it,
:func:`syncws.upgrade` works there too.
"""

from __future__ import annotations

import socket
import ssl as _ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gevent
from gevent import pywsgi
from gevent import socket as gevent_socket
from gevent.monkey import get_original
from gevent.selectors import DefaultSelector

from . import server, server_wsgi
from .client import connect_over
from .errors import HandshakeError
from .listener import Listener
from .runtime_gevent import GREENLETS
from .transport_gevent import transport_for_greenlets
from .websocket import WebSocket
from .wsgi_socket import is_taken

__all__ = ["WSGIServer", "WebSocketHandler", "WebSocketServer", "connect"]


class _OnGreenlets(Listener):
    """An accept loop in a greenlet, and greenlets for its connections."""

    runtime = GREENLETS
    selector_class = DefaultSelector
    transport_for = staticmethod(transport_for_greenlets)

    def __init__(self, address: Any, *arguments: Any, **options: Any) -> None:
        if isinstance(address, gevent_socket.socket):
            # Its own watchers would be in the way of the accept loop's.
            address = get_original("socket", "socket")(fileno=address.detach())
        super().__init__(address, *arguments, **options)

    def _condition(self) -> Any:
        return GREENLETS.condition()

    def start(self) -> None:
        """Accept connections in a greenlet of its own, as gevent's servers do, instead of in ``serve_forever()``."""
        gevent.spawn(self.serve_forever)

    def stop(self) -> None:
        """Do ``shutdown()`` and ``server_close()``, under the name that it has in gevent's servers."""
        self.__exit__()


class WebSocketServer(_OnGreenlets, server.WebSocketServer):
    """A :class:`syncws.WebSocketServer` that calls ``handler(ws)`` in a greenlet for each WebSocket."""


class WSGIServer(_OnGreenlets, server_wsgi.WSGIServer):
    """A :class:`syncws.WSGIServer` that calls the app in a greenlet for each connection."""


class WebSocketHandler(pywsgi.WSGIHandler):
    """A handler class for :class:`gevent.pywsgi.WSGIServer`: ``WSGIServer(address, app, handler_class=...)``.

    The server's log has the status 101 for a request that has become a WebSocket, and a
    :class:`~syncws.HandshakeError` that the app lets escape is answered with its status.
    """

    def run_application(self) -> None:
        """Call the app, and answer for it if it has let the refusal of a handshake escape."""
        try:
            super().run_application()
        except HandshakeError as error:
            if self.headers_sent or error.status == 0:
                raise
            self.result = error.respond(self.start_response)
            self.process_result()
        finally:
            self.result = None

    def log_request(self) -> None:
        """Log the request, an upgraded one with the status that its client got."""
        if is_taken(self.socket):
            self.status = self._orig_status = "101 Switching Protocols"
            self.response_length = 0
        super().log_request()


def connect(
    uri: str,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    ssl: _ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    timeout: float | None = 10.0,
    max_redirects: int = 0,
    sock: socket.socket | None = None,
    **options: Any,
) -> WebSocket:
    """Open a WebSocket connection for greenlets and return it; arguments and errors as :func:`syncws.connect`.

    There is no ``proxy``: a program that needs one monkey-patches the standard library and uses that function.
    """
    return connect_over(
        gevent_socket,
        transport_for_greenlets,
        uri,
        headers=headers,
        subprotocols=subprotocols,
        ssl=ssl,
        server_hostname=server_hostname,
        proxy=None,
        max_redirects=max_redirects,
        sock=sock,
        timeout=timeout,
        options=options,
    )
