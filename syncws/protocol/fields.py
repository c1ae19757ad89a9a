"""Tokens and lists in header fields (RFC 9110, section 5.6), and the header fields that a person may add.

Pure functions; any thread may call them. What comes from the peer is parsed by :func:`split_list`,
:func:`field_values` and :func:`values_by_name`, which never raise. What comes from the program is checked by
:func:`check_fields` and :func:`check_subprotocols`, which raise :class:`TypeError` or :class:`ValueError` at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from .headers import Headers

__all__ = ["check_fields", "check_subprotocols", "field_values", "is_token", "split_list", "values_by_name"]

# RFC 9110, 5.6.2: token = 1*tchar.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110, 5.5: a value has visible characters, space, tab and obs-text, which is ISO 8859-1 on the wire.
_FORBIDDEN = re.compile(r"[^\t\x20-\x7e\x80-\xff]")

# Fields that the opening handshake writes itself, or that would announce a body; and what to do instead.
_OWN_FIELDS = {
    "connection": "the opening handshake writes it",
    "content-length": "the opening handshake has no body",
    "host": "it comes from the URI",
    "sec-websocket-accept": "the opening handshake writes it",
    "sec-websocket-extensions": "use the option compression",
    "sec-websocket-key": "the opening handshake writes it",
    "sec-websocket-protocol": "use the option subprotocols",
    "sec-websocket-version": "the opening handshake writes it",
    "transfer-encoding": "the opening handshake has no body",
    "upgrade": "the opening handshake writes it",
}


def is_token(text: str) -> bool:
    """Whether ``text`` is a token (RFC 9110, 5.6.2): a header name, a method, a subprotocol."""
    return _TOKEN.fullmatch(text) is not None


def field_values(headers: Headers, name: str) -> list[str]:
    """Return the value of each field called ``name``, without the whitespace around it (RFC 9110, 5.5)."""
    return [value.strip(" \t") for value in headers.get_all(name)]


def values_by_name(headers: Headers) -> dict[str, list[str]]:
    """Return what :func:`field_values` returns, for all names, in lower case: for whoever asks for many of them."""
    found: dict[str, list[str]] = {}
    for name, value in headers.pairs():
        name = name.lower()
        if name in found:
            found[name].append(value.strip(" \t"))
        else:
            found[name] = [value.strip(" \t")]
    return found


def split_list(values: Iterable[str]) -> list[str]:
    """Return the elements of a comma-separated list that may be spread over several header fields.

    RFC 9110, 5.6.1.2: a recipient MUST ignore empty elements. For lists whose elements cannot be quoted strings.
    """
    elements = (element.strip(" \t") for value in values for element in value.split(","))
    return [element for element in elements if element]


def check_fields(fields: Mapping[str, str] | Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the header fields that a person wants to add to the opening handshake, checked.

    :param fields: a mapping, or pairs of name and value (which may repeat a name, for example ``Set-Cookie``).
    :raises TypeError: not a mapping or pairs of str.
    :raises ValueError: a name that is not a token, a value with a line break or another character that a header
        field cannot carry, or a field that belongs to the opening handshake.
    """
    if isinstance(fields, Headers):
        fields = fields.pairs()
    elif isinstance(fields, Mapping):
        fields = fields.items()
    return [_check_field(field) for field in fields]


def _check_field(field: object) -> tuple[str, str]:
    if not isinstance(field, (tuple, list)) or len(field) != 2:
        raise TypeError(f"headers must be a mapping or pairs of name and value; {field!r} is not a pair")
    name, value = field
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"name and value of a header must be str; got {name!r}: {value!r}")
    if not is_token(name):
        raise ValueError(f"header name {name!r} is not a token (RFC 9110, 5.6.2)")
    if name.lower() in _OWN_FIELDS:
        raise ValueError(f"header {name} cannot be set by hand: {_OWN_FIELDS[name.lower()]}")
    forbidden = _FORBIDDEN.search(value)
    if forbidden is not None:
        # RFC 9110, 5.5: CR, LF and NUL are dangerous; whoever smuggles them in forges header fields.
        raise ValueError(
            f"header {name} has the character {forbidden[0]!r} at index {forbidden.start()} of its value; "
            "only printable ISO 8859-1 characters, spaces and tabs can be sent (RFC 9110, 5.5)"
        )
    return name, value


def check_subprotocols(subprotocols: Iterable[str]) -> tuple[str, ...]:
    """Return the option ``subprotocols``, checked: unique tokens, the preferred one first (RFC 6455, 4.1).

    :raises TypeError: a bare str, or an element that is no str.
    :raises ValueError: an element that is not a token, or occurs twice.
    """
    if isinstance(subprotocols, (str, bytes)):
        raise TypeError(f"subprotocols must be a sequence of str; write [{subprotocols!r}] for a single one")
    checked = tuple(subprotocols)
    for index, subprotocol in enumerate(checked):
        if not isinstance(subprotocol, str):
            raise TypeError(f"a subprotocol must be a str, not {type(subprotocol).__name__}")
        if not is_token(subprotocol):
            raise ValueError(f"subprotocol {subprotocol!r} is not a token (RFC 6455, 4.1, and RFC 9110, 5.6.2)")
        if subprotocol in checked[:index]:
            raise ValueError(f"subprotocol {subprotocol!r} occurs twice; each must be unique (RFC 6455, 4.1)")
    return checked
