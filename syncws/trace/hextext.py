r"""Hex digits as people and tools write them → bytes: ``81 05 48``, ``0x81, 0x05``, ``\x81\x05``, lines of a hex dump.

Pure functions; any thread may call them.
"""

from __future__ import annotations

import re

__all__ = ["parse_hex"]

# What may stand between bytes, or in front of them, and means nothing.
_PREFIX = re.compile(r"(?:0[xX]|\\x)(?=[0-9A-Fa-f]{2})")
_SEPARATORS = re.compile(r"[\s,:;]+")
_BYTES = re.compile(r"(?:[0-9A-Fa-f]{2})+")
# The offset in front of a line of a hex dump: xxd and od put a colon behind it, hexdump and Wireshark spaces.
_OFFSET = re.compile(r"\s*([0-9A-Fa-f]{4,8})(?::|\s{2,})\s*(.*)")
_MOST_IN_A_LINE = 16  # of a hex dump
_QUOTED = 40


def parse_hex(text: str) -> bytes:
    r"""Return the bytes that hex digits stand for.

    White space, commas, colons, ``0x`` and ``\x`` are ignored; in the lines of a hex dump, so are the offset and the
    characters at the end.

    :raises ValueError: there is something else, or an odd number of digits; the message names the line.
    """
    data = bytearray()
    for number, line in enumerate(text.splitlines(), 1):
        dumped = _OFFSET.fullmatch(line)
        # Only the offset that it must be: a line of eight digits could be bytes as well.
        if dumped is not None and int(dumped[1], 16) == len(data) and _is_bytes(dumped[2]):
            data += _dumped(dumped[2])
        elif dumped is not None and not dumped[2] and int(dumped[1], 16) == len(data):
            continue  # hexdump ends with the size alone
        else:
            data += _plain(line, number)
    return bytes(data)


def _is_bytes(rest: str) -> bool:
    return _BYTES.match(rest) is not None


def _dumped(rest: str) -> bytes:
    """Return the bytes of a line of a hex dump, without the characters that it shows behind them."""
    data = b""
    for token in re.split(r"\s{1,2}(?=\S)", rest.partition("|")[0].rstrip()):
        if not _BYTES.fullmatch(token) or len(data) + len(token) // 2 > _MOST_IN_A_LINE:
            break
        data += bytes.fromhex(token)
    return data


def _plain(line: str, number: int) -> bytes:
    data = b""
    for token in _SEPARATORS.split(_PREFIX.sub(" ", line)):
        if not token:
            continue
        if not re.fullmatch(r"[0-9A-Fa-f]+", token):
            raise ValueError(f"line {number}: {token[:_QUOTED]!r} is not hex")
        if len(token) % 2:
            raise ValueError(f"line {number}: {token[:_QUOTED]!r} has an odd number of hex digits; a byte has two")
        data += bytes.fromhex(token)
    return data
