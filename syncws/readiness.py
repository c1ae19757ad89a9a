"""Waiting for a descriptor on gevent's event loop, and reading from one as soon as there is something.

One greenlet at a time may be in each of what is here, of those of the event loop in which it was made. A greenlet may
be killed, or a :class:`gevent.Timeout` raised in it, while it waits: then it has left nothing behind that would wake it
up later. This module is compiled where that is possible.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import greenlet
from gevent.hub import get_hub

from .hot import LONGEST_STRETCH, Stretch
from .transport import remaining

if TYPE_CHECKING:
    from .descriptor import Descriptor
    from .transport_session import Session

__all__ = ["A_READ", "READ", "SIZE_OF_A_WRITE", "WRITE", "Readiness", "Reading"]

# As gevent's event loop wants them.
READ, WRITE = 1, 2
# A read counts the more the more it brings: 2 KiB as much as a message.
A_READ = 4
SIZE_OF_A_WRITE = 11  # bits
_TIMED_OUT = object()
# gevent's own switch() looks each time whether it is the event loop that is to be left, by an attribute that only that
# one has; here that is known.
_switch = greenlet.greenlet.switch
_current = greenlet.getcurrent


class Readiness:
    """One watcher of a descriptor, which stays in the event loop from one wait to the next, and one greenlet at a time.

    Starting and stopping a watcher for each wait costs two system calls and most of the time of the wait. One that
    fires when nobody waits stops itself, and the next wait starts it again.
    """

    __slots__ = ("_active", "_descriptor", "_events", "_hub", "_watcher", "greenlet")

    _active: bool  # the watcher is in the event loop
    _descriptor: int
    _events: int
    _hub: Any
    _watcher: Any  # made by the first wait: a short connection may need none
    greenlet: Any  # the one that waits

    def __init__(self, descriptor: int, events: int) -> None:
        self._hub = get_hub()
        self._descriptor, self._events = descriptor, events
        self._watcher = None
        self._active = False
        self.greenlet = None

    def wait(self, deadline: float | None) -> bool:
        """Wait until the descriptor is ready, or has perhaps become so, or the deadline has passed: that is False."""
        if not self._active:
            if self._watcher is None:
                self._watcher = self._hub.loop.io(self._descriptor, self._events)
            self._watcher.start(self._on_ready)
            self._active = True
        waiting = self.greenlet = _current()
        hub = self._hub
        try:
            if waiting is hub:
                hub.switch()  # which says that the event loop cannot wait for itself
            if deadline is None:
                _switch(hub)
                return True
            # What has become ready goes before a deadline that passes in the same round of the event loop.
            timer = hub.loop.timer(remaining(deadline), priority=-1)
            try:
                timer.start(waiting.switch, _TIMED_OUT, update=True)
                return _switch(hub) is not _TIMED_OUT
            finally:
                timer.close()
        finally:
            # Whatever has woken it up, such as a kill: from now on it waits for something else, or is gone.
            self.greenlet = None

    def close(self) -> None:
        """Leave the event loop for good; must be called before the descriptor is closed."""
        self._active, self._descriptor = False, -1  # from now on, a wait is a ValueError
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            with contextlib.suppress(ValueError):  # the loop has ended, and its watchers with it
                watcher.close()

    def _on_ready(self) -> None:
        if self.greenlet is None:
            self._watcher.stop()
            self._active = False
        else:
            try:
                _switch(self.greenlet)
            except BaseException:
                # Of a greenlet that gevent has not spawned, or only raw. The event loop stops a watcher that raises.
                self._active = False
                raise


class Reading:
    """Reads from a descriptor.

    :param descriptor: of a socket, or the TLS over it.
    :param readable: waits for it.
    :param stretch: counts what is read.
    """

    __slots__ = ("_descriptor", "_readable", "_stretch")

    def __init__(self, descriptor: Descriptor | Session, readable: Readiness, stretch: Stretch) -> None:
        self._descriptor = descriptor
        self._readable = readable
        self._stretch = stretch

    def read_now(self) -> bytes | None:
        """Return what has arrived; ``None`` if nothing has, or if others should run before.

        :raises OSError: the connection was lost, or is closed.
        """
        stretch = self._stretch
        if stretch.count >= LONGEST_STRETCH:
            return None
        data = self._descriptor.recv_now()
        stretch.count += A_READ
        if data is not None:
            stretch.count += len(data) >> SIZE_OF_A_WRITE
        return data

    def read(self) -> bytes | None:
        """Wait for bytes and return them; ``None`` if another greenlet waits for them, or perhaps nothing has come.

        :raises OSError: the connection was lost, or is closed.
        """
        # What has brought less than it could has left nothing behind, and the event loop tells what comes.
        if self._descriptor.filled:
            data = self.read_now()
            if data is not None:
                return data
        if self._readable.greenlet is not None:
            return None
        self._stretch.count = 0
        self._readable.wait(None)
        return self.read_now()
