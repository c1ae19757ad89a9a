"""The grammar of Sec-WebSocket-Extensions (RFC 6455, section 9.1), the same for offers and answers.

:func:`parse_extensions` returns the elements of the header field, or raises :class:`HandshakeError`; it takes whole
header values, so there is no "need more". ``str()`` of an :class:`Extension` is its text for the wire. It knows
nothing about what any extension means. Any thread may call it; time is linear in the size of the values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import HandshakeError

__all__ = ["Extension", "parse_extensions"]

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_token = re.compile(_TOKEN)
# White space, and elements of a list that are empty, may stand in front of an element and behind the last one.
_nothing_left = re.compile(r"[ \t,]*\Z")
_name = re.compile(rf"[ \t,]*({_TOKEN})[ \t]*")
_parameter = re.compile(rf';[ \t]*({_TOKEN})[ \t]*(?:=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")[ \t]*)?')
_escaped = re.compile(r"\\(.)")
# How much of a malformed value an error message quotes, in characters.
_QUOTED = 40


@dataclass(frozen=True, slots=True)
class Extension:
    """One element of Sec-WebSocket-Extensions: an offer, or an answer to it.

    :param name: the extension, for example ``"permessage-deflate"``.
    :param params: name and value of each parameter, in order; the value of a parameter without one is ``None``, that
        of a quoted one is without quotes and backslashes.
    """

    name: str
    params: tuple[tuple[str, str | None], ...] = ()

    def __str__(self) -> str:
        params = (name if value is None else f"{name}={value}" for name, value in self.params)
        return "; ".join((self.name, *params))


def parse_extensions(values: Iterable[str]) -> list[Extension]:
    """Return the extensions that are listed in a head, in order; an empty list if it has no such header field.

    :param values: the value of each Sec-WebSocket-Extensions field. RFC 6455, 9.1: several fields are one list.
    :raises HandshakeError: 400, a value that does not conform to the grammar.
    """
    extensions: list[Extension] = []
    for value in values:
        found = _parse(value)
        if not found:
            # RFC 6455, 9.1: extension-list = 1#extension, so a field lists at least one.
            raise HandshakeError("Sec-WebSocket-Extensions lists no extension (RFC 6455, 9.1)")
        extensions += found
    return extensions


def _parse(value: str) -> list[Extension]:
    extensions: list[Extension] = []
    position = 0
    while not _nothing_left.match(value, position):
        name = _name.match(value, position)
        if name is None:
            raise _malformed(value, position)
        position = name.end()
        params: list[tuple[str, str | None]] = []
        while parameter := _parameter.match(value, position):
            key, token, quoted = parameter.groups()
            if quoted is not None:
                token = _escaped.sub(r"\1", quoted)
                # RFC 6455, 9.1: the value after unescaping MUST conform to the ABNF of a token.
                if not _token.fullmatch(token):
                    raise _malformed(value, position)
            params.append((key, token))
            position = parameter.end()
        if position < len(value) and value[position] != ",":
            raise _malformed(value, position)
        extensions.append(Extension(name[1], tuple(params)))
    return extensions


def _malformed(value: str, position: int) -> HandshakeError:
    # RFC 6455, 9.1: a value that does not conform to the grammar MUST fail the connection.
    rest = value[position : position + _QUOTED]
    return HandshakeError(f"Sec-WebSocket-Extensions is malformed at {rest!r} (RFC 6455, 9.1)")
