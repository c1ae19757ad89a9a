"""WebSockets on the connections of other WSGI servers: how they begin, and how they end.

:func:`take_over` turns the request of an app into a WebSocket, whichever server of :mod:`syncws.wsgi_hosts` has called
the app, and returns a :class:`Guest`. It raises what :func:`syncws.upgrade` does, and a request that is refused leaves
the server's connection as it was.

The end
    When the app returns, its server writes a response, or closes the connection, and finds a socket whose client has
    gone (:mod:`syncws.wsgi_socket`). That ends the WebSocket: with 1011 if the app has failed, else with 1000. Not so
    after :meth:`Guest.detach`; then :meth:`Guest.forget` has to be called when the WebSocket is over.

The end of the process
    WebSockets that are open then are closed with 1001, before the interpreter waits for the threads of pools, which
    may be their handlers. There are a few seconds for the handlers to return. Where a server tells that it begins to
    stop, as Gunicorn's workers do, they are closed then, and the time is what the server gives them.

Functions are called by the thread that serves the request; the methods of a :class:`Guest` by any.
"""

from __future__ import annotations

import _thread
import concurrent.futures.thread  # noqa: F401 - what it does at the end of the process must be registered before ours
import math
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from .errors import HandshakeError
from .logs import get_logger
from .opening import MoreFields, open_websocket
from .options import Options
from .protocol.handshake import RequestHead, is_upgrade_request, respond
from .protocol.headers import Headers
from .runtime import THREADS, Runtime
from .serving import FAILED, GOING_AWAY, GOING_AWAY_REASON, log_refusal
from .transport import Transport, transport_for
from .websocket import WebSocket
from .wsgi_hosts import Connection, Host, Room, find_host
from .wsgi_socket import is_taken, take

__all__ = ["Guest", "host_for", "is_stopped", "request_head", "take_over"]

# How long, in seconds, handlers may take to return at the end of the process.
_LEAVING_TIMEOUT = 5.0
_PAUSE = 0.02
# Refusals for want of room are logged once, until there has been none for so many seconds.
_QUIET = 60.0
# RFC 3986, 3.3: what may stand in a path as it is.
_IN_PATHS = "/!$&'()*+,;=:@~"

_log = get_logger("syncws.server")

_full_logged_until = 0.0
_lock = threading.Lock()  # guards the two below; never held while waiting
_open: set[Guest] = set()
_registered = False
_leave_until = math.inf  # when handlers have to have returned, if that has been said


def take_over(
    environ: dict[str, Any], options: Options, more_fields: MoreFields | None = None, *, room: Room | None = None
) -> tuple[Guest, WebSocket]:
    """Turn an app's request into a WebSocket; the 101 is sent now. Arguments and errors as :func:`syncws.upgrade`.

    :param room: the WebSocket is detached from the beginning; when there are as many of these as there is room for, it
        is refused.
    """
    host = host_for(environ)
    guest = Guest()

    def fields() -> Iterable[tuple[str, str]]:
        if room is not None:
            _reserve(guest, room)
        guest.find(host, environ)
        return () if more_fields is None else more_fields()

    try:
        ws = open_websocket(request_head(environ), options, guest.take, fields)
    except BaseException as error:  # a greenlet may be killed while the 101 is sent
        if isinstance(error, HandshakeError):
            _log_refusal(error, environ)
        guest.leave()
        raise
    ws.logged_address = str(environ.get("REMOTE_ADDR") or "")  # a middleware for proxies may have corrected it
    guest.move_in(ws, host)
    return guest, ws


def host_for(environ: dict[str, Any]) -> Host:
    """Return the server that a WebSocket is wanted from.

    :raises HandshakeError: none is: the request is a plain one, which no server has to have a connection for.
    :raises RuntimeError: the server hides its connections.
    """
    try:
        head = request_head(environ)
        if not is_upgrade_request(head):
            respond(head, subprotocols=(), origins=None, compression=None, headers=())
    except HandshakeError as error:
        _log_refusal(error, environ)
        raise
    return find_host(environ)


def _log_refusal(error: HandshakeError, environ: Mapping[str, Any]) -> None:
    log_refusal(error, (environ.get("REMOTE_ADDR"), environ.get("REMOTE_PORT")))


