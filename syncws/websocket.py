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

import time
from collections.abc import Callable, Iterator
from typing import Literal

from .attended import Attended
from .connection import GRACE
from .errors import ConcurrencyError, ConnectionClosed, ProtocolError
from .escapes import escaped
from .options import Options
from .protocol.deflate import compressor_for, inflater_for
from .protocol.handshake import Agreement, RequestHead
from .protocol.headers import Headers
from .protocol.machine import State
from .protocol.messages import MessageReader, Piece
from .protocol.parser import Frame
from .reentry import codes_of
from .sending import Sending
from .stats import ConnectionStats
from .transport import Transport

__all__ = ["WebSocket"]

_QUIET_ENDS = (1000, 1001, 1005)


class WebSocket(Sending):
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
        "_leftover", "extensions", "logged_address", "request", "subprotocol",
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
        self._sending = transport.runtime.fair_lock()
        self._fragmenting = None

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

    def _pull(
        self, next_item: Callable[[], str | bytes | Piece | Frame | None], timeout: float | None
    ) -> str | bytes | Piece:
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._turn.take_now():
            self._wait_to_receive(deadline)
        self._more = False  # what is sent from now on need not wait for company
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
                    if self._reader.completed > self._rates.messages.until:
                        self._rates.messages.extend(self._reader.completed)
                    return item
        except ProtocolError as error:
            self._fail(error)
            self._finish()
            raise self._fate.error(self) from error
        except TimeoutError:
            raise TimeoutError(f"no message within {timeout} s") from None
        finally:
            self._receiving = False
            self._turn.release()

    def _wait_to_receive(self, deadline: float | None) -> None:
        """Wait for the turn while another thread has it for a moment, to ping or to close, or the keeper."""
        if self._kept and deadline is not None:
            deadline = max(deadline, time.monotonic() + GRACE)  # it does not wait, and may have what is wanted
        if self._receiving or not self._turn.take(deadline, lambda: self._receiving):
            raise ConcurrencyError("two threads in receive() of one connection; only one at a time can receive")

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

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Close with 1000; with 1011 if an exception leaves the block that is not the end of this connection."""
        ended = isinstance(error, ConnectionClosed) and error.websocket is self
        self.close(1000 if error is None or ended else 1011)


WebSocket._inside = Attended._inside | codes_of(WebSocket._pull)
