"""Blocking byte streams for threads: a plain socket. With TLS: :mod:`syncws.transport_tls`; for greenlets:
:mod:`syncws.transport_gevent`.

A :class:`Transport` is what a connection reads from and writes to. One thread at a time may be in ``recv``, and one at
a time in ``send_all`` or ``try_send``; reading and writing go on side by side. ``abort`` may be called from any thread:
it wakes those that are inside, and does nothing to a transport that is closed. ``close`` may be called only when no
thread reads or writes, because the operating system hands the descriptor's number to the next socket at once.

Deadlines are points in time of :func:`time.monotonic`, in seconds; ``None`` waits for ever. A deadline that passes
raises :class:`TimeoutError`, a lost connection any other :class:`OSError`. No bytes, ``b""``, mean that the peer has
ended its direction.
"""

from __future__ import annotations

import _socket
import math
import os
import select
import selectors
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from .descriptor import RECV_SIZE, Descriptor
from .hot import Stretch
from .runtime import THREADS, Runtime

__all__ = [
    "NOW",
    "RECV_SIZE",
    "SocketBase",
    "SocketTransport",
    "Transport",
    "lost",
    "remaining",
    "set_option",
    "transport_for",
]

# poll() knows no limit on descriptor numbers; select() is what Windows has.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
# A deadline that has always passed: recv() gives what there is, and greenlets do not let others run before that.
NOW = 0.0
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
# In seconds, 11 days: poll() takes no more than 24.
_LONGEST_WAIT = 1e6
_TCP = socket.IPPROTO_TCP
# Whether a descriptor waits. To set that takes longer, as other threads are let run meanwhile; Windows cannot tell.
_is_blocking: Callable[[int], bool] = os.get_blocking if os.name == "posix" else lambda number: False


class Transport(Protocol):
    """The contract that this module's docstring describes, for every kind of byte stream."""

    sock: socket.socket
    secure: bool
    remote_address: Any
    runtime: Runtime
    coalesces: bool  # try_send() may be called by the native thread of the coalescer, while no other thread writes

    @property
    def sent(self) -> int:
        """How many bytes the operating system has taken over, of what is written."""

    @property
    def stretch(self) -> Stretch | None:
        """What whoever writes messages is to count them in, when greenlets do it."""

    def pause(self) -> None:
        """Let other greenlets run; to be called before a message is written, if the stretch is long."""

    def handshake(self, deadline: float | None = None) -> None:
        """Run the TLS handshake, unless it is done already, or there is none to be done.

        :raises ssl.SSLError: the handshake failed.
        """

    def recv(self, deadline: float | None = None) -> bytes:
        """Wait for bytes and return them, at most RECV_SIZE; ``b""`` at the end of the stream."""

    def read(self) -> bytes | None:
        """Do what ``recv()`` does without a deadline, or return ``None`` when it is to be called again.

        Signal handlers should have their turn, or another greenlet waits for the same.
        """

    def send_all(self, data: bytes | memoryview, deadline: float | None = None) -> None:
        """Write all of ``data``."""

    def try_send(self, data: bytes | memoryview) -> int:
        """Write as much as is possible without waiting, and return how many bytes that was."""

    def try_send_both(self, head: bytes, tail: bytes) -> int:
        """Do what ``try_send`` does for one behind the other, without putting them together if that can be."""

    def wait_ready(self, deadline: float | None = None) -> None:
        """Wait until there is something to read or room to write."""

    def abort(self) -> None:
        """End both directions now; threads inside see the end of the stream, or an OSError."""

    def shutdown_write(self) -> None:
        """End our direction: the peer sees the end of the stream after the last byte that was written.

        ``recv`` goes on to say when the peer ends its own; over TLS, what it returns until then is of no use.
        """

    def close(self) -> None:
        """Give back the descriptor."""


def transport_for(sock: socket.socket, remote_address: Any = None) -> Transport:
    """Return the transport for a connected socket, by its type: for greenlets, if it is one of gevent's.

    :param remote_address: the peer's address, if that is known; else the socket is asked for it.
    """
    # Those wrap a native socket. Where gevent has patched the standard library, every socket is one of them.
    if not isinstance(sock, _socket.socket):
        from .transport_gevent import transport_for_greenlets

        return transport_for_greenlets(sock, remote_address)
    # It takes a while to load, and if nobody has done so there is no such socket.
    secure = getattr(sys.modules.get("ssl"), "SSLSocket", None)
    if secure is not None and isinstance(sock, secure):
        from .transport_tls import TLSTransport

        return TLSTransport(sock)
    return SocketTransport(sock, remote_address)


