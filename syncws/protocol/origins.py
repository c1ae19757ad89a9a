"""The Origin check: which web pages may open a connection (RFC 6455, sections 4.2.2 and 10.2).

A browser lets every page of the web connect to every server, and sends the user's cookies along; only the server
can refuse. Browsers always send ``Origin``, so a request without it does not come from a page and is allowed.

The option ``origins`` takes one of these:

* ``"same"``: the page comes from the host and port that the request goes to. The scheme is not compared, and a
  ``Host`` without a port means the default port of the Origin's scheme, so a proxy may end TLS before this server.
* a sequence of patterns: ``"https://example.com"`` (no port: the default port of the scheme),
  ``"https://*.example.com"`` (every subdomain, not ``example.com`` itself), ``"http://localhost:*"`` (any port),
  ``"null"`` (pages without an origin: sandboxed frames, local files) and ``"same"``.
* ``None``: every page.

All functions are pure; any thread may call them. :func:`check_origins` raises :class:`TypeError` or
:class:`ValueError` (a person's mistake), :func:`check_origin` raises :class:`~syncws.errors.HandshakeError` (the
request's), :func:`split_authority` returns ``None`` for what is malformed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from reprlib import Repr
from typing import Literal, NamedTuple

from ..errors import HandshakeError

__all__ = ["Origins", "check_origin", "check_origins", "split_authority"]

# A str is a sequence of str for a type checker; the only one that check_origins lets through is "same".
Origins = Literal["same"] | Sequence[str] | None

# RFC 3986, 3.2.2 and 3.2.3: IP-literal or reg-name, and a port that may be empty.
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-fv:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]+)(?::([0-9]{0,5}))?")
# RFC 6454, 6.2: a scheme, a host, a port unless it is the default. file:// and an app's own scheme may have no host.
_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+\-.]*)://([^/?#@\s]*)")
_DEFAULT_PORTS = {"http": 80, "https": 443}

# An Origin is shown in the log: as a literal, so that it cannot forge a line, and with a bounded length.
_literal = Repr()
_literal.maxstring = 300


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: str | int | None  # "*" in a pattern

    def allows(self, other: _Origin) -> bool:
        """Whether this pattern matches the origin ``other``."""
        if self.scheme != other.scheme or self.port not in ("*", other.port):
            return False
        if self.host.startswith("*."):
            return other.host.endswith(self.host[1:]) and len(other.host) >= len(self.host)
        return self.host == other.host


def split_authority(authority: str) -> tuple[str, int | None] | None:
    """Return host (lower case) and port of ``host[:port]``; the port is ``None`` if it is not written.

    Returns ``None`` if the text is empty or not what RFC 3986, section 3.2 allows; userinfo is not allowed.
    """
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return None
    host, port = match.groups()
    return host.lower(), int(port) if port else None


def check_origins(origins: Iterable[str] | None) -> Origins:
    """Return the option ``origins``, checked: ``"same"``, ``None`` or a tuple of patterns.

    :raises TypeError: not a sequence of str.
    :raises ValueError: a pattern that could never match.
    """
    if origins is None:
        return None
    if origins == "same":
        return "same"
    if isinstance(origins, (str, bytes)):
        raise TypeError(f'origins must be "same", None or a sequence of patterns; write [{origins!r}] for one pattern')
    patterns = tuple(origins)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"a pattern in origins must be a str, not {type(pattern).__name__}")
        if pattern == "*":
            raise ValueError('"*" is no pattern in origins; origins=None allows every origin')
        if pattern not in ("same", "null") and not _is_pattern(pattern):
            raise ValueError(
                f"{pattern!r} is no pattern for origins; write it as a browser sends it, scheme, host (ASCII), port, "
                'without a path: "https://example.com", "https://*.example.com", "http://localhost:*"'
            )
    return patterns


def check_origin(values: Sequence[str], host: str, origins: Origins) -> None:
    """Refuse a request that a page of a foreign origin made (RFC 6455, 4.2.2, step 4).

    :param values: the values of the request's ``Origin`` header fields.
    :param host: host and port that the request goes to, as in ``Host``; well-formed.
    :param origins: what :func:`check_origins` returned.
    :raises HandshakeError: 403, with a message that says how to allow the origin; 400 for several ``Origin`` fields.
    """
    if origins is None or not values:
        return
    if len(values) > 1:
        # RFC 6454, 7.3: a user agent MUST NOT include more than one Origin field.
        raise HandshakeError(f"{len(values)} Origin header fields; a request has at most one (RFC 6454, 7.3)")
    patterns = ("same",) if origins == "same" else origins
    value = values[0]
    origin = None if "*" in value else _parse(value)
    if any(_matches(pattern, value, origin, host) for pattern in patterns):
        return
    shown = _literal.repr(value)
    if origin is None and value != "null":
        # RFC 6455, 4.2.2, step 4: MAY be refused with 403; what is malformed cannot be known to be allowed.
        raise HandshakeError(f"Origin {shown} is not an origin (RFC 6454, 7); it was refused", status=403)
    allowed = ", ".join(map(repr, patterns)) or "none"
    extended = ", ".join([*map(repr, patterns), shown])
    raise HandshakeError(
        f"Origin {shown} may not connect to host {host!r} (allowed: {allowed}); "
        f"to allow it, pass origins=[{extended}]; origins=None allows every page of the web",
        status=403,
        # The message is for the log: which pages are allowed is not the client's business.
        headers=[("Content-Type", "text/plain; charset=utf-8")],
        body=b"This page may not connect: its origin is not allowed.\n",
    )


def _is_pattern(text: str) -> bool:
    parsed = _parse(text)
    return parsed is not None and "*" not in parsed.host.removeprefix("*.")


def _matches(pattern: str, value: str, origin: _Origin | None, host: str) -> bool:
    """Whether the Origin field ``value``, parsed as ``origin``, is what ``pattern`` allows."""
    if origin is None:
        return value == pattern == "null"
    if pattern == "same":
        return _is_same(origin, host)
    parsed = _parse(pattern)
    return parsed is not None and parsed.allows(origin)


def _is_same(origin: _Origin, host: str) -> bool:
    default = _DEFAULT_PORTS.get(origin.scheme)
    if default is None:
        return False  # pages of another scheme are not served by HTTP
    authority = split_authority(host)
    return authority is not None and (authority[0], authority[1] or default) == (origin.host, origin.port)


def _parse(text: str) -> _Origin | None:
    """Return the parts of an origin or of a pattern; ``None`` for ``null``, ``same`` and what is malformed."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme, authority = match[1].lower(), match[2]
    default = _DEFAULT_PORTS.get(scheme)
    if not authority:
        return None if default else _Origin(scheme, "", None)
    port: str | int | None = None
    if authority.endswith(":*"):
        authority, port = authority[:-2], "*"
    split = split_authority(authority)
    if split is None:
        return None
    return _Origin(scheme, split[0], port or split[1] or default)
