"""bytes → frames, incrementally (RFC 6455, section 5.2).

Give a :class:`Parser` whatever the connection delivered with :meth:`~Parser.feed`, then call
:meth:`~Parser.next_frame` until it returns ``None``, which means "feed me more". It raises :class:`ProtocolError` for
a frame that breaks a rule, as soon as its first two bytes or its length show it; the parser must not be used after
that. Each frame is judged only when it is asked for, so everything in front of a broken frame is delivered first.

Control frames come whole. A data frame comes in as many pieces as the connection delivered it in, so a reader can
check UTF-8 and limits before the rest has arrived, and no payload waits in this module's memory: once ``None`` has
been returned the parser owns less than 140 bytes. The exception is a large binary payload that the reader wants as a
whole: what has arrived of it is put together here, in place.

:meth:`~Parser.next_plain` does the common case in one go: a frame that is a whole message and all there. Everything
else it leaves as it is, for :meth:`~Parser.next_frame` to judge.

One thread at a time.
"""

from __future__ import annotations

from ..errors import ProtocolError
from .codes import BINARY, CLOSE, CONTINUATION, OPCODE_NAMES, TEXT
from .frames import MAX_CONTROL_PAYLOAD
from .mask import Gathering, masked_slice, unmasked

__all__ = ["Frame", "Parser"]

# From this length on, in bytes, a payload is worth gathering.
_LARGE = 262144
_TEXT = TEXT  # a number of C, where this is compiled


class Frame:
    """A control frame, or a data frame, or a piece of one. Payloads are unmasked.

    :ivar opcode: one of the opcodes of :mod:`syncws.protocol.codes`.
    :ivar fin: the FIN bit: this frame is the last of its message.
    :ivar rsv1: the RSV1 bit: the message is compressed (RFC 7692, section 6).
    :ivar length: payload length of the whole frame, in bytes, as its header declares it.
    :ivar payload: the payload, or the piece of it that has arrived (of a first piece it may be empty).
    :ivar first: this piece begins the frame.
    :ivar last: this piece ends the frame.
    """

    __slots__ = ("fin", "first", "last", "length", "opcode", "payload", "rsv1")

    def __init__(
        self, opcode: int, fin: bool, rsv1: bool, length: int, payload: bytes, first: bool = True, last: bool = True
    ) -> None:
        self.opcode = opcode
        self.fin = fin
        self.rsv1 = rsv1
        self.length = length
        self.payload = payload
        self.first = first
        self.last = last

    def __repr__(self) -> str:
        name = OPCODE_NAMES[self.opcode]
        return f"<Frame {name} fin={self.fin:d} rsv1={self.rsv1:d} {len(self.payload)} of {self.length} bytes>"


