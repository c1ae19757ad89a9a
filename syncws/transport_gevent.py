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
from collections.abc import Callable
from typing import Any

import gevent
import gevent.monkey
import gevent.socket
from gevent.hub import get_hub

from .runtime_gevent import GREENLETS
from .transport import NOW, SocketBase, Transport, lost, receive, remaining

__all__ = ["GreenletTLSTransport", "GreenletTransport", "transport_for_greenlets"]

# As gevent's event loop wants them.
_READ, _WRITE = 1, 2
# How much there may be in a row that does not have to wait: so many messages written, or a sixteenth of that in reads,
# each of which may bring many messages to work on, and counts the more the more it brings: 2 KiB as much as a message.
_MOST_IN_A_ROW = 64
_A_READ = 4
_SIZE_OF_A_WRITE = 11  # bits
_TIMED_OUT = object()

# The class that is socket.socket where nothing is patched.
_NativeSocket: Any = gevent.monkey.get_original("socket", "socket")


def transport_for_greenlets(sock: Any) -> Transport:
    """Return the transport for a connected socket, native or gevent's, with or without TLS."""
    return GreenletTLSTransport(sock) if hasattr(sock, "do_handshake") else GreenletTransport(sock)


class _Readiness:
    """One watcher of a descriptor, which stays in the event loop from one wait to the next, and one greenlet at a time.

    Starting and stopping a watcher for each wait costs two system calls and most of the time of the wait. One that
    fires when nobody waits stops itself, and the next wait starts it again.
    """

    __slots__ = ("_hub", "_watcher", "greenlet")

    def __init__(self, descriptor: int, events: int) -> None:
        self._hub: Any = get_hub()
        self._watcher: Any = self._hub.loop.io(descriptor, events)
        self.greenlet: Any = None  # the one that waits

    def wait(self, deadline: float | None) -> bool:
        """Wait until the descriptor is ready, or has perhaps become so, or the deadline has passed: that is False."""
        if not self._watcher.active:
            self._watcher.start(self._on_ready)
        greenlet = self.greenlet = gevent.getcurrent()
        try:
            if deadline is None:
                self._hub.switch()
                return True
            # What has become ready goes before a deadline that passes in the same round of the event loop.
            timer = self._hub.loop.timer(remaining(deadline), priority=-1)
            try:
                timer.start(greenlet.switch, _TIMED_OUT, update=True)
                return self._hub.switch() is not _TIMED_OUT
            finally:
                timer.close()
        finally:
            # Whatever has woken it up, such as a kill: from now on it waits for something else, or is gone.
            self.greenlet = None

    def close(self) -> None:
        """Leave the event loop for good; must be called before the descriptor is closed."""
        self._watcher.close()

    def _on_ready(self) -> None:
        if self.greenlet is None:
            self._watcher.stop()
        else:
            self.greenlet.switch()


def _close(reading: _Readiness, writing: _Readiness | None) -> None:
    reading.close()
    if writing is not None:
        writing.close()


def _refuse(_: object) -> Any:
    raise OSError(errno.EBADF, os.strerror(errno.EBADF))


