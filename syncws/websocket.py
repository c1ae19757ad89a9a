"""The WebSocket: receive, send, close; one class for both roles.

The concurrency contract
    One thread at a time receives (:class:`ConcurrencyError` otherwise); any number of threads send; any thread
    closes. The thread in ``receive()`` reads the socket itself and answers pings on its way. While no thread receives,
    the keeper, one for all connections, answers them and reads ahead, up to a limit; then the peer has to wait.

What is raised
    ``ConnectionClosed`` when the connection is over, after every message that arrived before has been returned; a
    rule broken by the peer is its ``__cause__``. ``TimeoutError`` when a timeout passes. ``TypeError``, ``ValueError``
    and ``ConcurrencyError`` for wrong use, which leaves the connection as it was.

How bytes are moved and how a connection ends is in :mod:`syncws.connection`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from .attended import Attended
from .errors import BacklogFull, ConcurrencyError, ConnectionClosed
from .escapes import escaped
from .hot import DEFAULT, Default
from .logs import get_logger
from .options import Options, check_seconds
from .prepared import PreparedMessage
from .protocol.codes import CONTINUATION
from .protocol.deflate import compressor_for, inflater_for
from .protocol.frames import data_payload
from .protocol.handshake import Agreement, RequestHead
from .protocol.headers import Headers
from .protocol.machine import State
from .protocol.messages import MessageReader, Piece
from .stats import ConnectionStats
from .transport import Transport

__all__ = ["WebSocket"]

_log = get_logger("syncws.websocket")

_QUIET_ENDS = (1000, 1001, 1005)
# IANA's registry of close codes: 1013, a temporary condition, such as overload.
_TRY_AGAIN_LATER = 1013


class WebSocket(Attended):
    """An open WebSocket connection.

    Made by :func:`syncws.accept`, :func:`syncws.upgrade`, :func:`syncws.connect` and the servers, not by hand.

    Thread safety: one thread receives, any thread sends, any thread closes.

    :ivar request: the head of the opening handshake's request.
    :ivar subprotocol: the subprotocol agreed upon, or ``None``.
    :ivar extensions: the extensions agreed upon, as on the wire.
    :ivar remote_address: the peer's address, as :meth:`socket.socket.getpeername` gives it.
    """

    __slots__ = (
        "__dict__",  # for what programs note in it
        "_fragmenting", "_leftover", "_sending", "extensions", "logged_address", "request", "subprotocol",
    )  # fmt: skip

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
        self._leftover = len(leftover)
        super().__init__(transport, role, reader, options)
        self.request = request
        self.logged_address = ""  # for the access log: set by a server that knows better than the socket
        self.subprotocol = agreement.subprotocol
        self.extensions = agreement.extensions
        self._writer.compressor = compressor_for(parameters, settings, role) if parameters and settings else None
        self._sending = transport.runtime.fair_lock()  # held for a whole message, over all its fragments
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
        return self._fate.state

    @property
    def closed(self) -> bool:
        """Whether the connection is over, or about to be: nothing can be sent any more."""
        return self._fate.end is not None

    @property
    def close_code(self) -> int | None:
        """The close code (RFC 6455, 7.1.5) of the side that began to close; ``None`` while the connection is open."""
        return self._fate.end[0] if self._fate.end else None

    @property
    def close_reason(self) -> str | None:
        """The reason that came with the close code; ``None`` while the connection is open."""
        return self._fate.end[1] if self._fate.end else None

    @property
    def backlog(self) -> int:
        """How many bytes wait for the peer to read: messages of ``send(wait=False)``, and the rest of one begun."""
        return self._writer.waiting

    def stats(self) -> ConnectionStats:
        """Return figures of the connection: messages, bytes, duration. Any thread; also when it is over."""
        return ConnectionStats(
            duration=(time.monotonic() if self._ended is None else self._ended) - self._opened,
            messages_received=self._reader.arrived,
            messages_sent=self._writer.messages,
            bytes_received=self._leftover + self._received,
            bytes_sent=self._transport.sent - self._sent_before,
            backlog=self.backlog,
            latency=self.latency,
            close_code=self.close_code if self._gone else None,
        )

    def __repr__(self) -> str:
        text = f"{self._role} {self.path} {self.remote_address} {self._fate.state.value}"
        return f"<WebSocket {escaped(text)}>"

    # Receiving.

    def _receive(self, timeout: float | None) -> str | bytes:
        item = self._pull(self._reader.next_message, timeout)
        assert not isinstance(item, Piece)
        return item

    def receive_stream(self, timeout: float | None = None) -> Iterator[str | bytes]:
        """Return an iterator over the pieces of the next message, for what does not fit in memory.

        There is at least one piece; all of them are ``str`` for text, ``bytes`` for binary. ``max_message_size``
        does not apply; a piece has at most 128 KiB, except that what a ``receive()`` that timed out has gathered is
        one. If the loop is left early, the next ``receive()`` skips the rest of the message.

        :param timeout: seconds to wait for each piece; ``None``: for ever.
        :raises: as :meth:`receive`, while iterating.
        """
        empty = True
        while True:
            piece = self._pull(self._reader.next_piece, timeout)
            assert isinstance(piece, Piece)
            self._patience.renew()  # here the limit on waiting begins anew with each piece
            if piece.data or (piece.last and empty):
                empty = False
                yield piece.data
            if piece.last:
                return

    def _next(self) -> str | bytes:
        try:
            return self.receive()
        except ConnectionClosed as error:
            if error.code in _QUIET_ENDS:
                raise StopIteration from None
            raise

    # Sending.

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

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Close with 1000; with 1011 if an exception leaves the block that is not the end of this connection."""
        ended = isinstance(error, ConnectionClosed) and error.websocket is self
        self.close(1000 if error is None or ended else 1011)
