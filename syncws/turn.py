"""Whose turn it is to read.

A connection has one socket and no thread of its own, so one of the threads that want something from it reads for all:
the one in ``receive()``, or, while there is none, one that waits for a pong or for the end. A :class:`Turn` is a lock
that such a thread can wait for together with the thing that it wants, which another reader may bring about.

Any thread may call anything here, but :meth:`Turn.release` only the one that has the turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .transport import remaining

__all__ = ["Turn"]


class Turn:
    """A lock with waiters that may find, before it is theirs, that they need it no longer."""

    __slots__ = ("_changed", "_eager", "_lock", "_waiting")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(threading.Lock())
        self._waiting = 0  # threads in take() and wait()
        self._eager = 0  # those of them that go first

    def take_now(self) -> bool:
        """Take the turn if it is free, without waiting."""
        return self._lock.acquire(False)

    def take(self, deadline: float | None, done: Callable[[], bool], *, eager: bool = True) -> bool:
        """Wait for the turn and return True, or return False as soon as ``done()`` is true.

        :param done: called whenever something has changed; must not wait.
        :param eager: False: let those go first that say True.
        :raises TimeoutError: the deadline passed first.
        """
        with self._changed:
            # Counted before the first try: a release that misses the count happened before that try.
            self._waiting += 1
            self._eager += eager
            try:
                while not done():
                    if (eager or not self._eager) and self._lock.acquire(False):
                        return True
                    if not self._changed.wait(remaining(deadline)):
                        raise TimeoutError("timed out")
                return False
            finally:
                self._waiting -= 1
                self._eager -= eager

    def release(self) -> None:
        """Give the turn back; one that waits for it wakes up."""
        self._lock.release()
        if self._waiting:
            self.notify()

    @property
    def wanted(self) -> bool:
        """Whether a thread waits for the turn that goes first."""
        return self._eager > 0

    def notify(self) -> None:
        """Let those that wait look again whether they are done."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, deadline: float | None, done: Callable[[], bool]) -> None:
        """Wait until ``done()`` is true, looking again at each :meth:`notify` and :meth:`release`.

        :raises TimeoutError: the deadline passed first.
        """
        with self._changed:
            self._waiting += 1
            try:
                while not done():
                    if not self._changed.wait(remaining(deadline)):
                        raise TimeoutError("timed out")
            finally:
                self._waiting -= 1
