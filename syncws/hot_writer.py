"""The common case of sending: a whole message, while nothing else waits to be sent. The base of :mod:`syncws.writer`.

While more such messages have arrived than have been received, those that are sent are gathered, to leave in one go:
when the socket is to be read, when there are 64 KiB of them, in front of whatever else is written, or when the
:mod:`~syncws.coalescer` comes, a millisecond later.

This module is compiled where that is possible; :mod:`syncws.hot` says what that means for signal handlers.
"""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING, Any

from .protocol.frames import encode_frame, frame_header

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .coalescer import Coalescer
    from .prepared import PreparedMessage
    from .runtime import Lock
    from .transport import Transport

__all__ = ["Gathered", "HotWriter"]

# So many bytes of frames are gathered at the most.
_MOST_GATHERED = 65536
# From this size on, in bytes, a payload is not copied behind its header.
_LARGE = 32768


class Gathered:
    """Frames that are to leave together.

    Whoever holds the writer's lock adds to them, and takes them all out; the coalescer sends some at any moment, and
    takes out what it has sent. They do so with a native lock, which none of them holds for longer than it takes.

    :ivar pieces: the frames, or their headers and payloads in turns; only to be read.
    """

    __slots__ = ("_coalescer", "_lock", "_size", "_transport", "pieces")

    def __init__(self, transport: Transport, coalescer: Coalescer) -> None:
        self._transport = transport
        self._coalescer = coalescer
        self._lock = coalescer.new_lock()
        self._size = 0
        self.pieces: list[bytes] = []

    def add(self, head: bytes, tail: bytes) -> bool:
        """Add a frame in two pieces; return False if all are to be sent now: they are many, or nobody else would."""
        pieces = self.pieces
        pieces.append(head)
        pieces.append(tail)
        # After that: the coalescer may have sent all that was there, and may have sent the first of the two already.
        if len(pieces) > 2:
            self._size += len(head) + len(tail)
            return self._size < _MOST_GATHERED
        self._size = len(head) + len(tail)
        return self._size < _MOST_GATHERED and self._coalescer.add(self)

    def take(self) -> bytes:
        """Take them out, to be sent by the caller before anything else."""
        with self._lock:
            data = b"".join(self.pieces)
            self.pieces.clear()
        return data

    def flush(self) -> None:
        """Send what the socket takes. For the coalescer; nothing waits, and nothing is raised."""
        pieces = self.pieces
        with self._lock:
            before = pieces.copy()  # in one step: more of them may be added meanwhile
            if not before:
                return
            data = b"".join(before)
            try:
                sent = self._transport.try_send(data)
            except OSError:
                pieces.clear()  # the connection was lost; who reads from it finds out how
                return
            # They are never empty before all has been sent: whoever writes looks without the lock.
            del pieces[: len(before) - 1]
            if sent < len(data):
                pieces[0] = data[sent:]
                return
            del pieces[0]
        if pieces:
            self._coalescer.add(self)


