"""Sends what connections have gathered, one millisecond later at the most, whatever their handlers do by then.

Frames are gathered while more messages wait for the same handler (:mod:`syncws.hot`). It may never come back for them:
it may sleep, compute, or wait for something else. So one thread of the process, a native one for greenlets as well,
looks every millisecond as long as anything is gathered. It writes what the socket takes, and waits for nothing.

A handler that computes has the GIL, and gives it up only at each of Python's switch intervals
(:func:`sys.getswitchinterval`, 5 ms); with greenlets the native thread gets its turn then as well.

What a socket has no room for stays where it is: the connection's handler, or the keeper, sees to it.

Any thread or greenlet may call :meth:`Coalescer.add`, which does not wait.
"""

from __future__ import annotations

import atexit
import importlib
import os
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from .runtime import Lock

__all__ = ["COALESCER", "Coalescer", "Sendable"]

# In seconds: how long what is gathered may wait.
_BOUND = 0.001
# So many times in a row there is nothing to be sent until the thread waits to be woken up, which costs those who send.
_IDLE_ROUNDS = 100


class Sendable(Protocol):
    """What has been gathered by a connection."""

    def flush(self) -> None:
        """Send what the socket takes. Nothing waits in it, and nothing is raised; called by a native thread."""


def _native(module: str, name: str) -> Any:
    """Return what gevent may have replaced by its own."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(importlib.import_module(module), name)


class Coalescer:
    """The thread, which starts when it is needed first, and what it is to look at.

    :ivar new_lock: makes a lock that native threads wait for.
    """

    def __init__(self) -> None:
        self.abandon()

    def flush(self) -> None:
        """Send what the sockets take of all that has been gathered."""
        with self._flushing:
            for _ in range(len(self._waiting)):  # what comes meanwhile has its millisecond still
                self._waiting.popleft().flush()

    def before_fork(self) -> None:
        """Come to a point where nothing is half done, which a child process would have to live with."""
        self._flushing.acquire()

    def after_fork(self) -> None:
        """Go on, in the parent process."""
        self._flushing.release()

    def abandon(self) -> None:
        """Forget everything, and the thread as well: after a fork it is the parent's."""
        self._waiting: deque[Sendable] = deque()
        self._running = False
        self._asleep = False
        self.new_lock: Callable[[], Lock] = _native("_thread", "allocate_lock")
        self._flushing = self.new_lock()  # held while others' locks may be held
        self._changing = self.new_lock()  # held by whoever starts the thread or wakes it up
        self._bell = self.new_lock()  # taken by the thread; whoever gives it back wakes it up

    def add(self, gathered: Sendable) -> bool:
        """See to it that what is gathered leaves in time; return False if the caller has to.

        There can be no more threads, or another caller is about to find out.
        """
        self._waiting.append(gathered)
        if self._running and not self._asleep:
            return True
        # Whoever has it already, such as the thread on its way to sleep, or what a calling signal handler has
        # interrupted, comes to what has just been added.
        if not self._changing.acquire(False):
            return self._running
        try:
            if not self._running:
                self._start()
            elif self._asleep:
                self._asleep = False
                self._bell.release()
            return self._running
        finally:
            self._changing.release()

    def _start(self) -> None:
        try:
            _native("_thread", "start_new_thread")(self._run, ())
            self._running = True
        except RuntimeError:  # there can be no more threads, and nobody has been told that one would come
            self._waiting.clear()

    def _run(self) -> None:
        sleep = _native("time", "sleep")
        idle = 0
        try:
            while True:
                sleep(_BOUND)
                idle = 0 if self._waiting else idle + 1
                self.flush()
                if idle > _IDLE_ROUNDS:
                    self._sleep()
                    idle = 0
        finally:
            # There is no memory, for example: the next one to be added starts another thread. Not before whoever has
            # started this one is done.
            with self._changing:
                self._running = False

    def _sleep(self) -> None:
        """Wait until something is gathered."""
        with self._changing:
            self._bell.acquire(False)
            self._asleep = True
        # Not before the lock is free again: whoever could not have it relies on this.
        if self._waiting:
            with self._changing:
                self._asleep = False
            return
        self._bell.acquire()


COALESCER = Coalescer()
atexit.register(COALESCER.flush)
os.register_at_fork(
    before=COALESCER.before_fork, after_in_parent=COALESCER.after_fork, after_in_child=COALESCER.abandon
)
