"""The whole exception tree.

Every failure is one of these, or a builtin that says the same thing better: a deadline that passed is
:class:`TimeoutError`, a wrong argument is :class:`TypeError` or :class:`ValueError`. No other exception of the
operating system leaves the library once a connection is open: a lost peer is :class:`ConnectionClosed`.

==================  ======================================  =================================
exception           raised when                             whose fault
==================  ======================================  =================================
HandshakeError      the opening handshake did not succeed   the side that ``str()`` names
ConnectionClosed    the connection is over                  ``initiator`` says who ended it
ProtocolError       the peer broke a rule of the protocol   the peer
MessageTooBig       a message is over a limit               the peer, or a limit set too low
BacklogFull         a message has no room to wait           a slow peer, or a limit set too low
ConcurrencyError    two threads want one thing              the program
==================  ======================================  =================================

The application meets a :class:`ProtocolError` as the ``__cause__`` of the :class:`ConnectionClosed` that it led
to, so one ``except syncws.ConnectionClosed`` is enough to handle the end of a connection, whatever its reason.
"""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, Literal

from .escapes import escaped

__all__ = [
    "BacklogFull",
    "ConcurrencyError",
    "ConnectionClosed",
    "HandshakeError",
    "MessageTooBig",
    "ProtocolError",
    "SyncwsError",
]

Initiator = Literal["local", "remote"]

# RFC 9110, 5.5: what a header field cannot have; with CR or LF, whoever controls it forges header fields.
_FORBIDDEN = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


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

    def respond(self, start_response: Callable[..., object]) -> list[bytes]:
        """Answer the request of a WSGI app with this error, and return the body.

        Our own servers answer what an app lets escape by themselves. For other servers it is an exception like any
        other, and so the app does it: ``except syncws.HandshakeError as error: return error.respond(start_response)``

        :param start_response: the app's (PEP 3333).
        :raises ValueError: a header field that the program has given has a line break in it, or another character that
            cannot be sent. Not every server looks.
        """
        from http.client import responses  # with half of what there is for mail behind it, for the few that need it

        for name, value in self.headers:
            if _FORBIDDEN.search(f"{name}{value}"):
                raise ValueError(f"header {name!r} has a character that cannot be sent: {value!r:.80}")
        # There is nobody to see the answer if status is 0; a server wants one nevertheless.
        status = self.status or 400
        line = f"{status} {responses.get(status, '')}"
        body = self.body or f"{self}\n".encode()
        end = [("Content-Length", str(len(body)))]
        if not self.body:
            end.append(("Content-Type", "text/plain; charset=utf-8"))
        try:
            start_response(line, [*self.headers, *end])
        except AssertionError:
            # RFC 9110, 15.5.22: a 426 MUST have Upgrade. PEP 3333: fields that are about the connection are not for an
            # app to send, which some servers insist on.
            allowed = [field for field in self.headers if field[0] not in ("Upgrade", "Connection")]
            start_response(line, [*allowed, *end], sys.exc_info())
        return [body]


class ConnectionClosed(SyncwsError, ConnectionResetError):
    """The connection is over: nothing more can be sent, and every message that arrived has been received.

    It is a :class:`ConnectionResetError` as well, because a WSGI server does not log one that an app lets escape: the
    client has gone, which is no failure of the app.

    :param code: the close code (RFC 6455, section 7.4). 1005: the close frame had none. 1006: no close frame
        was received, the connection was lost.
    :param reason: the close reason, or a description of what was lost.
    :param initiator: ``"local"`` or ``"remote"``: the side that ended the connection.
    :ivar websocket: the :class:`~syncws.WebSocket` that is over, for programs that have several.
    """

    websocket: object | None = None

    def __init__(self, code: int, reason: str = "", initiator: Initiator = "remote") -> None:
        super().__init__(errno.ECONNRESET, reason)
        self.code = code
        self.reason = reason
        self.initiator = initiator

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.reason, self.initiator)

    def __repr__(self) -> str:
        return f"ConnectionClosed({self.code}, {self.reason!r}, {self.initiator!r})"

    def __str__(self) -> str:
        side = "this side" if self.initiator == "local" else "the peer"
        # The reason is the peer's, and the text is for logs: it must not forge a line there.
        reason = escaped(self.reason)
        if self.code == 1006:
            return f"connection lost (1006): {reason or 'the peer sent no close frame'}"
        reason = f": {reason}" if reason else ""
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


class BacklogFull(SyncwsError):
    """A message of ``send(wait=False)`` finds no room among those that wait; nothing of it was sent.

    :param size: bytes of the message.
    :param queued: bytes that wait already, the rest of a message that has been begun included.
    :param messages: how many messages wait, none of them begun.
    :param limit: the option ``max_backlog``, in bytes.
    """

    def __init__(self, size: int, queued: int, messages: int, limit: int) -> None:
        super().__init__(size, queued, messages, limit)
        self.size = size
        self.queued = queued
        self.messages = messages
        self.limit = limit

    def __str__(self) -> str:
        if self.size > self.limit:
            return (
                f"a message of {self.size} bytes can never wait in a backlog of {self.limit} bytes; "
                "raise max_backlog, or send it without wait=False"
            )
        return (
            f"no room for a message of {self.size} bytes: the peer has not read the {self.queued} bytes in front of it "
            f"({self.messages} messages and what has been begun), and max_backlog is {self.limit} bytes"
        )
