"""Blocking byte streams for greenlets: the contract of :mod:`syncws.transport`, on gevent's event loop.

What is said there of threads holds here for the greenlets of one event loop, the one of the thread in which the
transport was made. Each operation is tried first and waits only when the socket has nothing for it, and each wait goes
through the event loop, one whose deadline has passed as well. A greenlet that never has to wait is made to now and
then, so that the others get their turn.

A greenlet may be killed, or a :class:`gevent.Timeout` raised in it, in any wait: what has been received by then has
been returned, and nobody is left behind in the event loop who would wake it up later. Only of ``send_all`` nobody can
say how much it has sent.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import os
import ssl
from typing import Any

import gevent
import gevent.monkey
import gevent.socket
from gevent.hub import get_hub

from .descriptor import Descriptor
from .hot import LONGEST_STRETCH, Stretch
from .readiness import A_READ, READ, WRITE, Readiness, Reading
from .runtime_gevent import GREENLETS
from .transport import NOW, SocketBase, Transport
from .transport_session import Plain, Session

__all__ = ["GreenletTLSTransport", "GreenletTransport", "transport_for_greenlets"]

# The class that is socket.socket where nothing is patched.
_NativeSocket: Any = gevent.monkey.get_original("socket", "socket")


def transport_for_greenlets(sock: Any, remote_address: Any = None) -> Transport:
    """Return the transport for a connected socket, native or gevent's, with or without TLS.

    :param remote_address: as for :func:`syncws.transport.transport_for`.
    """
    return GreenletTLSTransport(sock) if hasattr(sock, "do_handshake") else GreenletTransport(sock, remote_address)


def _close(readable: Readiness, writable: Readiness | None) -> None:
    readable.close()
    if writable is not None:
        writable.close()


class _GreenletBase(SocketBase):
    """What a plain and a TLS socket have in common.

    :param native: what ``sock`` is without TLS and without gevent.
    """

    runtime = GREENLETS
    _closed = True
    _wanted_to_read = READ  # what _read_now() that returned None has to wait for
    _wanted_to_write = WRITE  # and try_send() that returned 0

    def __init__(self, sock: Any, native: Any, remote_address: Any = None) -> None:
        super().__init__(sock, remote_address)
        sock.setblocking(False)
        self._native = native
        self.stretch: Stretch = Stretch()
        self._readable = Readiness(native.fileno(), READ)
        self._writable: Readiness | None = None  # most connections never need it
        self._loop: Any = get_hub().loop
        self._closed = False

    def __del__(self) -> None:
        # Forgotten without close(): the next socket that gets the number of the descriptor must not meet our watchers.
        if not self._closed:
            self._loop.run_callback_threadsafe(_close, self._readable, self._writable)

    def _read_now(self) -> bytes | None:
        """Return what can be read without waiting; ``None`` if there is nothing, or the stretch is long."""
        raise NotImplementedError

    def try_send(self, data: bytes | memoryview) -> int:
        """See :meth:`syncws.transport.Transport.try_send`."""
        raise NotImplementedError

    def recv(self, deadline: float | None = None) -> bytes:
        in_time = True
        while True:
            tried = self.stretch.count < LONGEST_STRETCH
            data = self._read_now()
            if data is not None:
                return data
            if tried and (not in_time or deadline == NOW):
                raise TimeoutError("timed out")
            # What arrives until the deadline is returned, whichever of the two the event loop has noticed first.
            in_time = self._wait_for(self._wanted_to_read if tried else READ, deadline)

    def send_all(self, data: bytes | memoryview, deadline: float | None = None) -> None:
        self.stretch.count += 1
        if self.stretch.count > LONGEST_STRETCH:
            self.pause()
        rest = memoryview(data)
        in_time = True
        while rest and (rest := rest[self.try_send(rest) :]):
            if not in_time:
                raise TimeoutError("timed out")
            in_time = self._wait_for(self._wanted_to_write, deadline)

    def pause(self) -> None:
        if not self._closed and GREENLETS.can_wait():
            self._wait_for(WRITE, NOW)

    def close(self) -> None:
        self._closed = True
        _close(self._readable, self._writable)
        super().close()

    def _shutdown(self, how: int) -> None:
        try:
            _NativeSocket.shutdown(self._native, how)
        except OSError:
            return  # the connection is gone already, or closed here

    def _wait(self, events: int, deadline: float | None) -> None:
        if not self._wait_for(events, deadline):
            raise TimeoutError("timed out")

    def _wait_for(self, events: int, deadline: float | None) -> bool:
        """Return False if the deadline has passed first."""
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.stretch.count = 0
        if events == READ and self._readable.greenlet is None:
            return self._readable.wait(deadline)
        if events == WRITE:
            if self._writable is None:
                self._writable = Readiness(self._native.fileno(), WRITE)
            if self._writable.greenlet is None:
                return self._writable.wait(deadline)
        # For both, or for what another greenlet waits for already: TLS may have to read in order to write.
        readiness = Readiness(self._native.fileno(), events)
        try:
            return readiness.wait(deadline)
        finally:
            readiness.close()


class GreenletTransport(_GreenletBase):
    """A plain stream socket, TCP or Unix. Takes the socket over: a native one, or gevent's, which is left empty."""

    coalesces = True

    def __init__(self, sock: Any, remote_address: Any = None) -> None:
        if isinstance(sock, gevent.socket.socket):
            sock = _NativeSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        super().__init__(sock, sock, remote_address)
        self._descriptor = Descriptor(sock)
        self._reading = Reading(self._descriptor, self._readable, self.stretch)
        self.read = self._reading.read  # type: ignore[method-assign]
        self._read_now = self._reading.read_now  # type: ignore[method-assign]
        self.try_send = self._descriptor.send  # type: ignore[method-assign]
        self.try_send_both = self._descriptor.send_both  # type: ignore[method-assign]

    @property
    def sent(self) -> int:
        return self._descriptor.sent

    def close(self) -> None:
        self._descriptor.close()
        super().close()


