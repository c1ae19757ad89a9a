"""WebSockets in tests: the app runs in the test's process, over a socket pair, on no port.

:func:`connect` is for any WSGI app; it runs in a thread, or a greenlet, of its own, on the very code that serves it in
production. :func:`connect_handler` is for a function that takes a WebSocket, and :func:`pair` gives both ends.

What a test gets is a WebSocket like others, with two differences. What the app raises is raised in the test, as it is
and with its traceback, by ``receive()``, by ``close()`` or at the end of the with-block. And ``close()`` waits until
the app has returned, so that a test may look at what it has done, and nothing of it lives on in the next test.

The fixture for pytest is in ``syncws.testing_pytest``.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .errors import ConnectionClosed, HandshakeError
from .opening import accept_on, deadline_after
from .options import Options, check_seconds
from .protocol.fields import check_fields
from .protocol.handshake import Agreement, RequestHead, ResponseHead
from .server import check_handler
from .serving import FAILED
from .testing_app import AppConnection, check_app
from .testing_opening import Answer, Opening, Request, request_for, through_client
from .transport import Transport, transport_for
from .transport_traced import traced
from .websocket import WebSocket
from .wsgi import WSGIApp, upgrade
from .wsgi_exchange import ON_ERROR_KEY

__all__ = ["InProcessWebSocket", "connect", "connect_handler", "pair"]

Fields = Mapping[str, str] | Iterable[tuple[str, str]]

# Where the client seems to be.
_CLIENT_ADDRESS = ("127.0.0.1", 0)
# A handler that only sends notices the client's end when the TCP connection ends: a test is not to wait long for that.
_CLOSE_TIMEOUT = 1.0


class InProcessWebSocket(WebSocket):
    """The client's end of a connection to an app in the same process; made by :func:`connect`.

    :ivar response: the head of the server's 101: ``ws.response.headers``.
    """

    def __init__(
        self,
        transport: Transport,
        request: RequestHead,
        answer: Answer,
        agreement: Agreement,
        options: Options,
        served: AppConnection,
        timeout: float | None,
    ) -> None:
        self.response: ResponseHead = answer.head
        self._served = served
        self._timeout = timeout
        self._close_called = False
        super().__init__(transport, "client", request, agreement, options, leftover=answer.leftover)

    def __del__(self) -> None:
        untold = self._served.untold
        if self._close_called or (self.closed and not untold):
            return
        failure = f"; its app has raised {untold[0]!r}" if untold else ""
        text = "was never closed; use it in a with-statement, or the fixture of syncws.testing_pytest"
        warnings.warn(f"WebSocket {self.path} {text}{failure}", ResourceWarning, stacklevel=2, source=self)

    def __enter__(self) -> InProcessWebSocket:
        return self

    def receive(self, timeout: float | None = None) -> str | bytes:
        """Do what :meth:`syncws.WebSocket.receive` does; but if the app has failed, raise what it has raised."""
        try:
            return super().receive(timeout)
        except ConnectionClosed as error:
            closed = error
        # Not in the block above, which would make the end of the connection look like the cause of the failure.
        if closed.code == FAILED[0]:
            self._served.wait(self._timeout)  # a framework may tell of an exception a moment later
        self._served.raise_failure(self.path)
        raise closed

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection and wait until the app has returned; raise what it has raised, if that is news.

        :raises TimeoutError: the app has not returned in time; the message says where it is.
        """
        self._close_called = True
        super().close(code, reason)
        _wait_for_end(self._served, self.path, self._timeout)
        self._served.raise_failure(self.path)


