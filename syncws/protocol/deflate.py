"""RFC 7692, permessage-deflate: its options, and the compression and bounded inflation of messages.

A :class:`Compressor` turns messages into payloads, an :class:`Inflater` turns payloads back, whole or in pieces. What
the two sides agreed on is a :class:`Parameters`; how they come to agree is in :mod:`syncws.protocol.negotiation`.

Payloads may be cut anywhere: there is no "need more", each call returns all that its input amounts to. Inflation
raises :class:`ProtocolError` for invalid data and :class:`MessageTooBig` before output beyond the limit is produced;
after either of them the inflater is of no use any more. Nothing else is raised.

One thread at a time for each object; the calls of a compressor are in the order of the messages on the wire.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ..errors import MessageTooBig, ProtocolError

__all__ = [
    "MAX_WINDOW_BITS",
    "MIN_WINDOW_BITS",
    "Compressor",
    "Deflate",
    "Inflater",
    "Parameters",
    "compressor_for",
    "inflater_for",
]

Role = Literal["server", "client"]

# RFC 7692, 7.1.2 allows windows of 2**8 bytes too, but zlib writes raw DEFLATE data only with 2**9 or more.
MIN_WINDOW_BITS = 9
MAX_WINDOW_BITS = 15

# RFC 7692, 7.2.1: these four octets end every flushed block; the sender removes them, the receiver appends them.
_TAIL = b"\x00\x00\xff\xff"
# RFC 7692, 7.2.3.6: an empty message, and an empty end of a message.
_EMPTY = b"\x00"
# A stored block that can only be read where a block may begin, and what it holds.
_PROBE_CONTENT = b"sync"
_PROBE = b"\x01\x04\x00\xfb\xff" + _PROBE_CONTENT

# Bytes that come out of zlib in one go, and that go in. The second is small because zlib's binding copies what it has
# not consumed: a bomb makes it do that for every piece, a message of many DEFLATE streams for each of them.
_PIECE = 65536
_CHUNK = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflate:
    """How to compress messages: the value of the option ``compression`` (RFC 7692, permessage-deflate).

    The memory of a connection is that of its compressor, ``2**(max_window_bits + 2) + 2**(mem_level + 9)`` bytes and
    6 KiB, and that of its decompressor, ``2**max_window_bits`` bytes and 7 KiB. Measured, in KiB:

    ===============  =========  ==========  ============
    max_window_bits  mem_level  compressor  decompressor
    ===============  =========  ==========  ============
    9                1          9           8
    11               4          22          9
    12 (default)     5          38          11
    15               8          262         39
    ===============  =========  ==========  ============

    Without context takeover a connection has neither of them between messages.

    :param level: 1 (fastest) to 9 (smallest). On 1.3 KB of JSON, 6 takes a quarter more time than 5 and saves 2 %.
    :param mem_level: 1 to 9, see above.
    :param context_takeover: keep what was learned from one message for the next, in both directions. ``False`` asks
        the peer to do without as well; JSON of 150 bytes then shrinks to 73 % instead of 36 %.
    :param max_window_bits: 9 to 15, how far back a repetition is found: ``2**max_window_bits`` bytes. The peer is asked
        to keep to it too; one that cannot is accepted, and its decompressor takes up to 39 KiB.
    :param threshold: messages of fewer bytes than this are sent uncompressed; 0 compresses every message.
    :raises TypeError: a value of another type.
    :raises ValueError: a value out of range.
    """

    level: int = 5
    mem_level: int = 5
    context_takeover: bool = True
    max_window_bits: int = 12
    threshold: int = 128

    def __post_init__(self) -> None:
        _check_range("level", self.level, 1, 9, "compression=None switches compression off")
        _check_range("mem_level", self.mem_level, 1, 9)
        _check_range("max_window_bits", self.max_window_bits, MIN_WINDOW_BITS, MAX_WINDOW_BITS, "as zlib can do it")
        _check_range("threshold", self.threshold, 0, sys.maxsize, "in bytes")
        if not isinstance(self.context_takeover, bool):
            raise TypeError(f"context_takeover must be True or False, not {self.context_takeover!r}")


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the two sides agreed on, with every default filled in (RFC 7692, section 7.1).

    A window is the one that is really used if that is smaller than the agreed one.
    """

    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int
    client_max_window_bits: int


