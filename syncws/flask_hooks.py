"""What Flask has to do differently for a request that has become a WebSocket; one :class:`Hooks` for each app.

Flask takes every request for one that ends with a response. A WebSocket's has had its response, the 101, when the
conversation begins. So the hooks stand in front of four methods of the app:

``finalize_request``
    The functions that are called with a response, and the session's, have been, with that of the 101. Once is enough.
``handle_user_exception``
    The end of the request's own WebSocket is not an error. Other exceptions are failures that no error handler can
    answer any more: they go where unhandled ones go, to the log and to ``got_request_exception``.
``do_teardown_request``, ``do_teardown_appcontext``
    When the handler goes on in a thread of its own, so do the contexts: what they hold is released at its end.

Requests that are no WebSockets are left alone. Any thread may call everything here, within a request.

Until Flask 3.1 there are two contexts, for the app and for the request; from 3.2 on there is one, and the methods of
an app take it as their first argument.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import flask
import flask.globals
from flask import Flask, request
from werkzeug.exceptions import HTTPException, default_exceptions
from werkzeug.routing.exceptions import WebsocketMismatch

from .errors import ConnectionClosed, HandshakeError
from .websocket import WebSocket
from .wsgi_hosts import is_strict

__all__ = ["Hooks", "is_own_end", "mark_as_websocket_view", "refused"]

# Where an app has its hooks, among its extensions.
_EXTENSION = "syncws"
# Where a request's environ has its WebSocket, once it is one.
_WEBSOCKET = "syncws.flask"
# That the functions which are called with a response have been, with that of the 101.
_FINALIZED = "syncws.flask.finalized"
# Attributes: of a context that a handler has taken along to its own thread, and of a view that Sock has made.
_HANDED_OVER = "_syncws_handed_over"
_WEBSOCKET_VIEW = "_syncws_websocket_view"

_MERGED_CONTEXTS = "request_ctx" not in vars(flask.globals)  # Flask 3.2

# Header fields of a response that are not for the 101: about a body, or about one connection (RFC 9110, 7.6.1).
_NOT_FOR_THE_101 = {
    "connection",
    "content-length",
    "content-type",
    "date",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}

_lock = threading.Lock()


class Hooks:
    """Stands in front of an app's methods; see the module.

    :param app: the app; :meth:`of` finds the hooks that it has already.
    """

    def __init__(self, app: Any) -> None:  # its methods have other arguments from Flask 3.2 on
        self._app = app
        self._finalize_request = app.finalize_request
        self._handle_user_exception = app.handle_user_exception
        self._do_teardown_request = app.do_teardown_request
        self._do_teardown_appcontext = app.do_teardown_appcontext
        app.finalize_request = self._finalize
        app.handle_user_exception = self._on_exception
        app.do_teardown_request = self._tear_down_request
        app.do_teardown_appcontext = self._tear_down_appcontext

    @staticmethod
    def of(app: Flask) -> Hooks:
        """Return the hooks of an app, which gets them now if it has none."""
        with _lock:
            hooks = app.extensions.get(_EXTENSION)
            if not isinstance(hooks, Hooks):
                hooks = app.extensions[_EXTENSION] = Hooks(app)
        return hooks

    def fields_for_the_101(self) -> list[tuple[str, str]]:
        """Do what is due before the 101 is sent, and return the header fields, cookies too, for it."""
        response = self._finalize_request(*_with_context(self._app.response_class(status=101)))
        request.environ[_FINALIZED] = True
        return [
            (name, value)
            for name, value in response.headers.items()
            if name.lower() not in _NOT_FOR_THE_101 and not name.lower().startswith("sec-websocket-")
        ]

    def attach(self, ws: WebSocket | None) -> None:
        """Note that the request has become a WebSocket; ``None``: one that is used in another thread."""
        request.environ[_WEBSOCKET] = ws

    def carry(self, handler: Callable[[WebSocket], object]) -> Callable[[WebSocket], None]:
        """Take the contexts away from this thread; return a handler for another, in a copy of the context variables."""
        app = self._app
        self.attach(None)
        for context in _contexts():
            setattr(context, _HANDED_OVER, True)

        def carried(ws: WebSocket) -> None:
            error: Exception | None = None
            try:
                handler(ws)
            except Exception as raised:
                error = raised
                app.handle_exception(*_with_context(raised))
            finally:
                try:
                    self._do_teardown_request(*_with_context(error))
                finally:
                    self._do_teardown_appcontext(*_with_context(error))

        return carried

    def take_back(self) -> None:
        """Undo :meth:`carry`, if it was called: the request has not become a WebSocket after all."""
        if _is_handed_over(_request_context()):
            del request.environ[_WEBSOCKET]
            for context in _contexts():
                delattr(context, _HANDED_OVER)

    @contextlib.contextmanager
    def fresh_context(self) -> Iterator[None]:
        """Release what the app context holds, and enter another one with the same request."""
        self._do_teardown_appcontext(*_with_context(None))
        outer, context = _request_context(), self._app.app_context()
        with context:
            # Flask 3.2: the new context has neither a request nor a session, because it is the only one.
            shared = ("_request", "_session", "url_adapter")
            vars(context).update({name: value for name, value in vars(outer).items() if name in shared})
            try:
                yield
            finally:
                vars(context).update(_request=None)  # the end of this context is not the end of the request

    def _finalize(self, *args: Any, **kwargs: Any) -> Any:
        if _FINALIZED not in request.environ:
            return self._finalize_request(*args, **kwargs)
        if _WEBSOCKET not in request.environ:
            return self._app.make_response(args[-1])  # the 101 could not be sent
        # For the host's access log; and the host closes the WebSocket with 1011 if it is an error.
        return self._app.response_class(status=500 if kwargs.get("from_error_handler") else 101)

    def _on_exception(self, *args: Any) -> Any:
        error = args[-1]
        if _WEBSOCKET not in request.environ:
            return self._handle_user_exception(*args)
        if is_own_end(error, request.environ[_WEBSOCKET]):
            return ""
        raise error

    def _tear_down_request(self, *args: Any) -> None:
        # A request that the handler makes of the app, in process, has a context of its own within those of the handler.
        if not _is_handed_over(_request_context()):
            self._do_teardown_request(*args)

    def _tear_down_appcontext(self, *args: Any) -> None:
        if not _is_handed_over(_current(flask.globals.app_ctx)):
            self._do_teardown_appcontext(*args)


def is_own_end(error: BaseException, ws: WebSocket | None) -> bool:
    """Whether an exception says that this WebSocket is over, and not another one."""
    return isinstance(error, ConnectionClosed) and error.websocket is ws


def mark_as_websocket_view(view: Callable[..., object]) -> None:
    """Let a view answer plain requests as well: it will say that a WebSocket is wanted."""
    setattr(view, _WEBSOCKET_VIEW, True)


class _Refused(HandshakeError, HTTPException):
    """A handshake that was refused, as an exception that Flask answers."""

    def __init__(self, error: HandshakeError) -> None:
        super().__init__(str(error), status=error.status, headers=error.headers, body=error.body)
        # The message is for the log if there is a body: it tells how the server is set up.
        self.description = error.body.decode() if error.body else str(error)
        self.response = None

    def get_headers(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        not_wanted = {"content-type"}
        if is_strict(request.environ):
            not_wanted |= {"connection", "upgrade"}
        fields = [field for field in self.headers if field[0].lower() not in not_wanted]
        return [*HTTPException.get_headers(self, *args, **kwargs), *fields]


def refused(error: HandshakeError) -> HandshakeError:
    """Return a handshake error as one that Flask answers with its status and header fields.

    It is an exception of Werkzeug's class for that status too, so that the app's error handlers find it.
    """
    code = error.status or 400  # 0: the client has gone, and gets no answer
    base = default_exceptions.get(code, HTTPException)
    kind: type[_Refused] = type(base.__name__, (_Refused, base), {"code": code})
    return kind(error)


def _match_the_other_kind(app: Flask, **_: object) -> None:
    """Find the rule for a request that Werkzeug has refused for being, or not being, a WebSocket.

    Werkzeug has rules for WebSockets and rules for other requests. An ordinary view that calls ``upgrade()`` is for
    both; and a plain request for a WebSocket handler shall learn what is wrong, in place of a bare 400.
    This runs before Flask looks at what was found.
    """
    if not isinstance(request.routing_exception, WebsocketMismatch):
        return
    adapter = _request_context().url_adapter
    try:
        rule, values = adapter.match(return_rule=True, websocket=not adapter.websocket)
    except HTTPException as error:
        request.routing_exception = error
        return
    if adapter.websocket or hasattr(app.view_functions[rule.endpoint], _WEBSOCKET_VIEW):
        request.url_rule, request.view_args = rule, values
        request.routing_exception = None


flask.request_started.connect(_match_the_other_kind)


def _is_handed_over(context: Any) -> bool:
    return hasattr(context, _HANDED_OVER)


def _contexts() -> set[Any]:
    return {_current(flask.globals.app_ctx), _request_context()}


def _request_context() -> Any:
    return _current(flask.globals.app_ctx if _MERGED_CONTEXTS else flask.globals.request_ctx)


def _with_context(*args: Any) -> tuple[Any, ...]:
    return (_request_context(), *args) if _MERGED_CONTEXTS else args


def _current(proxy: Any) -> Any:
    return proxy._get_current_object()
