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
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from .errors import ConcurrencyError, ConnectionClosed, Initiator, ProtocolError
from .options import Options
from .pings import Pings
from .protocol.codes import PING, PONG
from .protocol.frames import MAX_REASON, close_payload, parse_close
from .protocol.machine import Event, State, next_state
from .protocol.messages import MessageReader, Piece
from .protocol.parser import Frame
from .transport import Transport
from .turn import Turn
from .writer import FrameWriter

__all__ = ["SLICE", "Connection"]

_log = logging.getLogger("syncws.websocket")

# A deadline that has passed: do not wait.
_NOW = 0.0
# How often, in seconds, a thread that waits for its turn does what the one that has it may know nothing about.
SLICE = 0.05
# How long, in seconds, a peer may take to end TCP when both close frames have been sent; and how long, after a
# deadline, what has arrived is still read, because a peer can keep it from ever being all.
_LINGER = 1.0
# Instead of the number of an unfinished message, and the seconds that may still be spent on waiting for the rest.
_NOTHING_UNFINISHED = (-1, 0.0)


class Connection:
    """An open connection, without the verbs for messages."""

    def __init__(
        self, transport: Transport, role: Literal["server", "client"], reader: MessageReader, options: Options
    ) -> None:
        self.remote_address: Any = transport.remote_address
        self._role = role
        self._options = options
        self._transport = transport
        self._reader = reader
        self._writer = FrameWriter(
            transport, masked=role == "client", on_close_sent=self._on_close_sent, on_cut_off=self._drop
        )
        self._turn = Turn()
        self._receiving = False  # the turn is taken by receive() or receive_stream()
        self._pings = Pings(self._turn)
        self._unfinished = _NOTHING_UNFINISHED
        self._state_lock = threading.RLock()  # guards the three below, a signal handler's way to it too
        self._state = next_state(State.CONNECTING, Event.OPENED)
        self._end: tuple[int, str, Initiator] | None = None  # how it ended, as soon as that is known
        self._cause: ProtocolError | None = None  # the rule that the peer broke
        self._close_deadline: float | None = None
        self._gone = False  # the socket has been given back

    # Closing.

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection and wait until it is closed, at most ``close_timeout``. Any thread; idempotent.

        In a signal handler that has interrupted this connection's ``receive()`` or ``send()`` it does not wait; a peer
        that does not answer has to be dropped with :meth:`abort` then.

        Messages that nobody has received by then are dropped. A ``receive()`` that is running in another thread
        returns what the peer sent before its close frame, then raises ``ConnectionClosed``.

        :param code: why (RFC 6455, 7.4): 1000 for a normal closure, 3000-4999 for meanings of your own, …
        :param reason: at most 123 bytes in UTF-8.
        :raises TypeError: code or reason is of another type.
        :raises ValueError: a code that must not be sent, a reason that is too long.
        """
        self.begin_close(code, reason)
        if self._turn.mine or self._writer.mine:
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

    def begin_close(self, code: int = 1000, reason: str = "") -> None:
        """Send the close frame without waiting for anything; ``close()`` or ``receive()`` do the rest. Any thread.

        Parameters and errors as :meth:`close`; nothing happens if the connection is closing already.
        """
        self._begin_close(code, reason, None)

    def _begin_close(self, code: int, reason: str, cause: ProtocolError | None) -> None:
        payload = close_payload(code, reason)
        with self._state_lock:
            self._cause = self._cause or cause
            if self._end is not None:
                return
            self._end = (code, reason, "local")
        self._closing_deadline()
        self._writer.post_close(payload)

    def abort(self) -> None:
        """Drop the TCP connection now, without a close frame; threads that wait inside wake up. Any thread."""
        self._drop("dropped by abort()")
        # Whoever reads gives back the socket, or else this thread; a writer may be what this signal handler interrupts.
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
        return self._close_deadline

    def _on_close_sent(self) -> None:
        with self._state_lock:
            self._state = next_state(self._state, Event.CLOSE_SENT)

    def _lost(self, reason: str, initiator: Initiator = "remote") -> None:
        """Note that the connection ended before its closing handshake did (1006; RFC 6455, 7.1.5)."""
        with self._state_lock:
            if self._state in (State.OPEN, State.CLOSE_SENT) and self._cause is None:
                self._end = (1006, reason, self._end[2] if self._end else initiator)
            self._state = next_state(self._state, Event.LOST)
        self._turn.notify()

    def _closed_error(self) -> ConnectionClosed:
        """Return the exception that says how the connection ended."""
        assert self._end is not None
        error = ConnectionClosed(*self._end)
        error.__cause__ = self._cause
        error.websocket = self
        return error

    # Writing.

    def _write(self, opcode: int, payload: bytes, seconds: float | None, fin: bool = True, rsv1: bool = False) -> None:
        if self._end is not None:
            raise self._closed_error()
        try:
            written = self._writer.write(opcode, payload, fin, rsv1, seconds)
        except TimeoutError:
            raise
        except OSError as error:
            self._lost(str(error))
            raise self._closed_error() from (self._cause or error)
        if not written:
            if self._end is None:
                self._lost("a write failed")
            raise self._closed_error()

    # What the thread does whose turn it is to read.

    def _pull(
        self, next_item: Callable[[], str | bytes | Piece | Frame | None], timeout: float | None
    ) -> str | bytes | Piece:
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._turn.take_now():
            self._wait_to_receive(deadline)
        self._receiving = True
        try:
            if self._turn.wanted:
                self._turn.notify()  # another receiver, hardly later, learns that it is not to wait
            while True:
                item = next_item()
                if item is None:
                    if self._reader.unfinished:
                        self._fill(deadline)
                    else:
                        self._read(deadline)
                elif isinstance(item, Frame):
                    self._on_control(item)
                else:
                    return item
        except ProtocolError as error:
            self._fail(error)
            raise self._closed_error() from error
        except TimeoutError:
            raise TimeoutError(f"no message within {timeout} s") from None
        finally:
            self._receiving = False
            self._turn.release()

    def _wait_to_receive(self, deadline: float | None) -> None:
        """Wait for the turn while another thread has it for a moment, to ping or to close."""
        if self._receiving or not self._turn.take(deadline, lambda: self._receiving):
            raise ConcurrencyError("two threads in receive() of one connection; only one at a time can receive")

    def _take_turn(self, deadline: float | None, done: Callable[[], bool], *, eager: bool = True) -> bool:
        """Wait for the turn; meanwhile send what the thread that has it may not know to be waiting for room."""
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
        seconds = self._options.message_timeout
        if seconds is None or not self._reader.unfinished:
            self._read(deadline)
            return
        # Only what is spent here counts: that the program does something else meanwhile is not the peer's fault.
        number = self._reader.completed
        number_before, left = self._unfinished
        limit = time.monotonic() + (left if number == number_before else seconds)
        try:
            self._read(limit if deadline is None or limit < deadline else deadline)
        except TimeoutError:
            if deadline is not None and deadline <= limit:
                raise
            raise ProtocolError(f"message unfinished after {seconds} s, the limit message_timeout", 1008) from None
        finally:
            self._unfinished = (number, limit - time.monotonic())

    def _read(self, deadline: float | None) -> None:
        """Do what :meth:`_fill` does, while no message is unfinished."""
        if self._gone:
            raise self._closed_error()
        if deadline is not None and time.monotonic() > deadline + _LINGER:
            raise TimeoutError("timed out")
        self._unfinished = _NOTHING_UNFINISHED
        try:
            data = self._read_and_flush(deadline) if self._writer.unsent else self._transport.recv(deadline)
        except TimeoutError:
            raise
        except OSError as error:
            self._lost(str(error))
            data = b""
        if not data:
            self._lost("the peer ended the TCP connection without a close frame")
            self._give_back()
            raise self._closed_error()
        self._reader.feed(data)

    def _read_and_flush(self, deadline: float | None) -> bytes:
        while self._writer.unsent:
            try:
                return self._transport.recv(_NOW)
            except TimeoutError:
                self._transport.wait_ready(deadline)
            self._writer.flush_due()
        return self._transport.recv(deadline)

    def _on_control(self, frame: Frame) -> None:
        if frame.opcode == PING:
            self._writer.post_pong(frame.payload)
        elif frame.opcode == PONG:
            self._pings.answer(frame.payload)
        else:
            self._on_close(frame.payload)

    def _on_close(self, payload: bytes) -> None:
        """Answer the peer's close frame, or take it for the answer to ours; finish the connection."""
        code, reason = parse_close(payload)
        with self._state_lock:
            self._state = next_state(self._state, Event.CLOSE_RECEIVED)
            if self._end is None or self._end[::2] == (1006, "remote"):
                self._end = (code, reason, "remote")
        # RFC 6455, 5.5.1: an endpoint that did not send a close frame MUST send one; it typically echoes the code. The
        # reason goes with it, because a browser's page sees only the frame that the browser received.
        self._writer.post_close(payload)
        self._finish()

    def _fail(self, error: ProtocolError) -> None:
        """Fail the connection (RFC 6455, 7.1.7): say why in a close frame, and end TCP without waiting for one."""
        if self._gone:
            return
        _log.info("%s broke the protocol: %s; closing with %d", self.remote_address, error, error.close_code)
        self._reader.stop()
        reason = error.message.encode()[:MAX_REASON].decode(errors="ignore")
        self._begin_close(error.close_code, reason, error)
        self._finish(failed=True)

    def _read_to_the_end(self) -> None:
        """Wait for the peer's close frame, dropping what comes before it; finish the connection; release the turn.

        :raises TimeoutError: no close frame in time.
        """
        deadline = self._closing_deadline()
        if deadline is not None:
            deadline = max(deadline, time.monotonic())  # it may have passed long ago: read what has arrived since
        try:
            while not self._gone:
                item = self._reader.next_piece()
                if item is None:
                    self._fill(deadline)
                elif isinstance(item, Frame):
                    self._on_control(item)
        except ProtocolError as error:
            self._fail(error)
        except ConnectionClosed:
            pass  # the peer dropped the connection, which ends it as well
        finally:
            self._turn.release()

    def _finish(self, *, failed: bool = False) -> None:
        """End TCP so that the peer gets all that was sent (RFC 6455, 7.1.1), and give back the socket.

        :param failed: the peer has broken a rule, and may go on; otherwise its close frame has arrived.
        """
        deadline = self._closing_deadline()
        with contextlib.suppress(OSError):  # lost, or the deadline has passed: it is over in any case
            self._writer.finish(deadline)
            if failed or self._role == "server":  # RFC 6455, 7.1.1: in the normal case, the server ends TCP first
                self._transport.shutdown_write()
            if not failed:
                linger = time.monotonic() + _LINGER
                deadline = linger if deadline is None else min(deadline, linger)
            # A socket that is closed with unread input sends a reset, which can destroy our close frame on its way.
            while self._transport.recv(deadline):
                pass
        self._give_back()

    def _give_back(self) -> None:
        """Give back the socket; a thread that is stuck in a write wakes up."""
        self._writer.close_transport()
        with self._state_lock:
            self._state = next_state(self._state, Event.LOST)
        self._gone = True
        self._turn.notify()
