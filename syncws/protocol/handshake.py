"""The opening handshake (RFC 6455, section 4) for both roles, on heads that are already parsed.

A server calls :func:`respond` with the request's head and sends the 101 with the header fields that it returns. A
client sends :func:`request_fields` and gives the response's head to :func:`check_response`. Both get an
:class:`Agreement`. What the other side did wrong raises :class:`~syncws.errors.HandshakeError`: on the server it
carries the status and the header fields to answer with, on the client the ones that the server answered with.

There is no "need more" here: a head is complete. All functions are pure, :func:`new_key` excepted; any thread may
call them. Options are expected as :func:`check_fields`, :func:`check_subprotocols` and
:func:`~syncws.protocol.origins.check_origins` return them.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from reprlib import Repr

from ..errors import HandshakeError
from .deflate import Deflate, Parameters
from .extensions import parse_extensions
from .fields import check_fields, check_subprotocols, is_token, split_list, values_by_name
from .headers import Headers
from .negotiation import answer_offers, check_answer, offer
from .origins import Origins, check_origin, split_authority

__all__ = [
    "GUID",
    "Agreement",
    "RequestHead",
    "ResponseHead",
    "accept_value",
    "check_fields",
    "check_response",
    "check_subprotocols",
    "is_upgrade_request",
    "new_key",
    "request_fields",
    "respond",
]

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_VERSION = "13"  # RFC 6455, 4.1
# The base64 of 16 bytes. The four spare bits of the last digit need not be zero; RFC 6455, 4.1 has such a key.
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
# RFC 9110, 15.5.22 and 7.8: a 426 MUST name the protocol in Upgrade, and whoever sends Upgrade MUST list it here.
_UPGRADE_FIELDS = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
# RFC 9112, 3.2.2: the absolute form of a request target.
_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)

_Values = Mapping[str, Sequence[str]]  # of header fields, by name in lower case
_NONE: Sequence[str] = ()

# The peer's values are shown in messages as literals, which cannot forge a line of the log, with a bounded length.
_literal = Repr()
_literal.maxstring = _literal.maxother = 120


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of an HTTP request (RFC 9112, section 3).

    :param target: the request target as it was sent: path and query, or an absolute URI.
    :param version: the HTTP version, for example ``"1.1"``.
    """

    method: str
    target: str
    version: str
    headers: Headers

    @property
    def path(self) -> str:
        """The path of the target, still percent-encoded, without the query; ``"/"`` if it is empty."""
        absolute = _absolute(self.target)
        path_and_query = self.target[absolute.end() :] if absolute else self.target
        return path_and_query.partition("?")[0] or "/"


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """The head of an HTTP response (RFC 9112, section 4)."""

    status: int
    reason: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the opening handshake settled; the same for both roles.

    :param subprotocol: the subprotocol in use, or ``None``.
    :param extensions: the extensions in use, each with its parameters as on the wire.
    :param deflate: the parameters of permessage-deflate, or ``None`` if it is not in use (RFC 7692, 7.1).
    """

    subprotocol: str | None = None
    extensions: tuple[str, ...] = ()
    deflate: Parameters | None = None


def new_key() -> str:
    """Return a fresh ``Sec-WebSocket-Key``: 16 random bytes in base64 (RFC 6455, 4.1, item 7)."""
    return base64.b64encode(os.urandom(16)).decode()


def accept_value(key: str) -> str:
    """Return the ``Sec-WebSocket-Accept`` that belongs to ``key`` (RFC 6455, 4.2.2, step 5, item 4)."""
    import hashlib  # with OpenSSL behind it; the first handshake is early enough

    digest = hashlib.sha1((key + GUID).encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def is_upgrade_request(head: RequestHead) -> bool:
    """Whether a request is meant as the opening handshake of a WebSocket, well-formed or not.

    It is if ``Upgrade`` lists ``websocket``; other protocols (``h2c``) do not count.
    """
    return _lists(values_by_name(head.headers), "Upgrade", "websocket")


def respond(
    head: RequestHead,
    *,
    subprotocols: Sequence[str],
    origins: Origins,
    compression: Deflate | None,
    headers: Sequence[tuple[str, str]],
) -> tuple[Agreement, list[tuple[str, str]]]:
    """Check a client's request; return the agreement and the header fields of the 101 (RFC 6455, 4.2).

    :param subprotocols: what the server speaks, the preferred one first.
    :param origins: ``"same"``, patterns, or ``None`` for any (see :mod:`syncws.protocol.origins`).
    :param compression: accept permessage-deflate with this configuration; ``None``: decline it.
    :param headers: header fields to add to the 101.
    :raises HandshakeError: the request is refused; ``status`` and ``headers`` are those of the answer: 400 for a
        malformed request, 403 for a foreign Origin, 405 for a method other than GET, 426 for a request without the
        upgrade or of another WebSocket version, 505 for HTTP/1.0.
    """
    values = values_by_name(head.headers)
    host = _check_request_line(head, values)
    _check_upgrade(values)
    key = _request_key(values)
    check_origin(values.get("origin", _NONE), host, origins)
    fields = [*_UPGRADE_FIELDS, ("Sec-WebSocket-Accept", accept_value(key))]
    subprotocol = _choose_subprotocol(values, subprotocols)
    if subprotocol is not None:
        fields.append(("Sec-WebSocket-Protocol", subprotocol))
    # RFC 6455, 9.1: offers that do not conform to the grammar are refused, whether or not any is wanted.
    offers = parse_extensions(values.get("sec-websocket-extensions", _NONE))
    answer = None if compression is None else answer_offers(offers, compression)
    if answer is None:
        return Agreement(subprotocol), [*fields, *headers]
    parameters, element = answer
    fields.append(("Sec-WebSocket-Extensions", element))
    return Agreement(subprotocol, (element,), parameters), [*fields, *headers]


def request_fields(
    host: str,
    key: str,
    *,
    subprotocols: Sequence[str],
    compression: Deflate | None,
    headers: Sequence[tuple[str, str]],
) -> list[tuple[str, str]]:
    """Return the header fields of a client's request (RFC 6455, 4.1).

    :param host: the value of ``Host``: the URI's host, and its port unless that is the default.
    :param key: from :func:`new_key`.
    :param subprotocols: what to offer, the preferred one first.
    :param compression: offer permessage-deflate with this configuration; ``None``: offer nothing.
    :param headers: header fields to add.
    """
    fields = [("Host", host), *_UPGRADE_FIELDS, ("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", _VERSION)]
    if subprotocols:
        fields.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    if compression is not None:
        fields.append(("Sec-WebSocket-Extensions", offer(compression)))
    return [*fields, *headers]


def check_response(
    head: ResponseHead, key: str, *, subprotocols: Sequence[str], compression: Deflate | None
) -> Agreement:
    """Check a server's response and return the agreement (RFC 6455, 4.1).

    :param key: the request's ``Sec-WebSocket-Key``.
    :param subprotocols: what the request offered.
    :param compression: the configuration that the request offered permessage-deflate with, or ``None``.
    :raises HandshakeError: the server refused, or its answer is not acceptable; with the response's status and
        header fields.
    """
    try:
        values = values_by_name(head.headers)
        _check_switch(head, values, key)
        subprotocol = _answered_subprotocol(values, subprotocols)
        extensions = parse_extensions(values.get("sec-websocket-extensions", _NONE))
        # RFC 6455, 4.1, response item 5: an extension that was not offered MUST fail the connection.
        return Agreement(subprotocol, tuple(map(str, extensions)), check_answer(extensions, compression))
    except HandshakeError as error:
        # Whichever rule it is: the program gets to see what the server sent.
        raise HandshakeError(str(error), status=head.status, headers=head.headers.pairs()) from None


def _check_request_line(head: RequestHead, values: _Values) -> str:
    """Check method, version, target, Host and body; return host and port that the request goes to."""
    if head.method != "GET":
        # RFC 6455, 4.2.1, item 1: a GET request. RFC 9110, 15.5.6: a 405 MUST have Allow.
        raise HandshakeError(
            f"method {_literal.repr(head.method)}; a WebSocket is opened with GET (RFC 6455, 4.1)",
            status=405,
            headers=[("Allow", "GET")],
        )
    if head.version != "1.1" and tuple(map(int, head.version.split("."))) < (1, 1):
        # RFC 6455, 4.2.1, item 1: HTTP/1.1 or higher. RFC 9110, 7.8: Upgrade in an HTTP/1.0 request is ignored.
        raise HandshakeError(
            f"HTTP/{head.version}; a WebSocket needs HTTP/1.1 (RFC 6455, 4.2.1); a proxy in between has to be told, "
            'for example with "proxy_http_version 1.1"',
            status=505,
        )
    host = _request_host(head, values)
    if "transfer-encoding" in values or any(length != "0" for length in values.get("content-length", _NONE)):
        # A body would be taken for frames, or frames for a body.
        raise HandshakeError("the request has a body; the opening handshake has none (RFC 6455, 4.1)")
    return host


def _request_host(head: RequestHead, values: _Values) -> str:
    hosts = values.get("host", _NONE)
    if len(hosts) != 1 or split_authority(hosts[0]) is None:
        # RFC 6455, 4.2.1, item 2, and RFC 9112, 3.2: 400 for a missing, repeated or invalid Host.
        raise HandshakeError(f"a request needs exactly one valid Host (RFC 9112, 3.2); got {_shown(hosts)}")
    absolute = _absolute(head.target)
    if "#" in head.target or not (absolute or head.target.startswith("/")):
        # RFC 6455, 4.2.1, item 1, and 3: a path or an absolute http(s) URI, without a fragment.
        raise HandshakeError(f"request target {_literal.repr(head.target)} is neither a path nor an http(s) URI")
    if absolute is None:
        return hosts[0]
    # RFC 9112, 3.2.2: with the absolute form, Host MUST be ignored.
    if split_authority(absolute[1]) is None:
        raise HandshakeError(f"request target {_literal.repr(head.target)} has no valid host (RFC 9112, 3.2)")
    return absolute[1]


def _absolute(target: str) -> re.Match[str] | None:
    # Most begin with a slash, and then they are a path.
    return None if target.startswith("/") else _ABSOLUTE.match(target)


def _check_upgrade(values: _Values) -> None:
    """RFC 6455, 4.2.1, items 3, 4 and 6: Upgrade, Connection and the version."""
    for name, token in (("Upgrade", "websocket"), ("Connection", "Upgrade")):
        if not _lists(values, name, token):
            raise HandshakeError(
                f"this address speaks WebSocket only, and the request does not ask for it: {name} must list {token!r} "
                f"(RFC 6455, 4.2.1); got {_shown(values.get(name.lower(), _NONE))}",
                status=426,
                headers=_UPGRADE_FIELDS,
            )
    versions = values.get("sec-websocket-version", _NONE)
    if versions != [_VERSION]:
        # RFC 6455, 4.4: the answer to another version MUST name the versions that the server speaks.
        raise HandshakeError(
            f"Sec-WebSocket-Version must be {_VERSION} (RFC 6455, 4.1); got {_shown(versions)}",
            status=426,
            headers=[*_UPGRADE_FIELDS, ("Sec-WebSocket-Version", _VERSION)],
        )


def _request_key(values: _Values) -> str:
    """RFC 6455, 4.2.1, item 5, and 11.3.1: exactly one key, 16 bytes in base64."""
    keys = values.get("sec-websocket-key", _NONE)
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise HandshakeError(
            f"a request needs exactly one Sec-WebSocket-Key, 16 bytes in base64 (RFC 6455, 4.1); got {_shown(keys)}"
        )
    return keys[0]


def _choose_subprotocol(by_name: _Values, subprotocols: Sequence[str]) -> str | None:
    """Return the first of the server's subprotocols that the client offered (RFC 6455, 4.2.2, step 4)."""
    values = by_name.get("sec-websocket-protocol", _NONE)
    if not values:
        return None
    offered = split_list(values)
    if not offered or len(set(offered)) < len(offered) or not all(map(is_token, offered)):
        # RFC 6455, 4.1, item 10, and 11.3.4: one or more tokens, each unique.
        raise HandshakeError(f"Sec-WebSocket-Protocol must list unique tokens (RFC 6455, 4.1); got {_shown(values)}")
    # RFC 6455, 4.2.2: with none in common, the server goes on without one.
    return next((subprotocol for subprotocol in subprotocols if subprotocol in offered), None)


