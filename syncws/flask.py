"""WebSockets in Flask apps: routes of their own, upgrades in ordinary views, and a context for each message.

The opening handshake is a request like any other: ``before_request`` functions, error handlers, ``abort()`` and the
session work, and decorators that are made for views run before it is answered. With the 101 go the header fields and
cookies of ``after_request`` functions, those of ``after_this_request``, and the session's. ``request``, ``session``,
``g`` and ``url_for`` are there for as long as the handler runs; teardown functions run at its end, in its thread.

An exception that a handler lets escape closes the WebSocket with 1011 and is an unhandled exception of the app: one
entry in its log, and the signal ``got_request_exception``. The end of the WebSocket itself,
:class:`~syncws.ConnectionClosed`, is none.

To import this module lets WebSocket requests reach the ordinary routes of every Flask app in the process, where
Werkzeug alone answers them with 400. All functions are called within a request, :class:`Sock` before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, TypeVar, cast

from flask import Blueprint, Flask, current_app, request

from .decorators import replace_handler
from .errors import HandshakeError
from .flask_hooks import Hooks, is_own_end, mark_as_websocket_view, refused
from .options import Options
from .serving import end_websocket
from .websocket import WebSocket
from .wsgi import hand_over
from .wsgi import upgrade as upgrade_wsgi

__all__ = ["Sock", "message_context", "upgrade"]

_Handler = TypeVar("_Handler", bound=Callable[..., object])

# The key of flask-sock, which many apps have.
_CONFIG_KEY = "SOCK_SERVER_OPTIONS"


class Sock:
    """Routes for WebSocket handlers.

    The options for WebSockets are in the app's configuration, as a dict, under ``SOCK_SERVER_OPTIONS``; see
    :class:`~syncws.options.Options`.

    :param app: the app; without one, call :meth:`init_app` later, for one app or several.
    :raises TypeError: ``SOCK_SERVER_OPTIONS`` has an option that does not exist; the message lists those there are.
    :raises ValueError: it has an option with an impossible value.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self.app: Flask | None = None
        self._routes: list[tuple[str, FunctionType, dict[str, Any]]] = []
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give an app the routes; errors as in :class:`Sock`."""
        Options.of(app.config.get(_CONFIG_KEY, {}))
        Hooks.of(app)
        self.app = app
        for path, view, route_options in self._routes:
            app.add_url_rule(path, view_func=view, **route_options)

    def route(
        self,
        path: str,
        bp: Blueprint | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        **route_options: Any,
    ) -> Callable[[_Handler], _Handler]:
        """Return a decorator that makes a function the handler of the WebSockets at a path.

        The handler is called with the :class:`~syncws.WebSocket`, then the variable parts of the path by their names.
        The WebSocket is closed when it returns. Decorators below this one that take ``*args, **kwargs`` run before
        the WebSocket is opened, as for a view.

        A request for the path that is no WebSocket request gets 426.

        :param path: the rule, for example ``"/chat/<room>"``.
        :param bp: the blueprint that the route belongs to; default: the app.
        :param options: options for the WebSockets of this route, over those of the app.
        :param route_options: as for :meth:`flask.Flask.route`, for example ``endpoint`` or ``strict_slashes``.
        :raises TypeError: an option that does not exist, or is not in ``options``; no path.
        :raises ValueError: an option with an impossible value, or methods other than GET.
        """
        if not isinstance(path, str):
            raise TypeError(f'write @sock.route("/path"), not @sock.route: the path must be a str, not {path!r}')
        for name in {field.name for field in dataclasses.fields(Options)} & set(route_options):
            raise TypeError(
                f'{name} is an option of WebSockets, not of Flask\'s routes; write options={{"{name}": ...}}'
            )
        settings = dict(options or {})
        Options.of(settings)
        route_options["websocket"] = True

        def decorator(handler: _Handler) -> _Handler:
            view = replace_handler(handler, lambda innermost: _entrance(innermost, settings))
            mark_as_websocket_view(view)
            if bp is not None:
                bp.add_url_rule(path, view_func=view, **route_options)
                return handler
            self._routes.append((path, view, route_options))
            if self.app is not None:
                self.app.add_url_rule(path, view_func=view, **route_options)
            return handler

        return decorator


def upgrade(**options: Any) -> WebSocket:
    """Turn the request that a view is called for into a WebSocket; the 101 is sent now.

    The WebSocket is closed when the view returns. What it returns is ignored. ``after_request`` functions and those
    of ``after_this_request`` run now, and the session is saved: nothing of that happens again at the end.

    :param options: see :class:`~syncws.options.Options`; over those in ``SOCK_SERVER_OPTIONS``.
    :raises HandshakeError: the request is not the opening handshake of a WebSocket, or is refused, for example because
        of its Origin. If the view lets it escape, Flask answers with its status and header fields.
    :raises RuntimeError: the app runs on a server that syncws cannot take connections over from, or the request has
        been upgraded already.
    :raises TypeError: an option that does not exist, or has a value of another type.
    :raises ValueError: an option with an impossible value.
    """
    hooks = Hooks.of(_app())
    settings = _settings(options)
    try:
        ws = upgrade_wsgi(request.environ, more_fields=hooks.fields_for_the_101, **settings)
    except HandshakeError as error:
        raise refused(error) from error
    hooks.attach(ws)
    return ws


def message_context() -> contextlib.AbstractContextManager[None]:
    """Return a context manager that gives the code in it, for one message, an app context of its own.

    What the app context around it holds is released first, such as the database session of a ``login_required``: its
    teardown functions run. Those of the new context run at the end. So nothing is held while the handler waits for
    the next message. ``g`` is empty within; ``request`` and ``session`` are those of the request.
    """
    return Hooks.of(_app()).fresh_context()


def _entrance(handler: Callable[..., Any], options: Mapping[str, Any]) -> FunctionType:
    """Return the view that opens a WebSocket and has the handler serve it."""

    def view(*args: Any, **kwargs: Any) -> str:
        hooks = Hooks.of(_app())
        failures: list[Exception] = []
        serve = functools.partial(_serve, functools.partial(_app().ensure_sync(handler), **kwargs), args)

        def serve_here(ws: WebSocket) -> None:
            hooks.attach(ws)
            try:
                serve(ws)
            except Exception as error:
                failures.append(error)

        settings = _settings(options)
        try:
            hand_over(
                request.environ,
                serve_here,
                carry=lambda _: hooks.carry(serve),
                more_fields=hooks.fields_for_the_101,
                **settings,
            )
        except Exception as error:
            hooks.take_back()
            if isinstance(error, HandshakeError):
                raise refused(error) from error
            raise
        if failures:
            raise failures.pop()  # an unhandled exception, which Flask logs
        return ""

    functools.update_wrapper(view, handler)
    return cast(FunctionType, view)


def _serve(handler: Callable[..., Any], args: tuple[Any, ...], ws: WebSocket) -> None:
    """Call a handler; let those of its exceptions pass that are failures."""
    try:
        handler(ws, *args)
    except Exception as error:
        if not is_own_end(error, ws):
            # The traceback is for the log; the peer learns only that something went wrong (RFC 6455, 7.4.1: 1011).
            ws.close(1011, "internal error")
            raise
        end_websocket(ws, error)


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options for this request: those given, over those of the app."""
    return {**_app().config.get(_CONFIG_KEY, {}), **options}


def _app() -> Flask:
    return cast(Flask, current_app._get_current_object())  # type: ignore[attr-defined]
