"""Connections that a server refuses: they get a short answer, and nobody waits for them.

A socket that is closed right behind an answer may send a reset, because the client's request arrives when nobody reads
it any more, and the client may never see the answer (RFC 9112, 9.6). So it stays open for a moment, and what arrives
is dropped. :class:`Refusals` belongs to the thread of an accept loop; none of its methods waits or raises.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time

__all__ = ["Refusals"]

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

    def __enter__(self) -> Refusals:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in list(self._kept):
            self._close(sock)

    def add(self, sock: socket.socket, response: bytes) -> None:
        """Answer with ``response`` as far as the socket takes it, which it does with a short one, and say goodbye."""
        if len(self._kept) == _KEPT:
            self._close(next(iter(self._kept)))
        self._kept[sock] = time.monotonic() + _KEPT_FOR
        self._selector.register(sock, selectors.EVENT_READ, sock)
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # the client has gone; reading will tell
            sock.send(response)
            sock.shutdown(socket.SHUT_WR)

    def on_readable(self, sock: socket.socket) -> None:
        """Drop what a client has sent; close the socket if there will be no more."""
        if sock not in self._kept:
            return  # closed meanwhile, to make room for another
        try:
            ended = not sock.recv(65536)
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        if ended:
            self._close(sock)

    def expire(self) -> None:
        """Close the sockets whose time is over."""
        now = time.monotonic()
        for sock in [sock for sock, until in self._kept.items() if until <= now]:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        del self._kept[sock]
        self._selector.unregister(sock)
        sock.close()
