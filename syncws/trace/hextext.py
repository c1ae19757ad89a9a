r"""Hex digits as people and tools write them → bytes: ``81 05 48``, ``0x81, 0x05``, ``\x81\x05``, lines of a hex dump.

Pure functions; any thread may call them.
"""

from __future__ import annotations

import re

__all__ = ["parse_hex"]

# What may stand between bytes, or in front of them, and means nothing.
_PREFIX = re.compile(r"(?:0[xX]|\\x)(?=[0-9A-Fa-f]{2})")
_SEPARATORS = re.compile(r"[\s,:;{}]+")
# The offset in front of a line of a hex dump: xxd and od put a colon behind it, hexdump and Wireshark spaces.
_OFFSET = re.compile(r"\s*([0-9A-Fa-f]{4,8})(?::|\s{2,})\s*(.*)")
# In such a line, bytes are at most two spaces apart; the characters behind them are farther away, or no hex digits.
_DUMPED = re.compile(r"\s{0,2}((?:[0-9A-Fa-f]{2})+)(?!\S)")
_MOST_IN_A_LINE = 16
# hexdump ends with the size alone.
_SIZE = re.compile(r"[0-9A-Fa-f]{7,8}")
_QUOTED = 40


def parse_hex(text: str) -> bytes:
    r"""Return the bytes that hex digits stand for.

    White space, commas, colons, semicolons, braces, ``0x`` and ``\x`` are ignored; in the lines of a hex dump, so are
    the offset and the characters at the end.

    :raises ValueError: there is something else, or an odd number of digits; the message names the line.
    """
    data = bytearray()
    for number, line in enumerate(text.splitlines(), 1):
        # An offset is the one that it must be: these digits could be bytes as well.
        dumped = _OFFSET.fullmatch(line)
        if dumped is not None and int(dumped[1], 16) == len(data) and _DUMPED.match(dumped[2]):
            data += _dumped(dumped[2])
        elif not (data and _SIZE.fullmatch(line) and int(line, 16) == len(data)):
            data += _plain(line, number)
    return bytes(data)


def _dumped(rest: str) -> bytes:
    """Return the bytes of a line of a hex dump, without the characters that it shows behind them."""
    data = b""
    position = 0
    while (found := _DUMPED.match(rest, position)) and len(data) + len(found[1]) // 2 <= _MOST_IN_A_LINE:
        data += bytes.fromhex(found[1])
        position = found.end()
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
