"""One accepted connection, as its server sees it: served by a thread of its own, stopped from another.

:meth:`ServedConnection.serve` runs in the connection's thread and returns when the connection is over and its socket
given back; nothing that a client does makes it raise. :meth:`~ServedConnection.stop` and
:meth:`~ServedConnection.abort` may be called from any thread, at any time, any number of times.

What an application lets escape ends here: the :class:`~syncws.errors.ConnectionClosed` of its WebSocket is the ordinary
end of a handler (a debug line). Any other exception, that of another connection too, closes the WebSocket with 1011 and
is logged once, with its traceback. A greenlet that is killed closes its WebSocket with 1001, and nothing is logged.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from .budgets import OverBudget, Place
from .errors import ConnectionClosed, HandshakeError
from .logs import get_logger
from .opening import deadline_after, hang_up, tls_handshake
from .options import Options
from .runtime import is_killed
from .transport import Transport
from .websocket import WebSocket

__all__ = ["FAILED", "GOING_AWAY", "GOING_AWAY_REASON", "ServedConnection", "end_websocket", "log_refusal", "reason_of"]

_log = get_logger("syncws.server")

# RFC 6455, 7.4.1: 1001, "going away", such as a server going down.
GOING_AWAY = 1001
GOING_AWAY_REASON = "server is shutting down"
# RFC 6455, 7.4.1: 1011, an unexpected condition. What it was is for the log; the peer learns only that there was one.
FAILED = (1011, "internal error")
# What a refusal is counted as, one of stats.REASONS, by the status of the answer; 0: there was nobody to get one.
_REASONS = {
    0: "lost",
    400: "bad-request",
    403: "origin",
    405: "method",
    408: "timeout",
    414: "too-large",
    426: "upgrade",
    431: "too-large",
    505: "bad-request",
}
_GOING_AWAY = (GOING_AWAY, GOING_AWAY_REASON)
_UNCOUNTED = Place()


def _ignore(reason: str) -> None:
    """Do nothing about a refusal: nobody counts them."""


class ServedConnection(ABC):
    """A connection that a server has accepted.

    :param transport: the connection; this object closes it.
    :param options: options for the WebSocket that it may become.
    :ivar place: what the connection takes of the server's budget; to be set before it is served.
    :ivar on_refused: called with the reason, one of the :data:`~syncws.stats.REASONS`, when the client was refused; to
        be set before it is served.
    """

    # A server has many of them, all the time.
    __slots__ = (
        "_busy", "_close_with", "_closed", "_lock", "_options", "_stopping", "_transport", "_ws", "on_refused", "place",
    )  # fmt: skip

    def __init__(self, transport: Transport, options: Options) -> None:
        self._transport = transport
        self._options = options
        self.place = _UNCOUNTED
        self.on_refused: Callable[[str], object] = _ignore
        self._lock = transport.runtime.lock()  # guards the five below; never held while waiting
        self._stopping = False
        self._close_with = _GOING_AWAY
        self._busy = False  # a request has begun to arrive, or is being served: stop() lets it finish
        self._ws: WebSocket | None = None  # what the connection has become; it closes the transport
        self._closed = False

    def serve(self) -> None:
        """Serve the connection until it is over, and give back its socket."""
        deadline = deadline_after(self._options.open_timeout)
        secured = False
        try:
            tls_handshake(self._transport, deadline)
            secured = True
            self._serve(deadline)
            if self._ws is None:
                hang_up(self._transport)
        except HandshakeError as error:
            log_refusal(error, self.remote_address)
            self.on_refused(reason_of(error) if secured else "tls")
        except OSError as error:
            _log.debug("connection with %s lost: %s", self.remote_address, error)
        except BaseException:
            # A greenlet can be killed in any wait, and while it closes its WebSocket for that as well.
            if self._ws is not None:
                self._ws.abort()
            raise
        finally:
            with self._lock:
                self._closed = True
                if self._ws is None:
                    self._transport.close()

    @abstractmethod
    def _serve(self, deadline: float | None) -> None:
        """Serve the connection; return when no more is to be read or written.

        :param deadline: when the opening handshake has to be complete, or the head of the first request.
        :raises HandshakeError: there was none; it has been answered.
        :raises OSError: the connection was lost.
        """

    @property
    def remote_address(self) -> Any:
        """The peer's address, as :meth:`socket.socket.getpeername` gives it."""
        return self._transport.remote_address

    @property
    def websocket(self) -> WebSocket | None:
        """What the connection has become, if it has."""
        return self._ws

    def stop(self, code: int = GOING_AWAY, reason: str = GOING_AWAY_REASON) -> None:
        """End the connection soon, without waiting: a WebSocket is closed, an idle connection dropped.

        :param code: the close code for a WebSocket, also for one that it may yet become; the first call decides.
        :param reason: the close reason.
        """
        with self._lock:
            if not self._stopping:
                self._close_with = (code, reason)
            self._stopping = True
            if self._ws is None and not self._busy and not self._closed:
                self._transport.abort()
        self._close_if_stopping()

    def abort(self) -> None:
        """Drop the connection now; the thread that serves it wakes up if it waits for the network."""
        with self._lock:
            self._stopping = True
            if self._ws is None and not self._closed:
                self._transport.abort()
        if self._ws is not None:
            self._ws.abort()

    def _attach(self, ws: WebSocket) -> None:
        """Note that the connection has become a WebSocket."""
        ws.logged_address = ws.logged_address or self.place.client_of(ws.headers)
        with self._lock:
            self._ws = ws
        self._close_if_stopping()

    def _close_if_stopping(self) -> None:
        if self._stopping and self._ws is not None:
            self._ws.begin_close(*self._close_with)

    def _set_busy(self, busy: bool) -> None:
        """Note whether stop() has to let something finish."""
        with self._lock:
            self._busy = busy
            if self._stopping and not busy:
                self._transport.abort()


def end_websocket(ws: WebSocket, error: BaseException | None, *, failed: bool = False) -> None:
    """Close a WebSocket whose handler has returned or raised ``error``, and log what has to be.

    :param failed: something between the handler and the server, such as a web framework, has taken an exception of the
        handler for itself, and logged it.
    """
    # Not the end of another connection, such as one that the handler has opened itself: that is a failure like others.
    if error is None or (isinstance(error, ConnectionClosed) and error.websocket is ws):
        if error is not None:
            _log.debug("handler of %s from %s ended: %s", ws.path, ws.remote_address, error)
        ws.close(*(FAILED if failed else (1000, "")))
        return
    if is_killed(error):
        ws.close(GOING_AWAY)
        return
    _log.error("handler of %s from %s failed", ws.path, ws.remote_address, exc_info=error)
    ws.close(*FAILED)


def reason_of(error: HandshakeError) -> str:
    """Return what a refusal is counted as, one of the :data:`~syncws.stats.REASONS`."""
    return error.reason if isinstance(error, OverBudget) else _REASONS.get(error.status, "other")


def log_refusal(error: HandshakeError, remote_address: Any) -> None:
    """Log a request that was not served: a foreign Origin as a warning, because a setting may have to change."""
    if error.status == 0:
        _log.info("no request from %s: %s", remote_address, error)
    else:
        level = logging.WARNING if error.status == 403 else logging.INFO
        if isinstance(error, OverBudget):
            level = logging.DEBUG  # there may be very many, of which one line tells
        _log.log(level, "refused %s with %d: %s", remote_address, error.status, error)
