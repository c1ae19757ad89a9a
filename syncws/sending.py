"""A connection that sends messages: ``send()`` step by step, and ``send_fragments()``.

The common case of ``send()`` is in :mod:`syncws.hot`; what is here is for every case. Any thread may call it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from .attended import Attended
from .errors import BacklogFull, ConcurrencyError
from .hot import DEFAULT, LONGEST_STRETCH, Default
from .logs import get_logger
from .options import check_seconds
from .prepared import PreparedMessage
from .protocol.codes import CONTINUATION
from .protocol.frames import data_payload
from .runtime import Lock

__all__ = ["Sending"]

_log = get_logger("syncws.websocket")

# IANA's registry of close codes: 1013, a temporary condition, such as overload.
_TRY_AGAIN_LATER = 1013


class Sending(Attended):
    """A connection with the verbs for sending; the base of :class:`syncws.websocket.WebSocket`."""

    __slots__ = ("_fragmenting", "_sending")

    _sending: Lock  # held for a whole message, over all its fragments
    _fragmenting: int | None  # the thread in send_fragments()

    def _send(self, data: Any, wait: bool, timeout: float | Default | None) -> None:
        if isinstance(timeout, Default):
            seconds = self._options.send_timeout
        elif wait:
            seconds = check_seconds("timeout", timeout)
        else:
            raise TypeError("send(wait=False) does not wait, so there is no timeout for it")
        if isinstance(data, PreparedMessage):
            opcode, payload = data.opcode, data.payload
        else:
            opcode, payload = data_payload(data)
        if not wait:
            self._queue(opcode, payload)
            return
        self._pause()
        if not self._sending.acquire(False):
            self._wait_to_send(seconds)
        try:
            self._write(opcode, payload, seconds)
        finally:
            self._sending.release()

    def send_fragments(
        self,
        pieces: Iterable[str | bytes | bytearray | memoryview],
        *,
        timeout: float | Default | None = DEFAULT,
    ) -> None:
        """Send one message piece by piece, each as a fragment as soon as the iterable gives it. Any thread.

        Messages of other threads wait meanwhile. If the iterable raises, half a message has been sent: the
        connection is closed with 1011 and the exception goes on, as soon as the close frame has left.

        :param pieces: at least one; all ``str``, for a text message, or all bytes-like, for a binary one.
        :param timeout: seconds for each piece, as in :meth:`send`.
        :raises ValueError: there is no piece.
        :raises ConcurrencyError: the iterable itself sends on this connection.
        :raises: as :meth:`send`.
        """
        iterator = iter(pieces)
        try:
            opcode, payload = data_payload(next(iterator))
        except StopIteration:
            raise ValueError(
                "send_fragments() needs at least one piece to know text from binary; send('') sends an empty message"
            ) from None
        seconds = self._options.send_timeout if isinstance(timeout, Default) else check_seconds("timeout", timeout)
        if not self._sending.acquire(False):
            self._wait_to_send(seconds)
        try:
            self._fragmenting = self._transport.runtime.ident()
            self._write_fragment(opcode, payload, seconds)
            for piece in iterator:
                kind, payload = data_payload(piece)
                if kind != opcode:
                    raise TypeError(f"the pieces of one message must be all text or all binary; got {piece!r:.40}")
                self._write_fragment(CONTINUATION, payload, seconds)
            self._write_fragment(CONTINUATION, b"", seconds, last=True)
        except BaseException:
            self._give_message_up("the message could not be completed")
            raise
        finally:
            self._fragmenting = None
            self._sending.release()

    def _queue(self, opcode: int, payload: bytes) -> None:
        fate = self._fate
        cause: BacklogFull | None = None
        if fate.end is None:
            try:
                if self._writer.queue(opcode, payload):
                    return
                if fate.end is None:
                    self._lost("a write failed")
            except BacklogFull as error:
                if self._options.backlog_policy != "close" or error.size > error.limit:
                    raise
                self._close_slow(error)
                cause = error
        raise fate.error(self, cause)

    def _close_slow(self, error: BacklogFull) -> None:
        """Close the connection, and drop the backlog, unless it is being closed already: then it goes first."""
        if self._begin_close(_TRY_AGAIN_LATER, f"slow consumer: max_backlog is {error.limit} bytes", None):
            _log.info("%s reads too slowly; closing with %d: %s", self.remote_address, _TRY_AGAIN_LATER, error)
            self._writer.drop_queued()

    def _give_message_up(self, reason: str) -> None:
        """Send a close frame and wait until it has left: a thread in receive() may not know that it waits for room."""
        if self._fate.end is not None:
            return  # it is over or closing already, so nothing of the message can follow
        self.begin_close(1011, reason)
        try:
            self._writer.finish(self._closing_deadline())
        except OSError:
            self._drop(reason)

    def _write_fragment(self, opcode: int, payload: bytes, seconds: float | None, *, last: bool = False) -> None:
        self._pause()
        self._write(opcode, payload, seconds, fin=last)

    def _wait_to_send(self, seconds: float | None) -> None:
        """Wait for the lock that a whole message holds, and take it."""
        if self._fragmenting == self._transport.runtime.ident():
            raise ConcurrencyError("send() within the iterable that send_fragments() is sending; collect first")
        if not self._sending.acquire(timeout=-1 if seconds is None else min(max(seconds, 0), threading.TIMEOUT_MAX)):
            raise TimeoutError(f"another thread has been sending for {seconds} s; nothing of this message was sent")

    def _send_failed(self, error: OSError) -> None:
        self._lost(str(error))
        if self._aborted:
            self._give_back_if_free()
        raise self._fate.error(self, error)

    def _send_rest(self, wait: bool, begun: bool) -> None:
        """Wait until a message that has been begun, and what was posted, has left; or have it leave by itself."""
        if not wait:
            self._writer.flush_due()
            return
        try:
            if not self._writer.write_rest(self._options.send_timeout, begun):
                raise ConnectionAbortedError("another thread could not write the rest of the message")
        except TimeoutError:
            raise
        except OSError as error:
            self._send_failed(error)

    def _pause(self) -> None:
        """Let other greenlets run, if this one has not done so for a while."""
        if self._stretch is not None:
            self._stretch.count += 1
            if self._stretch.count > LONGEST_STRETCH:
                self._transport.pause()

    def _write(self, opcode: int, payload: bytes, seconds: float | None, fin: bool = True) -> None:
        fate = self._fate
        if fate.end is not None:
            raise fate.error(self)
        cause: Exception | None = None
        try:
            if self._writer.write(opcode, payload, fin, seconds):
                return
            if fate.end is None:
                self._lost("a write failed")
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            self._lost(str(error))
            cause = error
        if self._aborted:
            self._give_back_if_free()
        raise fate.error(self, cause)
