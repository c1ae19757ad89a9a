"""What runs the code of a connection: threads or greenlets; their locks and how they are started.

A :class:`Runtime` gives the primitives that must fit together. Which one a connection has, its transport says
(:attr:`syncws.transport.Transport.runtime`): code that waits for a greenlet's connection with a lock of threads would
stop the event loop that is to wake it up. :data:`THREADS` is here, the one for greenlets in
:mod:`syncws.runtime_gevent`.
"""

from __future__ import annotations

import selectors
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .runtime_threads import serve

__all__ = ["THREADS", "Condition", "Lock", "Runtime", "is_killed"]


class Lock(Protocol):
    """What is used of a :class:`threading.Lock`."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def locked(self) -> bool: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *_: Any) -> None: ...


class Condition(Protocol):
    """What is used of a :class:`threading.Condition` with a lock of its own."""

    def wait(self, timeout: float | None = None) -> bool: ...
    def notify_all(self) -> None: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *_: Any) -> None: ...


class Spawn(Protocol):
    """How a thread or greenlet is started."""

    def __call__(self, function: Callable[..., object], name: str, *arguments: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """The primitives of threads or of greenlets.

    :ivar lock: makes a lock.
    :ivar rlock: makes a lock that its owner may take again.
    :ivar condition: makes a condition.
    :ivar ident: returns a number for the calling thread or greenlet, never 0.
    :ivar spawn: runs a function in a thread or greenlet of its own, under a name, with the arguments that follow; the
        process does not wait for it at its end. :class:`RuntimeError`: there can be no more of them.
    :ivar serve: does the same, perhaps in a thread that has served others, and perhaps keeps it for others.
    :ivar domain: returns what those have in common that may wait for one another with these primitives: the process,
        or the event loop of the calling thread. The same object each time, which can be referred to weakly.
    :ivar selector: makes a selector.
    """

    lock: Callable[[], Lock]
    rlock: Callable[[], Any]
    condition: Callable[[], Condition]
    ident: Callable[[], int]
    spawn: Spawn
    serve: Spawn
    domain: Callable[[], object]
    selector: Callable[[], selectors.BaseSelector]
    fair_lock: Callable[[], Lock] = threading.Lock
    can_wait: Callable[[], bool] = lambda: True


class _Process:
    """The domain of all threads."""


_PROCESS = _Process()


# Give it a function, and the object as its argument, rather than a method that is bound to the object: to call that
# takes more of the thread's stack, for as long as it runs.
def _start_thread(function: Callable[..., object], name: str, *arguments: object) -> None:
    threading.Thread(target=function, name=name, args=arguments, daemon=True).start()


# Compiled code takes it many times for each message.
try:
    from ._thread_lock import ThreadLock
except ModuleNotFoundError:
    ThreadLock = threading.Lock  # type: ignore[assignment, misc]

THREADS = Runtime(
    lock=ThreadLock,
    rlock=threading.RLock,
    condition=threading.Condition,
    ident=threading.get_ident,
    spawn=_start_thread,
    serve=serve,
    domain=lambda: _PROCESS,
    selector=selectors.DefaultSelector,
)


def is_killed(error: BaseException | None) -> bool:
    """Whether an exception is the end of a greenlet that somebody has killed, which is nobody's failure."""
    greenlet = sys.modules.get("greenlet")  # if nobody has imported it, there is none
    return greenlet is not None and isinstance(error, greenlet.GreenletExit)