class Parser:
    """Turns the bytes of one direction of a connection into frames.

    :param masked: frames must be masked (a server's parser) or must not be (a client's).
    :param rsv1_allowed: permessage-deflate has been negotiated.
    """

    __slots__ = (
        "_before_plain", "_data", "_fin", "_gathering", "_key", "_left", "_length", "_masked", "_offset", "_opcode",
        "_plain_end", "_pos", "_rsv1_allowed",
    )  # fmt: skip

    def __init__(self, *, masked: bool, rsv1_allowed: bool = False) -> None:
        self._masked = masked
        self._rsv1_allowed = rsv1_allowed
        self._data = b""
        self._pos = 0  # of the first byte in _data that has not been parsed
        # The data frame whose payload is arriving; _left is the number of bytes of it still to come.
        self._opcode = CONTINUATION
        self._fin = False
        self._length = 0
        self._left = 0
        self._offset = 0
        self._key = b""
        self._gathering: Gathering | None = None  # what has arrived of that payload, if nobody has got it yet
        # What next_plain() has found: where the frame begins, and where it ends.
        self._before_plain = 0
        self._plain_end = 0

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun to arrive and is not complete, once :meth:`next_frame` has returned ``None``."""
        return not self.between()

    def between(self) -> bool:
        """Whether nothing of a frame is here that has not been returned."""
        return not self._left and self._pos >= len(self._data)

    def feed(self, data: bytes) -> None:
        """Take over ``data``, the next bytes from the connection."""
        # What is left is at most an incomplete header or control frame, so this copies little.
        self._data = self._data[self._pos :] + data if self._pos < len(self._data) else data
        self._pos = 0

    def next_frame(self, gather: bool = False) -> Frame | None:
        """Return the next control frame, data frame or piece of a data frame; ``None`` if more bytes are needed.

        :param gather: of a large binary frame that is not compressed, and has not arrived whole, return two pieces: an
            empty one at once, then the payload, put together without a further copy. :meth:`take_gathered` ends that.
        :raises ProtocolError: the bytes break a rule of RFC 6455, section 5; the close code is 1002. Or 1009:
            there is no memory for what is gathered.
        """
        if self._left:
            return self._next_piece()
        data = self._data
        pos = self._pos
        size = len(data)
        if size < pos + 2:
            if size > pos:
                return self._need_more()
            self._data = b""
            self._pos = 0
            return None
        first = data[pos]
        second = data[pos + 1]
        opcode = first & 0x0F
        length = second & 0x7F
        if first & 0x70 or opcode > 2 or (second > 127) is not self._masked:
            self._check_header(first, second)
        pos += 2
        if length > 125:
            width = 2 if length == 126 else 8
            if size < pos + width:
                return self._need_more()
            length = _extended_length(data[pos : pos + width])
            pos += width
        key = b""
        if self._masked:
            if size < pos + 4:
                return self._need_more()
            key = data[pos : pos + 4]
            pos += 4
        # Not pos + length, which may have 64 bits.
        if length > size - pos:
            if opcode >= CLOSE:
                return self._need_more()
            return self._begin_pieces(first, length, key, pos, gather and length >= _LARGE and first & 0x4F == BINARY)
        end = pos + length
        self._pos = end
        payload = masked_slice(data, pos, end, key, 0) if key else data[pos:end]
        return Frame(opcode, first > 127, first & 0x40 != 0, length, payload)

    def next_plain(self, limit: int) -> bytes | None:
        """Return the payload of the next frame if that is a message on its own and all there; it may be compressed.

        ``None``, with nothing changed, for all else: another frame, one that breaks a rule, the beginning of one.

        :param limit: bytes that the payload may have.
        """
        start = self._plain_start()
        if start < 0 or self._plain_end - start > limit:
            if self._pos == len(self._data):
                self._data = b""  # a connection that waits owns no large buffer
                self._pos = 0
            return None
        data = self._data
        end = self._plain_end
        self._before_plain = self._pos
        self._pos = end
        return unmasked(data, start, end) if self._masked else data[start:end]

    def plain_is_text(self) -> bool:
        """Whether the payload that :meth:`next_plain` has returned last is that of a text message."""
        return self._data[self._before_plain] & 0x0F == _TEXT

    def plain_compressed(self) -> bool:
        """Whether that payload is compressed: the RSV1 bit (RFC 7692, section 6)."""
        return self._data[self._before_plain] & 0x40 != 0

    def take_back(self) -> None:
        """Make the frame whose payload :meth:`next_plain` has just returned the next one again."""
        self._pos = self._before_plain

    def has_plain(self) -> bool:
        """Whether :meth:`next_plain` has another payload to return, without a limit."""
        return self._plain_start() >= 0

    def _plain_start(self) -> int:
        """Return where the payload begins that :meth:`next_plain` may return, and note its end; -1 if there is none."""
        data = self._data
        pos = self._pos
        size = len(data)
        start = pos + 6 if self._masked else pos + 2
        if self._left or size < start:
            return -1
        first = data[pos]
        second = data[pos + 1]
        length = second & 0x7F
        if first & 0x40 and self._rsv1_allowed:
            first &= 0xBF
        if not 0x81 <= first <= 0x82 or (second > 127) is not self._masked:
            return -1
        if length > 125:
            width = 2 if length == 126 else 8
            start += width
            if size < start or (width == 8 and data[pos + 2]):
                return -1
            length = int.from_bytes(data[pos + 2 : pos + 2 + width], "big")
            if length < (126 if width == 2 else 65536):
                return -1
        if length > size - start:
            return -1
        self._plain_end = start + length
        return start

    def take_gathered(self) -> bytes:
        """Return what has been gathered of the current payload; what comes then is returned in pieces."""
        gathering = self._gathering
        if gathering is None:
            return b""
        data = gathering.take()
        self._gathering = None  # not if there is no memory: without its beginning, the payload is not to be had
        return data

    def _begin_pieces(self, first: int, length: int, key: bytes, pos: int, gather: bool) -> Frame:
        """Return the first piece of a data frame of which only a part has arrived."""
        if gather:
            self._gathering = Gathering(length)
        self._length = length
        payload = self._take_payload(pos, len(self._data), key, 0)
        self._opcode = first & 0x0F
        self._fin = first > 127
        self._left = length - (self._pos - pos)
        self._key = key
        self._offset = (self._pos - pos) & 3
        return Frame(self._opcode, self._fin, first & 0x40 != 0, length, payload, True, False)

    def _next_piece(self) -> Frame | None:
        """Return what has arrived of the payload that is on its way, if anything has."""
        start = self._pos
        end = len(self._data)
        if start == end:
            return self._need_more()
        if self._left < end - start:
            end = start + self._left
        self._left -= end - start
        payload = self._take_payload(start, end, self._key, self._offset)
        self._offset = (self._offset + end - start) & 3
        if self._gathering is not None:
            if self._left:
                return self._need_more()
            payload = self.take_gathered()
        return Frame(self._opcode, self._fin, False, self._length, payload, False, self._left == 0)

    def _take_payload(self, start: int, end: int, key: bytes, offset: int) -> bytes:
        """Return what has arrived of a payload; nothing, if that is gathered."""
        self._pos = end
        if self._gathering is not None:
            try:
                self._gathering.add(self._data, start, end, key, offset)
            except MemoryError:
                # RFC 6455, 7.4.1: 1009, a message that is too big to be processed.
                raise ProtocolError(
                    f"no memory for a message of {self._length} bytes; max_message_size would refuse it", 1009
                ) from None
            return b""
        return masked_slice(self._data, start, end, key, offset) if key else self._data[start:end]

    def _need_more(self) -> Frame | None:
        """Return ``None``, keeping only what is not parsed: a connection that waits owns no large buffer."""
        self._data = self._data[self._pos :]
        self._pos = 0
        return None

    def _check_header(self, first: int, second: int) -> None:
        """Raise ProtocolError unless the two bytes that begin a frame are within the rules."""
        opcode = first & 0x0F
        name = OPCODE_NAMES.get(opcode)
        if name is None:
            # RFC 6455, 5.2: if an unknown opcode is received, the receiving endpoint MUST fail the connection.
            raise ProtocolError(f"frame with reserved opcode 0x{opcode:X} (RFC 6455, 5.2)")
        if first & 0x30:
            # RFC 6455, 5.2: RSV2 and RSV3 MUST be 0 as no extension that defines them can be negotiated.
            raise ProtocolError(f"{name} frame with reserved bits set, first byte 0x{first:02X} (RFC 6455, 5.2)")
        if first & 0x40:
            if not self._rsv1_allowed:
                raise ProtocolError(f"{name} frame with RSV1 set, but no extension was negotiated (RFC 6455, 5.2)")
            if opcode >= CLOSE or opcode == CONTINUATION:
                # RFC 7692, 6.1: RSV1 is set only on the first frame of a message.
                raise ProtocolError(f"{name} frame with RSV1 set (RFC 7692, 6.1)")
        if opcode >= CLOSE:
            # RFC 6455, 5.5: control frames have at most 125 bytes and MUST NOT be fragmented.
            if first < 128:
                raise ProtocolError(f"fragmented {name} frame (RFC 6455, 5.5)")
            if second & 0x7F > MAX_CONTROL_PAYLOAD:
                raise ProtocolError(f"{name} frame with more than {MAX_CONTROL_PAYLOAD} bytes (RFC 6455, 5.5)")
        if (second > 127) is not self._masked:
            # RFC 6455, 5.1: a server MUST close upon an unmasked frame, a client upon a masked one.
            wrong = "masked frame from a server" if second > 127 else "unmasked frame from a client"
            raise ProtocolError(f"{wrong} (RFC 6455, 5.1)")


def _extended_length(encoded: bytes) -> int:
    """Return the payload length of 2 or 8 bytes.

    :raises ProtocolError: fewer bytes would do, or the most significant bit is set.
    """
    length = int.from_bytes(encoded, "big")
    # RFC 6455, 5.2: the minimal number of bytes MUST be used to encode the length.
    if length < (126 if len(encoded) == 2 else 65536):
        raise ProtocolError(f"payload length {length} encoded in {len(encoded)} bytes; fewer would do (RFC 6455, 5.2)")
    if length >> 63:
        # RFC 6455, 5.2: the most significant bit MUST be 0.
        raise ProtocolError(f"payload length 0x{length:X} with its most significant bit set (RFC 6455, 5.2)")
    return length
