"""The primitives of greenlets, for :mod:`syncws.runtime`. Needs gevent; works with and without monkey-patching.

They are for the greenlets of one thread, those of one event loop.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import gevent
import gevent.selectors
import gevent.thread  # type: ignore[import-not-found]  # not in the stubs
from gevent.event import Event
from gevent.hub import get_hub
from greenlet import getcurrent

from .locks import HotLock
from .runtime import Runtime

__all__ = ["GREENLETS"]


class _FairLock(HotLock):
    """A lock that is handed on to whoever has waited longest."""

    __slots__ = ("_held", "_waiting")

    def __init__(self) -> None:
        self._held = False
        self._waiting: deque[Event] | None = None  # set when it is theirs; most locks never need it

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not self._held:
            self._held = True
            return True
        return blocking and self._wait(None if timeout < 0 else timeout)

    def release(self) -> None:
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._held = False

    def locked(self) -> bool:
        return self._held

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _wait(self, timeout: float | None) -> bool:
        mine = Event()
        if self._waiting is None:
            self._waiting = deque()
        waiting = self._waiting
        waiting.append(mine)
        try:
            mine.wait(timeout)
        except BaseException:  # a greenlet can be killed in any wait
            if mine.is_set():
                self.release()
            else:
                waiting.remove(mine)
            raise
        if mine.is_set():
            return True
        waiting.remove(mine)
        return False


class _OwnedLock:
    """A lock that the greenlet which has it may take again; else as :class:`_FairLock`."""

    __slots__ = ("_count", "_lock", "_owner")

    def __init__(self) -> None:
        self._lock = _FairLock()
        self._owner: object = None
        self._count = 0  # how often its owner has taken it, besides once

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = getcurrent()
        if self._owner is me:
            self._count += 1
            return True
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner = me
        return True

    def release(self) -> None:
        if self._owner is not getcurrent():
            raise RuntimeError("cannot release a lock that another greenlet has, or none")
        if self._count:
            self._count -= 1
        else:
            self._owner = None
            self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class _Condition:
    """A condition of greenlets; that of :mod:`threading` waits with a lock of threads unless it is patched."""

    __slots__ = ("_lock", "_waiting")

    def __init__(self) -> None:
        self._lock = _OwnedLock()  # a signal handler may interrupt whoever holds it
        self._waiting: set[Event] = set()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        event = Event()
        self._waiting.add(event)
        self._lock.release()
        try:
            return bool(event.wait(timeout))
        finally:
            self._waiting.discard(event)
            self._lock.acquire()

    def wait_for(self, predicate: Callable[[], object], timeout: float | None = None) -> bool:
        """Wait until ``predicate()`` is true; return whether it is."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not predicate():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self.wait(left)
        return True

    def notify_all(self) -> None:
        for event in self._waiting:
            event.set()
        self._waiting.clear()


class _Greenlet(gevent.Greenlet):  # type: ignore[type-arg]  # in the stubs only
    """A greenlet that does not remember from where it was spawned: there are many, all from the same place."""

    spawning_stack_limit = 0


def _spawn(function: Callable[..., object], name: str, *arguments: object) -> None:
    greenlet = _Greenlet.spawn(function, *arguments)
    greenlet.name = name


GREENLETS = Runtime(
    lock=_FairLock,
    rlock=_OwnedLock,
    condition=_Condition,
    ident=gevent.thread.get_ident,
    spawn=_spawn,
    serve=_spawn,
    domain=get_hub,
    selector=gevent.selectors.DefaultSelector,
    fair_lock=_FairLock,
    can_wait=lambda: gevent.getcurrent() is not get_hub(),
)
