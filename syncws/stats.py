"""Figures of a connection and of a server, for whoever watches them; all of them are values.

Messages are those of the application, whole ones, and bytes are those of the WebSocket on the wire: frames with their
headers, control frames, compressed payloads as they are; not the opening handshake, nor what TLS and TCP add.

Totals only grow. Any thread may read what is here; a :class:`LatencyCounts` has one writer at a time.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

__all__ = ["REASONS", "ConnectionStats", "Latencies", "LatencyCounts", "ServerStats"]

# Why a server refuses a connection or a request that might have become a WebSocket; in the documentation as well.
REASONS = (
    "address",
    "bad-request",
    "connections",
    "descriptors",
    "handshakes",
    "lost",
    "memory",
    "method",
    "origin",
    "other",
    "threads",
    "timeout",
    "tls",
    "too-large",
    "upgrade",
)
# Upper bounds in seconds; the last one has no bound. From a network of one's own to a telephone in a tunnel.
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionStats:
    """What has happened on a connection until now, or until its end.

    :ivar duration: seconds since the opening handshake; when the connection is over, until its end.
    :ivar messages_received: messages that have arrived, whether ``receive()`` has returned them or not.
    :ivar messages_sent: messages that have been sent.
    :ivar bytes_received: bytes on the wire.
    :ivar bytes_sent: bytes on the wire.
    :ivar backlog: bytes that wait to be sent.
    :ivar latency: the round-trip time of the latest ping that was answered, in seconds; ``None`` before the first.
    :ivar close_code: the close code when the connection is over; ``None`` before.
    """

    duration: float
    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    backlog: int
    latency: float | None
    close_code: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """The round-trip times of pings, as a histogram.

    :ivar count: how many pings were answered.
    :ivar total: the sum of their round-trip times, in seconds.
    :ivar buckets: for each of some bounds, in seconds, how many took no longer than that; the last is infinite.
    """

    count: int
    total: float
    buckets: Mapping[float, int]

    @property
    def mean(self) -> float | None:
        """The mean, in seconds; ``None`` if no ping was answered."""
        return self.total / self.count if self.count else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStats:
    """What a server has to do now, and what it has done since it was made.

    :ivar open: WebSockets that there are, those included that are being closed.
    :ivar opened: WebSockets that there have been: ``open`` and all in ``closed``.
    :ivar rejected: how often a client was refused, for each reason.
    :ivar closed: how many WebSockets ended with each close code.
    :ivar messages_received: messages that have arrived.
    :ivar messages_sent: messages that have been sent.
    :ivar bytes_received: bytes on the wire.
    :ivar bytes_sent: bytes on the wire.
    :ivar backlog: bytes that wait to be sent on all WebSockets.
    :ivar latencies: the round-trip times of pings, those of the keeper and of ``ping()``.
    """

    open: int
    opened: int
    rejected: Mapping[str, int]
    closed: Mapping[int, int]
    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    backlog: int
    latencies: Latencies


class LatencyCounts:
    """A histogram that grows."""

    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts = [0] * len(_BOUNDS)
        self._total = 0.0

    def note(self, seconds: float) -> None:
        """Note the round-trip time of a ping."""
        self._counts[bisect_left(_BOUNDS, seconds)] += 1
        self._total += seconds

    def add(self, other: LatencyCounts) -> None:
        """Note what another histogram has."""
        self._counts = [one + two for one, two in zip(self._counts, other._counts, strict=True)]
        self._total += other._total

    def value(self) -> Latencies:
        """Return what has been noted."""
        buckets = dict(zip(_BOUNDS, accumulate(self._counts), strict=True))
        return Latencies(count=buckets[math.inf], total=self._total, buckets=buckets)