def connect(
    app: Any,
    url: str = "/",
    *,
    headers: Fields = (),
    subprotocols: Sequence[str] = (),
    origin: str | None = None,
    timeout: float | None = 10.0,
    gevent: bool = False,
    environ: Mapping[str, Any] | None = None,
    server_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> InProcessWebSocket:
    """Open a WebSocket to a WSGI app that runs in this process.

    :param app: a WSGI app, such as one of Flask or Bottle; or a Werkzeug test client, such as Flask's: its cookies
        (and so the session) and its defaults are used, and cookies of the response are stored in it.
    :param url: path and query, on the host ``localhost``; or a whole URL, ``ws://``, ``wss://`` or ``http(s)://``.
    :param headers: extra header fields of the request: a mapping, or pairs of name and value.
    :param subprotocols: the subprotocols to offer, the preferred one first.
    :param origin: the ``Origin`` of the web page that seems to connect, such as ``"http://localhost"``. Default: none,
        as programs other than browsers do.
    :param timeout: seconds that the app may take to answer the handshake, and to return once the connection is over;
        ``None``: for ever.
    :param gevent: run the app in a greenlet, and wait as greenlets do. Where gevent has patched the standard library,
        that is so in any case.
    :param environ: what to add to the app's environ, such as ``REMOTE_USER``.
    :param server_options: the options that the app's server would be set up with, see :class:`~syncws.Options`.
    :param options: the client's; see :class:`~syncws.Options`. ``close_timeout`` is 1 second here if not given.
    :raises HandshakeError: the app has answered with something else than a 101; status, headers and the whole body
        are in its attributes and in its text.
    :raises TimeoutError: the app did not answer in time; the message says where it is.
    :raises TypeError: an option that does not exist, or has a value of another type.
    :raises ValueError: a URL or an option that cannot be.
    :raises: what the app raises instead of an answer.
    """
    _check_names(options)
    fields = [*check_fields(headers), *([("Origin", origin)] if origin is not None else [])]
    _watch_flask()
    if hasattr(app, "test_client"):  # Flask's client knows the app's SERVER_NAME and the like
        app = app.test_client()
    client = app if hasattr(app, "run_wsgi_app") else None
    if client is None:
        check_app(app)
    attempt = _Attempt(
        app if client is None else client.application,
        Options.of({"close_timeout": _CLOSE_TIMEOUT, **options, "subprotocols": subprotocols}),
        Options.of(server_options or {}),
        environ or {},
        check_seconds("timeout", timeout),
        gevent,
    )
    if client is None:
        attempt.handle(request_for(url, fields))
    else:
        with attempt.given_up_on_errors():
            through_client(client, url, fields, attempt.handle)
    return attempt.result()


def connect_handler(handler: Callable[[WebSocket], object], url: str = "/", **options: Any) -> InProcessWebSocket:
    """Open a WebSocket to a function that takes one, such as the handler of a :class:`syncws.WebSocketServer`.

    :param handler: called with the server's end; when it returns, that is closed.
    :param options: as for :func:`connect`, and errors too.
    """
    check_handler(handler)

    def app(environ: dict[str, Any], _: object) -> list[bytes]:
        handler(upgrade(environ))
        return []

    return connect(app, url, **options)


@contextlib.contextmanager
def pair(
    url: str = "/",
    *,
    headers: Fields = (),
    subprotocols: Sequence[str] = (),
    gevent: bool = False,
    **options: Any,
) -> Iterator[tuple[WebSocket, WebSocket]]:
    """Give both ends of a connection, the client's and the server's, and drop it at the end of the with-block.

    No thread is started: a test that wants to see one end wait for the other starts one itself.

    :param url: as for :func:`connect`.
    :param headers: extra header fields of the request.
    :param subprotocols: for both ends.
    :param gevent: as for :func:`connect`.
    :param options: for both ends.
    :raises HandshakeError: the options let the server's end refuse the request.
    """
    request = request_for(url, check_fields(headers))
    settings = Options.of({**options, "subprotocols": subprotocols})
    one, two = _transports(request, gevent)
    with contextlib.closing(one), contextlib.closing(two):
        opening = Opening(one, request.uri, settings.replace({"headers": request.fields}), None)
        opening.send()
        server = accept_on(two, settings, None)
        answer = opening.receive()
        assert answer.agreement is not None
        client = WebSocket(one, "client", opening.request, answer.agreement, settings, leftover=answer.leftover)
        try:
            yield client, server
        finally:
            for end in (client, server):
                end.abort()
                end.close()


class _Attempt:
    """One call of :func:`connect`.

    :ivar websocket: what came of it, if the app has answered with the 101.
    """

    def __init__(
        self,
        app: WSGIApp,
        options: Options,
        server_options: Options,
        environ: Mapping[str, Any],
        timeout: float | None,
        gevent: bool,
    ) -> None:
        self._app = app
        self._options = options
        self._server_options = server_options
        self._environ = environ
        self._timeout = timeout
        self._gevent = gevent
        self._websocket: InProcessWebSocket | None = None
        self._error: HandshakeError | None = None

    def handle(self, request: Request) -> Answer:
        """Run the app, send it the request, and return its answer; raise what it raises instead of one."""
        options = self._options.replace({"headers": request.fields})
        path = request.uri.target
        one, two = _transports(request, self._gevent)
        one = traced(one, "client", options.trace)
        with contextlib.ExitStack() as stack:
            stack.callback(one.close)
            served = AppConnection(two, self._app, self._server_options, {**request.environ, **self._environ})
            served.start(f"syncws-testing {path}")
            opening = Opening(one, request.uri, options, deadline_after(self._timeout))
            try:
                opening.send()
                answer = opening.receive()
            except TimeoutError:
                raise _too_late(served, f"{path} was not answered within {self._timeout} s") from None
            if answer.agreement is not None:
                stack.pop_all()
                self._websocket = InProcessWebSocket(
                    one, opening.request, answer, answer.agreement, options, served, self._timeout
                )
                return answer
        _wait_for_end(served, path, self._timeout)
        if answer.head.status >= 500:
            served.raise_failure(path)
        self._error = answer.error
        return answer

    def result(self) -> InProcessWebSocket:
        """Return the WebSocket, or raise the error that shows what the app has answered instead."""
        if self._error is not None:
            raise self._error
        assert self._websocket is not None
        return self._websocket

    @contextlib.contextmanager
    def given_up_on_errors(self) -> Iterator[None]:
        """Close the WebSocket, if there is one already, when the block raises something."""
        try:
            yield
        except BaseException:
            if self._websocket is not None:
                self._websocket.close()
            raise


def _check_names(options: Mapping[str, Any]) -> None:
    for name, instead in (
        ("origins", 'server_options={"origins": [...]}, for the app, and origin="http://...", for the client'),
        ("open_timeout", "timeout=..."),
    ):
        if name in options:
            raise TypeError(f"connect() has no option {name}; it has {instead}")


def _transports(request: Request, gevent: bool) -> tuple[Transport, Transport]:
    """Return the client's and the server's end of a new connection."""
    if gevent:
        import gevent.socket as sockets  # for the greenlets of a program that has not patched the standard library

        pair = sockets.socketpair()
    else:
        pair = socket.socketpair()
    one, two = map(transport_for, pair)
    # As with a TCP connection, and unlike a socket pair, each has an address.
    one.remote_address = (request.uri.host, request.uri.port)
    two.remote_address = _CLIENT_ADDRESS
    return one, two


def _wait_for_end(served: AppConnection, path: str, timeout: float | None) -> None:
    if not served.wait(timeout):
        raise _too_late(served, f"the handler of {path} has not ended within {timeout} s after its connection")


def _too_late(served: AppConnection, what: str) -> TimeoutError:
    """Drop a connection whose app does not return; return the error that says where the app is."""
    where = served.where()
    served.give_up()
    return TimeoutError(f"{what}; it is here:\n{where}")


def _watch_flask() -> None:
    """Learn of exceptions that Flask makes an error page of."""
    flask = sys.modules.get("flask")
    if flask is not None:
        flask.got_request_exception.connect(_on_flask_exception, weak=False)


def _on_flask_exception(_: object, exception: BaseException, **others: object) -> None:
    environ = sys.modules["flask"].request.environ
    if ON_ERROR_KEY in environ:
        environ[ON_ERROR_KEY](exception)
