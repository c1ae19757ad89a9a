"""Messages to compress, payloads as a peer makes them straight from zlib, ways to cut either, and the libraries."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st
from support import require_module

from syncws.protocol import zlibs
from syncws.protocol.deflate import Inflater

__all__ = [
    "JSON",
    "NOISE",
    "SIZES",
    "TAIL",
    "chunks",
    "contents",
    "cut",
    "cuts",
    "every_byte",
    "inflate_bytewise",
    "library",
    "peer_blocks",
    "peer_final",
    "peer_message",
    "peer_messages",
]

TAIL = b"\x00\x00\xff\xff"
# Sizes around the boundaries of frames, of zlib's pieces and of the windows.
SIZES = [0, 1, 2, 125, 126, 127, 511, 512, 513, 16384, 32768, 65535, 65536, 65537, 131072, 200_000]

noise = random.Random(7692)
NOISE = noise.randbytes(200_000)
JSON = json.dumps([{"id": n, "user": f"user{n % 17}", "text": "hello " * (n % 5)} for n in range(300)]).encode()


def peer_message(data: bytes, wbits: int = 15, level: int = 9, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    """A payload as a peer makes it, straight from zlib."""
    stream = zlib.compressobj(level, zlib.DEFLATED, -wbits, 8, strategy)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def peer_messages(*messages: bytes, wbits: int = 15) -> list[bytes]:
    """Payloads that refer to the messages before them."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -wbits)
    return [(stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL) for data in messages]


def peer_final(data: bytes, level: int = 9) -> bytes:
    """A whole DEFLATE stream, which ends with a block with BFINAL = 1."""
    stream = zlib.compressobj(level, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def peer_blocks(data: bytes) -> bytes:
    """The same with the tail, so that another block may follow."""
    return peer_message(data) + TAIL


@contextlib.contextmanager
def library(name: str) -> Iterator[None]:
    """Compress with that library, ``"zlib"`` or ``"isal"``, and with streams that nobody else shares."""
    with pytest.MonkeyPatch.context() as patch:
        if name == "isal":
            require_module("isal")
        else:
            patch.setattr(zlibs, "fast_library", lambda: None)
        patch.setattr(zlibs, "_shared", {})
        yield


def every_byte(data: bytes) -> Iterator[tuple[bytes, bool]]:
    for index in range(len(data)):
        yield data[index : index + 1], index == len(data) - 1


def inflate_bytewise(inflater: Inflater, payload: bytes) -> bytes:
    return b"".join(inflater.inflate(byte, last=last) for byte, last in every_byte(payload))


chunks = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda piece, times: piece * times, st.binary(min_size=1, max_size=40), st.integers(1, 2000)),
    st.builds(lambda start, size: NOISE[start : start + size], st.integers(0, 1000), st.integers(0, 40_000)),
    st.just(JSON),
)
contents = st.lists(chunks, max_size=4).map(b"".join)


def cut(data: bytes, places: list[float]) -> list[bytes]:
    """Cut data, at fractions of its length, into one piece more than there are places."""
    ends = [0, *sorted(int(place * len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(ends)]


cuts = st.lists(st.floats(0, 1), max_size=6)
