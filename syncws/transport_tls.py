"""A blocking byte stream for threads with TLS: the contract of :mod:`syncws.transport`."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
from typing import Any

from .transport import RECV_SIZE, SocketBase, lost

__all__ = ["TLSTransport"]

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class TLSTransport(SocketBase):
    """A TLS connection. Takes the :class:`ssl.SSLSocket` over and puts it into non-blocking mode.

    OpenSSL's objects must not be read and written at the same time, so a lock guards each call; no thread waits while
    it holds the lock, so neither direction holds up the other.
    """

    secure = True
    coalesces = True

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        self.sent = 0
        self._tls = sock
        self._drained = False  # the latest read has left nothing behind, so that the next one has to wait
        # A signal handler may send while it has interrupted recv(): within the lock, but not within OpenSSL.
        self._lock = self.runtime.rlock()
        self._write_ended = False
        sock.setblocking(False)

    def handshake(self, deadline: float | None = None) -> None:
        self._retry(self._tls.do_handshake, deadline)

    def recv(self, deadline: float | None = None) -> bytes:
        if self._write_ended:
            # OpenSSL takes data that was on its way when we ended for an error, and answers a TCP connection that
            # ends without a word of TLS with an alert: now we only wait for the end.
            self._wait(_READ, deadline)
            return socket.socket.recv(self.sock, RECV_SIZE)
        if self._drained:
            self._wait_to_read(deadline)
            self._drained = False
        size = self._recv_size
        try:
            data: bytes = self._retry(lambda: self._tls.recv(size), deadline)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        with self._lock:
            self._drained = len(data) < size and not self._tls.pending()
        self._adapt(len(data))
        return data

    def shutdown_write(self) -> None:
        # RFC 8446, 6.1: each party MUST send a close_notify before it closes its write side of the connection.
        # unwrap() sends it at once, and then fails because it cannot wait for that of the peer.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._write_ended = True
            self._tls.unwrap()
        super().shutdown_write()

    def try_send(self, data: bytes | memoryview) -> int:
        # After a 0, OpenSSL wants the same bytes again: whoever calls keeps them in front of what follows.
        with self._lock:
            try:
                sent = self._tls.send(data)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return 0
            except TimeoutError as error:
                raise lost(error) from None
            self.sent += sent
            return sent

    def send_all(self, data: bytes | memoryview, deadline: float | None = None) -> None:
        rest = memoryview(data)
        while rest:
            sent = self._retry(lambda: self._tls.send(rest), deadline)  # noqa: B023 - called before the next round
            self.sent += sent
            rest = rest[sent:]

    def _retry(self, operation: Any, deadline: float | None) -> Any:
        """Call ``operation`` until it needs no waiting for the socket."""
        while True:
            with self._lock:
                try:
                    return operation()
                except ssl.SSLWantReadError:
                    wanted = _READ
                except ssl.SSLWantWriteError:
                    wanted = _WRITE
                except TimeoutError as error:
                    raise lost(error) from None
            self._wait(wanted, deadline)
