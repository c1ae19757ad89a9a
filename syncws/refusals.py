"""Connections that a server refuses: they get a short answer, and nobody waits for them.

A socket that is closed right behind an answer may send a reset, because the client's request arrives when nobody reads
it any more, and the client may never see the answer (RFC 9112, 9.6). So it stays open for a moment, and what arrives
is dropped. :class:`Refusals` belongs to the thread of an accept loop; none of its methods waits or raises. They have
what they need beforehand, as far as that is possible: memory may be what there is not enough of.

It also has a spare descriptor. When the process has run out of them, the spare one is given back, a client is accepted
in its place, and refused, rather than left in the queue until it gives up.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time

__all__ = ["BUSY", "Refusals"]

# The answer of those who have no memory for one. RFC 9110, 6.6.1: a 503 need not have a Date.
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

# How long a refused connection is kept, in seconds, and how many of them; then the oldest is closed.
_KEPT_FOR = 1.0
_KEPT = 100


class Refusals:
    """Refused connections, until their clients have closed them.

    :param selector: the accept loop's. The sockets are registered with themselves as data; when one of them is
        ready, the loop calls :meth:`on_readable`.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._kept: dict[socket.socket, float] = {}  # until when, in order
        self._spare: int | None = None
        self._bin = bytearray(65536)  # for what is dropped

    def __enter__(self) -> Refusals:
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self._close_all()
        self.lend()

    def add(self, sock: socket.socket, response: bytes) -> None:
        """Answer with ``response`` as far as the socket takes it, which it does with a short one, and say goodbye."""
        if sock in self._kept or sock.fileno() == -1:
            return  # it has got its answer, and memory has run out after that
        if len(self._kept) == _KEPT:
            self._close(next(iter(self._kept)))
        with contextlib.suppress(OSError):  # the client has gone; reading will tell
            sock.setblocking(False)
            sock.send(response)
            sock.shutdown(socket.SHUT_WR)
        try:
            self._kept[sock] = time.monotonic() + _KEPT_FOR
            self._selector.register(sock, selectors.EVENT_READ, sock)
        except MemoryError:
            self._kept.pop(sock, None)
            self._drop(sock)

    def on_readable(self, sock: socket.socket) -> None:
        """Drop what a client has sent; close the socket if there will be no more."""
        if sock not in self._kept:
            return  # closed meanwhile, to make room for another
        try:
            ended = not sock.recv_into(self._bin)
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        if ended:
            self._close(sock)

    def give_way(self) -> bool:
        """Close all of them, because there are no descriptors for others; return whether there are some now."""
        had = len(self._kept) + (self._spare is not None)
        self._close_all()
        return had > self.restore()

    def lend(self) -> bool:
        """Give a descriptor back, for one client that is then refused; return whether there was one to give.

        It is the spare one, or that of the client before.
        """
        if self.restore():
            assert self._spare is not None
            os.close(self._spare)
            self._spare = None
        elif self._kept:
            self._close(next(iter(self._kept)))
        else:
            return False
        return True

    def expire(self) -> None:
        """Close the sockets whose time is over; have a spare descriptor again, if there is one."""
        now = time.monotonic()
        for sock in [sock for sock, until in self._kept.items() if until <= now]:
            self._close(sock)
        self.restore()

    def restore(self) -> bool:
        """Have a spare descriptor again, if there is one to be had; return whether that is so."""
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY)
        return self._spare is not None

    def _close_all(self) -> None:
        for sock in list(self._kept):
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        del self._kept[sock]
        self._selector.unregister(sock)
        self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.recv_into(self._bin)  # what nobody has read makes a reset of the end
        sock.close()
