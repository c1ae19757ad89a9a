"""Pings that find out whether the peer is still there: the options ``ping_interval`` and ``ping_timeout``.

A ping goes out every ``ping_interval``, whatever else happens. The peer is taken for gone if ``ping_timeout`` later
there has been no pong, nothing else has come in, and it has taken nothing of what is still to be sent: a peer that is
slow shows in that way that it lives. While there is something that nobody on this side has read, nothing can be said:
the pong may be behind it.

Only the keeper calls anything here. Nothing waits.
"""

from __future__ import annotations

import contextlib
import math
import socket
import sys
import time
from typing import Any, Protocol

from .pings import Ping, Pings
from .transport import Transport, set_option
from .writer import FrameWriter

fcntl: Any = None
with contextlib.suppress(ImportError):  # Windows
    import fcntl
    import termios

__all__ = ["Keepalive", "limit_unanswered"]

_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
_MOST_UNANSWERED = 2**31 - 1  # milliseconds: what a socket option holds


def limit_unanswered(sock: socket.socket, seconds: float) -> None:
    """Have the operating system give a connection up if the peer's machine answers nothing for so long (RFC 5482)."""
    if _USER_TIMEOUT is not None:
        set_option(sock, _USER_TIMEOUT, int(min(seconds * 1000, _MOST_UNANSWERED)))


class Watched(Protocol):
    """What is used of a connection.

    :ivar activity: a number that changes when something has been read.
    :ivar held_up: whether nobody reads, because so much has been read already.
    """

    @property
    def activity(self) -> int: ...

    @property
    def held_up(self) -> bool: ...


class Keepalive:
    """The pings of one connection that nobody has asked for.

    :param interval: seconds from one to the next; ``None``: none at all.
    :param timeout: seconds that the peer may take to show that it lives; ``None``: for ever.
    """

    __slots__ = ("_deadline", "_interval", "_next", "_ping", "_pings", "_seen", "_seen_taken",
                 "_timeout", "_transport", "_writer")  # fmt: skip

    def __init__(
        self,
        interval: float | None,
        timeout: float | None,
        *,
        transport: Transport,
        writer: FrameWriter,
        pings: Pings,
    ) -> None:
        self._interval = interval
        self._timeout = math.inf if timeout is None else timeout
        self._transport = transport
        self._writer = writer
        self._pings = pings
        self._next = math.inf if interval is None else time.monotonic() + interval
        self._ping: Ping | None = None  # the one that is under way
        self._deadline = math.inf
        self._seen = 0
        self._seen_taken = 0

    def on_due(self, now: float, watched: Watched) -> float | None:
        """Do what is due; return when the next thing is, or ``None`` if the peer is gone.

        :param watched: the connection. If it were kept here, it would be there until the garbage collector comes.
        """
        ping = self._ping
        if ping is not None and (ping.round_trip is not None or now >= self._deadline):
            if ping.round_trip is None and not self._lives(watched):
                return None
            self._forget(ping)
        if self._ping is None and now >= self._next:
            self._begin(now, watched)
        return self._next if self._ping is None else min(self._deadline, max(self._next, now))

    def _begin(self, now: float, watched: Watched) -> None:
        assert self._interval is not None
        self._ping = self._pings.begin(b"")
        self._writer.post_ping(self._ping.payload)
        self._seen, self._seen_taken = watched.activity, self._taken()
        self._deadline = now + self._timeout
        self._next = now + self._interval

    def _forget(self, ping: Ping) -> None:
        self._pings.forget(ping)
        self._writer.withdraw_ping(ping.payload)
        self._ping = None
        self._deadline = math.inf

    def _lives(self, watched: Watched) -> bool:
        """Whether there has been a sign of life since the ping, or may have been."""
        # If a write has failed, such as that of the ping, it is certain that there will be no pong.
        if not self._writer.ended and (watched.held_up or self._unread()):
            return True
        # What it takes counts only while it has not taken all: a machine whose program hangs still takes a little.
        return watched.activity != self._seen or (self._untaken() != 0 and self._taken() != self._seen_taken)

    def _taken(self) -> int:
        """Return a number that changes when the peer, or its machine, has taken something of what was sent to it."""
        return self._transport.sent - (self._untaken() or 0)

    def _untaken(self) -> int | None:
        """Return how many bytes the operating system still has for the peer; ``None``: it does not tell."""
        return self._ioctl("TIOCOUTQ")

    def _unread(self) -> int | None:
        """Return how many bytes the operating system has of the peer, as after a stop of this process."""
        return self._ioctl("FIONREAD")

    def _ioctl(self, name: str) -> int | None:
        if fcntl is None:
            return None
        try:
            answer = fcntl.ioctl(self._transport.sock.fileno(), getattr(termios, name), bytes(4))
        except OSError:  # not for sockets, on this system
            return None
        return int.from_bytes(answer, sys.byteorder)
