"""How a connection stands and how it ends: its state, its close code, and who ended it.

A signal handler may come here while it has interrupted this very thread, so the lock is one that its owner may take
again. Any thread may call anything here; nothing waits for anything else.
"""

from __future__ import annotations

from typing import Any, TypeVar

from .errors import ConnectionClosed, Initiator, ProtocolError
from .protocol.machine import Event, State, next_state
from .runtime import Runtime

__all__ = ["Fate"]

_OPEN = next_state(State.CONNECTING, Event.OPENED)
_Cause = TypeVar("_Cause", bound=BaseException | None)


class Fate:
    """The state of one connection, which is open to begin with.

    :param runtime: of those who call.
    :param lock: that its owner may take again, and that nobody holds for long; default: one of its own.
    :ivar state: where it is in its life.
    :ivar end: code, reason and initiator of its end, as soon as that is known; ``None`` before.
    :ivar cause: the rule that the peer broke, if it did.
    """

    __slots__ = ("_lock", "cause", "end", "state")

    def __init__(self, runtime: Runtime, lock: Any = None) -> None:
        self._lock = runtime.rlock() if lock is None else lock
        self.state = _OPEN
        self.end: tuple[int, str, Initiator] | None = None
        self.cause: ProtocolError | None = None

    def close(self, code: int, reason: str, cause: ProtocolError | None) -> bool:
        """Note that this side ends the connection; return whether it was the first to do so."""
        with self._lock:
            self.cause = self.cause or _bare(cause)
            if self.end is not None:
                return False
            self.end = (code, reason, "local")
            return True

    def close_sent(self) -> None:
        """Note that our close frame is on its way."""
        with self._lock:
            self.state = next_state(self.state, Event.CLOSE_SENT)

    def close_received(self, code: int, reason: str) -> None:
        """Note the peer's close frame, which counts more than a connection that was found lost before it was read."""
        with self._lock:
            self.state = next_state(self.state, Event.CLOSE_RECEIVED)
            if self.end is None or self.end[::2] == (1006, "remote"):
                self.end = (code, reason, "remote")

    def lost(self, reason: str, initiator: Initiator) -> None:
        """Note that the connection ended before its closing handshake did (1006; RFC 6455, 7.1.5)."""
        with self._lock:
            if self.state in (State.OPEN, State.CLOSE_SENT) and self.cause is None:
                self.end = (1006, reason, self.end[2] if self.end else initiator)
            self.state = next_state(self.state, Event.LOST)

    def over(self) -> None:
        """Note that the socket has been given back."""
        with self._lock:
            self.state = next_state(self.state, Event.LOST)

    def error(self, websocket: object, cause: BaseException | None = None) -> ConnectionClosed:
        """Return the exception that says how the connection ended, with what has caused it.

        :param cause: what to name if the peer has broken no rule.
        """
        assert self.end is not None
        error = ConnectionClosed(*self.end)
        error.__cause__ = self.cause or _bare(cause)
        error.websocket = websocket
        return error


def _bare(cause: _Cause) -> _Cause:
    """Take the tracebacks from an exception, and from those that it was raised instead of (``raise ... from``).

    They show nothing but syncws, and hold frames that hold the connection, so that the thread and its stack would stay
    until the garbage collector comes. What the program was handling when it called syncws is its own.
    """
    error: BaseException | None = cause
    while error is not None:
        error.__traceback__ = None
        error = error.__context__ if error.__suppress_context__ else None
    return cause
