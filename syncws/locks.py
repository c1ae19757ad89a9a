"""What the locks of threads and of greenlets have in common: a base, so that compiled code calls them as C functions.

The locks of threads are :class:`threading.Lock`, or, where that is compiled, the one of ``_thread_lock.pyx``; those of
greenlets are in :mod:`syncws.runtime_gevent`. What they do is what a :class:`threading.Lock` does.
"""

from __future__ import annotations

__all__ = ["HotLock"]


class HotLock:
    """A lock that compiled code takes and gives back many times for each message, when nobody else has it."""

    __slots__ = ()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, or wait for it; return whether it is the caller's now.

        :param blocking: False: do not wait.
        :param timeout: seconds to wait; below 0: for ever.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Give the lock back."""
        raise NotImplementedError
