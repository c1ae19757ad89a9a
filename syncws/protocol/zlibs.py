"""The libraries that compress: zlib, and ISA-L if the extra ``fast-deflate`` has been installed.

A stream of either has ``compress(data)`` and ``flush(mode)``, and raises nothing but :class:`MemoryError`. What both
write ends with an empty stored block (RFC 7692, 7.2.1) after each flush. Decompression is zlib's alone: the others are
little faster, or slower, with messages of a kilobyte.

Any thread may call the functions; one thread at a time for each stream. This module is compiled where that is possible.
"""

from __future__ import annotations

import functools
import zlib
from collections import deque
from typing import NamedTuple, Protocol

__all__ = ["Settings", "Stream", "compress_once", "fast_library", "new_stream"]

# RFC 7692, 7.2.1: these four octets end every flushed block.
_TAIL_LENGTH = 4
# RFC 7692, 7.2.3.6: an empty message.
_EMPTY = b"\x00"
# Up to here ISA-L writes; the higher levels are for those who want messages small, which it cannot do.
_FAST_LEVELS = 5
# Of ISA-L's own levels 0 to 3: its third takes a third more time for 2 % on 1 KiB of JSON, 0 writes 70 % more.
_FAST_LEVEL = 1
# 105 KiB for a stream, of which 1 KiB messages touch 58; with more, large messages take up to a fifth less time.
_FAST_MEM_LEVEL = 1
# So many streams are kept for each settings, for threads that compress at the same time.
_KEPT = 4


class Stream(Protocol):
    """A stream of compressed data."""

    def compress(self, data: bytes | bytearray | memoryview, /) -> bytes:
        """Return what is ready of it."""

    def flush(self, mode: int, /) -> bytes:
        """Return the rest."""


class Settings(NamedTuple):
    """What a stream is made with; streams with the same settings write the same."""

    level: int
    window_bits: int
    mem_level: int


class _Library(Protocol):
    def compressobj(self, level: int, method: int, wbits: int, mem_level: int, /) -> Stream: ...


# Streams with an empty window. A deque is a stack that any thread may use, without a lock; full, it drops the oldest.
_shared: dict[tuple[Settings, bool], deque[Stream]] = {}


@functools.cache
def fast_library() -> _Library | None:
    """Return ISA-L's module, or ``None`` if the package ``isal`` has not been installed.

    :raises ImportError: it has been, but cannot be used.
    """
    import importlib.util  # which takes a millisecond, and only if there is compression

    if importlib.util.find_spec("isal") is None:
        return None
    library: _Library = importlib.import_module("isal.isal_zlib")
    return library


def new_stream(settings: Settings, fast: bool = True) -> Stream:
    """Return a stream with an empty window.

    :param fast: ISA-L's, if it is there and for that level.
    """
    if fast and settings.level <= _FAST_LEVELS and (library := fast_library()) is not None:
        return library.compressobj(_FAST_LEVEL, zlib.DEFLATED, -settings.window_bits, _FAST_MEM_LEVEL)
    return zlib.compressobj(settings.level, zlib.DEFLATED, -settings.window_bits, settings.mem_level)


def compress_once(data: bytes | bytearray | memoryview, settings: Settings, *, fast: bool = True) -> bytes:
    """Return the payload of a message that refers to no other: whoever has a window of that size can read it.

    A message that is sent so is not in the window of a connection's compressor: that has to be released behind it.

    :param fast: by ISA-L, if it is there and for that level.
    """
    if not data:
        return _EMPTY
    kept = _shared.get((settings, fast))
    if kept is None:
        kept = _shared.setdefault((settings, fast), deque(maxlen=_KEPT))
    try:
        stream = kept.pop()
    except IndexError:
        stream = new_stream(settings, fast)
    payload = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
    # Behind a full flush nothing refers to what was in front of it. It is a second one, and what it returns belongs to
    # no message, because ISA-L often does without a code of its own for a block that ends with a full flush.
    stream.flush(zlib.Z_FULL_FLUSH)
    # Not after an exception, such as a KeyboardInterrupt, which leaves a stream in the middle of a message.
    kept.append(stream)
    return payload[:-_TAIL_LENGTH]
