"""The two header fields that a proxy between a client and a server cannot leave as they are: Host, and Origin.

A client that connects to the proxy names the proxy in ``Host``. The server would look for a site of that name, and
would take a page of its own, whose ``Origin`` names the server, for one of strangers. So what names the proxy is made
to name the server, in both fields; :class:`Own` knows what does. Anything else stays: a page of strangers whose name
was made to lead to the proxy (DNS rebinding) names itself, and the server has to see that. Nothing else is changed,
not even what is wrong.

A :class:`Rewriter` takes what one client sends. It holds a line of a head back until it is complete. One thread at a
time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..protocol.headers import Headers
from ..protocol.origins import split_authority
from .bodies import Body

__all__ = ["Own", "Rewriter"]

# What is held back at the most, in bytes; a longer line is none.
_LONGEST_LINE = 65536
# How a request begins, and a line that is the beginning of one. No frame of a client does: its second byte has MASK.
_REQUEST = re.compile(rb"[A-Z][A-Z-]*(?: .*)?", re.DOTALL)
# No page of strangers can have these names: they lead to the machine of whoever uses them.
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Own:
    """Knows what names the proxy. Immutable; any thread.

    :param addresses: what it listens on, or is reached at: IP addresses, and names that are known to be its own.
    :param port: the one that it listens on.
    """

    def __init__(self, addresses: Iterable[str], port: int) -> None:
        self._port = port
        # An IPv6 socket has IPv4 connections as well, with such addresses (RFC 4291, 2.5.5.2).
        plain = [address.removeprefix("::ffff:") for address in addresses if address]
        self._hosts = {*_LOOPBACK, *(f"[{each}]" if ":" in each else each.lower() for each in plain)}

    def is_host(self, value: str) -> bool:
        """Whether a value of ``Host`` names the proxy."""
        return self._is_authority(value, _DEFAULT_PORTS["http"])

    def is_origin(self, value: str) -> bool:
        """Whether a value of ``Origin`` names the proxy, with either scheme: TLS may end in front of it."""
        scheme, _, authority = value.lower().partition("://")
        return scheme in _DEFAULT_PORTS and self._is_authority(authority, _DEFAULT_PORTS[scheme])

    def _is_authority(self, text: str, default_port: int) -> bool:
        host, port = split_authority(text) or ("", None)
        return host in self._hosts and (default_port if port is None else port) == self._port


class Rewriter:
    """Rewrites the requests of one connection.

    :param host: what ``Host`` is to be, if it names the proxy.
    :param origin: what ``Origin`` is to be, if it names the proxy.
    :param own: what names the proxy.
    """

    def __init__(self, host: str, origin: str, own: Own) -> None:
        self._host = host.encode()
        self._origin = origin.encode()
        self._own = own
        self._raw = False  # no more requests: frames, or something else
        self._line = bytearray()
        self._body: Body | None = None
        self._fields: list[tuple[str, str]] = []
        self._in_head = False

    def feed(self, data: bytes) -> bytes:
        """Return what is to be sent on of the next bytes."""
        out = bytearray()
        while data and not self._raw:
            if self._body is not None:
                rest = self._body.take(data)
                out += data[: len(data) - len(rest)]
                data = rest
                if self._body.complete:
                    self._body = None
                continue
            line, newline, data = data.partition(b"\n")
            self._line += line + newline
            if newline:
                out += self._take_line(bytes(self._line))
                self._line.clear()
            elif len(self._line) > _LONGEST_LINE or not (self._in_head or _may_begin(self._line)):
                self._raw = True
        if self._raw:
            out += self.end() + data
        return bytes(out)

    def end(self) -> bytes:
        """Return what is held back."""
        held = bytes(self._line)
        self._line.clear()
        return held

    def _take_line(self, line: bytes) -> bytes:
        text = line.strip()
        if not self._in_head:
            # Empty lines may stand in front of a request (RFC 9112, 2.2).
            self._in_head = bool(text)
            self._raw = self._in_head and not _may_begin(line)
            return line
        if not text:
            self._end_head()
            return line
        name, colon, rest = line.partition(b":")
        value = rest.strip().decode("latin-1")
        self._fields.append((name.decode("latin-1"), value))
        end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
        if colon and name.lower() == b"host" and self._own.is_host(value):
            return name + b": " + self._host + end
        if colon and name.lower() == b"origin" and self._own.is_origin(value):
            return name + b": " + self._origin + end
        return line

    def _end_head(self) -> None:
        headers = Headers(self._fields)
        self._in_head, self._fields = False, []
        # Behind a request for a WebSocket there are frames or, if it was refused, requests: the next bytes tell.
        body = Body(headers, until_end=False)
        self._body = None if body.complete else body


def _may_begin(line: bytes | bytearray) -> bool:
    """Whether a line, or the beginning of one, may be that of a request, or an empty one in front of it."""
    return line == b"\r" or _REQUEST.fullmatch(line.rstrip(b"\r\n")) is not None
