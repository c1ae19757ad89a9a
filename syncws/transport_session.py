"""Reading and writing a TLS connection without waiting: what its transports for threads and for greenlets share.

A :class:`Session` is to them what a :class:`~syncws.descriptor.Descriptor` is to those without TLS. OpenSSL reads no
further than to the end of a record, so that the system tells whether there is another one: a read that could have
brought more has left nothing behind.

OpenSSL's objects must not be read and written at the same time. Greenlets do not: none is left within a call. With
threads, in a :class:`SharedSession`, a lock guards each call; nobody waits while it is held, so neither direction holds
up the other. A signal handler may run with it held, but never within OpenSSL; it may send.

One thread at a time may be in :meth:`~Session.recv_now`, and one at a time in :meth:`~Session.send`;
:meth:`~Session.close` may be called only when no thread is in any of them. This module is compiled where that is
possible.
"""

from __future__ import annotations

import errno
import os
import ssl
from typing import Any

from .transport import lost

__all__ = ["READ", "WRITE", "Plain", "Session", "SharedSession"]

# What there is to be waited for, for selectors and for gevent's event loop.
READ, WRITE = 1, 2
# How many bytes one call asks for at first, and at the most. A block of memory is made of that size, and cut off; the
# smaller one is faster. With blocks of just a record, 150 threads that had echoed 1 MiB each kept 20 MiB more.
_LEAST, _MOST = 448, 28672
# One call brings no more than a record (RFC 8446, 5.1); behind a full one there is most likely another.
_RECORD = 16384
_WantRead, _WantWrite = ssl.SSLWantReadError, ssl.SSLWantWriteError
# What ssl says of a read that has brought nothing, if a signal handler has sent before it looks why.
_MIXED_UP = int(ssl.SSL_ERROR_INVALID_ERROR_CODE)
# With the second one, the TCP connection has ended without a word of TLS: WebSocket has a close frame of its own.
_Ended = (ssl.SSLZeroReturnError, ssl.SSLEOFError)


class Session:
    """The TLS of a connection, over a socket that does not block.

    :param tls: has ``read(size)`` and ``write(data)``, which raise what OpenSSL wants to wait for.
    :ivar filled: the latest read has brought as much as it could, so that there may be more.
    :ivar sent: how many bytes OpenSSL has taken over, in front of encryption.
    :ivar blocked_by: what a :meth:`send` that has returned 0 is to wait for, READ or WRITE.
    """

    __slots__ = ("_size", "_tls", "blocked_by", "filled", "sent")

    def __init__(self, tls: Any) -> None:
        self._tls = tls
        self._size = _LEAST
        self.blocked_by = WRITE
        self.filled = True
        self.sent = 0

    def handshake_now(self) -> int:
        """Go on with the handshake; return what it has to wait for, READ or WRITE, and 0 when it is done.

        :raises ssl.SSLError: it has failed.
        :raises OSError: the connection was lost, or is closed.
        """
        try:
            self._tls.do_handshake()
            return 0
        except _WantRead:
            return READ
        except _WantWrite:
            return WRITE
        except TimeoutError as error:
            raise lost(error) from None

    def recv_now(self) -> bytes | None:
        """Return what has arrived, ``b""`` at the end of the stream, ``None`` if nothing has, or not a whole record.

        :raises ssl.SSLWantWriteError: OpenSSL has something to write before it goes on, and there is no room; the next
            one is to be called when there is.
        :raises OSError: the connection was lost, or is closed.
        """
        size = self._size
        try:
            data: bytes = self._tls.read(size)
        except (_WantRead, BlockingIOError):
            self.filled = False
            return None
        except _WantWrite:
            self.filled = True
            raise
        except _Ended:
            self.filled = True
            return b""
        except (TimeoutError, ValueError) as error:
            raise _as_lost(error) from None
        except ssl.SSLError as error:
            if error.errno != _MIXED_UP:
                raise
            return Session.recv_now(self)  # it says so again
        received = len(data)
        # More next time, or less, by how much of what was asked for has come.
        self.filled = received == size or received == _RECORD or not received  # the next one finds the end as well
        if received == size:
            self._size = min(_MOST, size * 4)
        elif received * 16 < size:
            self._size = max(_LEAST, size // 4)
        return data

    def send(self, data: bytes | memoryview) -> int:
        """Write as much as is possible without waiting, and return how many bytes that was.

        After a 0, OpenSSL wants the same bytes again: whoever calls keeps them in front of what follows.

        :raises OSError: the connection was lost, or is closed.
        """
        try:
            sent: int = self._tls.write(data)
            self.sent += sent
            return sent
        except _WantWrite:
            self.blocked_by = WRITE
            return 0
        except _WantRead:
            self.blocked_by = READ
            return 0
        except (TimeoutError, ValueError) as error:
            raise _as_lost(error) from None

    def replace(self, tls: Any) -> None:
        """Read from, and write to, something else from now on."""
        self._tls = tls
        self.filled = True

    def close(self) -> None:
        """Forget the socket, which is about to be closed: OpenSSL would go on with the number of its descriptor."""
        self.replace(_CLOSED)


class SharedSession(Session):
    """One that is read and written by different threads.

    :param lock: guards OpenSSL's objects; one that its owner may take again.
    """

    __slots__ = ("_lock",)

    def __init__(self, tls: Any, lock: Any) -> None:
        super().__init__(tls)
        self._lock = lock

    def handshake_now(self) -> int:
        """See :meth:`Session.handshake_now`."""
        with self._lock:
            return Session.handshake_now(self)

    def recv_now(self) -> bytes | None:
        """See :meth:`Session.recv_now`."""
        with self._lock:
            return Session.recv_now(self)

    def send(self, data: bytes | memoryview) -> int:
        """See :meth:`Session.send`."""
        with self._lock:
            return Session.send(self, data)


def _as_lost(error: Exception) -> OSError:
    # Somebody else has closed an SSLSocket: that is a ValueError. Those of certificates are an OSError as well.
    if isinstance(error, TimeoutError):
        return lost(error)
    return error if isinstance(error, OSError) else OSError(errno.EBADF, os.strerror(errno.EBADF))


class Plain:
    """What is left of a connection when our direction of it has ended.

    OpenSSL takes data that was on its way then for an error, and answers a TCP connection that ends without a word of
    TLS with an alert. From then on, only the end matters.

    :param recv: that of the socket.
    """

    def __init__(self, recv: Any) -> None:
        self.read = recv

    def write(self, _data: bytes | memoryview) -> int:
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))


class _Closed:
    def do_handshake(self) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def read(self, _size: int) -> bytes:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def write(self, _data: bytes | memoryview) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


_CLOSED = _Closed()
