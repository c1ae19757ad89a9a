"""How much a peer may send in a second: ``max_messages_per_second`` and ``max_control_frames_per_second``.

An :class:`Allowance` is a bucket. What the peer sends is taken out of it; it fills up at the rate of the limit, and
holds what is allowed in one second, or 1 if that is less. There is one exception. What arrives while nobody reads waits
in buffers, and is then found all at once; that is not the peer's fault. So time in which nobody waits for the peer
fills the bucket past its brim, and as long as the reader has not caught up, the peer is judged by its average. The
reader has caught up when it finds nothing to read, or when something comes only after a second; what is above the brim
lapses then.

Nothing looks at the clock until a bucket seems to be empty. So what is left in it before a pause comes on top of what
the pause has brought: after one, a peer may send at once what is allowed in two seconds.

Only the thread whose turn it is to read calls anything here. Nothing waits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from .errors import ProtocolError

__all__ = ["MOMENT", "Allowance", "Rates"]

# A wait that is shorter, in seconds, need not be noted: with so many of them, the waits are the least.
MOMENT = 0.001
# So long, in seconds, nobody waits for bytes that are there already, not even on a machine that is busy.
_A_WHILE = 1.0


class Allowance:
    """What the peer may send of one kind.

    :param option: the name of the option that sets the limit.
    :param what: what is counted, in the plural.
    :param limit: how many in a second; ``None``: any number.
    :param clock: where the time comes from, in seconds.
    :ivar until: up to this number, counted from the beginning, nothing is to be done; above, call :meth:`extend`.
    :ivar waited: seconds that have been spent on waiting for the peer, since the beginning; whoever waits adds to it.
    """

    __slots__ = ("_at", "_clock", "_credit", "_limit", "_most", "_option", "_waited", "_what", "until", "waited")

    def __init__(
        self, option: str, what: str, limit: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._option = option
        self._what = what
        self._clock = clock
        self._limit = math.inf if limit is None else limit
        self._most = self._limit if self._limit > 1.0 else 1.0  # max() takes as much stack as three calls
        self.until = self._most
        self.waited = 0.0
        self._credit = 0.0  # what is allowed beyond ``until``, as of the latest reckoning
        self._at, self._waited = clock(), 0.0  # when that was, and what had been waited by then

    def extend(self, count: int) -> None:
        """Reckon what else is allowed, now that ``count`` is more than :attr:`until`.

        :raises ProtocolError: not that much (1008); from then on, nothing is.
        """
        self._reckon()
        missing = count - self.until
        if self._credit < missing:
            self.until = self._credit = -math.inf
            raise ProtocolError(f"more than {self._limit} {self._what} per second, the limit {self._option}", 1008)
        # Not all of it at once: what is above the brim may lapse.
        granted = min(self._credit, max(self._most, missing))
        self._credit -= granted
        self.until += granted

    def caught_up(self) -> None:
        """Note that the reader has caught up with the peer."""
        if self.until == math.inf:
            return
        self._reckon()
        self._credit = min(self._credit, self._most)

    def _reckon(self) -> None:
        """Put into the bucket what has come in since the latest reckoning."""
        now, waited = self._clock(), self.waited
        waiting = waited - self._waited
        poured = waiting * self._limit
        if poured >= self._most:
            self._credit = self._most
        else:
            self._credit = max(self._credit, min(self._most, self._credit + poured))
        self._credit += max(0.0, now - self._at - waiting) * self._limit
        self._at, self._waited = now, waited


# What most connections have for messages: one for all of them, which never changes.
_ANY_NUMBER = Allowance("max_messages_per_second", "messages", None)


class Rates:
    """The allowances of one connection.

    :param messages: how many may come in a second; ``None``: any number.
    :param control_frames: the same, for pings, and for pongs that nobody has asked for.
    :param clock: where the time comes from, in seconds.
    :ivar messages: the allowance for messages. Only ``receive()`` waits for them: those that others set aside meanwhile
        are not the fault of the peer if they are then received all at once.
    :ivar watching: the keeper waits for the peer; whoever reads calls :meth:`waited`, however short it was.
    """

    __slots__ = ("_clock", "_controls", "_count", "_watched_since", "messages", "watching")

    def __init__(
        self, messages: float | None, control_frames: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self.messages = _ANY_NUMBER
        if messages is not None:
            self.messages = Allowance("max_messages_per_second", "messages", messages, clock)
        # As Allowance(...) does it. But a constructor in the constructors of a connection takes another page of its
        # thread's stack (CPython 3.11), for which there is no other use.
        self._controls = Allowance.__new__(Allowance)
        Allowance.__init__(self._controls, "max_control_frames_per_second", "control frames", control_frames, clock)
        self._count = 0  # control frames
        self.watching = False
        self._watched_since = 0.0

    def control_frame(self) -> None:
        """Count a control frame.

        :raises ProtocolError: it is one too many (1008).
        """
        self._count += 1
        if self._count > self._controls.until:
            self._controls.extend(self._count)

    def waited(self, seconds: float, *, receiving: bool, in_vain: bool = False) -> None:
        """Note that somebody has waited for bytes of the peer, until now.

        :param receiving: it was ``receive()``.
        :param in_vain: nothing has come.
        """
        if receiving and self.messages is not _ANY_NUMBER:
            self.messages.waited += seconds
        self._controls.waited += seconds
        if self.watching:
            self.watching = False
            self._controls.waited += self._clock() - seconds - self._watched_since
        if in_vain or seconds > _A_WHILE:
            self._controls.caught_up()
            if receiving:
                self.messages.caught_up()

    def watched(self) -> None:
        """Note that all has been read, and that from now on the keeper waits for more, until somebody else does."""
        self.watching, self._watched_since = True, self._clock()
