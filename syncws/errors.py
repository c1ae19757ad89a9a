"""The whole exception tree.

Every failure is one of these, or a builtin that says the same thing better: a deadline that passed is
:class:`TimeoutError`, a wrong argument is :class:`TypeError` or :class:`ValueError`. No exception of the
operating system leaves the library once a connection is open: a lost peer is :class:`ConnectionClosed`.

==================  ======================================  =================================
exception           raised when                             whose fault
==================  ======================================  =================================
HandshakeError      the opening handshake did not succeed   the side that ``str()`` names
ConnectionClosed    the connection is over                  ``initiator`` says who ended it
ProtocolError       the peer broke a rule of the protocol   the peer
MessageTooBig       a message is over a limit               the peer, or a limit set too low
ConcurrencyError    two threads want one thing              the program
==================  ======================================  =================================

The application meets a :class:`ProtocolError` as the ``__cause__`` of the :class:`ConnectionClosed` that it led
to, so one ``except syncws.ConnectionClosed`` is enough to handle the end of a connection, whatever its reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

__all__ = [
    "ConcurrencyError",
    "ConnectionClosed",
    "HandshakeError",
    "MessageTooBig",
    "ProtocolError",
    "SyncwsError",
]

Initiator = Literal["local", "remote"]


class SyncwsError(Exception):
    """Base class of every exception of this package."""


class HandshakeError(SyncwsError):
    """The opening handshake did not succeed (RFC 6455, section 4).

    On a server it says how the request is to be answered; on a client it says how the server answered.

    :param message: what was wrong, for a person to read.
    :param status: the HTTP status code; 0 if there is no HTTP response: a client got none, or a server's client went
        away before there was anything to answer.
    :param headers: the response's header fields, as pairs of name and value.
    :param body: the response's body; on a client only its beginning (at most 1024 bytes).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = list(headers)
        self.body = body


class ConnectionClosed(SyncwsError):
    """The connection is over: nothing more can be sent, and every message that arrived has been received.

    :param code: the close code (RFC 6455, section 7.4). 1005: the close frame had none. 1006: no close frame
        was received, the connection was lost.
    :param reason: the close reason, or a description of what was lost.
    :param initiator: ``"local"`` or ``"remote"``: the side that ended the connection.
    :ivar websocket: the :class:`~syncws.WebSocket` that is over, for programs that have several.
    """

    websocket: object | None = None

    def __init__(self, code: int, reason: str = "", initiator: Initiator = "remote") -> None:
        super().__init__(code, reason, initiator)
        self.code = code
        self.reason = reason
        self.initiator = initiator

    def __str__(self) -> str:
        side = "this side" if self.initiator == "local" else "the peer"
        if self.code == 1006:
            return f"connection lost (1006): {self.reason or 'the peer sent no close frame'}"
        reason = f": {self.reason}" if self.reason else ""
        return f"closed by {side} with {self.code}{reason}"


class ProtocolError(SyncwsError):
    """The peer broke a rule of RFC 6455 or RFC 7692; the connection is failed with ``close_code``.

    :param message: which rule, with the offending value.
    :param close_code: what the close frame says: 1002 (protocol error), 1007 (invalid data), 1008 (policy), …
    """

    def __init__(self, message: str, close_code: int = 1002) -> None:
        super().__init__(message, close_code)
        self.message = message
        self.close_code = close_code

    def __str__(self) -> str:
        return self.message


class MessageTooBig(ProtocolError):
    """A message is over the size limit; the connection is failed with 1009 (RFC 6455, section 7.4.1).

    :param size: bytes known to belong to the message when the limit was passed (at least ``limit`` + 1).
    :param limit: the limit, in bytes.
    :param what: which size was over, for example ``"message"`` or ``"message after inflation"``.
    """

    def __init__(self, size: int, limit: int, what: str = "message") -> None:
        super().__init__(f"{what} of at least {size} bytes is over max_message_size, {limit} bytes", 1009)
        self.size = size
        self.limit = limit


class ConcurrencyError(SyncwsError):
    """Two threads use a connection in a way that cannot work, for example both in ``receive()``."""
