"""The common case of receiving and of sending, in one go: what a connection does all day long.

Here, and in :mod:`syncws.hot_writer`, are the bases of the classes whose work it is otherwise:
:class:`syncws.turn.Turn`, :class:`syncws.connection.Connection` and :class:`syncws.writer.FrameWriter`. Those do the
same step by step, with every check, for every case. Whatever is not the common case is left to them, with nothing
changed. The common case is:

- A message that is one frame is received, compressed or not, and nothing else is to be done: nobody else has or wants
  the turn to read, no limit is passed, nothing waits for room in the socket, nothing is closing.
- A message is sent, and nothing else waits to be sent, or is being sent.

This module is compiled where that is possible. No signal handler runs in compiled code, but one may in what it calls,
with the turn or the lock held: :meth:`syncws.connection.Connection.close` knows all of that. Who may call what is said
where these classes are used.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from .prepared import PreparedMessage
from .protocol.codes import BINARY, TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .hot_writer import HotWriter
    from .protocol.messages import MessageReader
    from .rates import Rates
    from .runtime import Lock
    from .transport import Transport

__all__ = [
    "DEFAULT",
    "LONGEST_STRETCH",
    "MOMENT",
    "Default",
    "HotConnection",
    "HotTurn",
    "Stretch",
]

_monotonic = time.monotonic
# A wait that is shorter, in seconds, need not be noted: with so many of them, the waits are the least.
MOMENT = 0.001
# So much may be done in a row.
LONGEST_STRETCH = 64


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
        "_ending", "_gone", "_limited", "_more", "_rates", "_read_some", "_reader", "_received", "_receiving",
        "_stretch", "_transport", "_turn", "_writer",
    )  # fmt: skip

    _ending: object
    _gone: bool
    _limited: bool  # there is a limit on the messages in a second, which is not checked here
    _more: bool  # there is another message behind the one that was received
    _rates: Rates
    _read_some: Callable[[], bytes | None]  # of the transport
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
        prepared: PreparedMessage | None = None
        if type(data) is bytes:
            opcode, payload = BINARY, data
        elif type(data) is str:
            try:
                opcode, payload = TEXT, data.encode()
            except UnicodeEncodeError:
                return False
        elif type(data) is PreparedMessage:
            opcode, payload, prepared = data.opcode, data.payload, data
        else:
            return False
        if not wait and len(payload) > self._writer.most_queued:
            return False
        if self._stretch is not None and wait:
            self._stretch.count += 1
            if self._stretch.count > LONGEST_STRETCH:
                self._transport.pause()
        try:
            sent = self._writer.send_now(opcode, payload, prepared, self._more and wait, wait)
        except OSError as error:
            self._send_failed(error)
            return False
        writer = self._writer
        # Those were posted by somebody who has left them to this thread.
        if sent == 0:
            if writer._posted:
                writer.flush_due()  # what comes next may wait for something else, or find that it is over
            return False
        if sent < 0 or writer._posted or writer._queued:
            self._send_rest(wait, sent < 0)
        return True

    def _may_read(self) -> bool:
        """Whether the socket is what is to be looked at next; what has been gathered leaves before."""
        writer = self._writer
        if (
            not self._reader.between()
            or self._gone
            or self._ending is not None
            or self._turn.wanted
            or writer._unsent
            or writer._posted
            or writer._queued
        ):
            return False
        return writer._gathered is None or writer.send_gathered()

    def _read_plain(self) -> str | bytes | None:
        since = _monotonic()
        try:
            data = self._read_some()
        except OSError as error:
            self._lost(str(error))
            self._transport.abort()  # it may be told only once: the next read, which is to find the end, does not wait
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

    def _send_rest(self, wait: bool, begun: bool) -> None:
        raise NotImplementedError
