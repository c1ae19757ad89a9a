"""Frames on their way out: whole, in order, nothing behind the close frame.

A lock lets frames through one by one. Control frames, which are small, never wait for that lock or for the network:
they are *posted*, and leave with whoever holds the lock or, if nobody does, at once as far as the socket takes them.
What is left goes in front of the next write, or when :meth:`FrameWriter.flush_due` is called with room in the socket;
until then posted frames wait as well, so that a peer that pings and never reads costs no memory.

Any thread may call anything here.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

from .protocol.codes import CLOSE, PING, PONG
from .protocol.frames import encode_frame
from .transport import Transport, remaining

__all__ = ["FrameWriter"]


class FrameWriter:
    """Writes frames to a transport.

    :param masked: mask every frame with a fresh key (RFC 6455, 5.3: a client MUST).
    :param on_close_sent: called once, when the close frame has been put on its way; must not wait.
    :param on_cut_off: called with the reason when a frame could not be written to its end; is to drop the connection,
        because nothing can follow; must not wait.
    """

    __slots__ = (
        "_close", "_due", "_lock", "_masked", "_on_close_sent", "_on_cut_off", "_pings", "_pong", "_posted",
        "_transport", "_unsent", "_waits", "ended",
    )  # fmt: skip

    def __init__(
        self,
        transport: Transport,
        *,
        masked: bool,
        on_close_sent: Callable[[], None],
        on_cut_off: Callable[[str], None],
    ) -> None:
        self._transport = transport
        self._masked = masked
        self._on_close_sent = on_close_sent
        self._on_cut_off = on_cut_off
        self._lock = threading.Lock()
        self._unsent = b""  # guarded by _lock: bytes that follow what the transport has taken
        self._waits = 0  # the thread that waits for room in write()
        self._due = threading.Lock()  # guards what is posted, below
        self._posted = False  # something is
        self._pong: bytes | None = None
        self._pings: dict[bytes, None] = {}
        self._close: bytes | None = None
        self.ended = False  # the close frame is on its way, or a write failed: nothing may follow

    @property
    def unsent(self) -> bool:
        """Whether bytes wait for room in the socket."""
        return bool(self._unsent)

    @property
    def busy(self) -> bool:
        """Whether a thread is writing at the moment: any, or the one that a calling signal handler has interrupted."""
        return self._lock.locked()

    @property
    def mine(self) -> bool:
        """Whether the calling thread waits in :meth:`write` already: it is a signal handler."""
        return self._waits == threading.get_ident()

    def write(
        self, opcode: int, payload: bytes, fin: bool = True, rsv1: bool = False, timeout: float | None = None
    ) -> bool:
        """Write a frame and return True, or False if nothing may be written any more.

        :param timeout: seconds to wait for room in the socket; ``None``: for ever. Another thread that writes is
            waited for in any case.
        :raises TimeoutError: the time is over; the connection has been dropped, because a frame cannot be cut off.
        :raises OSError: the connection was lost.
        """
        with self._lock:
            if self._posted or self._unsent:
                self._send(self._take_unsent() + self._take_posted(), timeout)
            if self.ended:
                return False
            self._send(encode_frame(opcode, payload, fin, rsv1, self._new_key() if self._masked else None), timeout)
        # Posted meanwhile. Nobody else may know that this waits for room in the socket, so this thread does.
        while self._posted and not self.ended and self._lock.acquire(False):
            try:
                self._send(self._take_unsent() + self._take_posted(), timeout)
            finally:
                self._lock.release()
        return True

    def post_pong(self, payload: bytes) -> None:
        """Answer a ping without waiting; only the latest is answered (RFC 6455, 5.5.3)."""
        with self._due:
            self._pong = payload
            self._posted = True
        self.flush_due()

    def post_ping(self, payload: bytes) -> None:
        """Send a ping without waiting."""
        with self._due:
            self._pings[payload] = None
            self._posted = True
        self.flush_due()

    def withdraw_ping(self, payload: bytes) -> None:
        """Forget a ping if it has not been sent yet."""
        with self._due:
            self._pings.pop(payload, None)

    def post_close(self, payload: bytes) -> None:
        """Send the close frame without waiting; the first one counts."""
        with self._due:
            if self._close is None:
                self._close = payload
            self._posted = True
        self.flush_due()

    def flush_due(self) -> None:
        """Write what is due as far as the socket takes it; another thread in :meth:`write` does it as well."""
        while (self._unsent or (self._posted and not self.ended)) and self._lock.acquire(False):
            try:
                data = self._take_unsent() or self._take_posted()
                self._unsent = data[self._transport.try_send(data) :]
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
            self._transport.send_all(self._take_unsent() + self._take_posted(), deadline)
        finally:
            self._lock.release()

    def close_transport(self) -> None:
        """End the TCP connection and give back its descriptor; writers that wait for the socket wake up."""
        self._transport.abort()
        with self._lock:
            self.ended = True
            self._transport.close()

    def _send(self, data: bytes, timeout: float | None) -> None:
        """Write all of ``data``, or see to it that nothing follows; the lock must be held."""
        try:
            sent = self._transport.try_send(data)
            if sent < len(data):
                deadline = None if timeout is None else time.monotonic() + timeout
                self._waits = threading.get_ident()
                try:
                    self._transport.send_all(memoryview(data)[sent:], deadline)
                finally:
                    self._waits = 0
        except TimeoutError:
            reason = f"the peer has not read for {timeout} s, so the connection has been dropped"
            self._cut_off(reason)
            raise TimeoutError(reason) from None
        except OSError:
            self.ended = True
            raise
        except BaseException as error:  # such as KeyboardInterrupt
            self._cut_off(f"{type(error).__name__} interrupted a frame")
            raise

    def _cut_off(self, reason: str) -> None:
        self.ended = True
        self._on_cut_off(reason)

    @staticmethod
    def _new_key() -> bytes:
        # RFC 6455, 5.3: the masking key MUST come from a strong source of entropy.
        return secrets.token_bytes(4)

    def _take_unsent(self) -> bytes:
        data, self._unsent = self._unsent, b""
        return data

    def _take_posted(self) -> bytes:
        """Return the frames that are posted, the close frame last; the lock must be held."""
        if self.ended:
            return b""
        with self._due:
            frames = [(PING, payload) for payload in self._pings]
            if self._pong is not None:
                frames.append((PONG, self._pong))
            if self._close is not None:
                frames.append((CLOSE, self._close))
                # RFC 6455, 5.5.1: after the close frame nothing more MUST be sent.
                self.ended = True
            self._posted = False
            self._pong = self._close = None
            self._pings.clear()
        if self.ended:
            self._on_close_sent()
        return b"".join(
            encode_frame(opcode, payload, key=self._new_key() if self._masked else None) for opcode, payload in frames
        )
