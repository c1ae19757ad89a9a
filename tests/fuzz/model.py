"""What the bytes of one direction amount to, written down a second time and as simply as possible.

Nothing here is the library's: :class:`Frames` finds the frames in bytes, :class:`Message` puts one message after the
other together, :func:`close_content` reads a close frame. A rule that is broken raises :class:`Broken` with the close
codes that are right for it. The bytes may be fed in any parts.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT", "Broken", "Frames", "Inflate", "Message", "Part"]
__all__ += ["close_content", "mask"]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_KNOWN = (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
_TAIL = b"\x00\x00\xff\xff"
# Whatever begins a character of UTF-8 is completed by one of these.
_ENDINGS = (b"", b"\x80", b"\xa0", b"\x80\x80", b"\xa0\x80", b"\x80\x80\x80", b"\xa0\x80\x80")


class Broken(Exception):
    """A rule has been broken; ``codes`` are the close codes that may say so."""

    def __init__(self, *codes: int) -> None:
        super().__init__(*codes)
        self.codes = codes


class Part(NamedTuple):
    """A control frame, or as much as has arrived at once of a data frame."""

    opcode: int
    fin: bool
    rsv1: bool
    length: int  # of the whole frame, in bytes
    payload: bytes
    first: bool
    last: bool

    @property
    def control(self) -> bool:
        return self.opcode >= CLOSE


def mask(payload: bytes, key: bytes, offset: int = 0) -> bytes:
    return bytes(byte ^ key[(offset + index) % 4] for index, byte in enumerate(payload)) if any(key) else payload


class Frames:
    """The frames of one direction: ``parts`` are those so far, ``broken`` is the rule that the next one breaks."""

    def __init__(self, masked: bool, deflate: bool) -> None:
        self.parts: list[Part] = []
        self.broken: Broken | None = None
        self.rest = b""
        self.missing = 0  # bytes of the data frame that is arriving
        self._masked = masked
        self._deflate = deflate
        self._key = b""

    def feed(self, data: bytes) -> None:
        self.rest += data
        while self.broken is None and (self._go_on() if self.missing else self._begin()):
            pass

    def _go_on(self) -> bool:
        frame, part = self.parts[-1], self.rest[: self.missing]
        if not part:
            return False
        payload = mask(part, self._key, frame.length - self.missing) if self._masked else part
        self.missing -= len(part)
        self.rest = self.rest[len(part) :]
        self.parts.append(frame._replace(payload=payload, first=False, last=self.missing == 0))
        return True

    def _begin(self) -> bool:
        rest = self.rest
        if len(rest) < 2:
            return False
        opcode, length = rest[0] & 0x0F, rest[1] & 0x7F
        if self._wrong(rest[0], rest[1]):
            self.broken = Broken(1002)
            return False
        size = 2 + {126: 2, 127: 8}.get(length, 0)
        if len(rest) < size:
            return False
        if size > 2:
            length = int.from_bytes(rest[2:size], "big")
            if length < (126 if size == 4 else 65536) or length >= 2**63:
                self.broken = Broken(1002)
                return False
        start = size + (4 if self._masked else 0)
        if len(rest) < start or (opcode >= CLOSE and len(rest) < start + length):
            return False
        self._key = rest[size:start]
        payload = rest[start : start + length]
        self.missing = length - len(payload)
        self.rest = rest[start + len(payload) :]
        if self._masked:
            payload = mask(payload, self._key)
        self.parts.append(Part(opcode, rest[0] > 127, rest[0] & 0x40 != 0, length, payload, True, self.missing == 0))
        return True

    def _wrong(self, first: int, second: int) -> bool:
        opcode = first & 0x0F
        if opcode not in _KNOWN or first & 0x30 or (second > 127) is not self._masked:
            return True
        if first & 0x40 and not (self._deflate and opcode in (TEXT, BINARY)):
            return True
        return opcode >= CLOSE and (first < 128 or second & 0x7F > 125)


class Inflate:
    """permessage-deflate, without a thought of memory.

    :param bits: of the window.
    """

    def __init__(self, bits: int, takeover: bool) -> None:
        self._bits = bits
        self._takeover = takeover
        self._ended = False
        self._stream = zlib.decompressobj(-bits)

    def __call__(self, data: bytes, end: bool) -> bytes:
        try:
            content = self._decompress(data)
            if end and not self._ended and (self._stream.decompress(_TAIL) or not self._at_block()):
                raise Broken(1007)
        except zlib.error:
            raise Broken(1007) from None
        if end:
            self._ended = False
            if not self._takeover:
                self._stream = zlib.decompressobj(-self._bits)
        return content

    def _decompress(self, data: bytes) -> bytes:
        content = b""
        while data:
            content += self._stream.decompress(data)
            data = b""
            self._ended = self._stream.eof
            if self._ended:
                data = self._stream.unused_data
                self._stream = zlib.decompressobj(-self._bits)
        return content

    def _at_block(self) -> bool:
        """Whether a new block can begin: one that is stored can be read."""
        return self._stream.copy().decompress(b"\x01\x01\x00\xfe\xff?") == b"?"


class Message:
    """One message after the other out of the parts of data frames.

    :ivar content: what has arrived of the message, as far as it can be decoded.
    :ivar complete: all of it has.
    """

    def __init__(self, inflate: Inflate | None, max_size: int | None = None, max_fragments: int | None = None) -> None:
        self._inflate = inflate
        self._max_size = max_size
        self._max_fragments = max_fragments
        self.begin()

    def begin(self) -> None:
        """Forget the message."""
        self.complete = False
        self.opcode = CONTINUATION
        self.fragments = 0
        self.compressed = False
        self._on_wire = 0
        self._bytes = b""

    @property
    def content(self) -> str | bytes:
        if self.opcode != TEXT:
            return self._bytes
        return self._bytes.decode(errors="ignore")

    def add(self, part: Part, *, limited: bool = True) -> None:
        """Take the next part.

        :param limited: the limit on the size applies.
        """
        if part.first:
            if (part.opcode == CONTINUATION) is not (self.opcode != CONTINUATION):
                raise Broken(1002)
            if part.opcode != CONTINUATION:
                self.opcode, self.compressed = part.opcode, part.rsv1
            self.fragments += 1
            self._on_wire += part.length
            if self._max_fragments is not None and self.fragments > self._max_fragments:
                raise Broken(1008)
        limit = self._max_size if limited else None
        if limit is not None and self._on_wire > limit + (limit // 4 + 16 * self.fragments) * self.compressed:
            raise Broken(1009)
        end = part.fin and part.last
        payload = part.payload
        if self.compressed:
            assert self._inflate is not None
            try:
                payload = self._inflate(payload, end)
            except Broken:
                raise Broken(1007, 1009) from None  # both may be true
        self._bytes += payload
        if limit is not None and len(self._bytes) > limit:
            raise Broken(1007, 1009)
        if self.opcode == TEXT:
            self._check_text(end)
        self.complete = end

    def _check_text(self, end: bool) -> None:
        for ending in _ENDINGS[:1] if end else _ENDINGS:
            try:
                (self._bytes + ending).decode()
                return
            except UnicodeDecodeError:
                pass
        raise Broken(*((1007, 1009) if self.compressed else (1007,)))


def close_content(payload: bytes) -> tuple[int, str]:
    """Code and reason of a close frame."""
    if not payload:
        return 1005, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise Broken(1002)
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise Broken(1007) from None
