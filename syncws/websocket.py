"""The WebSocket: receive, send, close; one class for both roles.

The concurrency contract
    One thread at a time receives (:class:`ConcurrencyError` otherwise); any number of threads send; any thread
    closes. No thread is started: the thread in ``receive()`` reads the socket itself and answers pings on its way.
    While no thread receives, pings of the peer wait, and so does the peer, once the socket's buffers are full.

What is raised
    ``ConnectionClosed`` when the connection is over, after every message that arrived before has been returned; a
    rule broken by the peer is its ``__cause__``. ``TimeoutError`` when a timeout passes. ``TypeError``, ``ValueError``
    and ``ConcurrencyError`` for wrong use, which leaves the connection as it was.

How bytes are moved and how a connection ends is in :mod:`syncws.connection`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

from .connection import SLICE, Connection
from .errors import ConcurrencyError, ConnectionClosed, ProtocolError
from .options import Options, check_seconds
from .protocol.codes import CONTINUATION
from .protocol.deflate import compressor_for, inflater_for
from .protocol.frames import data_payload
from .protocol.handshake import Agreement, RequestHead
from .protocol.headers import Headers
from .protocol.machine import State
from .protocol.messages import MessageReader, Piece
from .transport import Transport

__all__ = ["WebSocket"]

_QUIET_ENDS = (1000, 1001, 1005)


class _Default:
    """The type of the argument that means "as the option says"."""


_DEFAULT: Final = _Default()


class WebSocket(Connection):
    """An open WebSocket connection.

    Made by :func:`syncws.accept`, :func:`syncws.upgrade`, :func:`syncws.connect` and the servers, not by hand.

    Thread safety: one thread receives, any thread sends, any thread closes.

    :ivar request: the head of the opening handshake's request.
    :ivar subprotocol: the subprotocol agreed upon, or ``None``.
    :ivar extensions: the extensions agreed upon, as on the wire.
    :ivar remote_address: the peer's address, as :meth:`socket.socket.getpeername` gives it.
    """

    def __init__(
        self,
        transport: Transport,
        role: Literal["server", "client"],
        request: RequestHead,
        agreement: Agreement,
        options: Options,
        *,
        leftover: bytes = b"",
    ) -> None:
        """Take over a connection whose opening handshake is complete.

        :param leftover: bytes that arrived behind the handshake; they belong to the first frame.
        """
        parameters, settings = agreement.deflate, options.deflate
        reader = MessageReader(
            masked=role == "server",
            inflater=inflater_for(parameters, role) if parameters else None,
            max_message_size=options.max_message_size,
            max_fragments=options.max_fragments,
        )
        reader.feed(leftover)
        super().__init__(transport, role, reader, options)
        self.request = request
        self.subprotocol = agreement.subprotocol
        self.extensions = agreement.extensions
        self._compressor = compressor_for(parameters, settings, role) if parameters and settings else None
        self._sending = threading.Lock()  # held for a whole message, over all its fragments
        self._fragmenting: int | None = None  # the thread in send_fragments()

    # What it is and how it is.

    @property
    def path(self) -> str:
        """The path of the request's target, without the query."""
        return self.request.path

    @property
    def headers(self) -> Headers:
        """The header fields of the opening handshake's request."""
        return self.request.headers

    @property
    def state(self) -> State:
        """Where the connection is in its life."""
        return self._state

    @property
    def closed(self) -> bool:
        """Whether the connection is over, or about to be: nothing can be sent any more."""
        return self._end is not None

    @property
    def close_code(self) -> int | None:
        """The close code (RFC 6455, 7.1.5) of the side that began to close; ``None`` while the connection is open."""
        return self._end[0] if self._end else None

    @property
    def close_reason(self) -> str | None:
        """The reason that came with the close code; ``None`` while the connection is open."""
        return self._end[1] if self._end else None

    @property
    def latency(self) -> float | None:
        """The round-trip time that the latest :meth:`ping` measured, in seconds; ``None`` before the first."""
        return self._pings.latency

    def __repr__(self) -> str:
        return f"<WebSocket {self._role} {self.path} {self.remote_address} {self._state.value}>"

    # Receiving.

    def receive(self, timeout: float | None = None) -> str | bytes:
        """Wait for a message and return it: text as ``str``, binary as ``bytes``.

        After a timeout nothing is lost; call again.

        :param timeout: seconds; ``None``: for ever; 0: only what has arrived.
        :raises TimeoutError: no complete message arrived in time.
        :raises ConnectionClosed: the connection is over.
        :raises ConcurrencyError: another thread is receiving.
        """
        item = self._pull(self._reader.next_message, timeout)
        assert not isinstance(item, Piece)
        return item

    def receive_stream(self, timeout: float | None = None) -> Iterator[str | bytes]:
        """Return an iterator over the pieces of the next message, for what does not fit in memory.

        There is at least one piece; all of them are ``str`` for text, ``bytes`` for binary. ``max_message_size``
        does not apply; a piece has at most 64 KiB, except that what a ``receive()`` that timed out has gathered is
        one. If the loop is left early, the next ``receive()`` skips the rest of the message.

        :param timeout: seconds to wait for each piece; ``None``: for ever.
        :raises: as :meth:`receive`, while iterating.
        """
        empty = True
        while True:
            piece = self._pull(self._reader.next_piece, timeout)
            assert isinstance(piece, Piece)
            self._unfinished = (-1, 0.0)  # here the limit on waiting begins anew with each piece
            if piece.data or (piece.last and empty):
                empty = False
                yield piece.data
            if piece.last:
                return

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages; end with the connection.

        Ends quietly after the close codes 1000, 1001 and 1005.

        :raises ConnectionClosed: the connection ended with another code.
        """
        while True:
            try:
                message = self.receive()
            except ConnectionClosed as error:
                if error.code in _QUIET_ENDS:
                    return
                raise
            yield message

    # Sending.

    def send(self, data: str | bytes | bytearray | memoryview, *, timeout: float | _Default | None = _DEFAULT) -> None:
        """Send a message: ``str`` as text, bytes-like as binary. Any thread.

        Returns when the operating system has taken the message over; whether it arrives, only an answer tells.

        :param timeout: seconds to wait for a peer that does not read; default: the option ``send_timeout``;
            ``None``: for ever.
        :raises TypeError: data is neither.
        :raises ValueError: text that UTF-8 cannot encode, such as a lone surrogate.
        :raises ConnectionClosed: the connection is over, or was lost meanwhile.
        :raises TimeoutError: the peer did not read; the connection is dropped, as a message cannot be cut off. If
            another thread was sending all the time, nothing of this message was sent and the connection stays.
        """
        opcode, payload = data_payload(data)
        seconds = self._options.send_timeout if isinstance(timeout, _Default) else check_seconds("timeout", timeout)
        if not self._sending.acquire(False):
            self._wait_to_send(seconds)
        try:
            compressor = self._compressor
            if compressor is None or len(payload) < compressor.threshold:
                self._write(opcode, payload, seconds)
            else:
                self._write(opcode, compressor.compress(payload), seconds, rsv1=True)
        finally:
            self._sending.release()

    def send_fragments(
        self,
        pieces: Iterable[str | bytes | bytearray | memoryview],
        *,
        timeout: float | _Default | None = _DEFAULT,
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
        seconds = self._options.send_timeout if isinstance(timeout, _Default) else check_seconds("timeout", timeout)
        if not self._sending.acquire(False):
            self._wait_to_send(seconds)
        self._fragmenting = threading.get_ident()
        try:
            self._write_fragment(opcode, payload, seconds, first=True)
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

    def _give_message_up(self, reason: str) -> None:
        """Send a close frame and wait until it has left: a thread in receive() may not know that it waits for room."""
        self.begin_close(1011, reason)
        try:
            self._writer.finish(self._closing_deadline())
        except OSError:
            self._drop(reason)

    def _write_fragment(
        self, opcode: int, payload: bytes, seconds: float | None, *, first: bool = False, last: bool = False
    ) -> None:
        if self._compressor is not None:
            payload = self._compressor.compress_piece(payload, last=last)
        self._write(opcode, payload, seconds, fin=last, rsv1=first and self._compressor is not None)

    def _wait_to_send(self, seconds: float | None) -> None:
        """Wait for the lock that a whole message holds, and take it."""
        if self._fragmenting == threading.get_ident():
            raise ConcurrencyError("send() within the iterable that send_fragments() is sending; collect first")
        if not self._sending.acquire(timeout=-1 if seconds is None else min(max(seconds, 0), threading.TIMEOUT_MAX)):
            raise TimeoutError(f"another thread has been sending for {seconds} s; nothing of this message was sent")

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
        if self._end is not None:
            raise self._closed_error()
        ping = self._pings.begin(data)

        def done() -> bool:
            return ping.round_trip is not None or self._state is State.CLOSED

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
            raise self._closed_error()
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

    def _fill_for_a_moment(self, deadline: float | None) -> None:
        """Wait for bytes, but not for long: a receiver that comes meanwhile may find a message set aside."""
        moment = time.monotonic() + SLICE
        if deadline is not None and deadline <= moment:
            self._fill(deadline)
        else:
            with contextlib.suppress(TimeoutError):
                self._fill(moment)

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Close with 1000; with 1011 if an exception leaves the block that is not the end of this connection."""
        ended = isinstance(error, ConnectionClosed) and error.websocket is self
        self.close(1000 if error is None or ended else 1011)
