"""What clients send: frames of a cell, made once and sent again and again."""

from __future__ import annotations

import json
import random
import zlib

from load import RSV1, TEXT, frame

__all__ = ["frames_of"]

_RECORDS = 64  # different ones, so that none is in the window of a compressor when it comes again
_TAIL = b"\x00\x00\xff\xff"


def frames_of(size: int, deflate: bool) -> list[bytes]:
    """Return a client's frames, which may be sent one after the other.

    :param size: payload bytes of a message, about.
    :param deflate: messages are JSON and compressed, each for itself, so that they may be sent in any order, whatever
        was agreed on about context takeover.
    """
    if not deflate:
        return [frame(b"x" * size)]
    return [frame(_compressed(_record(size, number)), TEXT | RSV1) for number in range(_RECORDS)]


def _compressed(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-12)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)


def _record(size: int, number: int) -> bytes:
    """Return JSON of about that size: rows of a table with names, figures and words."""
    chance = random.Random(number)
    words = [
        "connection",
        "closed",
        "message",
        "sent",
        "server",
        "client",
        "open",
        "wait",
        "read",
        "write",
        "frame",
        "limit",
        "time",
    ]
    rows: list[dict[str, object]] = []
    while len(data := json.dumps({"number": number, "rows": rows})) < size:
        rows.append(
            {
                "id": chance.randrange(10**6),
                "name": " ".join(chance.choices(words, k=3)),
                "value": round(chance.uniform(0, 1000), 2),
                "open": chance.random() < 0.5,
            }
        )
    return data.encode()
