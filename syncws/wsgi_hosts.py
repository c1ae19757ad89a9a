"""The WSGI servers that :func:`syncws.upgrade` knows, in one table: how each is recognised, and where its socket is.

:data:`HOSTS` is searched from the top by :func:`find_host`; the first row that recognises the environ counts. A row
says where the server has the connection's socket, and how to get what it has read from it behind the request's head.
A server that hides its socket has a row that says so, and what to do instead.

The functions only look at an environ. What they raise is a :class:`RuntimeError`, for the person who runs the app.
"""

from __future__ import annotations

import _socket
import io
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["HOSTS", "INPUT_KEY", "Connection", "Host", "Room", "find_host", "is_strict"]

# Where an environ has the stream that wsgi.input was before a framework replaced it, if the framework tells.
INPUT_KEY = "syncws.input"
# Be done so many seconds before Gunicorn kills the worker.
_MARGIN = 1.0
Environ = dict[str, Any]

_SECOND_SERVER = (
    'run the same app with "python -m syncws serve module:app" on a second port, and have nginx or HAProxy send the '
    "WebSockets there: see howto/behind-a-proxy in the documentation of syncws"
)


class Connection(NamedTuple):
    """A request's connection, as its server has it.

    :ivar sock: the server's socket object.
    :ivar take_buffered: returns what the server has received behind the head, and makes the server forget it. To be
        called when the socket has been taken away, so that it cannot wait for more.
    """

    sock: Any
    take_buffered: Callable[[], bytes]


class Room(NamedTuple):
    """How many WebSockets there may be.

    :ivar limit: so many.
    :ivar why: what to change if there are to be more.
    """

    limit: int
    why: str


@dataclass(frozen=True, slots=True)
class Host:
    """A row of the table.

    :param name: what the server is called in messages.
    :param recognise: whether an environ is this server's.
    :param connection: returns the connection of an environ's request (:class:`RuntimeError`: middleware hides it);
        ``None``: it cannot be had.
    :param on_stop: has a function called when the server begins to stop, in a signal handler, with the seconds that
        it then gives its handlers (``None``: not known); ``None``: it cannot tell.
    :param room: how many WebSockets there may be in threads of their own, because the server's threads are a pool,
        which WebSockets would use up; ``None``: they are not.
    :param debugger: it may have one, which logs what has failed when it has sent its page about that, not before.
    :param strict: it insists that an app sends no header fields about the connection (PEP 3333).
    :param why_not: why there is no connection.
    :param way_out: what to do about that.
    """

    name: str
    recognise: Callable[[Environ], bool]
    connection: Callable[[Environ], Connection] | None = None
    on_stop: Callable[[Callable[[float | None], object]], None] | None = None
    room: Callable[[], Room] | None = None
    debugger: bool = False
    strict: bool = False
    why_not: str = "does not let an app have the connection of a request, which a WebSocket needs"
    way_out: str = f"What you can do: {_SECOND_SERVER}"


def find_host(environ: Environ) -> Host:
    """Return the row for the server that has called the app, one that has a connection.

    :raises RuntimeError: it is not in the table, or hides its socket; the message says what to do.
    """
    host = _recognised(environ)
    if host.connection is None:
        name = host.name or environ.get("SERVER_SOFTWARE") or "this server"
        raise RuntimeError(f"{name} {host.why_not}. {host.way_out}")
    return host


def is_strict(environ: Environ) -> bool:
    """Whether an app must leave Upgrade and Connection out of a 426, although RFC 9110, 15.5.22 wants Upgrade there."""
    return _recognised(environ).strict


def _recognised(environ: Environ) -> Host:
    return next(host for host in HOSTS if host.recognise(environ))


# Recognising.


def _has(key: str) -> Callable[[Environ], bool]:
    return lambda environ: key in environ


def _calls_itself(*names: str) -> Callable[[Environ], bool]:
    return lambda environ: str(environ.get("SERVER_SOFTWARE", "")).lower().startswith(names)


def _is_gunicorn(worker: str) -> Callable[[Environ], bool]:
    """Gunicorn with its own parser, and a certain kind of worker."""

    def recognise(environ: Environ) -> bool:
        sock = environ.get("gunicorn.socket")
        if sock is None:
            return False
        if not environ.get("wsgi.multithread"):
            return worker == "sync"
        if isinstance(sock, _socket.socket):  # not socket.socket, which may be patched
            return worker == "gthread"
        return worker == ("gevent" if hasattr(sock, "_gevent_sock_class") else "other")

    return recognise


def _is_test_client(environ: Environ) -> bool:
    """Werkzeug's, and so Flask's. An environ that went over a network has the name of its server."""
    in_memory = isinstance(environ.get("wsgi.input"), io.BytesIO)
    return in_memory and "werkzeug.request" in environ and "SERVER_SOFTWARE" not in environ


# Finding the connection.


def _gunicorn_connection(environ: Environ) -> Connection:
    # The body of the request reads by way of the object that holds what has been received.
    unreader = _within(environ, lambda stream: hasattr(stream, "unreader")).unreader

    def take_buffered() -> bytes:
        data: bytes = unreader.buf.getvalue()
        unreader.buf = io.BytesIO()
        return data

    return Connection(environ["gunicorn.socket"], take_buffered)