def _reserve(guest: Guest, room: Room) -> None:
    """Count a guest among the detached ones, if there is room for it."""
    global _full_logged_until
    with _lock:
        count = sum(not each.ends_with_app for each in _open)
        guest.ends_with_app = False
        if count < room.limit:
            _open.add(guest)
    if count >= room.limit:
        why = f"the process has {count} WebSockets in threads of their own, as many as it may have ({room.why})"
        if time.monotonic() >= _full_logged_until:
            _log.error("refusing WebSockets with 503: %s", why)
        _full_logged_until = time.monotonic() + _QUIET
        # RFC 9110, 15.6.4: 503, a temporary overload.
        raise HandshakeError(why, status=503, body=b"The server is busy; try again later.\n")


def request_head(environ: Mapping[str, Any]) -> RequestHead:
    """Return the head of an environ's request, as far as the server that has made it has kept it.

    :raises HandshakeError: the request came over HTTP/2.
    """
    version = str(environ.get("SERVER_PROTOCOL", "HTTP/1.0")).removeprefix("HTTP/")
    if version.split(".")[0] not in ("0", "1"):
        # RFC 9113, 8.6: HTTP/2 has no Upgrade. RFC 8441, which has another way, takes more than a WSGI server offers.
        raise HandshakeError(f"a WebSocket is opened with HTTP/1.1, not with HTTP/{version}", status=505)
    pairs = []
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            pairs.append((key[5:].replace("_", "-").title(), value))
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            pairs.append((key.replace("_", "-").title(), value))
    return RequestHead(environ["REQUEST_METHOD"], _target(environ), version, Headers(_split_hosts(pairs)))


def _target(environ: Mapping[str, Any]) -> str:
    for key in ("RAW_URI", "REQUEST_URI"):
        if environ.get(key):
            return str(environ[key])
    # PEP 3333: str that stand for bytes by way of ISO 8859-1.
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING", "")
    return quote(path or "/", safe=_IN_PATHS, encoding="latin-1") + (f"?{query}" if query else "")


