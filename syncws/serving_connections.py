"""The connections of a server: which there are, and how all of them are ended.

A :class:`Connections` is used by a server's accept loop, by the threads or greenlets that serve its connections, and by
whoever shuts it down; any of them may call anything here. Only :meth:`Connections.serve` and :meth:`Connections.end`
wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .logs import get_logger
from .opening import deadline_after
from .runtime import Condition
from .serving import ServedConnection
from .serving_totals import Totals
from .stats import ServerStats
from .websocket import WebSocket

__all__ = ["Connections"]

_log = get_logger("syncws.server")


class Connections:
    """The connections that a server has accepted and that are not over.

    :param changed: notified of every change; guards what is here.
    :param ident: returns a number for the calling thread or greenlet, never 0.
    :param shutdown_timeout: seconds that they have to end, from :meth:`stop` on; ``None``: for ever.
    :ivar stopping: :meth:`stop` has been called.
    :ivar totals: what there has been, refused clients too.
    """

    def __init__(
        self,
        changed: Condition,
        ident: Callable[[], int],
        shutdown_timeout: float | None,
    ) -> None:
        self._changed = changed
        self._ident = ident
        self._shutdown_timeout = shutdown_timeout
        self._served: dict[ServedConnection, int] = {}  # each with the thread that serves it
        self._close_with = (0, "")
        self._give_up: float | None = None  # when end() drops what is left
        self._dropped: set[ServedConnection] = set()
        self._waiting: list[int] = []  # the threads in end()
        self.stopping = False
        self.totals = Totals()
        self._reject = self.totals.reject  # one for all of them

    def __len__(self) -> int:
        return len(self._served)

    def add(self, connection: ServedConnection) -> None:
        """Note a connection that is about to be served; after :meth:`stop`, it is stopped at once."""
        connection.on_refused = self._reject
        with self._changed:
            self._served[connection] = 0
        if self.stopping:
            connection.stop(*self._close_with)

    def serve(self, connection: ServedConnection) -> None:
        """Serve a connection that was added, in the calling thread, until it is over."""
        try:
            with self._changed:
                self._served[connection] = self._ident()
            connection.serve()
        finally:
            self.forget(connection)

    def forget(self, connection: ServedConnection) -> None:
        """Note that a connection is over, or will not be served; its place is free. Once more changes nothing."""
        connection.place.leave()
        with self._changed:
            self.totals.end(lambda: self._take(connection))
            if self._waiting:
                self._changed.notify_all()

    def _take(self, connection: ServedConnection) -> WebSocket | None:
        return None if self._served.pop(connection, None) is None else connection.websocket

    def websockets(self) -> list[WebSocket]:
        """Return the WebSockets that the connections have become. Any thread, whatever the server runs on."""
        return [ws for connection in list(self._served) if (ws := connection.websocket) is not None]

    def stats(self) -> ServerStats:
        """Return what there is, and what there has been. Any thread, whatever the server runs on."""
        return self.totals.stats(self.websockets)

    def stop(self, code: int, reason: str) -> None:
        """Let no connection live on from now; code, reason and the time they have are those of the first call."""
        with self._changed:
            if not self.stopping:
                self._give_up = deadline_after(self._shutdown_timeout)
                self._close_with = (code, reason)
            self.stopping = True
            self._changed.notify_all()

    def end(self) -> None:
        """End all connections after :meth:`stop`, and wait until they are over; drop those that are too late.

        Those that are served by the calling thread, or by another one that waits here, are told to end, and not waited
        for.
        """
        with self._changed:
            connections = list(self._served)
        for connection in connections:
            connection.stop(*self._close_with)
        with self._changed:
            self._waiting.append(self._ident())
            self._changed.notify_all()
            try:
                while len(self._served) > len(own := self._served_by(self._waiting)):
                    left = None if self._give_up is None else self._give_up - time.monotonic()
                    if left is not None and left <= 0:
                        break
                    self._changed.wait(left)
            finally:
                self._waiting.remove(self._ident())
            rest = set(self._served) - set(own) - self._dropped
            self._dropped |= rest
        if rest:
            _log.warning("dropping %d connections that are still open after %s s", len(rest), self._shutdown_timeout)
        for connection in rest:
            connection.abort()

    def _served_by(self, threads: list[int]) -> list[ServedConnection]:
        return [connection for connection, thread in self._served.items() if thread in threads]