def remaining(deadline: float | None) -> float | None:
    """Return the seconds until ``deadline``, 0 to a million, which is as long as a wait can be; ``None`` for none."""
    return None if deadline is None else min(max(0.0, deadline - time.monotonic()), _LONGEST_WAIT)


def lost(error: TimeoutError) -> OSError:
    """Return the error for a connection that the operating system has given up."""
    # ETIMEDOUT of the operating system is a TimeoutError as well, but means that the peer's machine does not answer.
    return ConnectionAbortedError(error.errno, error.strerror)


def set_option(sock: socket.socket, option: int, value: int) -> None:
    """Set an option of TCP, unless the socket is another's, or the peer has gone already."""
    try:
        sock.setsockopt(_TCP, option, value)
    except OSError:
        return


def _peer_of(sock: socket.socket) -> Any:
    try:
        return sock.getpeername()
    except OSError:  # the peer has gone already: reading will tell
        return None


class SocketBase:
    """What a plain and a TLS socket have in common.

    :param remote_address: as for :func:`transport_for`.
    """

    secure = False
    runtime = THREADS
    coalesces = False
    stretch: Stretch | None = None

    def __init__(self, sock: socket.socket, remote_address: Any = None) -> None:
        self.sock = sock
        self._poll: select.poll | None = None
        # Held by abort() and close(): between them the descriptor may become another's. A signal handler may abort().
        self._ending = self.runtime.rlock()
        self.remote_address = _peer_of(sock) if remote_address is None else remote_address
        # A frame is written as a whole, so waiting for more of it to come (Nagle) only delays it.
        set_option(sock, socket.TCP_NODELAY, 1)

    def handshake(self, deadline: float | None = None) -> None:
        pass

    def pause(self) -> None:
        pass

    def recv(self, deadline: float | None = None) -> bytes:
        raise NotImplementedError

    def try_send(self, data: bytes | memoryview) -> int:
        raise NotImplementedError

    def try_send_both(self, head: bytes, tail: bytes) -> int:
        return self.try_send(head + tail)

    def read(self) -> bytes | None:
        raise NotImplementedError

    def wait_ready(self, deadline: float | None = None) -> None:
        self._wait(_READ | _WRITE, deadline)

    def abort(self) -> None:
        self._shutdown(socket.SHUT_RDWR)

    def shutdown_write(self) -> None:
        self._shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with self._ending:
            self.sock.close()

    def _shutdown(self, how: int) -> None:
        with self._ending:
            try:
                # Not SSLSocket.shutdown(): that one drops the TLS state, and a reader would see ciphertext as data.
                socket.socket.shutdown(self.sock, how)
            except OSError:
                return  # the connection is gone already, which is what was wanted

    def _wait(self, events: int, deadline: float | None) -> None:
        with _Selector() as selector:
            selector.register(self.sock, events)
            if not selector.select(remaining(deadline)):
                raise TimeoutError("timed out")

    def _wait_to_read(self, deadline: float | None) -> None:
        # Only one thread reads, so what it waits with can be kept: making that takes longer than the system call.
        if not hasattr(select, "poll"):  # Windows
            self._wait(_READ, deadline)
            return
        poll = self._poll
        if poll is None:
            poll = self._poll = select.poll()
            poll.register(self.sock, select.POLLIN)
        left = remaining(deadline)
        # Rounded up: it would come back too early, to find that there is time left.
        if not poll.poll(None if left is None else math.ceil(left * 1000)):
            raise TimeoutError("timed out")


class SocketTransport(SocketBase):
    """A plain stream socket, TCP or Unix. Takes the socket over and puts it into blocking mode."""

    coalesces = True

    def __init__(self, sock: socket.socket, remote_address: Any = None) -> None:
        super().__init__(sock, remote_address)
        if sock.gettimeout() is not None or not _is_blocking(sock.fileno()):
            sock.setblocking(True)
        self._descriptor = Descriptor(sock)
        self.read = self._descriptor.recv  # type: ignore[method-assign]
        self.try_send = self._descriptor.send  # type: ignore[method-assign]
        self.try_send_both = self._descriptor.send_both  # type: ignore[method-assign]

    @property
    def sent(self) -> int:
        return self._descriptor.sent

    def recv(self, deadline: float | None = None) -> bytes:
        read = self._descriptor.recv if deadline is None else self._descriptor.recv_now
        while True:
            data = read()
            if data is not None:
                return data
            if deadline is not None:
                self._wait_to_read(deadline)

    def send_all(self, data: bytes | memoryview, deadline: float | None = None) -> None:
        if (sent := self.try_send(data)) == len(data):
            return
        rest = memoryview(data)[sent:]
        while rest:
            self._wait(_WRITE, deadline)
            rest = rest[self.try_send(rest) :]

    def close(self) -> None:
        self._descriptor.close()
        super().close()