class _GreenletBase(SocketBase):
    """What a plain and a TLS socket have in common.

    :param native: what ``sock`` is without TLS and without gevent.
    :param receive: reads at most so many bytes without waiting.
    :param send: writes bytes without waiting.
    """

    runtime = GREENLETS
    _closed = True

    def __init__(self, sock: Any, native: Any, receive: Callable[[int], bytes], send: Callable[[Any], int]) -> None:
        super().__init__(sock)
        sock.setblocking(False)
        self._native = native
        self._receive = receive
        self._send = send
        self._reading = _Readiness(native.fileno(), _READ)
        self._writing: _Readiness | None = None  # most connections never need it
        self._in_a_row = 0  # operations since the last wait
        self._wanted = _WRITE  # what the latest try_send() that returned 0 has to wait for
        self._loop: Any = get_hub().loop
        self._closed = False

    def __del__(self) -> None:
        # Forgotten without close(): the next socket that gets the number of the descriptor must not meet our watchers.
        if not self._closed:
            self._loop.run_callback_threadsafe(_close, self._reading, self._writing)

    def recv(self, deadline: float | None = None) -> bytes:
        in_time = True
        while True:
            wanted = _READ
            if self._in_a_row < _MOST_IN_A_ROW:
                self._in_a_row += _A_READ
                try:
                    data = self._receive(self._recv_size)
                except (BlockingIOError, ssl.SSLWantReadError):
                    pass
                except ssl.SSLWantWriteError:
                    wanted = _WRITE
                except TimeoutError as error:
                    raise lost(error) from None
                else:
                    self._in_a_row += len(data) >> _SIZE_OF_A_WRITE
                    self._adapt(len(data))
                    return data
                if not in_time or deadline == NOW:
                    raise TimeoutError("timed out")
            # What arrives until the deadline is returned, whichever of the two the event loop has noticed first.
            in_time = self._wait_for(wanted, deadline)

    def try_send(self, data: bytes | memoryview) -> int:
        try:
            sent = self._send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            self._wanted = _WRITE
        except ssl.SSLWantReadError:
            self._wanted = _READ
        except TimeoutError as error:
            raise lost(error) from None
        else:
            self.sent += sent
            return sent
        return 0

    def send_all(self, data: bytes | memoryview, deadline: float | None = None) -> None:
        self.pause()
        rest = memoryview(data)
        in_time = True
        while rest and (rest := rest[self.try_send(rest) :]):
            if not in_time:
                raise TimeoutError("timed out")
            in_time = self._wait_for(self._wanted, deadline)

    def pause(self) -> None:
        self._in_a_row += 1
        if self._in_a_row > _MOST_IN_A_ROW and not self._closed and GREENLETS.can_wait():
            self._wait_for(_WRITE, NOW)

    def close(self) -> None:
        self._closed = True
        # OpenSSL would go on with the number of the descriptor, which may be another's in a moment.
        self._receive = self._send = _refuse
        _close(self._reading, self._writing)
        super().close()

    def _shutdown(self, how: int) -> None:
        # An error means that the connection is gone already, or closed here.
        with contextlib.suppress(OSError):
            _NativeSocket.shutdown(self._native, how)

    def _wait(self, events: int, deadline: float | None) -> None:
        if not self._wait_for(events, deadline):
            raise TimeoutError("timed out")

    def _wait_for(self, events: int, deadline: float | None) -> bool:
        """Return False if the deadline has passed first."""
        if self._closed:
            _refuse(events)
        self._in_a_row = 0
        if events == _READ and self._reading.greenlet is None:
            return self._reading.wait(deadline)
        if events == _WRITE:
            if self._writing is None:
                self._writing = _Readiness(self._native.fileno(), _WRITE)
            if self._writing.greenlet is None:
                return self._writing.wait(deadline)
        # For both, or for what another greenlet waits for already: TLS may have to read in order to write.
        readiness = _Readiness(self._native.fileno(), events)
        try:
            return readiness.wait(deadline)
        finally:
            readiness.close()


class GreenletTransport(_GreenletBase):
    """A plain stream socket, TCP or Unix. Takes the socket over: a native one, or gevent's, which is left empty."""

    def __init__(self, sock: Any) -> None:
        if isinstance(sock, gevent.socket.socket):
            sock = _NativeSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        super().__init__(sock, sock, functools.partial(receive, sock), sock.send)


class GreenletTLSTransport(_GreenletBase):
    """A TLS connection. Takes over an SSLSocket, gevent's or a native one.

    OpenSSL's objects must not be read and written at the same time. Here they are not, because no greenlet is left
    within a call, so both directions go on side by side without a lock.
    """

    secure = True

    def __init__(self, sock: Any) -> None:
        # What both kinds of SSLSocket wrap. Their own methods would wait, or return 0 for "would block".
        self._session = sock._sslobj
        self._write_ended = False
        super().__init__(sock, getattr(sock, "_sock", sock), self._session.read, self._session.write)

    def handshake(self, deadline: float | None = None) -> None:
        while True:
            try:
                self._session.do_handshake()
                return
            except ssl.SSLWantReadError:
                wanted = _READ
            except ssl.SSLWantWriteError:
                wanted = _WRITE
            except TimeoutError as error:
                raise lost(error) from None
            self._wait(wanted, deadline)

    def recv(self, deadline: float | None = None) -> bytes:
        if self._in_a_row >= _MOST_IN_A_ROW and self._session.pending():
            # The event loop knows only of what OpenSSL has not read yet.
            self._in_a_row = _MOST_IN_A_ROW - _A_READ
        try:
            return super().recv(deadline)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def shutdown_write(self) -> None:
        # As TLSTransport does: a close_notify (RFC 8446, 6.1), then past OpenSSL.
        if not self._write_ended:
            self._write_ended = True
            with contextlib.suppress(OSError, ValueError):
                self._session.shutdown()
            self._receive = functools.partial(_NativeSocket.recv, self._native)
        super().shutdown_write()


def _after_fork() -> None:
    # The child has inherited the greenlets as well, and its event loop would go on with them: they would take the
    # parent's bytes. close() ends nothing but what the child has; the connection is the parent's to serve.
    for each in gc.get_objects():
        if issubclass(type(each), _GreenletBase):
            each.close()


os.register_at_fork(after_in_child=_after_fork)
