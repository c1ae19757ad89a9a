"""The two header fields that a proxy between a client and a server cannot leave as they are: Host, and Origin.

A client that connects to the proxy names the proxy in ``Host``. The server would look for a site of that name, and
would take a page of its own, whose ``Origin`` names the server, for one of strangers. So the value of ``Host`` becomes
the server's. A page that was loaded through the proxy has the proxy's ``Origin``, and that becomes the server's as
well; any other one stays. Nothing else is changed, not even what is wrong.

A :class:`Rewriter` takes what one client sends. It holds a line of a head back until it is complete. One thread at a
time.
"""

from __future__ import annotations

from ..protocol.handshake import RequestHead, is_upgrade_request
from ..protocol.headers import Headers
from .bodies import Body

__all__ = ["Rewriter"]

# What is held back at the most, in bytes; a longer line is none.
_LONGEST_LINE = 65536
_SCHEMES = (b"http://", b"https://")


class Rewriter:
    """Rewrites the requests of one connection.

    :param host: what ``Host`` is to be.
    :param origin: what the proxy's ``Origin`` is to be.
    """

    def __init__(self, host: str, origin: str) -> None:
        self._host = host.encode()
        self._origin = origin.encode()
        self._raw = False  # no more requests: frames, or something else
        self._line = bytearray()
        self._body: Body | None = None
        self._fields: list[tuple[str, str]] = []
        self._named = b""  # the Host of the request
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
        name, colon, value = line.partition(b":")
        value = value.strip()
        self._fields.append((name.decode("latin-1"), value.decode("latin-1")))
        end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
        if colon and name.lower() == b"host":
            self._named = value
            return name + b": " + self._host + end
        if (
            colon
            and name.lower() == b"origin"
            and value.lower() in (scheme + self._named.lower() for scheme in _SCHEMES)
        ):
            return name + b": " + self._origin + end
        return line

    def _end_head(self) -> None:
        headers = Headers(self._fields)
        self._in_head, self._fields, self._named = False, [], b""
        self._raw = is_upgrade_request(RequestHead("GET", "/", "1.1", headers))
        body = Body(headers, until_end=False)
        self._body = None if body.complete else body


def _may_begin(line: bytes | bytearray) -> bool:
    """Whether a line, or the beginning of one, may be that of a request, or an empty one in front of it."""
    return line[:1].isupper() or line == b"\r"