def _split_hosts(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Undo what servers do to several header lines of one name, for Host, which could be a host with a comma then."""
    fields = []
    for name, value in pairs:
        parts = value.split(",") if name == "Host" else [value]
        fields += [(name, part) for part in parts]
    return fields


class Guest:
    """A WebSocket on a connection that another server has accepted.

    :ivar websocket: the WebSocket; ``None`` until the 101 has been sent.
    :ivar process: the process that it belongs to; one that is forked has it as well, and must not end it.
    :ivar ends_with_app: it is not detached; guarded by the module's lock.
    """

    def __init__(self) -> None:
        self.websocket: WebSocket | None = None
        self.process = os.getpid()
        self.ends_with_app = True
        self._connection: Connection | None = None  # as the server has it; to be taken
        self._transport: Transport | None = None
        self._has_debugger = False
        self._failed = False  # the app

    def find(self, host: Host, environ: dict[str, Any]) -> None:
        """Find the connection of an environ's request.

        :raises RuntimeError: it cannot be had.
        """
        assert host.connection is not None
        self._connection = host.connection(environ)
        if is_taken(self._connection.sock):
            raise RuntimeError("this request has been upgraded already")

    def take(self) -> tuple[Transport, bytes]:
        """Take the connection away from its server, and with it what the server has received behind the request."""
        assert self._connection is not None
        sock, take_buffered = self._connection
        self._connection = None
        self._transport = transport_for(take(sock, self))
        return self._transport, take_buffered()

    def leave(self) -> None:
        """Give back what has been taken, if anything, because no WebSocket has come of it."""
        with _lock:
            _open.discard(self)
        if self._transport is not None:
            self._transport.close()

    def move_in(self, ws: WebSocket, host: Host) -> None:
        """Have the WebSocket closed at the end of its app, of its server, or of the process."""
        with _lock:
            self.websocket = ws
            self._has_debugger = host.debugger
            _open.add(self)
            _register(host)
        if _leave_until != math.inf:
            ws.begin_close(GOING_AWAY, GOING_AWAY_REASON)

    @property
    def runtime(self) -> Runtime:
        """The threads or greenlets that the WebSocket is for."""
        return THREADS if self._transport is None else self._transport.runtime

    def detach(self) -> bool:
        """Have the WebSocket not end when the app returns; return whether that has not happened already."""
        with _lock:
            attached, self.ends_with_app = self.ends_with_app, False
        return attached

    def forget(self) -> None:
        """Note that the WebSocket is over."""
        with _lock:
            _open.discard(self)
            self._failed = self._failed or (self.websocket is not None and self.websocket.close_code == FAILED[0])
            # The server's socket may refer to this object for longer, and over TLS the transport to that socket.
            self.websocket = self._transport = None

    def owner_writes(self, beginning: bytes) -> bool:
        """End the WebSocket, because the app has returned and the server is about to send its response."""
        ws = self.websocket
        if ws is not None and self.detach():
            ws.close(*_closing_code(beginning))
            self.forget()
        return self._failed and self._has_debugger

    def owner_closes(self) -> None:
        """End the WebSocket, because the server has no response to send."""
        ws = self.websocket
        if ws is None or not self.detach():
            return
        # It has got an exception out of the app that it takes for the end of the client; or the app, against PEP 3333,
        # has not begun a response. What it was cannot be found out any more.
        stopped = is_stopped(sys.exc_info()[1])  # Ctrl-C has interrupted a server that was starting the app's thread
        if not (ws.closed or stopped):
            _log.error(
                "the app of %s from %s ended without a response while its WebSocket was open; was it an exception that "
                "the server takes for the end of the client, a ConnectionResetError or the end of another WebSocket?",
                ws.path,
                ws.remote_address,
            )
        ws.begin_close(*((GOING_AWAY, GOING_AWAY_REASON) if stopped else FAILED))

        def finish() -> None:
            ws.close()
            self.forget()

        # This may be the only thread that the server has for all of its connections: it must not wait.
        try:
            self.runtime.spawn(finish, "syncws-close")
        except RuntimeError:
            ws.abort()
            self.forget()


def is_stopped(error: BaseException | None) -> bool:
    """Whether an exception means that the program is being ended, and not that it has failed."""
    greenlet = sys.modules.get("greenlet")
    kinds = (KeyboardInterrupt, SystemExit, *((greenlet.GreenletExit,) if greenlet else ()))
    return isinstance(error, kinds)


def _closing_code(response: bytes) -> tuple[int, str]:
    # A server writes its error page while it handles what the app has raised.
    if is_stopped(sys.exc_info()[1]):
        return GOING_AWAY, GOING_AWAY_REASON
    # "HTTP/1.1 500 ...": the error page of the server, or of a web framework, which has logged the exception.
    return FAILED if response.startswith(b"HTTP/") and response[9:10] == b"5" else (1000, "")


def _register(host: Host) -> None:
    """Have :func:`_leave` called when the interpreter begins to exit; before that, if it has begun already."""
    global _registered
    if _registered:
        return
    _registered = True
    if host.on_stop is not None:
        host.on_stop(_on_stop)
    try:
        # Functions of atexit come too late: the interpreter waits for the threads of pools first.
        threading._register_atexit(_leave)  # type: ignore[attr-defined]
    except RuntimeError:
        _set_deadline(None)


def _on_stop(seconds: float | None) -> None:
    _set_deadline(seconds)
    # In a signal handler nothing may be waited for, the locks of threading.Thread included.
    _thread.start_new_thread(_close_all, ())


def _set_deadline(seconds: float | None) -> None:
    """Let handlers have so many seconds from now; no more than have been said before."""
    global _leave_until
    _leave_until = min(_leave_until, time.monotonic() + (_LEAVING_TIMEOUT if seconds is None else seconds))


def _close_all() -> list[tuple[Guest, WebSocket, Runtime]]:
    """Close all WebSockets with 1001; return them."""
    with _lock:
        guests = [(g, g.websocket, g.runtime) for g in _open if g.websocket and g.process == os.getpid()]
    for _, ws, _ in guests:
        ws.begin_close(GOING_AWAY, GOING_AWAY_REASON)
    return guests


def _leave() -> None:
    """Close all WebSockets with 1001, and wait for their handlers; drop those that are too late."""
    if _leave_until == math.inf:
        _set_deadline(None)
    guests = _close_all()
    for guest, _, runtime in guests:
        changed = runtime.condition()
        with changed:
            while guest in _open and time.monotonic() < _leave_until:
                changed.wait(_PAUSE)
    rest = [ws for guest, ws, _ in guests if guest in _open]
    if rest:
        _log.warning("dropping %d WebSockets whose handlers have not returned in time", len(rest))
    for ws in rest:
        ws.abort()
