"""The common case of sending: a whole message, while nothing else waits to be sent. The base of :mod:`syncws.writer`.

While more such messages have arrived than have been received, those that are sent are gathered, to leave in one go:
when the socket is to be read, when there are 64 KiB of them, in front of whatever else is written, or when the
:mod:`~syncws.coalescer` comes, a millisecond later.

This module is compiled where that is possible; :mod:`syncws.hot` says what that means for signal handlers.
"""

from __future__ import annotations

from collections import deque
from os import urandom
from typing import TYPE_CHECKING, Any

from .protocol.frames import encode_frame, frame_header

if TYPE_CHECKING:
    from collections.abc import Sequence

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

    :ivar frames: the frames; only to be read.
    """

    __slots__ = ("_coalescer", "_lock", "_size", "_transport", "frames")

    def __init__(self, transport: Transport, coalescer: Coalescer) -> None:
        self._transport = transport
        self._coalescer = coalescer
        self._lock = coalescer.new_lock()
        self._size = 0
        self.frames: deque[bytes] = deque()

    def add(self, frame: bytes) -> bool:
        """Add a frame; return False if they are to be sent now: there are many, or nobody else would send them."""
        frames = self.frames
        frames.append(frame)
        if len(frames) > 1:
            self._size += len(frame)
            return self._size < _MOST_GATHERED
        self._size = len(frame)
        return self._size < _MOST_GATHERED and self._coalescer.add(self)

    def take(self) -> bytes:
        """Take them out, to be sent by the caller before anything else."""
        with self._lock:
            data = b"".join(self.frames)
            self.frames.clear()
        return data

    def flush(self) -> None:
        """Send what the socket takes. For the coalescer; nothing waits, and nothing is raised."""
        frames = self.frames
        with self._lock:
            before = list(frames.copy())  # in one step, without a GIL as well: more of them may be added meanwhile
            if not before:
                return
            data = b"".join(before)
            try:
                sent = self._transport.try_send(data)
            except OSError:
                frames.clear()  # the connection was lost; who reads from it finds out how
                return
            # They are never empty before all has been sent: whoever writes looks without the lock.
            for _ in range(len(before) - 1):
                frames.popleft()
            if sent < len(data):
                frames[0] = data[sent:]
                return
            frames.popleft()
        if frames:
            self._coalescer.add(self)


class HotWriter:
    """Sends a message when nothing stands in its way."""

    __slots__ = (
        "_awaited", "_coalescer", "_gathered", "_lock", "_masked", "_midway", "_posted", "_queued", "_transport",
        "_unsent", "compressor", "ended", "messages", "most_queued",
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
    _unsent: bytes | memoryview
    compressor: Any
    ended: bool
    messages: int
    most_queued: int  # bytes of a message that may wait

    @property
    def gathered(self) -> bool:
        """Whether something waits to leave together with what may follow."""
        return self._gathered is not None and bool(self._gathered.frames)

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
            if compressed is not None:
                frame = compressed
                compressor.release()  # it does not know of this message, and would count distances without it
            elif compress:
                # RFC 6455, 5.3: the masking key MUST come from a strong source of entropy.
                payload = compressor.compress_piece(payload, last=True)
                frame = encode_frame(opcode, payload, True, True, urandom(4) if self._masked else None)
            elif prepared is not None and not self._masked:
                frame = prepared.frame
            elif len(payload) >= _LARGE and not self._masked and (gathered is None or not gathered.frames):
                self.messages += 1
                return self._send_both(frame_header(opcode, len(payload)), payload)
            else:
                frame = encode_frame(opcode, payload, True, False, urandom(4) if self._masked else None)
            self.messages += 1
            if gather and self._coalescer is not None:
                if gathered is None:
                    gathered = self._gathered = Gathered(self._transport, self._coalescer)
                if gathered.add(frame):
                    return 1
                frame = gathered.take()
            elif gathered is not None and gathered.frames:
                frame = gathered.take() + frame
            return self._send_some(frame)
        except BaseException as error:
            self._fail(error, None)
            raise
        finally:
            self._lock.release()

    def send_gathered(self) -> bool:
        """Send what has been gathered; return whether nothing is left."""
        gathered = self._gathered
        if gathered is None or not gathered.frames:
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
        if self._gathered is not None and self._gathered.frames:
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
        sent = self._transport.try_send(data)
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            return -1
        return 1

    def _fail(self, error: BaseException, timeout: float | None) -> None:
        raise NotImplementedError
