"""WebSocket URI → what the opening handshake needs of it (RFC 6455, section 3).

:func:`parse_uri` returns a :class:`WebSocketURI` or raises :class:`ValueError` with the part that is wrong and what to
write instead; no message repeats a password. The functions are pure and the result is immutable: any thread may
call them, and nothing is looked up in the network.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin

__all__ = ["Authority", "WebSocketURI", "basic_credentials", "parse_authority", "parse_uri"]

_DEFAULT_PORTS = {"ws": 80, "wss": 443}
# Where an HTTP server redirects to; it knows nothing of the schemes ws and wss.
_REDIRECT_SCHEMES = {"http:": "ws:", "https:": "wss:"}

# C0 controls, DEL, C1 controls and every kind of white space: none of them is ever part of a URI.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\s]")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST_NAME = re.compile(r"[a-z0-9._-]+")
# RFC 3986, 2.2 and 2.3: everything else that a path or a query holds is percent-encoded ("%" itself was checked).
_KEPT = "!$&'()*+,;=:@/?%-._~"


@dataclass(frozen=True, slots=True)
class Authority:
    """The part of a URI between ``//`` and the path (RFC 3986, section 3.2).

    :param host: in lower case and ASCII; an IPv6 address without its brackets.
    :param port: ``None`` if the URI has none.
    :param userinfo: user name and password, decoded; ``None`` if the URI has none.
    """

    host: str
    port: int | None
    userinfo: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class WebSocketURI:
    """A checked WebSocket URI; ``str()`` gives it back without user name and password.

    :param secure: whether the connection uses TLS: the scheme is ``wss``.
    :param host: in lower case and ASCII; an IPv6 address without its brackets.
    :param port: 1 to 65535; the scheme's default if the URI has none.
    :param target: the request-target of the GET: path and query, percent-encoded.
    :param userinfo: user name and password, decoded; ``None`` if the URI has none.
    """

    secure: bool
    host: str
    port: int
    target: str
    userinfo: tuple[str, str] | None = None

    @property
    def scheme(self) -> str:
        """``"ws"`` or ``"wss"``."""
        return "wss" if self.secure else "ws"

    @property
    def host_field(self) -> str:
        """The value of the Host header field.

        RFC 6455, 4.1, request item 4: the host, followed by the port if that is not the default of the scheme.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[bool, str, int]:
        """What two URIs have in common whose servers may see the same credentials: scheme, host and port."""
        return self.secure, self.host, self.port

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_field}{self.target}"

    def resolve(self, location: str) -> WebSocketURI:
        """Return where a redirect to ``location`` leads (RFC 9110, section 10.2.2).

        A relative reference counts from this URI. ``http`` and ``https`` mean ``ws`` and ``wss``. A fragment is
        dropped: it says nothing to a WebSocket.

        :raises ValueError: the result is not a WebSocket URI.
        """
        absolute = urljoin(str(self), location.partition("#")[0])
        scheme, colon, rest = absolute.partition(":")
        scheme = (scheme + colon).lower()
        return parse_uri(_REDIRECT_SCHEMES.get(scheme, scheme) + rest)


def parse_uri(uri: str) -> WebSocketURI:
    """Return ``uri``, taken apart and checked.

    Host names and paths outside ASCII are encoded: a host by IDNA, path and query by percent-encoding of UTF-8.

    :param uri: ``ws://`` or ``wss://`` (in any case), host, and optionally port, path and query; a user name and
        a password before the host are sent as Basic authentication.
    :raises TypeError: ``uri`` is not a str.
    :raises ValueError: ``uri`` is not a WebSocket URI.
    """
    if not isinstance(uri, str):
        raise TypeError(f"a WebSocket URI must be a str, not {type(uri).__name__}")
    scheme, separator, rest = uri.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _DEFAULT_PORTS:
        raise ValueError(f"a WebSocket URI begins with ws:// or wss://, not with {_beginning(uri)}{_hint(scheme)}")
    forbidden = _FORBIDDEN.search(uri)
    if forbidden:
        raise ValueError(
            f"a URI cannot contain {forbidden[0]!r} (character {forbidden.start()}); "
            "remove it, or percent-encode it in path or query"
        )
    if "#" in rest:
        # RFC 6455, 3: fragment identifiers MUST NOT be used; "#" in the path MUST be escaped as %23.
        fragment = rest[rest.index("#") :][:40]
        raise ValueError(f"a WebSocket URI has no fragment, not {fragment!r}; write %23 for a '#'")
    end = min(index for index in (rest.find("/"), rest.find("?"), len(rest)) if index >= 0)
    authority = parse_authority(rest[:end])
    return WebSocketURI(
        secure=scheme == "wss",
        host=authority.host,
        port=_DEFAULT_PORTS[scheme] if authority.port is None else authority.port,
        target=_target(rest[end:]),
        userinfo=authority.userinfo,
    )


