"""A connection: who reads it, who writes it, how it ends. The base of :class:`syncws.websocket.WebSocket`.

Reading
    A connection has no thread of its own. The thread whose turn it is (:mod:`syncws.turn`) reads the socket, feeds the
    message reader and answers control frames. Only that thread calls the methods of the last section below.

The end
    Whoever sends the first close frame, the thread that reads finishes the connection: it sends what is due, ends our
    direction, reads what is left so that unread input does not turn the close into a reset, and gives back the
    socket. ``close()`` does that itself if no thread is in ``receive()``; if one is, ``close()`` waits for it, at
    most ``close_timeout``, and then drops the connection, which wakes it up.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Literal

from .backlog import Backlog
from .coalescer import COALESCER, Coalescer
from .ending import Ending
from .errors import ConnectionClosed, Initiator, ProtocolError
from .fate import Fate
from .hot import MOMENT, HotConnection
from .logs import get_logger
from .options import Options
from .patience import Patience
from .pings import Pings
from .protocol.codes import CLOSE, PING
from .protocol.deflate import Compressor
from .protocol.frames import MAX_REASON, close_payload, parse_close
from .protocol.messages import MessageReader
from .protocol.parser import Frame
from .rates import Rates
from .reentry import codes_of, codes_of_type, within
from .transport import NOW, Transport
from .turn import Turn
from .writer import FrameWriter

__all__ = ["GRACE", "SLICE", "Connection"]

_log = get_logger("syncws.websocket")

# How often, in seconds, a thread that waits for its turn does what the one that has it may know nothing about.
SLICE = 0.05
# How long, in seconds, after a deadline what has arrived is still read, because a peer can keep it from ever being all.
GRACE = 1.0


class Connection(HotConnection):
    """An open connection, without the verbs for messages."""

    __slots__ = (
        "__weakref__", "_aborted", "_close_deadline", "_fate", "_kept", "_lock", "_options", "_patience", "_pings",
        "_role", "remote_address",
    )  # fmt: skip

    _ending: Ending | None  # both close frames are there, or the peer broke a rule
    _turn: Turn
    _writer: FrameWriter
    _inside: frozenset[Any]  # the code in which a thread may have the turn to read, or the lock to write or of _keeper
    _keeper: Any = None

    def __init__(
        self, transport: Transport, role: Literal["server", "client"], reader: MessageReader, options: Options
    ) -> None:
        self.remote_address: Any = transport.remote_address
        self._role = role
        self._options = options
        self._transport = transport
        self._read_some = transport.read
        self._reader = reader
        # Guards what several parts of the connection note in a moment each.
        self._lock = lock = transport.runtime.rlock()
        self._fate = Fate(transport.runtime, lock)
        self._writer = FrameWriter(
            transport,
            masked=role == "client",
            on_close_sent=self._fate.close_sent,
            on_cut_off=self._drop,
            on_unsent=self._wake,
            coalescer=COALESCER if options.coalesce and transport.coalesces else None,
            backlog=Backlog(
                transport.runtime, options.max_backlog, drops=options.backlog_policy == "drop-oldest", lock=lock
            ),
        )
        self._received = 0  # bytes
        self._turn = Turn(transport.runtime, lock)
        self._receiving = False  # the turn is taken by receive() or receive_stream()
        self._kept = False  # it is taken by the keeper
        self._pings = Pings(self._turn, transport.runtime, lock)
        self._patience = Patience(options.message_timeout)
        self._limited = options.max_messages_per_second is not None
        self._more = False
        self._stretch = transport.stretch
        self._rates = Rates(options.max_messages_per_second, options.max_control_frames_per_second)
        self._close_deadline: float | None = None
        self._ending = None
        self._aborted = False  # what has arrived is not wanted any more
        self._gone = False  # the socket has been given back

    def _hasten(self, due: float) -> None:
        """Have the keeper look at it at the latest at ``due``."""

    def _wake(self) -> None:
        """Have the keeper attend to it at once."""

    # Closing.

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection and wait until it is closed, at most ``close_timeout``. Any thread; idempotent.

        In a signal handler that has interrupted this connection's ``receive()`` or ``send()``, and in a callback of
        gevent's event loop, it does not wait; a peer that does not answer has to be dropped with :meth:`abort` then.

        Messages that nobody has received by then are dropped. A ``receive()`` that is running in another thread
        returns what the peer sent before its close frame, then raises ``ConnectionClosed``.

        :param code: why (RFC 6455, 7.4): 1000 for a normal closure, 3000-4999 for meanings of your own, …
        :param reason: at most 123 bytes in UTF-8.
        :raises TypeError: code or reason is of another type.
        :raises ValueError: a code that must not be sent, a reason that is too long.
        """
        if self._gone:
            close_payload(code, reason)  # wrong use is an error here as well
            return
        self.begin_close(code, reason)
        if within(*self._insides()) or not self._transport.runtime.can_wait():
            return  # in a signal handler: what it has interrupted goes on, and ends the connection
        try:
            if self._take_turn(self._closing_deadline(), lambda: self._gone):
                self._read_to_the_end()
        except TimeoutError:
            self._drop(f"the closing handshake was not complete after {self._options.close_timeout} s")
            # The thread in receive() wakes up and ends the connection, or leaves that to this one.
            if self._turn.take(None, lambda: self._gone):
                self._give_back()
                self._turn.release()

    def _insides(self) -> tuple[Any, ...]:
        """Return what holds the turn to read or the lock to write, if it is on the stack: for :func:`within`."""
        writer, transport = self._writer, self._transport
        owners = (self, writer, self._turn, self._keeper, transport, self._rates, COALESCER, writer.compressor or self)
        return (self._inside | codes_of_type(type(transport)), *owners)

    def begin_close(self, code: int = 1000, reason: str = "") -> None:
        """Send the close frame without waiting for anything; ``close()`` or ``receive()`` do the rest. Any thread.

        Parameters and errors as :meth:`close`; nothing happens if the connection is closing already.
        """
        self._begin_close(code, reason, None)

    def _begin_close(self, code: int, reason: str, cause: ProtocolError | None) -> bool:
        payload = close_payload(code, reason)
        if not self._fate.close(code, reason, cause):
            return False
        self._closing_deadline()
        self._writer.post_close(payload)
        return True

    def abort(self) -> None:
        """Drop the TCP connection now, without a close frame; threads that wait inside wake up. Any thread."""
        self._aborted = True
        self._drop("dropped by abort()")
        self._give_back_if_free()

    def _give_back_if_free(self) -> None:
        # Whoever reads gives it back, or else a writer, which may be what this signal handler has interrupted.
        if not self._writer.busy and self._turn.take_now():
            self._give_back()
            self._turn.release()

    def _drop(self, reason: str) -> None:
        self._lost(reason, "local")
        self._transport.abort()

    def _closing_deadline(self) -> float | None:
        """Return when the closing handshake must be over; it begins with the first call."""
        if self._close_deadline is None and self._options.close_timeout is not None:
            self._close_deadline = time.monotonic() + self._options.close_timeout
            self._hasten(self._close_deadline + GRACE)
        return self._close_deadline

    def _lost(self, reason: str, initiator: Initiator = "remote") -> None:
        self._fate.lost(reason, initiator)
        self._turn.notify()

    # What the thread does whose turn it is to read.

    def _take_turn(self, deadline: float | None, done: Callable[[], bool], *, eager: bool = True) -> bool:
        """Wait for the turn; meanwhile send what the thread that has it does not know to be waiting for room."""
        while self._writer.unsent:
            moment = time.monotonic() + SLICE
            if deadline is not None and deadline <= moment:
                break
            with contextlib.suppress(TimeoutError):
                return self._turn.take(moment, done, eager=eager)
            self._writer.flush_due()
        return self._turn.take(deadline, done, eager=eager)

    def _fill(self, deadline: float | None) -> None:
        """Wait for bytes and feed them to the reader: TimeoutError, ConnectionClosed; ProtocolError if too slow."""
        if self._patience.seconds is None or not self._reader.unfinished:
            self._read(deadline)
            return
        number = self._reader.completed
        limit = self._patience.begin(number)
        try:
            self._read(limit if deadline is None or limit < deadline else deadline)
        except TimeoutError:
            if deadline is not None and deadline <= limit:
                raise
            raise self._patience.error() from None
        finally:
            self._patience.end(number, limit)

    def _read(self, deadline: float | None) -> None:
        """Do what :meth:`_fill` does, while no message is unfinished."""
        if self._ending is not None:
            self._finish()
        if self._gone:
            raise self._fate.error(self)
        if self._writer.gathered:
            self._writer.flush_due()
        if deadline and time.monotonic() > deadline + GRACE:  # and not NOW
            raise TimeoutError("timed out")
        self._patience.renew()
        since = time.monotonic()
        try:
            data = (self._read_and_flush if self._writer.unsent and deadline != NOW else self._transport.recv)(deadline)
        except TimeoutError:
            self._rates.waited(time.monotonic() - since, receiving=self._receiving, in_vain=True)
            raise
        except OSError as error:
            self._lost(str(error))
            data = b""
        if (seconds := time.monotonic() - since) > MOMENT or self._rates.watching:
            self._rates.waited(seconds, receiving=self._receiving)
        if not data:
            self._lost("the peer ended the TCP connection without a close frame")
            self._give_back()
            raise self._fate.error(self)
        self._received += len(data)
        self._reader.feed(data)

    def _read_and_flush(self, deadline: float | None) -> bytes:
        while self._writer.unsent:
            try:
                return self._transport.recv(NOW)
            except TimeoutError:
                self._transport.wait_ready(deadline)
            self._writer.flush_due()
        return self._transport.recv(deadline)

    def _on_control(self, frame: Frame) -> None:
        if frame.opcode == CLOSE:
            self._on_close(frame.payload)
        elif frame.opcode == PING:
            self._rates.control_frame()
            self._writer.post_pong(frame.payload)
        elif not self._pings.answer(frame.payload):
            self._rates.control_frame()

    def _on_close(self, payload: bytes) -> None:
        """Answer the peer's close frame, or take it for the answer to ours; finish the connection."""
        code, reason = parse_close(payload)
        self._fate.close_received(code, reason)
        # RFC 6455, 5.5.1: an endpoint that did not send a close frame MUST send one; it typically echoes the code. The
        # reason goes with it, because a browser's page sees only the frame that the browser received.
        self._writer.post_close(payload)
        self._ending = Ending(self._transport, self._writer, self._role, self._closing_deadline(), failed=False)

    def _fail(self, error: ProtocolError) -> None:
        """Fail the connection (RFC 6455, 7.1.7): say why in a close frame, and do not wait for one."""
        if self._gone:
            return
        _log.info("%s broke the protocol: %s; closing with %d", self.remote_address, error, error.close_code)
        self._reader.stop()
        reason = error.message.encode()[:MAX_REASON].decode(errors="ignore")
        self._begin_close(error.close_code, reason, error)
        self._writer.drop_queued()
        self._ending = Ending(self._transport, self._writer, self._role, self._closing_deadline(), failed=True)

    def _read_to_the_end(self) -> None:
        """Wait for the peer's close frame, dropping what comes before it; finish the connection; release the turn.

        :raises TimeoutError: no close frame in time.
        """
        deadline = self._closing_deadline()
        if deadline is not None:
            deadline = max(deadline, time.monotonic())  # it may have passed long ago: read what has arrived since
        try:
            while True:
                item = self._reader.next_piece()
                if item is None:
                    self._fill(deadline)
                elif isinstance(item, Frame):
                    self._on_control(item)
        except ProtocolError as error:
            self._fail(error)
            self._finish()
        except ConnectionClosed:
            pass  # the peer dropped the connection, which ends it as well
        finally:
            self._turn.release()

    def _finish(self) -> None:
        """Take the last steps, if they are due, and give back the socket."""
        if self._ending is not None and not self._gone:
            self._ending.wait()
            self._give_back()

    def _give_back(self) -> None:
        """Give back the socket; a thread that is stuck in a write wakes up."""
        self._writer.close_transport(ended=self._ending is not None and self._ending.complete)
        self._fate.over()
        self._gone = True
        self._turn.notify()


_READERS = (
    Connection.close, Connection.abort, Connection._read_to_the_end, Connection._lost, Connection.receive_now,
)  # fmt: skip
Connection._inside = codes_of(FrameWriter, Turn, Rates, Coalescer, Compressor, *_READERS)