def _file_connection(key: str | None) -> Callable[[Environ], Connection]:
    """For servers that read requests from ``socket.makefile()``; ``key`` is where the environ has the socket."""

    def connection(environ: Environ) -> Connection:
        file = _within(environ, lambda stream: isinstance(getattr(stream, "raw", None), socket.SocketIO))
        sock = file.raw._sock if key is None else environ[key]

        def take_buffered() -> bytes:
            return file.read(len(file.peek()))  # type: ignore[no-any-return]

        return Connection(sock, take_buffered)

    return connection


def _within(environ: Environ, wanted: Callable[[Any], bool]) -> Any:
    """Return what ``wsgi.input`` is, or wraps, directly or in several layers."""
    streams = [environ.get("wsgi.input"), environ.get(INPUT_KEY)]
    for stream in streams:
        if wanted(stream):
            return stream
        # A wrapper, of the server or of middleware, has what it wraps as an attribute; it may have itself as well.
        names = [*getattr(stream, "__dict__", ()), *getattr(stream, "__slots__", ())]
        inner = [getattr(stream, name, None) for name in names]
        streams += [each for each in inner if hasattr(each, "read") and each not in streams]
    way_out = "call upgrade() outside of the middleware that does that"
    if "bottle.app" in environ:
        way_out = (
            "Bottle does that when the body is read, also by request.params, .forms or .json: use request.query, or "
            "import syncws.bottle before the app is served, which lets Bottle keep the stream"
        )
    raise RuntimeError(
        f"wsgi.input has been replaced by one of type {type(streams[0]).__name__}, and with it went what the client "
        f"has sent behind the request; {way_out}"
    )


# Gunicorn's workers.


def _gunicorn_worker() -> Any:
    """Return the worker that this process is; ``None`` if the app has a signal handler of its own for SIGTERM."""
    worker = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return worker if "alive" in getattr(worker, "__dict__", ()) else None


def _gunicorn_room() -> Room:
    """Return how many WebSockets a worker with a pool of threads has room for.

    It does not count connections that it has let go. But when there is no descriptor left for the next one, it ends,
    and all of its WebSockets with it.
    """
    import resource  # not on Windows, where there is no Gunicorn

    rooms = []
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors != resource.RLIM_INFINITY:
        rooms.append(Room(descriptors * 3 // 4, "three quarters of the open files it may have, ulimit -n"))
    worker = _gunicorn_worker()
    if worker is not None:
        rooms.append(Room(worker.cfg.worker_connections, "worker_connections"))
    return min(rooms, default=Room(sys.maxsize, ""))


def _on_gunicorn_stop(callback: Callable[[float | None], object]) -> None:
    """Have a function called when the worker that this process is begins to stop: at SIGTERM, for example for a reload.

    Else its WebSockets would learn of it only after the graceful timeout, if Gunicorn did not kill the worker first.
    """
    worker = _gunicorn_worker()
    kind: Any = type(worker)
    if worker is None:
        return

    def read(self: Any) -> Any:
        return self.__dict__["alive"]

    def write(self: Any, value: Any) -> None:
        self.__dict__["alive"] = value
        if not value:
            # SIGINT and SIGQUIT are for a quick stop.
            quick = sys._getframe(1).f_code.co_name == "handle_quit"
            callback(None if quick else _grace(self.cfg))

    worker.__class__ = type(kind.__name__, (kind,), {"alive": property(read, write)})
    if not worker.alive:
        callback(_grace(worker.cfg))


def _grace(settings: Any) -> float:
    """Return how many seconds a worker of Gunicorn's may take to end."""
    # After graceful_timeout it is killed if Gunicorn stops; and always if it has given no sign of life for timeout,
    # which it does not once it is ending. 0: no limit.
    seconds = min(settings.graceful_timeout, settings.timeout or settings.graceful_timeout)
    return float(max(seconds - _MARGIN, seconds / 2))


_OTHER_WORKER = (
    f"Use another kind, with --worker-class syncws.gunicorn.ThreadWorker, or gthread, or gevent. Or: {_SECOND_SERVER}"
)

HOSTS = (
    Host(
        "Gunicorn's sync worker",
        _is_gunicorn("sync"),
        why_not="serves one request at a time, and is killed when one takes longer than --timeout, as WebSockets do",
        way_out=_OTHER_WORKER,
    ),
    Host("Gunicorn (gthread)", _is_gunicorn("gthread"), _gunicorn_connection, _on_gunicorn_stop, _gunicorn_room),
    Host("Gunicorn (gevent)", _is_gunicorn("gevent"), _gunicorn_connection, _on_gunicorn_stop),
    Host("This kind of Gunicorn's workers", _is_gunicorn("other"), way_out=_OTHER_WORKER),
    Host("Gunicorn (gevent_pywsgi)", _has("gunicorn.sock"), _file_connection("gunicorn.sock"), _on_gunicorn_stop),
    Host("Werkzeug", _has("werkzeug.socket"), _file_connection("werkzeug.socket"), debugger=True),
    Host("gevent.pywsgi", _calls_itself("gevent/"), _file_connection(None)),
    Host("wsgiref", _calls_itself("wsgiserver/"), _file_connection(None), strict=True),
    Host("waitress", _has("waitress.client_disconnected"), strict=True),
    Host("uWSGI", _has("uwsgi.version")),
    Host("mod_wsgi", _has("mod_wsgi.version")),
    Host("Granian", _calls_itself("granian")),
    Host(
        "Werkzeug's test client",
        _is_test_client,
        why_not="has no connection, which a WebSocket needs",
        way_out="In tests use syncws.testing.connect(client, path)",
    ),
    Host("", lambda environ: True),
)
