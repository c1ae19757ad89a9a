"""Where the body of an HTTP message ends (RFC 9112, section 6), for a view that does not show it.

A :class:`Body` is fed with what follows a head and says how much of it is the body. It checks nothing: what is
malformed ends where the connection does. One thread at a time.
"""

from __future__ import annotations

from ..protocol.fields import split_list
from ..protocol.headers import Headers

__all__ = ["Body"]

_NO_BODY = (204, 304)
# A line of the chunked coding that is longer is none.
_LONGEST_LINE = 4096


class Body:
    """The body of one message.

    :param headers: those of its head.
    :param until_end: it ends with the connection, if the head does not say otherwise.
    :ivar complete: nothing of it is to come.
    """

    def __init__(self, headers: Headers, *, until_end: bool) -> None:
        self._left: int | None = 0  # of the body, or of the current chunk; None: all that comes
        self._line: bytearray | None = None  # of the chunked coding, as far as it has come
        self._last = False  # the last chunk has come, and trailers follow
        lengths = headers.get_all("Content-Length")
        if "Transfer-Encoding" in headers:
            self._line = bytearray()
            if [coding.lower() for coding in split_list(headers.get_all("Transfer-Encoding"))][-1:] != ["chunked"]:
                self._line, self._left = None, None
        elif lengths:
            self._left = int(lengths[0]) if lengths[0].isdecimal() and len(lengths[0]) < 20 else None
        elif until_end:
            self._left = None
        self.complete = self._left == 0 and self._line is None

    @classmethod
    def of_response(cls, status: int, headers: Headers, method: str) -> Body:
        """Return the body of a response to a request with that method."""
        # RFC 9112, 6.3: these have none, whatever their fields say.
        nothing = status < 200 or status in _NO_BODY or method == "HEAD"
        return cls(Headers() if nothing else headers, until_end=not nothing)

    def take(self, data: bytes) -> bytes:
        """Return what of the data is behind the body."""
        while data and not self.complete:
            if self._left is None:
                return b""
            if self._left:
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
                self.complete = self._left == 0 and self._line is None
            else:
                data = self._take_line(data)
        return data

    def _take_line(self, data: bytes) -> bytes:
        """Take a line of the chunked coding, or a part of it (RFC 9112, 7.1)."""
        assert self._line is not None
        line, newline, rest = data.partition(b"\n")
        self._line += line
        if len(self._line) > _LONGEST_LINE:
            self._left = None
        elif newline:
            self._end_line(bytes(self._line).strip())
            self._line = bytearray()
        return rest

    def _end_line(self, line: bytes) -> None:
        if self._last:
            self.complete = not line  # an empty line ends the trailers
            return
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            self._left = None
            return
        self._last = size == 0
        self._left = size + 2 if size > 0 else 0  # with the end of its line
