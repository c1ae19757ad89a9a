"""What a server counts: refused clients, and the figures of its WebSockets.

Nothing is counted here while a WebSocket is open: its figures are numbers of its own, written by whoever reads or
writes, without a lock. They are added up when somebody asks, and when it is over.

A :class:`Totals` may be used by any thread, by one as well that has nothing to do with the event loop of a server's
greenlets. Nothing waits, but for the moment that another thread needs to add or to copy.
"""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from .stats import REASONS, LatencyCounts, ServerStats
from .websocket import WebSocket

__all__ = ["Totals"]


class _Sum:
    """The figures of some WebSockets, added up."""

    def __init__(self) -> None:
        self.open = 0
        self.closed: Counter[int] = Counter()
        self.messages_received = self.messages_sent = 0
        self.bytes_received = self.bytes_sent = 0
        self.backlog = 0
        self.latencies = LatencyCounts()

    def add(self, ws: WebSocket, *, ended: bool) -> None:
        """Add a WebSocket.

        :param ended: it is over as far as its server is concerned.
        """
        stats = ws.stats()
        self.messages_received += stats.messages_received
        self.messages_sent += stats.messages_sent
        self.bytes_received += stats.bytes_received
        self.bytes_sent += stats.bytes_sent
        latencies = ws.latencies
        if latencies is not None:
            self.latencies.add(latencies)
        # Before its end, the code may change: that of a close frame counts more than a connection that was found lost.
        code = ws.close_code if ended else stats.close_code
        if code is not None:
            self.closed[code] += 1
        else:
            self.open += 1
            self.backlog += stats.backlog

    def copy(self) -> _Sum:
        """Return a sum that is the same, and can grow on its own."""
        other = copy.copy(self)
        other.closed = self.closed.copy()
        other.latencies = LatencyCounts()
        other.latencies.add(self.latencies)
        return other


class Totals:
    """What there has been."""

    def __init__(self) -> None:
        # Of threads, unless it is patched: nothing switches to another greenlet while it is held. Reentrant, because a
        # signal handler may interrupt whoever holds it.
        self._lock: Any = threading.RLock()
        self._rejected = dict.fromkeys(REASONS, 0)
        self._ended = _Sum()

    def reject(self, reason: str) -> None:
        """Count a client that was refused, for one of the :data:`~syncws.stats.REASONS`."""
        with self._lock:
            self._rejected[reason] += 1

    def end(self, take: Callable[[], WebSocket | None]) -> None:
        """Count a WebSocket that is over.

        :param take: takes it from those that :meth:`stats` asks for, and returns it, if there is one.
        """
        with self._lock:
            ws = take()
            if ws is not None:
                self._ended.add(ws, ended=True)

    def stats(self, live: Callable[[], Iterable[WebSocket]]) -> ServerStats:
        """Return the figures.

        :param live: returns the WebSockets that have not been counted by :meth:`end`.
        """
        with self._lock:
            rejected = self._rejected.copy()
            result = self._ended.copy()
            others = live()
        for ws in others:
            result.add(ws, ended=False)
        return ServerStats(
            open=result.open,
            opened=result.open + result.closed.total(),
            rejected=rejected,
            closed=dict(sorted(result.closed.items())),
            messages_received=result.messages_received,
            messages_sent=result.messages_sent,
            bytes_received=result.bytes_received,
            bytes_sent=result.bytes_sent,
            backlog=result.backlog,
            latencies=result.latencies.value(),
        )
