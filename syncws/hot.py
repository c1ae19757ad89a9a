"""The common case of receiving and of sending, in one go: what a connection does all day long.

Here are the bases of the classes whose work it is otherwise: :class:`syncws.turn.Turn`,
:class:`syncws.writer.FrameWriter` and :class:`syncws.connection.Connection`. Those do the same step by step, with every
check, for every case. Whatever is not the common case is left to them, with nothing changed. The common case is:

- A message that is one frame, not compressed, is received, and nothing else is to be done: nobody else has or wants the
  turn to read, no limit is passed, nothing waits for room in the socket, nothing is closing.
- A message that need not be compressed is sent, and nothing else waits to be sent, or is being sent.

While more such messages have arrived than have been received, those that are sent are gathered, to leave in one go:
when the socket is to be read, when there are 64 KiB of them, in front of whatever else is written, or when the
:mod:`~syncws.coalescer` comes, a millisecond later.

This module is compiled where that is possible. No signal handler runs in compiled code, but one may in what it calls,
with the turn or the lock held: :meth:`syncws.connection.Connection.close` knows all of that. Who may call what is said
where these classes are used.
"""

from __future__ import annotations

import time
from collections import deque
from os import urandom
from typing import TYPE_CHECKING, Any, Final

from .prepared import PreparedMessage
from .protocol.codes import BINARY, TEXT
from .protocol.frames import encode_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .coalescer import Coalescer
    from .protocol.messages import MessageReader
    from .rates import Rates
    from .runtime import Lock
    from .transport import Transport

__all__ = [
    "DEFAULT",
    "LONGEST_STRETCH",
    "MOMENT",
    "Default",
    "Gathered",
    "HotConnection",
    "HotTurn",
    "HotWriter",
    "Stretch",
]

_monotonic = time.monotonic
# A wait that is shorter, in seconds, need not be noted: with so many of them, the waits are the least.
MOMENT = 0.001
# So much may be done in a row.
LONGEST_STRETCH = 64
# So many bytes of frames are gathered at the most.
_MOST_GATHERED = 65536


class Default:
    """The type of the argument that means "as the option says"."""

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = Default()


class Stretch:
    """How much a greenlet has done for a connection since it let others run; greenlets run until they have to wait.

    :ivar count: in messages sent, or in what takes as long.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


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
        if len(frames) == 1:
            self._size = len(frame)
            return self._coalescer.add(self)
        self._size += len(frame)
        return self._size < _MOST_GATHERED

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
            before = list(frames)
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


class HotTurn:
    """Takes and gives back the turn when nobody waits for it."""

    __slots__ = ("_lock", "_on_free", "_waiting", "wanted")

    _lock: Lock
    _waiting: int
    _on_free: Callable[[], None] | None
    wanted: int

    def take_now(self) -> bool:
        """Take the turn if it is free, without waiting."""
        return self._lock.acquire(False)

    def release(self) -> None:
        """Give the turn back; one that waits for it wakes up."""
        self._lock.release()
        if self._waiting or self._on_free is not None:
            self.notify()

    def notify(self) -> None:
        """Let those that wait look again."""
        raise NotImplementedError


class HotWriter:
    """Sends a message when nothing stands in its way."""

    __slots__ = (
        "_coalescer", "_gathered", "_lock", "_masked", "_midway", "_posted", "_queued", "_transport",
        "_unsent", "compressor", "ended", "messages",
    )  # fmt: skip

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

    def send_now(self, opcode: int, payload: bytes, frame: bytes | None, gather: bool) -> int:
        """Send a whole message at once, if nothing stands in its way.

        :param frame: the frame, if there is one already.
        :param gather: it may leave a little later, together with others.
        :returns: 1: it has been sent, or gathered; 0: something is in its way, and nothing has been done; -1: it has
            been begun, and the rest is what waits for room in the socket now.
        :raises OSError: the connection was lost.
        """
        if not self._lock.acquire(False):
            return 0
        try:
            if self._posted or self._unsent or self._queued or self._midway or self.ended:
                return 0
            if self.compressor is not None and len(payload) >= self.compressor.threshold:
                return 0
            if frame is None or self._masked:
                # RFC 6455, 5.3: the masking key MUST come from a strong source of entropy.
                frame = encode_frame(opcode, payload, True, False, urandom(4) if self._masked else None)
            self.messages += 1
            gathered = self._gathered
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

    def _send_some(self, data: bytes) -> int:
        sent = self._transport.try_send(data)
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            return -1
        return 1

    def _fail(self, error: BaseException, timeout: float | None) -> None:
        raise NotImplementedError


class Messages:
    """The iterator over the messages of a connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: HotConnection) -> None:
        self._connection = connection

    def __iter__(self) -> Messages:
        return self

    def __next__(self) -> str | bytes:
        message = self._connection.receive_now()
        return self._connection._next() if message is None else message


