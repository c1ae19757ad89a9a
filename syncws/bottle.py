"""WebSockets in Bottle apps: a plugin, a decorator, upgrades in ordinary routes, and servers for ``bottle.run()``.

The opening handshake is a request like any other: hooks, ``abort()``, and decorators that are made for ordinary routes
come before the 101. With it go the cookies and header fields that ``bottle.response`` has by then. ``bottle.request``
is there for as long as the handler runs.

An exception that a handler lets escape closes the WebSocket with 1011 and is logged once. The end of the WebSocket
itself, :class:`~syncws.ConnectionClosed`, is no error. What a handler returns is ignored.

To import this module lets every Bottle app in the process remember the stream of a request's body. Bottle puts what it
has read in its place, also when there is no body, and ``request.params``, ``.forms`` and ``.json`` read it; but other
servers' connections are found by way of that stream.

Works with Bottle 0.12 and 0.13. All functions here are called within a request, but for what sets up the app.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any, cast, overload

import bottle  # type: ignore[import-untyped]  # it has no types

from .decorators import replace_handler
from .errors import HandshakeError
from .options import Options
from .server_wsgi import WSGIServer
from .websocket import WebSocket
from .wsgi import hand_over
from .wsgi import upgrade as upgrade_wsgi
from .wsgi_hosts import INPUT_KEY, is_strict

__all__ = ["GeventServer", "SyncwsServer", "WebSocketPlugin", "upgrade", "websocket"]

Handler = Callable[..., object]

# Binds a request to its environ; Bottle does that first of all.
_bind = bottle.LocalRequest.bind


def _bind_and_remember(request: Any, environ: dict[str, Any] | None = None) -> None:
    _bind(request, environ)
    request.environ.setdefault(INPUT_KEY, request.environ.get("wsgi.input"))


bottle.LocalRequest.bind = _bind_and_remember

# Header fields of a response that are not for the 101: they are about a body, or one connection (RFC 9110, 7.6.1).
_NOT_FOR_THE_101 = {"connection", "content-length", "content-type", "date", "transfer-encoding", "upgrade"}


class WebSocketPlugin:
    """A plugin for routes whose function is a WebSocket handler: ``app.install(WebSocketPlugin())``.

    ``@app.route("/chat/<room>", websocket=True)`` calls ``chat(ws, room)``. Instead of ``True``, a dict has options
    for this route, over those of the plugin. Other routes stay as they are.

    Decorators between the route and the handler run before the 101 if they are made for any function: if they take
    ``*args, **kwargs`` and use :func:`functools.wraps`. Others are called with the WebSocket, after it.

    :param options: see :class:`~syncws.options.Options`.
    :raises TypeError: an option that does not exist, or has a value of another type.
    :raises ValueError: an option with an impossible value.
    """

    name = "websocket"
    api = 2

    def __init__(self, **options: Any) -> None:
        Options.of(options)
        self._options = options

    def apply(self, callback: Handler, route: Any) -> Handler:
        """Return what Bottle is to call for a route. Bottle calls this."""
        own: dict[str, Any] = {}
        for key, value in route.config.items():
            # Bottle has taken dicts apart: {"websocket": {"headers": {"X-A": …}}} is {"websocket.headers.X-A": …}.
            if key.startswith("websocket.") and key not in route.app.config:
                _, name, *field = key.split(".", 2)
                if field:
                    own.setdefault(name, {})[field[0]] = value
                else:
                    own[name] = value
        if not own and not route.config.get("websocket"):
            return callback
        options = {**self._options, **own}
        Options.of(options)
        return replace_handler(callback, lambda handler: _view(handler, options))


@overload
def websocket(handler: Handler, /) -> Handler: ...
@overload
def websocket(**options: Any) -> Callable[[Handler], Handler]: ...
def websocket(handler: Handler | None = None, /, **options: Any) -> Any:
    """Make a WebSocket handler the function of an ordinary route, without a plugin.

    ``@websocket`` or ``@websocket(subprotocols=["v1"])`` stands directly above the handler, or in the route's
    ``apply=``.

    :param options: as for :class:`WebSocketPlugin`, and errors too.
    """
    Options.of(options)
    if handler is None:
        return lambda handler: _view(handler, options)
    return _view(handler, options)


def upgrade(**options: Any) -> WebSocket:
    """Turn the request that a route is called for into a WebSocket; the 101 is sent now.

    The WebSocket is closed when the function of the route returns. What it returns is ignored.

    :param options: see :class:`~syncws.options.Options`.
    :raises bottle.HTTPResponse: the request is not the opening handshake of a WebSocket, or is refused, for example
        because of its Origin. Bottle answers with it. Its ``__cause__`` is the :class:`~syncws.HandshakeError`.
    :raises RuntimeError: the app runs on a server that syncws cannot take connections over from, or the request has
        been upgraded already.
    :raises TypeError: an option that does not exist, or has a value of another type.
    :raises ValueError: an option with an impossible value.
    """
    try:
        return upgrade_wsgi(bottle.request.environ, more_fields=_response_fields, **options)
    except HandshakeError as error:
        raise _refused(error) from error


def _view(handler: Handler, options: Mapping[str, Any]) -> FunctionType:
    """Return the function for a route that opens a WebSocket and has ``handler(ws, ...)`` serve it."""

    @functools.wraps(handler)
    def view(*args: Any, **kwargs: Any) -> str:
        try:
            hand_over(
                bottle.request.environ,
                lambda ws: handler(ws, *args, **kwargs),
                carry=_carry,
                more_fields=_response_fields,
                **options,
            )
        except HandshakeError as error:
            raise _refused(error) from error
        return ""

    return cast(FunctionType, view)


def _carry(handler: Callable[[WebSocket], object]) -> Callable[[WebSocket], object]:
    """Take Bottle's request, which belongs to a thread, along to the handler's."""
    environ = bottle.request.environ

    def carried(ws: WebSocket) -> None:
        bottle.request.bind(environ)
        bottle.response.bind()
        handler(ws)

    return carried


def _response_fields() -> list[tuple[str, str]]:
    """Return the header fields and cookies for the 101: those that the response has so far."""
    return [
        (name, value)
        for name, value in bottle.response.headerlist
        if name.lower() not in _NOT_FOR_THE_101 and not name.lower().startswith("sec-websocket-")
    ]


def _refused(error: HandshakeError) -> Exception:
    """Return a refused handshake as a response that Bottle sends."""
    environ = bottle.request.environ
    response = bottle.HTTPResponse()

    def start_response(status: str, fields: list[tuple[str, str]], *_: object) -> None:
        response.status = status
        for name, value in fields:
            if name not in ("Upgrade", "Connection") or not is_strict(environ):
                response.add_header(name, value)

    response.body = b"".join(error.respond(start_response))
    return cast(Exception, response)


class SyncwsServer(bottle.ServerAdapter):  # type: ignore[misc]  # it has no types
    """:class:`syncws.WSGIServer` for Bottle: ``bottle.run(app, server=SyncwsServer, **options)``.

    Ctrl-C closes each WebSocket with 1001.

    :param host: an address, or ``unix:`` and the path of a Unix socket.
    :param port: 0 for any that is free; it is printed then, unless ``quiet``.
    :param options: as for :class:`syncws.WSGIServer`, and errors too.
    """

    def run(self, handler: Callable[..., Any]) -> None:
        """Serve until Ctrl-C. Bottle calls this."""
        host: str = self.host
        port: int = self.port
        is_path = host.startswith("unix:")
        with self._server_for(host[5:] if is_path else (host, port), handler) as server:
            if port == 0 and not is_path and not self.quiet:
                print(f"Listening on http://{host}:{server.server_address[1]}/", flush=True)
            with _stopped_by_interrupts(server):
                server.serve_forever()

    def _server_for(self, address: tuple[str, int] | str, handler: Callable[..., Any]) -> WSGIServer:
        return WSGIServer(address, handler, **self.options)


@contextlib.contextmanager
def _stopped_by_interrupts(server: WSGIServer) -> Iterator[None]:
    """Let the first Ctrl-C shut the server down.

    KeyboardInterrupt would be raised in the greenlet that happens to run, which may be that of a connection.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, previous)
        # Not threading.Thread, whose start() waits; the event loop of greenlets must not.
        _thread.start_new_thread(server.shutdown, ())

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


class GeventServer(SyncwsServer):
    """:class:`syncws.gevent.WSGIServer` for Bottle; a connection is a greenlet.

    Bottle's ``request`` is a variable of threads, and so ``gevent.monkey.patch_all()`` has to be called before Bottle
    is imported.

    :raises RuntimeError: it has not been.
    """

    def _server_for(self, address: tuple[str, int] | str, handler: Callable[..., Any]) -> WSGIServer:
        from gevent.local import local

        from .gevent import WSGIServer as GreenletServer

        if not isinstance(threading.local(), local):
            raise RuntimeError(
                "on greenlets, Bottle needs: from gevent.monkey import patch_all; patch_all(); before it is imported"
            )
        return GreenletServer(address, handler, **self.options)