def parse_authority(text: str) -> Authority:
    """Return ``[user[:password]@]host[:port]``, taken apart and checked (RFC 3986, section 3.2).

    :raises ValueError: the host is missing or malformed, the port is no number of 1 to 65535, or user name and
        password cannot be sent.
    """
    userinfo, at, address = text.rpartition("@")
    credentials = _userinfo(userinfo) if at else None
    if address.startswith("["):
        literal, bracket, rest = address[1:].partition("]")
        if not bracket or rest[:1] not in ("", ":"):
            raise ValueError(f"an IPv6 address stands in brackets, [::1] or [::1]:8080, not {address!r}")
        return Authority(_ipv6(literal), _port(rest[1:]), credentials)
    host, _, port = address.partition(":")
    if ":" in port:
        raise ValueError(f"{address!r} has more than one ':'; an IPv6 address is written in brackets, as in [::1]:8080")
    return Authority(_host(host), _port(port), credentials)


def basic_credentials(userinfo: tuple[str, str]) -> str:
    """Return the value of an Authorization header field with user name and password (RFC 7617, section 2)."""
    return "Basic " + base64.b64encode(":".join(userinfo).encode()).decode()


def _beginning(uri: str) -> str:
    """What a message shows of something that is not a URI; a password would stand after the first colon."""
    scheme, colon, _ = uri.partition(":")
    return repr(scheme[:40] + colon)


def _hint(scheme: str) -> str:
    return {"http": "; did you mean ws://?", "https": "; did you mean wss://?"}.get(scheme, "")


def _userinfo(text: str) -> tuple[str, str]:
    if "@" in text:
        raise ValueError("more than one '@' before the path; write %40 for an '@' in user name or password")
    user, _, password = text.partition(":")
    pair = (_decoded(user), _decoded(password))
    # RFC 7617, 2: the user-id cannot include a colon, and neither part may contain control characters.
    if ":" in pair[0]:
        raise ValueError("the user name contains a ':' (%3A), which Basic authentication cannot send")
    if re.search(r"[\x00-\x1f\x7f-\x9f]", "".join(pair)):
        raise ValueError("user name or password contains a control character, which Basic authentication cannot send")
    return pair


def _decoded(text: str) -> str:
    if _BAD_PERCENT.search(text):
        raise ValueError("in user name and password a '%' is followed by two hex digits; write %25 for a '%'")
    try:
        decoded = unquote(text, errors="strict")
        decoded.encode()
    except UnicodeError:
        raise ValueError("user name or password is not valid UTF-8 after percent-decoding") from None
    return decoded


def _ipv6(text: str) -> str:
    if "%" in text:
        raise ValueError(
            f"the IPv6 address [{text}] has a zone identifier, which a URI cannot carry; connect with sock="
        )
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError(f"[{text}] is not an IPv6 address") from None


def _host(text: str) -> str:
    if not text:
        raise ValueError("the host is missing; a name or an address follows '//', as in //localhost:8000/")
    try:
        # Also checks that each label has 1 to 63 characters (RFC 1035, 2.3.4), which name lookup insists on.
        host = text.encode("idna").decode().lower()
    except UnicodeError as error:
        raise ValueError(f"host {text!r} is not a valid host name: {error}") from None
    if len(host.rstrip(".")) > 253:  # RFC 1035, 2.3.4, without the length bytes at both ends
        raise ValueError(f"host {text[:40]!r}… has {len(host)} characters; a host name has at most 253")
    if not _HOST_NAME.fullmatch(host):
        raise ValueError(f"host {text!r} is not a valid host name: only letters, digits, '-', '.' and '_' are allowed")
    return host


def _port(text: str) -> int | None:
    if not text:
        return None  # RFC 3986, 3.2.3: the port may be empty; the default is meant.
    # No more than five digits are converted: int() takes time that grows with the square of the length.
    if not re.fullmatch(r"0*[0-9]{1,5}", text, re.ASCII) or not 1 <= int(text[-5:]) <= 65535:
        raise ValueError(f"port {text[:40]!r} is not a number from 1 to 65535")
    return int(text[-5:])


def _target(text: str) -> str:
    """RFC 6455, 3: "/" if the path is empty, the path, and "?" and the query if that is not empty."""
    bad = _BAD_PERCENT.search(text)
    if bad:
        found = text[bad.start() : bad.start() + 3]
        raise ValueError(f"'%' is followed by two hex digits in path and query, not {found!r}; write %25 for a '%'")
    path, _, query = text.partition("?")
    try:
        target = quote(path or "/", safe=_KEPT)
        return f"{target}?{quote(query, safe=_KEPT)}" if query else target
    except UnicodeEncodeError:
        raise ValueError("path or query contains a surrogate, which has no encoding in UTF-8") from None
