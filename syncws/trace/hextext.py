r"""Hex digits as people and tools write them → bytes: ``81 05 48``, ``0x81, 0x05``, ``\x81\x05``, lines of a hex dump.

In a dump, the offset of the next line tells how many bytes a line has, so the characters behind them cannot be taken
for more. What could mean two things is refused. Pure functions; any thread may call them.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

__all__ = ["parse_hex"]

# What may stand between bytes, or in front of them, and means nothing.
_PREFIX = re.compile(r"(?:0[xX]|\\x)(?=[0-9A-Fa-f]{2})")
_SEPARATORS = re.compile(r"[\s,:;{}]+")
_DIGITS = re.compile(r"[0-9A-Fa-f]+")
# The offset in front of a line of a hex dump: xxd puts a colon behind it, hexdump -C and Wireshark spaces, od one.
_LINE = re.compile(r"\s*([0-9A-Fa-f]{4,8})(:|\s*$|\s)(.*)")
# In such a line, bytes are at most two spaces apart; with a colon, one.
_BYTES = re.compile(r"\s{0,2}((?:[0-9A-Fa-f]{2})+)(?!\S)")
_BYTES_BEHIND_COLON = re.compile(r"\s((?:[0-9A-Fa-f]{2})+)(?!\S)")
_WIDEST = 16  # bytes of a line whose number is not known
_LARGEST = 2**26  # bytes that an asterisk may stand for
_QUOTED = 40


class _Line(NamedTuple):
    """A line of a hex dump.

    :param dumped: the bytes, and what may be more of them.
    :param repeats: an asterisk follows: more lines of the same bytes.
    """

    number: int
    offset: int
    dumped: bytes
    repeats: bool


def parse_hex(text: str) -> bytes:
    r"""Return the bytes that hex digits stand for.

    White space, commas, colons, semicolons, braces, ``0x`` and ``\x`` are ignored; in the lines of a hex dump, so are
    the offset and the characters at the end.

    :raises ValueError: there is something else, or an odd number of digits, or it is not clear what is an offset; the
        message names the line.
    """
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    base = _base_of_dump(lines)
    if base:
        return _undumped(_lines_of_dump(lines, base))
    data = bytearray()
    for number, line in lines:
        data += _plain(line, number)
    return bytes(data)


def _base_of_dump(lines: list[tuple[int, str]]) -> int:
    """Return in which base a dump has its offsets; 0: these are no lines of a dump.

    :raises ValueError: they may be, or the dump does not begin at its beginning.
    """
    found = _LINE.fullmatch(lines[0][1]) if lines else None
    if found is None or not _BYTES.match(found[3]) or (found[2] == ":" and not found[3][:1].isspace()):
        return 0
    offset, behind, rest = found.groups()
    if int(offset, 16):
        if len(offset) == 8 and behind == ":":
            raise ValueError(f"line {lines[0][0]}: a hex dump has to begin at the offset 0, not at {offset}")
        return 0
    if behind == ":" or rest[:1].isspace():
        return 16
    # One space may be between bytes as well, unless the next line has an offset that fits.
    following = _LINE.fullmatch(lines[1][1]) if len(lines) > 1 else None
    base = 8 if len(offset) == 7 else 16  # od has seven octal digits
    if len(lines) > 1 and lines[1][1].strip() == "*":
        return base
    if following is not None and len(following[1]) == len(offset):
        size = sum(map(len, rest.partition(">")[0].split())) // 2  # od -tx1z has the characters behind that
        if _to_int(following[1], base) == size or int(following[1], 16) == size:
            return base
    if len(lines) > 1:
        return 0
    raise ValueError(f"line {lines[0][0]}: {offset!r} may be an offset or bytes; put a colon behind it, or two spaces")


def _to_int(digits: str, base: int) -> int | None:
    try:
        return int(digits, base)
    except ValueError:
        return None


def _lines_of_dump(lines: list[tuple[int, str]], base: int) -> list[_Line]:
    found: list[_Line] = []
    for number, line in lines:
        if line.strip() == "*" and found:
            found[-1] = found[-1]._replace(repeats=True)
            continue
        parts = _LINE.fullmatch(line)
        offset = None if parts is None else _to_int(parts[1], base)
        if parts is None or offset is None:
            raise ValueError(f"line {number}: {line.strip()[:_QUOTED]!r} is no line of a hex dump, as those before it")
        if parts[2] == ":":
            dumped = _dumped(f" {parts[3].lstrip()}", _BYTES_BEHIND_COLON)
        else:
            dumped = _dumped(parts[3], _BYTES)
            if not parts[3][:1].isspace() and re.search(r"\b[0-9A-Fa-f]{3,}\b", parts[3].partition(">")[0]):
                # od -x and hexdump without -C have numbers of two bytes, as this or that machine stores them.
                raise ValueError(f"line {number}: behind one space, bytes have two digits each: od -Ax -tx1 writes so")
        found.append(_Line(number, offset, dumped, False))
    return found


def _dumped(rest: str, pattern: re.Pattern[str]) -> bytes:
    """Return the bytes of a line of a hex dump; what is shown behind them may look like more."""
    data = bytearray()
    position = 0
    while found := pattern.match(rest, position):
        data += bytes.fromhex(found[1])
        position = found.end()
    return bytes(data)


def _undumped(lines: list[_Line]) -> bytes:
    data = bytearray()
    width = _WIDEST
    for line, following in itertools.pairwise(lines):
        size = following.offset - line.offset
        if line.repeats:
            piece = line.dumped[:width]
            if not piece or not 0 < size <= _LARGEST or size % len(piece):
                raise _wrong_offset(following)
            data += piece * (size // len(piece))
        elif 0 < size <= len(line.dumped):
            data += line.dumped[:size]
            width = size
        else:
            raise _wrong_offset(following)
    last = lines[-1]
    if last.repeats:
        raise ValueError(f"line {last.number}: the line behind the asterisk is missing, whose offset ends it")
    return bytes(data + last.dumped[:width])


def _wrong_offset(line: _Line) -> ValueError:
    return ValueError(f"line {line.number}: its offset, {line.offset}, does not fit to the bytes of the line before it")


def _plain(line: str, number: int) -> bytearray:
    data = bytearray()
    for token in _SEPARATORS.split(_PREFIX.sub(" ", line)):
        if not token:
            continue
        if not _DIGITS.fullmatch(token):
            raise ValueError(f"line {number}: {token[:_QUOTED]!r} is not hex")
        if len(token) % 2:
            raise ValueError(f"line {number}: {token[:_QUOTED]!r} has an odd number of hex digits; a byte has two")
        data += bytes.fromhex(token)
    return data
