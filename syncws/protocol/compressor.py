"""RFC 7692, 7.2.1: the compression of messages.

A :class:`Compressor` turns each message into a payload, whole or in pieces. It is never in want of more data, and
raises nothing but :class:`MemoryError`.

One thread at a time for each object; its calls are in the order of the messages on the wire. This module is compiled
where that is possible: no signal handler runs in it.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from .zlibs import Settings, Stream, compress_once, new_stream

if TYPE_CHECKING:
    from .deflate import Deflate

__all__ = ["Compressor"]

# RFC 7692, 7.2.1: these four octets end every flushed block; the sender removes them, the receiver appends them.
_TAIL_LENGTH = 4
# RFC 7692, 7.2.3.6: an empty message, and an empty end of a message.
_EMPTY = b"\x00"


class Compressor:
    """Compresses the messages of one direction of a connection (RFC 7692, section 7.2.1).

    Whether a message is compressed is the caller's decision, see :attr:`threshold`; one that is not leaves no trace
    here. Without context takeover there is a zlib stream, and its memory, only from the beginning of a message to its
    end. With it, there is none before the second message, nor before the second one after :meth:`release`: a
    connection that sends now and then never has one.

    :param window_bits: 9 to 15.
    :param takeover: later messages may refer to earlier ones.
    :param config: gives level, mem_level and threshold.
    """

    __slots__ = ("_lasting", "_stream", "_takeover", "settings", "threshold")

    def __init__(self, window_bits: int, takeover: bool, config: Deflate) -> None:
        self.settings = Settings(config.level, window_bits, config.mem_level)
        """What :func:`syncws.protocol.zlibs.compress_once` needs for messages that go out here as well."""
        self.threshold = config.threshold
        """Messages of fewer bytes than this are better sent uncompressed."""
        self._takeover = takeover
        self._stream: Stream | None = None
        # The stream of the next message remains for those behind it.
        self._lasting = False

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return the payload of a whole message, at least one byte."""
        return self.compress_piece(data, last=True)

    def compress_piece(self, data: bytes | bytearray | memoryview, *, last: bool) -> bytes:
        """Return the next part of a message's payload; all of ``data`` can be read from the parts returned so far.

        :param last: ``data`` is the end of the message. Empty data is returned as one byte then, else as none.
        """
        if not data:
            payload = _EMPTY if last else b""
        else:
            stream = self._stream
            if stream is None:
                if last and not self._lasting:
                    # RFC 7692, 7.1.1: without context takeover a message begins with an empty window.
                    self._lasting = self._takeover
                    # A thread that has called ISA-L has 10 KiB more of its stack in memory; not for one message.
                    return compress_once(data, self.settings, fast=not self._takeover)
                stream = self._stream = new_stream(self.settings)
            payload = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
            if last:
                # RFC 7692, 7.2.1: the tail of the message, and only that, is removed.
                payload = payload[:-_TAIL_LENGTH]
        if last and not self._takeover:
            self._stream = None
        return payload

    def release(self) -> None:
        """Give back all memory: later messages refer to no earlier ones, and the peer need not know.

        For a connection that has fallen idle; and behind a message that was compressed elsewhere, because distances
        count its bytes as well. Within a message as between messages.
        """
        self._stream = None
        self._lasting = False
