"""Whose turn it is to read.

A connection has one socket and no thread of its own, so one of the threads that want something from it reads for all:
the one in ``receive()``, or, while there is none, one that waits for a pong or for the end. A :class:`Turn` is a lock
that such a thread can wait for together with the thing that it wants, which another reader may bring about.

Any thread may call anything here, but :meth:`Turn.release` only the one that has the turn. A signal handler that has
interrupted one of these methods may call :meth:`Turn.notify` and :meth:`Turn.take_now`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .hot import HotTurn
from .runtime import Condition, Runtime
from .transport import remaining

__all__ = ["Turn"]


class Turn(HotTurn):
    """A lock with waiters that may find, before it is theirs, that they need it no longer.

    :param runtime: of those who wait.
    :param guard: a lock that its owner may take again, and that nobody holds for long; default: one of its own.
    :ivar wanted: how many threads wait for the turn that go first.
    """

    __slots__ = ("_changed", "_guard", "_runtime")

    def __init__(self, runtime: Runtime, guard: Any = None) -> None:
        self._runtime = runtime
        self._guard = runtime.rlock() if guard is None else guard
        self._lock = runtime.lock()
        self._changed: Condition | None = None  # made by the first that waits: on most connections nobody does
        self._waiting = 0  # threads in take() and wait()
        self._on_free = None
        self.wanted = 0  # those of them that go first

    def take(self, deadline: float | None, done: Callable[[], bool], *, eager: bool = True) -> bool:
        """Wait for the turn and return True, or return False as soon as ``done()`` is true.

        :param done: called whenever something has changed; must not wait.
        :param eager: False: let those go first that say True.
        :raises TimeoutError: the deadline passed first.
        """
        taken = False
        changed = self._condition()
        with changed:
            # Counted before the first try: a release that misses the count happened before that try.
            self._waiting += 1
            self.wanted += eager
            try:
                while not taken and not done():
                    taken = (eager or not self.wanted) and self.take_now()
                    if not taken and not changed.wait(remaining(deadline)) and not done():
                        raise TimeoutError("timed out")
                return taken
            finally:
                self._waiting -= 1
                self.wanted -= eager
                if eager and not taken:
                    changed.notify_all()  # whoever has let this thread go first may have been woken in vain

    def _condition(self) -> Condition:
        """Return what those that wait are woken with."""
        if self._changed is None:
            changed = self._runtime.condition()
            with self._guard:
                if self._changed is None:  # no other thread was quicker
                    self._changed = changed
        assert self._changed is not None
        return self._changed

    def notify(self) -> None:
        """Let those that wait look again whether they are done."""
        on_free, self._on_free = self._on_free, None
        # If there is none yet, nobody waits: whoever makes it looks first whether it is done.
        if self._changed is not None:
            with self._changed:
                self._changed.notify_all()
        if on_free is not None:
            on_free()

    def on_free(self, function: Callable[[], None], *, even_if_free: bool = False) -> bool:
        """Have a function called once by whoever gives the turn back, or earlier; return False if nobody has it.

        One thread at a time, unlike all else here.

        :param function: must not wait; the same one for each call, as only one is kept.
        :param even_if_free: if nobody has the turn, have it called by the next one that takes it and gives it back.
        """
        # Before the look: a release that misses it happened before that look.
        self._on_free = function
        if even_if_free or self._lock.locked():
            return True
        self._on_free = None
        return False

    def wait(self, deadline: float | None, done: Callable[[], bool]) -> None:
        """Wait until ``done()`` is true, looking again at each :meth:`notify` and :meth:`release`.

        :raises TimeoutError: the deadline passed first.
        """
        changed = self._condition()
        with changed:
            self._waiting += 1
            try:
                while not done():
                    if not changed.wait(remaining(deadline)) and not done():
                        raise TimeoutError("timed out")
            finally:
                self._waiting -= 1
