"""One accepted connection, as its server sees it: served by a thread of its own, stopped from another.

:meth:`ServedConnection.serve` runs in the connection's thread and returns when the connection is over and its socket
given back; nothing that a client does makes it raise. :meth:`~ServedConnection.stop` and
:meth:`~ServedConnection.abort` may be called from any thread, at any time, any number of times.

What an application lets escape ends here: the :class:`~syncws.errors.ConnectionClosed` of its WebSocket is the ordinary
end of a handler (a debug line). Any other exception, that of another connection too, closes the WebSocket with 1011 and
is logged once, with its traceback.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from typing import Any

from .accept import deadline_after, hang_up, tls_handshake
from .errors import ConnectionClosed, HandshakeError
from .options import Options
from .transport import Transport
from .websocket import WebSocket

__all__ = ["ServedConnection", "end_websocket", "log_refusal"]

_log = logging.getLogger("syncws.server")

# RFC 6455, 7.4.1: 1001, "going away", such as a server going down.
_GOING_AWAY = 1001
_GOING_AWAY_REASON = "server is shutting down"


class ServedConnection(ABC):
    """A connection that a server has accepted.

    :param transport: the connection; this object closes it.
    :param options: options for the WebSocket that it may become.
    """

    def __init__(self, transport: Transport, options: Options) -> None:
        self._transport = transport
        self._options = options
        self._lock = threading.Lock()  # guards the four below; never held while waiting
        self._stopping = False
        self._busy = False  # a request has begun to arrive, or is being served: stop() lets it finish
        self._ws: WebSocket | None = None  # what the connection has become; it closes the transport
        self._closed = False

    def serve(self) -> None:
        """Serve the connection until it is over, and give back its socket."""
        deadline = deadline_after(self._options.open_timeout)
        try:
            tls_handshake(self._transport, deadline)
            self._serve(deadline)
            if self._ws is None:
                hang_up(self._transport)
        except HandshakeError as error:
            log_refusal(error, self.remote_address)
        except OSError as error:
            _log.debug("connection with %s lost: %s", self.remote_address, error)
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

    def stop(self) -> None:
        """End the connection soon, without waiting: a WebSocket is closed with 1001, an idle connection dropped."""
        with self._lock:
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
        with self._lock:
            self._ws = ws
        self._close_if_stopping()

    def _close_if_stopping(self) -> None:
        if self._stopping and self._ws is not None:
            self._ws.begin_close(_GOING_AWAY, _GOING_AWAY_REASON)

    def _set_busy(self, busy: bool) -> None:
        """Note whether stop() has to let something finish."""
        with self._lock:
            self._busy = busy
            if self._stopping and not busy:
                self._transport.abort()


def end_websocket(ws: WebSocket, error: BaseException | None) -> None:
    """Close a WebSocket whose handler has returned or raised ``error``, and log what has to be."""
    # Not the end of another connection, such as one that the handler has opened itself: that is a failure like others.
    if error is None or (isinstance(error, ConnectionClosed) and error.websocket is ws):
        if error is not None:
            _log.debug("handler of %s from %s ended: %s", ws.path, ws.remote_address, error)
        ws.close()
        return
    # The traceback is for the log; the peer learns only that something went wrong (RFC 6455, 7.4.1: 1011).
    _log.error("handler of %s from %s failed", ws.path, ws.remote_address, exc_info=error)
    ws.close(1011, "internal error")


def log_refusal(error: HandshakeError, remote_address: Any) -> None:
    """Log a handshake that did not succeed: a foreign Origin as a warning, because a setting may have to change."""
    if error.status == 0:
        _log.info("no request from %s: %s", remote_address, error)
    else:
        level = logging.WARNING if error.status == 403 else logging.INFO
        _log.log(level, "refused %s with %d: %s", remote_address, error.status, error)