def _check_switch(head: ResponseHead, values: _Values, key: str) -> None:
    """RFC 6455, 4.1, response items 1 to 4: the server switches protocols and has read the key."""
    if head.status != 101:
        raise HandshakeError(
            f"the server answered {head.status} {_literal.repr(head.reason)} instead of 101; no WebSocket was opened"
        )
    upgrade = values.get("upgrade", _NONE)
    if [value.lower() for value in upgrade] != ["websocket"]:
        raise HandshakeError(f"the response's Upgrade must be 'websocket' (RFC 6455, 4.1); got {_shown(upgrade)}")
    if not _lists(values, "Connection", "Upgrade"):
        connection = values.get("connection", _NONE)
        raise HandshakeError(f"the response's Connection must list 'Upgrade' (RFC 6455, 4.1); got {_shown(connection)}")
    accept = values.get("sec-websocket-accept", _NONE)
    if list(accept) != [accept_value(key)]:
        raise HandshakeError(
            f"the response's Sec-WebSocket-Accept must be {accept_value(key)!r} for this request (RFC 6455, 4.1); "
            f"got {_shown(accept)}"
        )


def _answered_subprotocol(values: _Values, subprotocols: Sequence[str]) -> str | None:
    answered = values.get("sec-websocket-protocol", _NONE)
    if not answered:
        return None
    if len(answered) > 1 or answered[0] not in subprotocols:
        # RFC 6455, 4.1, response item 6, and 11.3.4: at most one, and one that was offered.
        offered = ", ".join(map(repr, subprotocols)) or "none"
        raise HandshakeError(
            f"the server chose subprotocol {_shown(answered)}; it must be one of those offered: {offered}"
        )
    return answered[0]


def _lists(by_name: _Values, name: str, token: str) -> bool:
    """Whether the fields called ``name`` list ``token``, without regard to case."""
    values, token = by_name.get(name.lower(), _NONE), token.lower()
    if len(values) == 1 and values[0].lower() == token:
        return True
    return token in map(str.lower, split_list(values))


def _shown(values: Sequence[str]) -> str:
    return " and ".join(map(_literal.repr, values[:3])) or "none"
