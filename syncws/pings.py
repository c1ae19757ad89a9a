"""Pings that wait for their pongs (RFC 6455, sections 5.5.2 and 5.5.3).

Any thread may call anything here. Nothing waits: :meth:`Pings.answer` wakes those that wait for their turn to read.
"""

from __future__ import annotations

import time
from typing import Any

from .protocol.frames import MAX_CONTROL_PAYLOAD
from .runtime import Runtime
from .stats import LatencyCounts
from .turn import Turn

__all__ = ["Ping", "Pings"]


class Ping:
    """A ping under way.

    :ivar payload: its application data.
    :ivar round_trip: seconds until the pong came; ``None`` while it has not.
    """

    __slots__ = ("_began", "payload", "round_trip")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.round_trip: float | None = None
        self._began = time.perf_counter()

    def answered(self) -> float:
        """Note that the pong has come; return the round-trip time."""
        self.round_trip = time.perf_counter() - self._began
        return self.round_trip


class Pings:
    """The pings of one connection, in the order in which they were sent.

    :param turn: of those who wait for pongs.
    :param runtime: of those who call.
    :param lock: that its owner may take again, and that nobody holds for long; default: one of its own.
    """

    __slots__ = ("_lock", "_number", "_owed", "_turn", "_under_way", "latencies", "latency")

    def __init__(self, turn: Turn, runtime: Runtime, lock: Any = None) -> None:
        self._turn = turn
        self._lock = runtime.rlock() if lock is None else lock
        self._number = 0  # of the latest ping without data of its own
        self._under_way: dict[bytes, Ping] = {}
        self._owed = 0  # pongs: the pings of several threads may overtake each other, and some answers come late
        self.latency: float | None = None  # of the latest ping that was answered, in seconds
        self.latencies: LatencyCounts | None = None  # of all of them

    def begin(self, data: bytes | bytearray | memoryview) -> Ping:
        """Return a new ping; without data of its own it gets a number as payload.

        :raises TypeError: data is not bytes-like.
        :raises ValueError: more than 125 bytes, or the same data as in a ping under way.
        """
        try:
            payload = bytes(memoryview(data))
        except TypeError:
            raise TypeError(f"the data of a ping must be bytes-like, not {type(data).__name__}") from None
        if len(payload) > MAX_CONTROL_PAYLOAD:
            raise ValueError(
                f"the data of a ping is {len(payload)} bytes; the limit is {MAX_CONTROL_PAYLOAD} (RFC 6455, 5.5)"
            )
        with self._lock:
            if not payload:
                while not payload or payload in self._under_way:
                    self._number += 1
                    payload = self._number.to_bytes(4, "big")
            if payload in self._under_way:
                raise ValueError(
                    f"a ping with the data {payload!r} is under way already; its pong could not be told apart"
                )
            ping = self._under_way[payload] = Ping(payload)
            self._owed += 1
        return ping

    def answer(self, payload: bytes) -> bool:
        """Note a pong. It answers the ping with its data and, as RFC 6455, 5.5.3 allows, all before that one.

        :returns: whether it was to be expected: there have been as many pings. RFC 6455, 5.5.3 lets a peer send one
            unasked, and answer several pings at once.
        """
        with self._lock:
            asked = self._owed > 0
            self._owed -= asked
            if payload not in self._under_way:
                return asked
            while True:
                key = next(iter(self._under_way))
                latency = self._under_way.pop(key).answered()
                if key == payload:
                    break
            self.latency = latency
            if self.latencies is None:
                self.latencies = LatencyCounts()
            self.latencies.note(latency)
        self._turn.notify()
        return asked

    def forget(self, ping: Ping) -> None:
        """Wait for a ping no longer."""
        with self._lock:
            self._under_way.pop(ping.payload, None)
