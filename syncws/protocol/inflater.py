"""RFC 7692, 7.2.2: the bounded inflation of messages.

Payloads may be cut anywhere: there is no "need more", each call returns all that its input amounts to. Inflation
raises :class:`ProtocolError` for invalid data and :class:`MessageTooBig` before output beyond the limit is produced;
after either of them the inflater is of no use any more. Nothing else is raised. :meth:`Inflater.inflate_now` does the
common case, and raises nothing: what it cannot do it leaves to the others.

One thread at a time for each object. This module is compiled where that is possible: no signal handler runs in it.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator

from ..errors import MessageTooBig, ProtocolError

__all__ = ["Inflater"]

# zlib reads raw DEFLATE data with windows of 2**9 bytes and more.
_MIN_WINDOW_BITS = 9

# RFC 7692, 7.2.2: these four octets end every flushed block; the sender has removed them, the receiver appends them.
_TAIL = b"\x00\x00\xff\xff"
# A stored block that can only be read where a block may begin, and what it holds.
_PROBE_CONTENT = b"sync"
_PROBE = b"\x01\x04\x00\xfb\xff" + _PROBE_CONTENT

# Bytes that come out of zlib in one go, and that go in. The second is small because zlib's binding copies what it has
# not consumed: a bomb makes it do that for every piece, a message of many DEFLATE streams for each of them.
_PIECE = 65536
_CHUNK = 16384

# Bytes that came out, how many were not taken in, and whether there may be more that can come out.
_Step = tuple[bytes, int, bool]


class Inflater:
    """Decompresses the messages of one direction of a connection (RFC 7692, section 7.2.2).

    A DEFLATE stream may end within a message, or with it: a block with BFINAL = 1 (RFC 7692, 7.2.3.4). The data behind
    it is a new stream, with an empty window.

    Without context takeover there is a zlib stream, and its memory, only from the beginning of a message to its end.
    With it, there is none behind the first message, nor behind the first one after :meth:`release`: only the window
    is kept, which is as large as what has been received.

    :param window_bits: 8 to 15; 8 is read with a window of 9 bits, which makes no difference but the memory.
    :param takeover: later messages may refer to earlier ones.
    """

    __slots__ = (
        "_ahead", "_cut_off", "_ended", "_in_message", "_lasting", "_output", "_stream", "_takeover", "_wbits",
        "_window",
    )  # fmt: skip

    def __init__(self, window_bits: int, takeover: bool) -> None:
        self._wbits = -max(window_bits, _MIN_WINDOW_BITS)
        self._takeover = takeover
        self._stream: zlib._Decompress | None = None
        # What the next stream begins with, while there is none.
        self._window = b""
        # How many bytes the stream can refer to, or more: those of its window at its beginning, and its output.
        self._output = 0
        # The last byte of the message so far was the last byte of a DEFLATE stream.
        self._ended = False
        # There is more to come of a message.
        self._in_message = False
        # The stream of the next message remains for those behind it.
        self._lasting = False
        # What inflate_now() has got for the next step, which is to be of the same data.
        self._ahead: _Step | None = None
        # The message is known to end in the middle of its data.
        self._cut_off = False

    def inflate_now(self, data: bytes, limit: int) -> bytes | None:
        """Return what ``data``, the payload of a whole message, amounts to, if that is the common case.

        ``None`` for all else: :meth:`inflate` or :meth:`inflate_pieces` is to be given the same data then, as if this
        had not been called.

        :param limit: bytes that the message may have.
        """
        if self._in_message or not 0 < len(data) <= _CHUNK:
            return None
        stream = self._stream or self._begin()
        size = _PIECE if limit >= _PIECE else limit + 1
        self._in_message = True
        try:
            message = stream.decompress(data, size)
        except zlib.error:
            return None  # it says so again
        if stream.eof or len(message) == size:
            self._ahead = self._account(stream, message, size)
            return None
        self._output += len(message)
        if not self._completes():
            self._cut_off = True
            self._ahead = message, 0, False
            return None
        self._leave_message()
        return message

    def take_back(self, message: bytes) -> None:
        """Have ``message``, which :meth:`inflate_now` has just returned, be what the same data amounts to once more."""
        self._ahead = message, 0, False
        self._in_message = self._ended = True

    def inflate(self, data: bytes | memoryview, *, last: bool, limit: int | None = None, already: int = 0) -> bytes:
        """Return what ``data``, the next part of a message's payload, amounts to.

        :param last: ``data`` ends the message.
        :param limit: bytes that the message may have, ``None``: any number. Never more than ``limit + 1`` bytes are
            inflated.
        :param already: bytes of the message that earlier calls have returned.
        :raises MessageTooBig: the message has more bytes than ``limit``.
        :raises ProtocolError: 1007, invalid or truncated data.
        """
        budget = sys.maxsize if limit is None else max(limit - already, 0) + 1
        first, left = b"", len(data)
        more_inside = False
        self._in_message = True
        if 0 < left <= _CHUNK:
            first, left, more_inside = self._step(data, min(_PIECE, budget))
            if not (left or more_inside):
                # The common case: all in one go. It is less than the budget, because it has not filled its piece.
                if last:
                    self._end_message()
                return first
        rest = memoryview(data)[len(data) - left :]
        pieces, size = [first], already + len(first)
        _check_size(size, limit)
        for piece in self._inflate(rest, last, _PIECE, budget - len(first), more_inside):
            size += len(piece)
            _check_size(size, limit)
            pieces.append(piece)
        return b"".join(pieces)

    def inflate_pieces(self, data: bytes | memoryview, *, last: bool, piece_size: int = _PIECE) -> Iterator[bytes]:
        """Yield the same in pieces of 1 to ``piece_size`` bytes; only one of them is in memory at a time.

        Go through all of it before the next call: what is left over is lost.

        :raises ProtocolError: 1007, invalid or truncated data, when its turn comes.
        """
        return self._inflate(memoryview(data), last, piece_size, sys.maxsize, False)

    def release(self) -> None:
        """Give back all memory but the window, for a connection that has fallen idle. Within a message, do nothing.

        It makes no difference to what the next messages amount to.
        """
        if self._in_message:
            return
        self._lasting = False
        stream, self._stream = self._stream, None
        if stream is not None:
            size = min(self._output, 1 << -self._wbits)
            self._window = stream.decompress(_copies(size), size) if size else b""

    def _inflate(
        self, view: memoryview, last: bool, piece_size: int, budget: int, more_inside: bool
    ) -> Iterator[bytes]:
        """Yield pieces; whoever has got ``budget`` bytes does not ask for more.

        :param more_inside: zlib may have output of what has been consumed.
        """
        self._in_message = True
        position = 0
        chunk = min(_CHUNK, piece_size)
        while more_inside or position < len(view):
            fed = view[position : position + chunk]
            piece, left, more_inside = self._step(fed, min(piece_size, budget))
            position += len(fed) - left
            if piece:
                budget -= len(piece)
                yield piece
        if last:
            self._end_message()

    def _step(self, data: bytes | memoryview, size: int) -> _Step:
        """Inflate up to ``size`` bytes. Return them, the number of bytes of ``data`` that are left, and more_inside."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
        stream = self._stream or self._begin()
        try:
            piece = stream.decompress(data, size)
        except zlib.error as error:
            reason = str(error).rpartition(": ")[2]
            raise ProtocolError(
                f"compressed message is not valid DEFLATE data: {reason} (RFC 7692, 7.2.2)", 1007
            ) from None
        return self._account(stream, piece, size)

    def _account(self, stream: zlib._Decompress, piece: bytes, size: int) -> _Step:
        """Note what a stream has made of its input; return what :meth:`_step` does."""
        self._ended = stream.eof
        if stream.eof:
            # RFC 7692, 7.2.3.4: BFINAL = 1 ends the stream, not the message. (unconsumed_tail says nothing then:
            # it may hold the same bytes again.)
            self._stream = None
            return piece, len(stream.unused_data), False
        self._output += len(piece)
        # A piece that is full may have left output inside zlib, even if all input has been consumed.
        return piece, len(stream.unconsumed_tail), len(piece) == size

    def _begin(self) -> zlib._Decompress:
        """Begin a stream, with the window of the one that was released."""
        window, self._window = self._window, b""
        self._output = len(window)
        self._stream = zlib.decompressobj(self._wbits, window) if window else zlib.decompressobj(self._wbits)
        return self._stream

    def _end_message(self) -> None:
        # Behind the end of a stream the sender should have put an empty block (RFC 7692, 7.2.3.4) for the tail to
        # complete; a message without it is complete as well.
        if self._cut_off or not (self._ended or self._completes()):
            raise ProtocolError("compressed message ends in the middle of its DEFLATE data (RFC 7692, 7.2.2)", 1007)
        self._leave_message()

    def _leave_message(self) -> None:
        self._ended = self._in_message = False
        if not self._takeover:
            self._stream = None
        elif not self._lasting:
            self.release()
            self._lasting = True

    def _completes(self) -> bool:
        """Append the tail, and tell whether that completes a block, as it does unless data is missing.

        zlib does not tell where in a block it is. But the tail of complete data holds nothing, and behind it a
        further block can be read; it is tried on a copy, so that it does not get into the window.
        """
        stream = self._stream or self._begin()
        try:
            # RFC 7692, 7.2.2: append 00 00 ff ff to the tail end of the payload.
            if stream.decompress(_TAIL, 1):
                return False
            return (stream.copy() if self._takeover else stream).decompress(_PROBE) == _PROBE_CONTENT
        except zlib.error:
            return False


def _check_size(size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise MessageTooBig(size, limit, "message after inflation")


def _copies(distance: int) -> bytes:
    """Return a block that repeats what is ``distance`` bytes back, at least as many bytes of it.

    zlib's binding does not give the window out; a stream that is to be dropped can be made to inflate it.
    """
    # RFC 1951, 3.2.6: with BFINAL = 1 and the fixed codes. Bits are read from the lowest one.
    block, bits = 0b011, 3
    # RFC 1951, 3.2.5: distances are in groups of two codes for each number of extra bits, but for the first four.
    extra_bits = max((distance - 1).bit_length() - 2, 0)
    code = 2 * extra_bits + ((distance - 1) >> extra_bits)
    extra = (distance - 1) & ((1 << extra_bits) - 1)
    # The code for a length of 258 is 11000101, that for a distance is a number of five bits; codes begin with their
    # highest bit.
    copy = 0b10100011 | int(f"{code:05b}"[::-1], 2) << 8 | extra << 13
    for _ in range(-(-distance // 258)):
        block |= copy << bits
        bits += 13 + extra_bits
    return block.to_bytes(bits // 8 + 1, "little")
