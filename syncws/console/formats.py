"""Messages as text to look at: JSON with its structure, bytes in hexadecimal. Pure functions; any thread.

Nothing here changes what a message says: JSON keeps its numbers, its double keys and its order as they came.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import NoReturn

from ..escapes import escaped

__all__ = ["hex_dump", "pretty_json", "printable", "size_of"]

DUMPED = 256  # bytes
DEEPEST = 20  # levels of objects and arrays in each other
LONGEST = 2**22  # characters

# What JSON is made of (RFC 8259, 2), white space aside: strings, structural characters, and the rest: numbers, names.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+')
_STEPS = {"{": 1, "[": 1, "}": -1, "]": -1}


def printable(text: str) -> str:
    """Return ``text`` with every character escaped that is not to be seen, the tabulator and line feed excepted."""
    return escaped(text, keep="\t\n")


def pretty_json(text: str) -> str | None:
    """Return a JSON object or array with one member in a line; ``None`` if the text is neither.

    Each level is indented further, so that a text of a stranger could grow to a thousand times its size. ``None`` also
    stands for a text of more than 20 levels, and for one that would have more than 4194304 characters.
    """
    if text.lstrip(" \t\r\n")[:1] not in ("{", "["):
        return None
    try:
        # Numbers are not converted: there are some that Python takes too long for.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    tokens = _TOKEN.findall(text)
    deepest = max(itertools.accumulate(_STEPS.get(token, 0) for token in tokens))
    if deepest > DEEPEST or sum(map(len, _laid_out(tokens))) > LONGEST:
        return None
    return "".join(_laid_out(tokens))


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")  # Python's parser takes NaN and Infinity


def _laid_out(tokens: list[str]) -> Iterator[str]:
    depth = 0
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        depth += _STEPS.get(token, 0)
        yield token
        if token == ":":
            yield " "
        elif token not in ("{", "[") and following in ("}", "]"):
            yield "\n" + (depth - 1) * "  "
        elif token == "," or (token in ("{", "[") and following not in ("}", "]")):
            yield "\n" + depth * "  "


def size_of(data: bytes) -> str:
    """Return the size in words: ``1 byte``, ``5 bytes``."""
    return "1 byte" if len(data) == 1 else f"{len(data)} bytes"


def hex_dump(data: bytes) -> str:
    """Return lines of sixteen bytes: the offset, the bytes in hexadecimal and as ASCII; the first 256 bytes of many."""
    lines = []
    for offset in range(0, min(len(data), DUMPED), 16):
        row = data[offset : min(offset + 16, DUMPED)]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{offset:08x}  {row.hex(' '):<47}  {shown}")
    if len(data) > DUMPED:
        lines.append(f"… and {size_of(data[DUMPED:])} more")
    return "\n".join(lines)
