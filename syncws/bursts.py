"""Log lines about what may happen thousands of times in a second: one when it begins, one when it is over.

A :class:`Bursts` is used by a server's accept loop, and by the threads or greenlets of its connections; any of them may
call anything here, and nothing waits.
"""

from __future__ import annotations

import time
from typing import Any

from .logs import get_logger

__all__ = ["Bursts"]

_log = get_logger("syncws.server")

# For so long, in seconds, it must not have happened to be over. A server at its limit takes one client whenever another
# has left, and refuses the next one: that is still the same shortage.
_CALM = 10.0


class _Burst:
    """What has happened so often, from when on, and when last."""

    __slots__ = ("began", "count", "last")

    def __init__(self, now: float) -> None:
        self.began = self.last = now
        self.count = 0


class Bursts:
    """Bursts of several kinds.

    :param lock: guards what is here; reentrant, if a signal handler may interrupt who holds it.
    """

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._bursts: dict[str, _Burst] = {}

    def note(self, kind: str, message: str) -> None:
        """Note that something has happened; the first of a burst is logged, with its message."""
        now = time.monotonic()
        with self._lock:
            first = kind not in self._bursts
            burst = self._bursts.setdefault(kind, _Burst(now))
            burst.last = now
            burst.count += 1
        if first:
            _log.error("%s", message)

    def settle(self) -> None:
        """Log which bursts are over. To be called now and then."""
        if not self._bursts:
            return
        now = time.monotonic()
        with self._lock:
            over = {kind: burst for kind, burst in self._bursts.items() if now >= burst.last + _CALM}
            for kind in over:
                del self._bursts[kind]
        for kind, burst in over.items():
            lasted = burst.last - burst.began
            _log.warning("over: %s, %d times in %.1f s, and not for %g s since", kind, burst.count, lasted, _CALM)
