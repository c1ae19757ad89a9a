"""Threads that serve one connection after another; :data:`syncws.runtime.THREADS` starts them.

To start a thread takes as long as a third of what there is to be done for a connection that is soon closed. So one that
has served a connection waits for the next one, for a second, and then ends; only a few wait.

What a function leaves behind in its thread is not there for the next one, nor does it stay: after a function that has
used a :class:`threading.local`, has set a context variable or an attribute of its thread, or traces or profiles it, the
thread ends. Only the compiled build can tell all of it, so in the other there is a new thread for each function.

Any thread may call :func:`serve`, which does not wait.
"""

from __future__ import annotations

import _thread
import contextvars
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

try:
    from ._thread_state import has_locals
except ModuleNotFoundError:

    def has_locals() -> bool:
        """Whether something may be kept for the calling thread, such as the values of a :class:`threading.local`."""
        return True


__all__ = ["serve"]

# So many threads wait at the most, each so long, in seconds.
_MOST = 16
_PATIENCE = 1.0

_ATTRIBUTES = {*vars(threading.Thread(name="syncws-none")), "bell", "job"}  # that a thread has from here
_idle: list[_Worker] = []  # the latest, whose memory is most likely still in the processor's cache, is the next


class _Worker(threading.Thread):
    """A thread that calls a function, and then perhaps others.

    :ivar job: the function and its arguments; to be set before the thread starts, or before :attr:`bell` is released.
    :ivar bell: the thread waits for it.
    """

    job: tuple[Callable[..., object], tuple[Any, ...]] | None
    bell: Any

    def run(self) -> None:
        """Call functions. What one raises ends the thread, as with others."""
        # Called from here, not from a method: the thread's stack is no deeper than that of any thread.
        while self.job is not None:
            function, arguments = self.job
            self.job = None
            trace, profile = sys.gettrace(), sys.getprofile()
            function(*arguments)
            del function, arguments
            if sys.gettrace() is not trace or sys.getprofile() is not profile:
                return
            if not _is_clean(self) or len(_idle) >= _MOST:
                return
            _wait(self)


def _is_clean(worker: _Worker) -> bool:
    """Whether nothing is kept for the calling thread that a function has left behind."""
    # Where gevent's is in its place, the values are somewhere else.
    if threading.local is not _thread._local or has_locals() or contextvars.copy_context():
        return False
    return vars(worker).keys() <= _ATTRIBUTES


def _wait(worker: _Worker) -> None:
    """Wait for the next job, or until patience ends."""
    if not hasattr(worker, "bell"):
        worker.bell = threading.Lock()
        worker.bell.acquire()
    _idle.append(worker)
    if not worker.bell.acquire(timeout=_PATIENCE):
        try:
            _idle.remove(worker)
        except ValueError:  # somebody has taken it out, and is about to bring a job
            worker.bell.acquire()


def serve(function: Callable[..., object], name: str, *arguments: object) -> None:
    """Call a function as :attr:`syncws.runtime.Runtime.spawn` does, perhaps in a thread that has served before."""
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker(name=name, daemon=True)
        worker.job = function, arguments
        worker.start()
        return
    try:
        if worker.name != name:
            worker.name = name
        worker.job = function, arguments
    finally:  # a signal handler may have raised: without a job, the thread ends
        worker.bell.release()


# A child process has none of the threads.
os.register_at_fork(after_in_child=_idle.clear)
