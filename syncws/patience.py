"""How long a peer may take over a message that it has begun to send: the option ``message_timeout``.

Only the time counts that somebody spends on waiting for the rest. That the program does something else meanwhile is not
the peer's fault. Only the thread whose turn it is to read calls anything here.
"""

from __future__ import annotations

import math
import time

from .errors import ProtocolError

__all__ = ["Patience", "Rest"]


class Patience:
    """What is left of the time for the message under way.

    :param seconds: for each message, or ``None`` for any time.
    """

    __slots__ = ("_left", "_number", "seconds")

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Begin anew: nothing is unfinished, or a part of the message has come to its end."""
        self._number, self._left = -1, 0.0

    def begin(self, number: int) -> float:
        """Begin to wait for the rest of a message; return the point in time at which patience ends.

        :param number: tells one message from another.
        """
        assert self.seconds is not None
        return time.monotonic() + (self._left if number == self._number else self.seconds)

    def end(self, number: int, limit: float) -> None:
        """End waiting, for the time being; ``limit`` is what :meth:`begin` has returned."""
        self._number, self._left = number, limit - time.monotonic()

    def error(self) -> ProtocolError:
        """Return the error for a message that has taken too long."""
        return ProtocolError(f"message unfinished after {self.seconds} s, the limit message_timeout", 1008)


class Rest:
    """How long the keeper has waited for the rest of a message, while no thread receives.

    :param seconds: for each message, or ``None`` for any time.
    """

    __slots__ = ("_due", "_number", "_seconds")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = math.inf if seconds is None else seconds
        self._number: object = None
        self._due = math.inf

    def due(self, number: object, now: float) -> float:
        """Return the point in time at which patience ends, :data:`math.inf` for never.

        :param number: tells one message from another; ``None``: nothing is missing.
        """
        if number != self._number:
            self._number = number
            self._due = math.inf if number is None else now + self._seconds
        return self._due