class HotWriter:
    """Sends a message when nothing stands in its way."""

    __slots__ = (
        "_awaited", "_coalescer", "_gathered", "_lock", "_masked", "_midway", "_posted", "_queued", "_transport",
        "_try_send", "_unsent", "compressor", "ended", "messages", "most_queued",
    )  # fmt: skip

    _awaited: bool  # a thread is about to wait until what is left of a message has left
    _coalescer: Coalescer | None
    _gathered: Gathered | None  # once there has been anything
    _lock: Lock
    _masked: bool
    _midway: bool
    _posted: dict[tuple[int, bytes], bytes]
    _queued: Sequence[tuple[int, bytes, int]]
    _transport: Transport
    _try_send: Callable[[bytes], int]  # of the transport
    _unsent: bytes | memoryview
    compressor: Any
    ended: bool
    messages: int
    most_queued: int  # bytes of a message that may wait

    @property
    def gathered(self) -> bool:
        """Whether something waits to leave together with what may follow."""
        return self._gathered is not None and bool(self._gathered.pieces)

    @property
    def busy(self) -> bool:
        """Whether a thread is writing at the moment: any, or the one that a calling signal handler has interrupted."""
        return self._lock.locked()

    @property
    def unsent(self) -> bool:
        """Whether something waits for room in the socket, and for nothing else."""
        # Whoever holds the lock sees to what is queued: the next step is theirs, with room or without.
        return bool(self._unsent) or self.gathered or (self._queue_due and not self._lock.locked())

    def send_now(
        self, opcode: int, payload: bytes, prepared: PreparedMessage | None, gather: bool, wait: bool = True
    ) -> int:
        """Send a whole message at once, if nothing stands in its way.

        :param prepared: where the message comes from, if that has its frame already.
        :param gather: it may leave a little later, together with others.
        :param wait: the caller waits for the rest, with :meth:`syncws.writer.FrameWriter.write_rest`.
        :returns: 1: it has been sent, or gathered; 0: something is in its way, and nothing has been done; -1: it has
            been begun, and the rest is what waits for room in the socket now.
        :raises OSError: the connection was lost.
        """
        compressor = self.compressor
        compressed: bytes | None = None
        compress = compressor is not None and len(payload) >= compressor.threshold
        if compress and prepared is not None and not self._masked:
            # Before the lock is held: a signal handler may interrupt this, and close the connection.
            compressed = prepared.compressed(compressor.settings)
        if not self._lock.acquire(False):
            return 0
        try:
            if self._posted or self._unsent or self._queued or self._midway or self.ended:
                return 0
            self._awaited = wait
            gathered = self._gathered
            tail = b""
            if compressed is not None:
                head = compressed
                compressor.release()  # it does not know of this message, and would count distances without it
            elif prepared is not None and not (compress or self._masked):
                head = prepared.frame
            else:
                if compress:
                    payload = compressor.compress_piece(payload, last=True)
                if self._masked:
                    # RFC 6455, 5.3: the masking key MUST come from a strong source of entropy.
                    head = encode_frame(opcode, payload, True, compress, urandom(4))
                else:
                    head, tail = frame_header(opcode, len(payload), True, compress), payload
            self.messages += 1
            if gather and self._coalescer is not None and len(tail) < _LARGE:
                if gathered is None:
                    gathered = self._gathered = Gathered(self._transport, self._coalescer)
                return 1 if gathered.add(head, tail) else self._send_some(gathered.take())
            if gathered is not None and gathered.pieces:
                head = gathered.take() + head
            return self._send_both(head, tail) if len(tail) >= _LARGE else self._send_some(head + tail)
        except BaseException as error:
            self._fail(error, None)
            raise
        finally:
            self._lock.release()

    def send_gathered(self) -> bool:
        """Send what has been gathered; return whether nothing is left."""
        gathered = self._gathered
        if gathered is None or not gathered.pieces:
            return True
        if not self._lock.acquire(False):
            return False
        try:
            sent = 0 if self._unsent or self._midway else self._send_some(gathered.take())
        except BaseException as error:
            self._fail(error, None)
            if not isinstance(error, OSError):
                raise
            return False  # who reads finds out how the connection was lost
        finally:
            self._lock.release()
        if self._posted or self._queued:
            self.flush_due()  # posted by somebody who has left it to this thread
        return sent > 0

    def flush_due(self) -> None:
        """Write what is due as far as the socket takes it."""
        raise NotImplementedError

    @property
    def _queue_due(self) -> bool:
        return bool(self._queued) and not (self._midway or self.ended)

    def _take_unsent(self) -> bytes | memoryview:
        data, self._unsent = self._unsent, b""
        if self._gathered is not None and self._gathered.pieces:
            return b"".join((data, self._gathered.take()))
        return data

    def _send_both(self, header: bytes, payload: bytes) -> int:
        sent = self._transport.try_send_both(header, payload)
        if sent == len(header) + len(payload):
            return 1
        if sent >= len(header):
            self._unsent = memoryview(payload)[sent - len(header) :]
        else:
            self._unsent = header[sent:] + payload
        return -1

    def _send_some(self, data: bytes) -> int:
        sent = self._try_send(data)
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            return -1
        return 1

    def _fail(self, error: BaseException, timeout: float | None) -> None:
        raise NotImplementedError