class HotConnection:
    """Receives a message, and sends one, when nothing else is to be done."""

    __slots__ = (
        "_ending", "_gone", "_limited", "_more", "_rates", "_reader", "_received", "_receiving", "_stretch",
        "_transport", "_turn", "_writer",
    )  # fmt: skip

    _ending: object
    _gone: bool
    _limited: bool  # there is a limit on the messages in a second, which is not checked here
    _more: bool  # there is another message behind the one that was received
    _rates: Rates
    _reader: MessageReader
    _received: int
    _receiving: bool
    _stretch: Stretch | None  # of greenlets
    _transport: Transport
    _turn: HotTurn
    _writer: HotWriter

    def receive(self, timeout: float | None = None) -> str | bytes:
        """Wait for a message and return it: text as ``str``, binary as ``bytes``.

        After a timeout nothing is lost; call again.

        :param timeout: seconds; ``None``: for ever; 0: only what has arrived.
        :raises TimeoutError: no complete message arrived in time.
        :raises ConnectionClosed: the connection is over.
        :raises ConcurrencyError: another thread is receiving.
        """
        if timeout is None:
            message = self.receive_now()
            if message is not None:
                return message
        return self._receive(timeout)

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages; end with the connection.

        Ends quietly after the close codes 1000, 1001 and 1005.

        :raises ConnectionClosed: the connection ended with another code.
        """
        return Messages(self)

    def send(
        self,
        data: str | bytes | bytearray | memoryview | PreparedMessage,
        *,
        wait: bool = True,
        timeout: float | Default | None = DEFAULT,
    ) -> None:
        """Send a message: ``str`` as text, bytes-like as binary. Any thread.

        Returns when the operating system has taken the message over. While more messages wait to be received, it may
        return before: then the message leaves together with others, a millisecond later at the most, unless the
        option ``coalesce`` is off. Whether it arrives, only an answer tells.

        With ``wait=False`` it never waits, so that one slow peer holds up nobody: what the system does not take at
        once leaves in the background, in order, up to ``max_backlog`` bytes of it. Past that, ``backlog_policy``
        applies. A signal handler, or a callback of gevent's event loop, may call it so.

        :param data: or a :class:`~syncws.PreparedMessage`, which has been encoded before.
        :param wait: ``False``: queue what cannot leave at once.
        :param timeout: seconds to wait for a peer that does not read; default: the option ``send_timeout``;
            ``None``: for ever.
        :raises TypeError: data is neither; a timeout for what does not wait.
        :raises ValueError: text that UTF-8 cannot encode, such as a lone surrogate.
        :raises ConnectionClosed: the connection is over, or was lost meanwhile; or has just been closed, with 1013,
            because too much waits.
        :raises BacklogFull: there is no room for the message in the backlog.
        :raises TimeoutError: the peer did not read; the connection is dropped, as a message cannot be cut off. If
            another thread was sending all the time, nothing of this message was sent and the connection stays.
        """
        if timeout is not DEFAULT or not self.send_now(data, wait):
            self._send(data, wait, timeout)

    def receive_now(self) -> str | bytes | None:
        """Wait for a message and return it; return ``None`` when something else is to be done first."""
        turn = self._turn
        if self._limited or not turn.take_now():
            return None
        self._receiving = True  # before the look at who wants the turn: another receiver is not to wait for it
        try:
            message = self._reader.next_plain()
            if message is None and self._may_read():
                message = self._read_plain()
            if message is not None:
                self._more = self._reader.has_plain()
            return message
        finally:
            self._receiving = False
            turn.release()

    def send_now(self, data: object, wait: bool) -> bool:
        """Send a message; return False, with nothing done, when something else is to be done first.

        :param wait: wait until all of it has left.
        :raises: as :meth:`syncws.WebSocket.send`.
        """
        frame: bytes | None = None
        if type(data) is bytes:
            opcode, payload = BINARY, data
        elif type(data) is str:
            try:
                opcode, payload = TEXT, data.encode()
            except UnicodeEncodeError:
                return False
        elif type(data) is PreparedMessage:
            opcode, payload, frame = data.opcode, data.payload, data.frame
        else:
            return False
        if self._stretch is not None and wait:
            self._stretch.count += 1
            if self._stretch.count > LONGEST_STRETCH:
                self._transport.pause()
        try:
            sent = self._writer.send_now(opcode, payload, frame, self._more and wait)
        except OSError as error:
            self._send_failed(error)
            return False
        if sent == 0:
            return False
        writer = self._writer
        # Those were posted by somebody who has left them to this thread.
        if sent < 0 or writer._posted or writer._queued:
            self._send_rest(wait)
        return True

    def _may_read(self) -> bool:
        """Whether the socket is what is to be looked at next; what has been gathered leaves before."""
        writer = self._writer
        if (
            self._reader.unfinished
            or self._reader.set_aside
            or self._reader.ended
            or self._gone
            or self._ending is not None
            or self._turn.wanted
            or writer._unsent
            or writer._posted
            or writer._queued
        ):
            return False
        return writer.send_gathered()

    def _read_plain(self) -> str | bytes | None:
        since = _monotonic()
        try:
            data = self._transport.read()
        except OSError as error:
            self._lost(str(error))
            return None
        if not data:
            return None  # the end of the stream is there for the next one as well
        seconds = _monotonic() - since
        rates = self._rates
        if seconds > MOMENT or rates.watching:
            rates.waited(seconds, receiving=True)
        self._received += len(data)
        self._reader.feed(data)
        return self._reader.next_plain()

    def _lost(self, reason: str) -> None:
        raise NotImplementedError

    def _next(self) -> str | bytes:
        raise NotImplementedError

    def _receive(self, timeout: float | None) -> str | bytes:
        raise NotImplementedError

    def _send(self, data: Any, wait: bool, timeout: float | Default | None) -> None:
        raise NotImplementedError

    def _send_failed(self, error: OSError) -> None:
        raise NotImplementedError

    def _send_rest(self, wait: bool) -> None:
        raise NotImplementedError
