"""The opening handshake as a view shows it: heads of HTTP messages, what their fields are for, and what is wrong.

Whether a head is right, the library's own readers and checks say (:mod:`syncws.http`,
:mod:`syncws.protocol.handshake`); here is found which byte they mean. Functions are pure; any thread may call them.
"""

from __future__ import annotations

import base64
import bisect
from dataclasses import dataclass

import httptools

from ..errors import HandshakeError
from ..http import DEFAULT_LIMITS, BadRequest, RequestReader
from ..http_head import HeadEvents, receive_head
from ..protocol.deflate import Deflate, Parameters
from ..protocol.fields import field_values, split_list
from ..protocol.handshake import (
    GUID,
    RequestHead,
    ResponseHead,
    accept_value,
    check_response,
    is_upgrade_request,
    respond,
)
from ..protocol.headers import Headers
from .items import Accept, Field

__all__ = [
    "Asked",
    "NeedMore",
    "accept_of",
    "fields_of",
    "judge_request",
    "judge_response",
    "malformed_at",
    "place_of",
    "read_request",
    "read_response",
]

_OPENING = "RFC 6455, 4.1"
_ANSWER = "RFC 6455, 4.2.2"
_REQUEST_NOTES = {
    "host": ("the host that is wanted, of all those that the server may have", _OPENING),
    "upgrade": ("the protocol that the connection is to change to", _OPENING),
    "connection": ("Upgrade is meant for the next machine on the way, and no further", _OPENING),
    "sec-websocket-key": ("16 random bytes in base64; the answer shows that the server has read them", _OPENING),
    "sec-websocket-version": ("13 is the version of RFC 6455", _OPENING),
    "sec-websocket-protocol": ("the subprotocols that the client speaks, the preferred one first", _OPENING),
    "sec-websocket-extensions": ("the extensions that the client offers", "RFC 6455, 9.1"),
    "origin": ("the page that wants to connect; a browser sends it, and the page cannot change it", "RFC 6455, 10.2"),
}
_RESPONSE_NOTES = {
    "upgrade": ("the protocol that the connection changes to", _ANSWER),
    "connection": ("Upgrade is meant for the next machine on the way, and no further", _ANSWER),
    "sec-websocket-accept": ("what the server has made of the key: it knows what a WebSocket is", _ANSWER),
    "sec-websocket-protocol": ("the subprotocol that the server has chosen", _ANSWER),
    "sec-websocket-extensions": ("the extensions in use from here on", "RFC 6455, 9.1"),
    "sec-websocket-version": ("the versions that the server speaks", "RFC 6455, 4.4"),
}
# What the message of a check begins with, if it is about the first line; and what it names, if it is about a field.
_LINES = ("method ", "request line ", "CONNECT ")
_NAMES = {
    "Sec-WebSocket-Version": "Sec-WebSocket-Version",
    "Sec-WebSocket-Key": "Sec-WebSocket-Key",
    "Sec-WebSocket-Accept": "Sec-WebSocket-Accept",
    "Sec-WebSocket-Protocol": "Sec-WebSocket-Protocol",
    "chose subprotocol": "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions": "Sec-WebSocket-Extensions",
    "Transfer-Encoding": "Transfer-Encoding",
    "transfer coding": "Transfer-Encoding",
    "Upgrade must": "Upgrade",
    "Connection must": "Connection",
    "Host": "Host",
}


class NeedMore(Exception):
    """The head is not complete."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request has asked for, as far as it matters for the response.

    :param head: ``None``: the request could not be read.
    :param websocket: the connection is to become a WebSocket.
    """

    head: RequestHead | None
    websocket: bool

    @property
    def key(self) -> str | None:
        """The Sec-WebSocket-Key, if there is exactly one."""
        keys = field_values(self.head.headers, "Sec-WebSocket-Key") if self.head is not None else []
        return keys[0] if len(keys) == 1 else None


def _no_more() -> bytes:
    raise NeedMore


def read_request(data: bytes) -> RequestHead:
    """Read the head of a request.

    :raises NeedMore: there is more of it to come.
    :raises BadRequest: it breaks a rule.
    """
    head = RequestReader(_no_more, data=data).read_head()
    assert head is not None
    return head


def read_response(data: bytes) -> ResponseHead:
    """Read the head of a response; errors as :func:`read_request`."""
    events = HeadEvents()
    parser = httptools.HttpResponseParser(events)
    receive_head(bytearray(data), _no_more, parser, events, DEFAULT_LIMITS)
    status = parser.get_status_code()
    if status < 100:
        raise BadRequest(400, f"status {status}, which HTTP does not have")
    return ResponseHead(status, events.reason, Headers(events.fields))


def judge_request(head: RequestHead) -> HandshakeError | None:
    """Return the rule of the opening handshake that a request breaks, if it is meant to be one."""
    meant = any(name.startswith("sec-websocket-") for name in head.headers)
    if not (meant or is_upgrade_request(head)):
        return None
    try:
        respond(head, subprotocols=(), origins=None, compression=None, headers=())
    except HandshakeError as error:
        return error
    return None


def judge_response(head: ResponseHead, asked: Asked) -> tuple[Parameters | None, HandshakeError | None]:
    """Return the parameters of permessage-deflate that a 101 agrees to, and the rule that it breaks."""
    headers = Headers() if asked.head is None else asked.head.headers
    offered = ", ".join(field_values(headers, "Sec-WebSocket-Extensions"))
    # The client may have offered it with any parameters.
    config = Deflate(max_window_bits=15) if "permessage-deflate" in offered else None
    subprotocols = split_list(field_values(headers, "Sec-WebSocket-Protocol"))
    try:
        return check_response(head, asked.key or "", subprotocols=subprotocols, compression=config).deflate, None
    except HandshakeError as error:
        return None, error


def accept_of(asked: Asked, head: ResponseHead) -> Accept | None:
    """Return how the accept value of a 101 comes about."""
    key = asked.key
    if head.status != 101 or key is None:
        return None
    wanted = accept_value(key)
    received = head.headers.get("Sec-WebSocket-Accept")
    digest = base64.b64decode(wanted).hex()
    return Accept(key, GUID, digest, wanted, received, received == wanted)


def fields_of(headers: Headers, *, response: bool) -> tuple[Field, ...]:
    """Return the fields of a head, with what they are for."""
    notes = _RESPONSE_NOTES if response else _REQUEST_NOTES
    return tuple(Field(name, value, *notes.get(name.lower(), ("", ""))) for name, value in headers.pairs())


def malformed_at(data: bytes, *, response: bool) -> int:
    """Return which byte of a malformed head is the first that cannot be there."""

    def fails(size: int) -> bool:
        events = HeadEvents()
        parser = httptools.HttpResponseParser(events) if response else httptools.HttpRequestParser(events)
        try:
            parser.feed_data(data[:size])
        except httptools.HttpParserError:
            return True
        return False

    # Not byte by byte: httptools joins the pieces of a value in quadratic time.
    return bisect.bisect_left(range(1, len(data)), True, key=fails)


def place_of(data: bytes, message: str) -> int:
    """Return which byte of a head an error means: the value that it names, or else where the missing field would be."""
    if message.startswith(_LINES):
        return 0
    if message.startswith("HTTP/"):
        return data.index(b"HTTP/")
    if message.startswith("request target "):
        return data.index(b" ") + 1
    field = next((field for named, field in _NAMES.items() if named in message), "")
    position = 0
    for line in data.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if field and colon and name.lower() == field.lower().encode():
            return position + len(line) - len(value.lstrip(b" \t"))
        position += len(line) + 2
    return len(data) - 2  # the empty line
