"""A connection while no thread receives: what the keeper does for it, and pings.

Whoever reads for the sake of control frames looks ahead: data frames are set aside for ``receive()``, up to a limit,
and control frames are served. When the limit is reached the peer has to wait, as it does for any reader that is slow.

:meth:`Attended.attend` and :meth:`Attended.on_due` are for the keeper (:mod:`syncws.keeper`); nothing in them waits.
"""

from __future__ import annotations

import contextlib
import functools
import math
import selectors
import time
from collections.abc import Callable
from typing import Literal

from . import access_log
from .care import Care
from .connection import SLICE, Connection
from .errors import ConnectionClosed, ProtocolError
from .keepalive import Keepalive, limit_unanswered
from .keeper import TICK, Keeper, keeper_of
from .logs import get_logger
from .options import Options
from .patience import Rest
from .protocol.machine import State
from .protocol.messages import MessageReader
from .reentry import codes_of
from .stats import LatencyCounts
from .transport import NOW, Transport

__all__ = ["Attended"]

_log = get_logger("syncws.websocket")

# So many reads for one connection in one go; there are others.
_READS = 16
_GOING_AWAY = 1001
# In seconds: without a message for so long, or twice that, a connection gives back what compression takes.
_IDLE = 5.0


class Attended(Connection):
    """A connection with pings and a keeper; the base of :class:`syncws.websocket.WebSocket`."""

    __slots__ = (
        "_callbacks", "_care", "_dropped", "_ended", "_keepalive", "_keeper", "_opened", "_quiet",
        "_rest", "_seen", "_sent_before",
    )  # fmt: skip

    def __init__(
        self, transport: Transport, role: Literal["server", "client"], reader: MessageReader, options: Options
    ) -> None:
        super().__init__(transport, role, reader, options)
        self._dropped = False  # by this side
        self._sent_before = transport.sent  # in the opening handshake
        self._rest = Rest(options.message_timeout)
        self._callbacks: list[Callable[[], object]] = []
        self._opened = time.monotonic()
        self._ended: float | None = None
        self._seen = 0  # how many messages there were when compression was looked at
        self._quiet = (-1, self._opened)  # how many messages there were, and since when
        self._keepalive = Keepalive(
            options.ping_interval,
            options.ping_timeout,
            transport=transport,
            writer=self._writer,
            pings=self._pings,
        )
        if options.ping_interval is not None and options.ping_timeout is not None:
            limit_unanswered(transport.sock, options.ping_interval + options.ping_timeout)
        self._keeper = keeper_of(transport.runtime)
        self._care = Care(self, self._turn, self._keeper)
        self._keeper.add(self._care)

    # For the keeper.

    def _hasten(self, due: float) -> None:
        self._care.hasten(due)

    def _wake(self) -> None:
        self._care.wake()

    def fileno(self) -> int:
        """The descriptor of the socket."""
        return self._transport.sock.fileno()

    @property
    def activity(self) -> int:
        """How many bytes have been received."""
        return self._received

    @property
    def held_up(self) -> bool:
        """Whether nobody reads, because so much has been read already."""
        return self._reader.looked_ahead

    def attend(self) -> int:
        """Read ahead, serve control frames, write what waits, and go on with the end, all without waiting."""
        self._writer.flush_due()  # whoever has the turn may wait for bytes, and know nothing of it
        if not self._turn.take_now():
            return selectors.EVENT_WRITE if self._writer.unsent else 0
        self._kept = True
        # What is sent from now on does not wait for company: if the coalescer met a full socket, nobody would know.
        self._more = False
        try:
            if not self._gone and self._ending is None:
                with contextlib.suppress(ConnectionClosed):
                    self._look_ahead_now()
                if self._dropped and self._reader.looked_ahead and not self._gone:
                    self._give_back()  # nobody reads up to the end
            if self._ending is not None and not self._gone:
                if self._ending.advance():
                    self._give_back()
                else:
                    self._hasten(time.monotonic() + TICK)
            if self._gone:
                return 0
            reading = 0
            # What comes behind the end is not read before all has been written: the selector would never be quiet.
            if self._writer.drained if self._ending is not None else not self._reader.looked_ahead:
                reading = selectors.EVENT_READ
                self._rates.watched()
            return reading | (selectors.EVENT_WRITE if self._writer.unsent else 0)
        finally:
            self._care.seen = self._received
            self._kept = False
            self._turn.release()

    def on_due(self, now: float) -> float:
        """Ping, drop, and close what has been idle, or open, for too long."""
        if self._gone:
            return math.inf
        if self._close_deadline is not None:
            if now < self._close_deadline:
                return self._close_deadline
            self._drop(f"the closing handshake was not complete after {self._options.close_timeout} s")
            return math.inf
        if self._fate.end is not None:
            return math.inf
        due = self._keepalive.on_due(now, self)
        if due is None:
            self._drop(f"no answer to a ping within {self._options.ping_timeout} s")
            return math.inf
        return min(due, self._close_when_old(now), self._close_when_idle(now), self._release_when_idle(now))

    def _close_when_old(self, now: float) -> float:
        if self._options.max_age is None:
            return math.inf
        due = self._opened + self._options.max_age
        if now >= due:
            self.begin_close(_GOING_AWAY, f"open for {self._options.max_age} s, the limit")
        return due

    def _close_when_idle(self, now: float) -> float:
        limit = self._options.idle_timeout
        if limit is None:
            return math.inf
        messages = self._reader.arrived + self._writer.messages
        if messages != self._quiet[0]:
            self._quiet = (messages, now)
        elif now >= self._quiet[1] + limit:
            self.begin_close(_GOING_AWAY, f"idle for {limit} s")
        return now + limit / 10

    def _release_when_idle(self, now: float) -> float:
        """Give back the memory of the compressor, which may begin anew at any time, and of the decompressor."""
        if self._writer.compressor is None:
            return math.inf
        messages = self._reader.arrived + self._writer.messages
        if messages != self._seen:
            self._seen = messages
        else:
            self._writer.release_compressor()
            if self._turn.take_now():
                self._kept = True  # a receiver with a deadline waits for that moment
                try:
                    self._reader.release_inflater()
                finally:
                    self._kept = False
                    self._turn.release()
        return now + _IDLE

    def _look_ahead_now(self) -> None:
        try:
            for _ in range(_READS):
                while (frame := self._reader.next_control()) is not None:
                    self._on_control(frame)
                if self._reader.looked_ahead or self._ending is not None:
                    self._rest.due(None, 0.0)  # the peer cannot go on
                    return
                self._read(NOW)
        except ProtocolError as error:
            self._fail(error)
            return
        except TimeoutError:
            self._wait_for_the_rest(time.monotonic())
            return
        # There may be more that the selector knows nothing of: it has been read, or TLS has.
        self._keeper.wake(self._care)

    def _wait_for_the_rest(self, now: float) -> None:
        """Fail the connection if it has a message of which the rest has not come for ``message_timeout``."""
        reader = self._reader
        # With receive_stream() the limit is for each piece.
        number = (reader.arrived, self._received if reader.streaming else 0) if reader.owed else None
        due = self._rest.due(number, now)
        if due <= now:
            self._fail(self._patience.error())
        elif due < math.inf:
            self._hasten(due)

    def _drop(self, reason: str) -> None:
        super()._drop(reason)
        self._dropped = True

    def fail(self, error: Exception) -> None:
        """Drop the connection, because attending to it has failed in a way that nobody has foreseen."""
        self._drop(f"internal error: {type(error).__name__}")

    def _give_back(self) -> None:
        self._keeper.forget(self._care)
        super()._give_back()
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
        if self._ended is None:
            self._ended = time.monotonic()
            if self._role == "server" and access_log.is_on():
                callbacks.insert(0, functools.partial(access_log.log_end, self))
        if callbacks and self._kept:
            with contextlib.suppress(RuntimeError):  # there can be no more threads
                # The keeper has other connections.
                self._transport.runtime.spawn(lambda: self._call(callbacks), "syncws-on-close")
                return
        self._call(callbacks)

    def on_close(self, callback: Callable[[], object]) -> None:
        """Have a function called when the connection is over, once, by whichever thread finds that out; or at once.

        It may be the thread in ``receive()``, ``send()`` or ``close()``, or one of its own if there is none inside.
        What it raises is logged. ``ws.close_code`` and ``ws.close_reason`` say how it ended. It must not receive: the
        thread that has called it may be the one that reads. Any thread.
        """
        with self._lock:
            if not self._gone:
                self._callbacks.append(callback)
                return
        self._call([callback])

    def _call(self, callbacks: list[Callable[[], object]]) -> None:
        for callback in callbacks:
            try:
                callback()
            except Exception:
                _log.exception("a function for the end of %r failed", self)

    # Pings.

    @property
    def latency(self) -> float | None:
        """The round-trip time that the latest :meth:`ping` measured, in seconds; ``None`` before the first."""
        return self._pings.latency

    @property
    def latencies(self) -> LatencyCounts | None:
        """The round-trip times of all pings; ``None`` before the first."""
        return self._pings.latencies

    def ping(self, data: bytes | bytearray | memoryview = b"", timeout: float | None = None) -> float:
        """Send a ping, wait for its pong, and return the round-trip time in seconds. Any thread.

        If no thread is receiving, this one reads meanwhile; messages that it meets are set aside for ``receive()``,
        up to 256 KiB. Behind more than that the pong is found only when they have been received.

        :param data: at most 125 bytes to come back; default: a number.
        :param timeout: seconds to wait for the pong; ``None``: for ever.
        :raises TimeoutError: no pong in time.
        :raises ConnectionClosed: the connection is over.
        :raises TypeError: data is not bytes-like.
        :raises ValueError: data is too long, or a ping with the same data is under way.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._fate.end is not None:
            raise self._fate.error(self)
        ping = self._pings.begin(data)

        def done() -> bool:
            return ping.round_trip is not None or self._fate.state is State.CLOSED

        try:
            self._writer.post_ping(ping.payload)
            while self._take_turn(deadline, done, eager=False):
                try:
                    self._look_ahead(deadline, done)
                finally:
                    self._turn.release()
                if self._reader.looked_ahead:
                    self._turn.wait(deadline, lambda: done() or not self._reader.looked_ahead)
        except TimeoutError:
            raise TimeoutError(f"no pong within {timeout} s") from None
        finally:
            self._pings.forget(ping)
            self._writer.withdraw_ping(ping.payload)
        if ping.round_trip is None:
            raise self._fate.error(self)
        return ping.round_trip

    def _look_ahead(self, deadline: float | None, done: Callable[[], bool]) -> None:
        """Serve control frames until done, until a receiver wants the turn, or until enough has been set aside."""
        reader = self._reader
        try:
            while not (done() or self._turn.wanted):
                frame = reader.next_control()
                if frame is not None:
                    self._on_control(frame)
                elif reader.looked_ahead:
                    return
                else:
                    self._fill_for_a_moment(deadline)
        except ProtocolError as error:
            self._fail(error)
        self._finish()

    def _fill_for_a_moment(self, deadline: float | None) -> None:
        """Wait for bytes, but not for long: a receiver that comes meanwhile may find a message set aside."""
        moment = time.monotonic() + SLICE
        if deadline is not None and deadline <= moment:
            self._fill(deadline)
        else:
            with contextlib.suppress(TimeoutError):
                self._fill(moment)


Attended._inside = Connection._inside | codes_of(Attended.ping, Attended.attend, Keeper)