class GreenletTLSTransport(_GreenletBase):
    """A TLS connection. Takes over an SSLSocket, gevent's or a native one.

    No greenlet is left within a call of OpenSSL, so nothing is locked.
    """

    secure = True

    def __init__(self, sock: Any) -> None:
        # What both kinds of SSLSocket wrap. Their own methods would wait, or return 0 for "would block".
        self._tls = sock._sslobj
        self._session = Session(self._tls)
        self._write_ended = False
        super().__init__(sock, getattr(sock, "_sock", sock))
        self._reading = Reading(self._session, self._readable, self.stretch)

    @property
    def sent(self) -> int:
        return self._session.sent

    @property
    def _wanted_to_write(self) -> int:  # type: ignore[override]
        return self._session.blocked_by

    def handshake(self, deadline: float | None = None) -> None:
        while wanted := self._session.handshake_now():
            self._wait(wanted, deadline)

    # What has been interrupted by a signal handler is found on the stack: so these are methods, not those they call.

    def read(self) -> bytes | None:
        if self.stretch.count >= LONGEST_STRETCH:
            return self.recv()
        try:
            return self._reading.read()
        except ssl.SSLWantWriteError:
            return None

    def recv(self, deadline: float | None = None) -> bytes:
        if self.stretch.count >= LONGEST_STRETCH and not self._closed and self._tls.pending():
            # The event loop knows only of what OpenSSL has not read yet.
            self.stretch.count = LONGEST_STRETCH - A_READ
        if deadline is None and not self._session.filled:
            self._wait_for(READ, None)
        return super().recv(deadline)

    def _read_now(self) -> bytes | None:
        try:
            data = self._reading.read_now()
        except ssl.SSLWantWriteError:
            self._wanted_to_read = WRITE
            return None
        self._wanted_to_read = READ
        return data

    def try_send(self, data: bytes | memoryview) -> int:
        return self._session.send(data)

    def shutdown_write(self) -> None:
        # As TLSTransport does: a close_notify (RFC 8446, 6.1), then past OpenSSL.
        if not self._write_ended:
            self._write_ended = True
            with contextlib.suppress(OSError, ValueError):
                self._tls.shutdown()
            if not self._closed:
                self._session.replace(Plain(functools.partial(_NativeSocket.recv, self._native)))
        super().shutdown_write()

    def close(self) -> None:
        self._session.close()
        super().close()


def _after_fork() -> None:
    # The child has inherited the greenlets as well, and its event loop would go on with them: they would take the
    # parent's bytes. close() ends nothing but what the child has; the connection is the parent's to serve.
    for each in gc.get_objects():
        if issubclass(type(each), _GreenletBase):
            each.close()


os.register_at_fork(after_in_child=_after_fork)
