"""Frames on their way out: whole, in order, nothing behind the close frame.

Any number of threads may write; a lock lets their frames through one by one. Control frames that the connection owes
its peer, a pong and the close frame, never wait for that lock or for the network: they are *posted*, and leave with
whoever holds the lock or, if nobody does, at once as far as the socket takes them. What is left goes in front of the
next write, or when :meth:`FrameWriter.flush_due` is called with room in the socket.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

from .protocol.codes import CLOSE, PONG
from .protocol.frames import encode_frame
from .transport import Transport, remaining

__all__ = ["FrameWriter"]


class FrameWriter:
    """Writes frames to a transport.

    :param masked: mask every frame with a fresh key (RFC 6455, 5.3: a client MUST).
    :param on_close_sent: called once, when the close frame has been put on its way; must not wait.
    """

    __slots__ = ("_close", "_due", "_lock", "_masked", "_on_close_sent", "_pong", "_transport", "_unsent", "ended")

    def __init__(self, transport: Transport, *, masked: bool, on_close_sent: Callable[[], None]) -> None:
        self._transport = transport
        self._masked = masked
        self._on_close_sent = on_close_sent
        self._lock = threading.Lock()
        self._unsent = b""  # guarded by _lock: bytes that follow what the transport has taken
        self._due = threading.Lock()  # guards the two that are posted
        self._pong: bytes | None = None
        self._close: bytes | None = None
        self.ended = False  # the close frame is on its way, or a write failed: nothing may follow

    @property
    def unsent(self) -> bool:
        """Whether bytes wait for room in the socket."""
        return bool(self._unsent)

    def write(
        self, opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False, timeout: float | None = None
    ) -> bool:
        """Write a frame and return True, or False if nothing may be written any more.

        :param timeout: seconds to wait for other writers and for room in the socket together; ``None``: for ever.
        :raises TimeoutError: the time is over; the connection has been dropped, because a frame cannot be cut off.
        :raises OSError: the connection was lost.
        """
        deadline = None
        if not self._lock.acquire(False):
            deadline = None if timeout is None else time.monotonic() + timeout
            if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
                raise self._dropped(timeout)
        try:
            if self.ended:
                return False
            data = encode_frame(opcode, payload, fin=fin, rsv1=rsv1, key=self._new_key())
            if self._unsent or self._pong is not None:
                data = self._take_unsent() + self._take_pong() + data
            sent = self._transport.try_send(data)
            if sent < len(data):
                if deadline is None and timeout is not None:
                    deadline = time.monotonic() + timeout
                self._transport.send_all(memoryview(data)[sent:], deadline)
        except TimeoutError:
            raise self._dropped(timeout) from None
        except OSError:
            self.ended = True
            raise
        finally:
            self._lock.release()
        if self._pong is not None or self._close is not None:
            self.flush_due()
        return True

    def post_pong(self, payload: bytes) -> None:
        """Answer a ping without waiting; only the latest is answered (RFC 6455, 5.5.3), so a flood costs no memory."""
        with self._due:
            self._pong = payload
        self.flush_due()

    def post_close(self, payload: bytes) -> None:
        """Send the close frame without waiting; the first one counts."""
        with self._due:
            if self._close is None:
                self._close = payload
        self.flush_due()

    def flush_due(self) -> None:
        """Write what is due as far as the socket takes it; another thread in :meth:`write` does it as well."""
        while self._is_due() and self._lock.acquire(False):
            try:
                data = self._take_due()
                self._unsent = data[self._transport.try_send(data) :] if data else data
                if self._unsent:
                    return
            except OSError:
                self.ended = True  # the connection was lost; whoever reads finds out how
            finally:
                self._lock.release()

    def finish(self, deadline: float | None) -> None:
        """Write what is due, waiting for other writers and for the socket.

        :raises TimeoutError: the deadline passed.
        :raises OSError: the connection was lost.
        """
        timeout = remaining(deadline)
        if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutError("timed out")
        try:
            data = self._take_due()
            if data:
                self._transport.send_all(data, deadline)
        finally:
            self._lock.release()

    def close_transport(self) -> None:
        """End the TCP connection and give back its descriptor; writers that wait for the socket wake up."""
        self._transport.abort()
        with self._lock:
            self.ended = True
            self._transport.close()

    def _dropped(self, timeout: float | None) -> TimeoutError:
        """Drop the connection and return the exception that says why."""
        self.ended = True
        self._transport.abort()
        return TimeoutError(f"the peer has not read for {timeout} s, so the connection has been dropped")

    def _new_key(self) -> bytes | None:
        # RFC 6455, 5.3: the masking key MUST come from a strong source of entropy.
        return secrets.token_bytes(4) if self._masked else None

    def _is_due(self) -> bool:
        return bool(self._unsent) or (not self.ended and (self._pong is not None or self._close is not None))

    def _take_unsent(self) -> bytes:
        data, self._unsent = self._unsent, b""
        return data

    def _take_pong(self) -> bytes:
        with self._due:
            payload, self._pong = self._pong, None
        return b"" if payload is None else encode_frame(PONG, payload, key=self._new_key())

    def _take_due(self) -> bytes:
        """Return all bytes that are due, the close frame last; the lock must be held."""
        data = self._take_unsent()
        if self.ended:
            return data
        data += self._take_pong()
        with self._due:
            payload, self._close = self._close, None
        if payload is not None:
            # RFC 6455, 5.5.1: after the close frame nothing more MUST be sent.
            data += encode_frame(CLOSE, payload, key=self._new_key())
            self.ended = True
            self._on_close_sent()
        return data
