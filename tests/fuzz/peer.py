"""The peer of the state machines: it writes any bytes, and reads strictly."""

from __future__ import annotations

import socket
import zlib

from fuzz.model import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frames, Inflate, Message, Part, mask

__all__ = ["BITS", "BROKEN", "BROKEN_DEFLATE", "Compress", "Listener", "frame", "message"]

# Of the window, in both directions.
BITS = 12

# Frames that break a rule as they are, from a peer that masks and from one that does not: what follows their header.
BROKEN: dict[str, tuple[int, bytes]] = {
    # first byte, and the payload
    "reserved opcode": (0x83, b""),
    "reserved control opcode": (0x8B, b""),
    "RSV2": (0xA1, b"x"),
    "RSV3": (0x92, b"x"),
    "RSV1 on a control frame": (0xC9, b""),
    "fragmented control frame": (0x09, b""),
    "oversize control frame": (0x89, b"p" * 126),
    "text that is not UTF-8": (0x81, b"\xc0\xaf"),
    "a surrogate": (0x81, b"a\xed\xa0\x80"),
    "text that ends within a character": (0x81, "é".encode()[:1]),
    "too large": (0x82, b"x" * 5000),
    "half a close code": (0x88, b"\x03"),
    "close code 1005": (0x88, b"\x03\xed"),
    "close code 999": (0x88, b"\x03\xe7"),
    "close code 2999": (0x88, b"\x0b\xb7"),
    "close code 5000": (0x88, b"\x13\x88"),
    "close reason that is not UTF-8": (0x88, b"\x03\xe8\xff"),
}
_stream = zlib.compressobj(wbits=-9)
BROKEN_DEFLATE = [
    b"\x07",  # the type of block that there is not
    b"\xf2\x48\xcd",  # half a message
    (_stream.compress(bytes(200_000)) + _stream.flush())[:-4],  # a small bomb
]


def frame(
    opcode: int, payload: bytes, key: bytes | None, *, fin: bool = True, rsv1: bool = False, width: int = 0
) -> bytes:
    """A frame with any first byte.

    :param key: masks the payload; ``None``: the frame is not masked.
    :param width: bytes for the length, more than needed.
    """
    size = len(payload)
    if not width:
        width = 0 if size < 126 else 2 if size < 65536 else 8
    first = opcode | (0x80 if fin else 0) | (0x40 if rsv1 else 0)
    short = {0: size, 2: 126, 8: 127}[width]
    head = bytes([first, short | (0 if key is None else 0x80)])
    if width:
        head += size.to_bytes(width, "big")
    return head + payload if key is None else head + key + mask(payload, key)


class Compress:
    """permessage-deflate for what the peer sends."""

    def __init__(self, takeover: bool) -> None:
        self._takeover = takeover
        self._stream = zlib.compressobj(wbits=-BITS)

    def __call__(self, data: bytes) -> bytes:
        if not self._takeover:
            self._stream = zlib.compressobj(wbits=-BITS)
        return (self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def message(
    data: str | bytes, cuts: list[int], controls: list[tuple[int, bytes]], key: bytes | None, compress: Compress | None
) -> bytes:
    """The frames of a message.

    :param cuts: where its fragments end.
    :param controls: frames behind its fragments.
    """
    payload = data.encode() if isinstance(data, str) else data
    if compress:
        payload = compress(payload)
    places = sorted(min(cut, len(payload)) for cut in cuts)
    parts = [payload[start:end] for start, end in zip([0, *places], [*places, len(payload)], strict=True)]
    opcode = TEXT if isinstance(data, str) else BINARY
    frames = []
    for number, part in enumerate(parts):
        first, last = number == 0, number == len(parts) - 1
        opcode = opcode if first else CONTINUATION
        frames.append(frame(opcode, part, key, fin=last, rsv1=first and compress is not None))
        frames += [frame(*control, key) for control in controls[number : number + 1 if not last else None]]
    return b"".join(frames)


class Listener:
    """Reads what the library sends, and insists on every rule.

    :ivar seen: messages and pings, in order; :ivar pongs: the payloads; :ivar close: the close frame's payload.
    :ivar ended: the library has ended the connection.
    """

    def __init__(self, sock: socket.socket, role: str, takeover: bool | None) -> None:
        self.seen: list[str | bytes | tuple[int, bytes]] = []
        self.pongs: list[bytes] = []
        self.close: bytes | None = None
        self.ended = False
        self._sock = sock
        self._frames = Frames(masked=role == "client", deflate=takeover is not None)
        self._message = Message(None if takeover is None else Inflate(BITS, takeover))
        self._taken = 0

    def read(self, *, wait: bool = False) -> bool:
        """Read what has arrived, or one part of it after waiting; say whether there was anything."""
        before = self._taken
        while not self.ended:
            try:
                data = self._sock.recv(65536, 0 if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            self.ended = not data
            self.feed(data)
            if wait:
                break
        return self._taken > before

    def feed(self, data: bytes) -> None:
        self._frames.feed(data)
        assert self._frames.broken is None, "the library has broken a rule"
        for part in self._frames.parts[self._taken :]:
            assert self.close is None, "something followed the close frame"
            self._take(part)
        self._taken = len(self._frames.parts)

    def _take(self, part: Part) -> None:
        if part.opcode == PING:
            self.seen.append((PING, part.payload))
        elif part.opcode == PONG:
            self.pongs.append(part.payload)
        elif part.opcode == CLOSE:
            self.close = part.payload
        else:
            self._message.add(part)
            if self._message.complete:
                self.seen.append(self._message.content)
                self._message.begin()
