"""A bell: wakes up whoever waits in a selector.

Any thread may ring, a signal handler too: nothing here waits, and no lock is taken.
"""

from __future__ import annotations

import _socket
import contextlib
import socket

__all__ = ["Bell"]

# Not those of a module that gevent has patched: nothing here waits.
_socketpair = getattr(_socket, "socketpair", socket.socketpair)


class Bell:
    """Two connected sockets; one is for the selector to wait for.

    :raises OSError: there are no descriptors left.
    """

    __slots__ = ("_ear", "_rings", "_rope")

    def __init__(self) -> None:
        self._rings = False
        ends: tuple[_socket.socket, _socket.socket] = _socketpair()
        self._ear, self._rope = ends
        for each in ends:
            each.setblocking(False)

    def fileno(self) -> int:
        """The descriptor that can be read from while the bell rings."""
        return self._ear.fileno()

    def ring(self) -> None:
        """Wake up the listener; nothing, if it is about to be."""
        if not self._rings:
            self._rings = True
            with contextlib.suppress(OSError):  # the listener has gone
                self._rope.send(b"\0")

    def hush(self) -> None:
        """Be ready to ring again; what it has rung for is to be looked at afterwards."""
        with contextlib.suppress(BlockingIOError):
            self._ear.recv(64)
        self._rings = False

    def close(self) -> None:
        """Give back the descriptors."""
        self._ear.close()
        self._rope.close()