class Compressor:
    """Compresses the messages of one direction of a connection (RFC 7692, section 7.2.1).

    Whether a message is compressed is the caller's decision, see :attr:`threshold`; one that is not leaves no trace
    here. Without context takeover there is a zlib stream, and its memory, only from the beginning of a message to its
    end.

    :param window_bits: 9 to 15.
    :param takeover: later messages may refer to earlier ones.
    :param config: gives level, mem_level and threshold.
    """

    __slots__ = ("_level", "_mem_level", "_stream", "_takeover", "_window_bits", "threshold")

    def __init__(self, window_bits: int, takeover: bool, config: Deflate) -> None:
        self._window_bits = window_bits
        self._takeover = takeover
        self._level = config.level
        self._mem_level = config.mem_level
        self._stream: zlib._Compress | None = None
        self.threshold = config.threshold
        """Messages of fewer bytes than this are better sent uncompressed."""

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return the payload of a whole message, at least one byte."""
        return self.compress_piece(data, last=True)

    def compress_piece(self, data: bytes | bytearray | memoryview, *, last: bool) -> bytes:
        """Return the next part of a message's payload; all of ``data`` can be read from the parts returned so far.

        :param last: ``data`` is the end of the message. Empty data is returned as one byte then, else as none.
        """
        if data:
            if self._stream is None:
                # RFC 7692, 7.1.1: without context takeover a message begins with an empty window.
                self._stream = zlib.compressobj(self._level, zlib.DEFLATED, -self._window_bits, self._mem_level)
            payload = self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)
            if last:
                # RFC 7692, 7.2.1: the tail of the message, and only that, is removed.
                payload = payload[: -len(_TAIL)]
        else:
            payload = _EMPTY if last else b""
        if last and not self._takeover:
            self._stream = None
        return payload


class Inflater:
    """Decompresses the messages of one direction of a connection (RFC 7692, section 7.2.2).

    A DEFLATE stream may end within a message, or with it: a block with BFINAL = 1 (RFC 7692, 7.2.3.4). The data behind
    it is a new stream, with an empty window.

    :param window_bits: 8 to 15; 8 is read with a window of 9 bits, which makes no difference but the memory.
    :param takeover: later messages may refer to earlier ones.
    """

    __slots__ = ("_ended", "_stream", "_takeover", "_wbits")

    def __init__(self, window_bits: int, takeover: bool) -> None:
        self._wbits = -max(window_bits, MIN_WINDOW_BITS)
        self._takeover = takeover
        self._stream: zlib._Decompress | None = None
        # The last byte of the message so far was the last byte of a DEFLATE stream.
        self._ended = False

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
        pieces = []
        size = already
        for piece in self._inflate(data, last, _PIECE, budget):
            size += len(piece)
            if limit is not None and size > limit:
                raise MessageTooBig(size, limit, "message after inflation")
            pieces.append(piece)
        return b"".join(pieces)

    def inflate_pieces(self, data: bytes | memoryview, *, last: bool, piece_size: int = _PIECE) -> Iterator[bytes]:
        """Yield the same in pieces of 1 to ``piece_size`` bytes; only one of them is in memory at a time.

        Go through all of it before the next call: what is left over is lost.

        :raises ProtocolError: 1007, invalid or truncated data, when its turn comes.
        """
        return self._inflate(data, last, piece_size, sys.maxsize)

    def _inflate(self, data: bytes | memoryview, last: bool, piece_size: int, budget: int) -> Iterator[bytes]:
        """Yield pieces; whoever has got ``budget`` bytes does not ask for more."""
        view = memoryview(data)
        position = 0
        chunk = min(_CHUNK, piece_size)
        more_inside = False
        while more_inside or position < len(view):
            if self._stream is None:
                self._stream = self._new_stream()
            stream = self._stream
            fed = view[position : position + chunk]
            size = min(piece_size, budget)
            piece = _decompress(stream, fed, size)
            self._ended = stream.eof
            if stream.eof:
                # RFC 7692, 7.2.3.4: BFINAL = 1 ends the stream, not the message. (unconsumed_tail says nothing then:
                # it may hold the same bytes again.)
                left = stream.unused_data
                self._stream = None
            else:
                left = stream.unconsumed_tail
            position += len(fed) - len(left)
            # A piece that is full may have left output inside zlib, even if all input has been consumed.
            more_inside = len(piece) == size and not stream.eof
            if piece:
                budget -= len(piece)
                yield piece
        if last:
            self._end_message()

    def _end_message(self) -> None:
        # Behind the end of a stream the sender should have put an empty block (RFC 7692, 7.2.3.4) for the tail to
        # complete; a message without it is complete as well.
        complete = self._ended or self._completes()
        self._ended = False
        if not self._takeover:
            self._stream = None
        if not complete:
            raise ProtocolError("compressed message ends in the middle of its DEFLATE data (RFC 7692, 7.2.2)", 1007)

    def _completes(self) -> bool:
        """Append the tail, and tell whether that completes a block, as it does unless data is missing.

        zlib does not tell where in a block it is. But the tail of complete data holds nothing, and behind it a
        further block can be read; it is tried on a copy, so that it does not get into the window.
        """
        if self._stream is None:
            self._stream = self._new_stream()
        try:
            # RFC 7692, 7.2.2: append 00 00 ff ff to the tail end of the payload.
            if self._stream.decompress(_TAIL, 1):
                return False
            return self._stream.copy().decompress(_PROBE) == _PROBE_CONTENT
        except zlib.error:
            return False

    def _new_stream(self) -> zlib._Decompress:
        return zlib.decompressobj(self._wbits)


def compressor_for(parameters: Parameters, config: Deflate, role: Role) -> Compressor:
    """Return the compressor of the side that is ``role``."""
    if role == "server":
        return Compressor(parameters.server_max_window_bits, not parameters.server_no_context_takeover, config)
    return Compressor(parameters.client_max_window_bits, not parameters.client_no_context_takeover, config)


def inflater_for(parameters: Parameters, role: Role) -> Inflater:
    """Return the inflater of the side that is ``role``: it reads what the other side has compressed."""
    if role == "server":
        return Inflater(parameters.client_max_window_bits, not parameters.client_no_context_takeover)
    return Inflater(parameters.server_max_window_bits, not parameters.server_no_context_takeover)


def _decompress(stream: zlib._Decompress, data: memoryview, max_length: int) -> bytes:
    try:
        return stream.decompress(data, max_length)
    except zlib.error as error:
        reason = str(error).rpartition(": ")[2]
        raise ProtocolError(f"compressed message is not valid DEFLATE data: {reason} (RFC 7692, 7.2.2)", 1007) from None


def _check_range(name: str, value: int, low: int, high: int, hint: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if not low <= value <= high:
        allowed = f"at least {low}" if high == sys.maxsize else f"{low} to {high}"
        raise ValueError(f"{name} must be {allowed}{hint and f' ({hint})'}, not {value}")
