"""A blocking byte stream for threads with TLS: the contract of :mod:`syncws.transport`."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl

from .transport import SocketBase
from .transport_session import WRITE, Plain, SharedSession

__all__ = ["TLSTransport"]


class TLSTransport(SocketBase):
    """A TLS connection. Takes the :class:`ssl.SSLSocket` over and puts it into non-blocking mode."""

    secure = True
    coalesces = True

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        self._tls = sock
        # A signal handler may send while it has interrupted recv(): within the lock, but not within OpenSSL.
        self._lock = self.runtime.rlock()
        self._session = SharedSession(sock, self._lock)
        self._write_ended = False
        sock.setblocking(False)

    @property
    def sent(self) -> int:
        return self._session.sent

    def handshake(self, deadline: float | None = None) -> None:
        while wanted := self._session.handshake_now():
            self._wait(wanted, deadline)

    def read(self) -> bytes | None:
        session = self._session
        if not session.filled:
            if self._poll is None:
                self._wait_to_read(None)
            else:
                self._poll.poll()
        try:
            return session.recv_now()
        except ssl.SSLWantWriteError:
            return None

    def recv(self, deadline: float | None = None) -> bytes:
        session = self._session
        while True:
            if not session.filled:
                self._wait_to_read(deadline)
            try:
                data = session.recv_now()
                if data is not None:
                    return data
            except ssl.SSLWantWriteError:
                self._wait(WRITE, deadline)

    def try_send(self, data: bytes | memoryview) -> int:
        return self._session.send(data)

    def send_all(self, data: bytes | memoryview, deadline: float | None = None) -> None:
        session = self._session
        rest = memoryview(data)
        while rest and (rest := rest[session.send(rest) :]):
            self._wait(session.blocked_by, deadline)

    def shutdown_write(self) -> None:
        # RFC 8446, 6.1: each party MUST send a close_notify before it closes its write side of the connection.
        # unwrap() sends it at once, and then fails because it cannot wait for that of the peer.
        with self._lock:
            if not self._write_ended:
                self._write_ended = True
                with contextlib.suppress(OSError, ValueError):
                    self._tls.unwrap()
                self._session.replace(Plain(functools.partial(socket.socket.recv, self._tls)))
        super().shutdown_write()

    def close(self) -> None:
        self._session.close()
        super().close()
