"""Items in words, for those who show them: text and page say the same.

Whatever a peer has sent comes back from here fit to be shown (:mod:`syncws.escapes`); a page has to escape it for HTML
besides. Functions are pure; any thread may call them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..escapes import escaped
from .items import Frame, Handshake, Item, Part, Problem

__all__ = ["arrow", "bit_patterns", "payload_rows", "pointed_at", "shown_hex", "summary", "where", "with_frames"]

# How much of a text is in the line that sums a frame up, in characters.
_IN_SUMMARY = 60
# And in the row that shows it.
_IN_ROW = 400


def arrow(item: Item) -> str:
    """Return which way it went."""
    return "client → server" if item.sender == "client" else "client ← server"


def summary(item: Item) -> str:
    """Return an item in a line."""
    if isinstance(item, Handshake):
        return escaped(item.line)
    if isinstance(item, Frame):
        return _frame_in_a_line(item)
    if isinstance(item, Problem):
        return escaped(item.message)
    return "ends its direction of the connection"


def _frame_in_a_line(frame: Frame) -> str:
    words = [frame.name]
    if not frame.fin:
        words.append("not the last fragment")
    if frame.compressed:
        words.append("compressed")
    words.append("1 byte" if frame.length == 1 else f"{frame.length} bytes")
    line = ", ".join(words)
    if frame.close_code is not None:
        reason = f" {_quoted(frame.close_reason)}" if frame.close_reason else ""
        return f"{line}: {frame.close_code}{reason}"
    return line if frame.text is None else f"{line}: {_quoted(frame.text)}"


def _quoted(text: str | None) -> str:
    text = text or ""
    shown = escaped(text[:_IN_SUMMARY])
    return f'"{shown}"' if len(text) <= _IN_SUMMARY else f'"{shown}…"'


def shown_hex(digits: str, most: int) -> str:
    """Return hex digits as bytes with spaces between them, at most so many."""
    data = bytes.fromhex(digits)
    return data[:most].hex(" ") + (" …" if len(data) > most else "")


def bit_patterns(parts: Iterable[Part]) -> Iterator[tuple[Part, str]]:
    """Yield the parts of a frame, each with where its bits are in their byte, as ``"...1 0000"``.

    Parts that are bytes of their own come with the name of their form instead.
    """
    offset, position = -1, 0
    for part in parts:
        if part.offset > 1 or not part.bits:
            yield part, f"{len(part.bits)} bits" if part.bits else ""
            continue
        if part.offset != offset:
            offset, position = part.offset, 0
        pattern = "." * position + part.bits + "." * (8 - position - len(part.bits))
        position += len(part.bits)
        yield part, f"{pattern[:4]} {pattern[4:]}"


def payload_rows(frame: Frame) -> Iterator[tuple[str, str, bool]]:
    """Yield what there is to be seen of a payload: a name, the value, and whether that is hex digits."""
    if not frame.payload:
        return
    if frame.masked:
        yield "payload, masked", frame.payload_masked, True
    yield ("payload, unmasked" if frame.masked else "payload"), frame.payload, True
    if frame.inflated:
        yield "inflated", frame.inflated, True
    if frame.text is not None:
        text = frame.text
        yield "text", escaped(text) if len(text) <= _IN_ROW else f"{escaped(text[:_IN_ROW])} …", False
    if frame.close_code is not None:
        meaning = next(part.meaning for part in frame.parts if part.name == "payload data")
        yield "close", escaped(meaning), False


def _closing(problem: Problem) -> str:
    """Return what a receiver makes of a problem."""
    if problem.close_code is None:
        return ""
    if problem.close_code == 1006:
        return "the other side sees 1006"
    return f"the other side closes with {problem.close_code}"


def where(problem: Problem) -> str:
    """Return which byte a problem is about, and what a receiver makes of it; ``""``: it is about no single byte."""
    if problem.offset is None:
        return ""
    byte = "nothing follows it" if problem.byte is None else f"0x{problem.byte}"
    what = _closing(problem)
    return f"byte {problem.offset} of what the {problem.sender} has sent: {byte}{what and f'; {what}'}"


def with_frames(items: Iterable[Item]) -> Iterator[tuple[Item, Frame | Handshake | None]]:
    """Yield each item, and with a problem the frame or the head that it is in, if that stands before it."""
    latest: dict[tuple[int, str], Frame | Handshake] = {}
    for item in items:
        key = (item.connection, item.sender)
        found = latest.get(key) if isinstance(item, Problem) else None
        if isinstance(item, (Frame, Handshake)):
            latest[key] = item
        yield item, found


def pointed_at(problem: Problem, within: Frame | Handshake | None) -> tuple[str, str, str] | None:
    """Return the byte that a problem is about, in hex, with those before and behind it; ``None``: it is not shown."""
    if within is None or problem.offset is None or problem.byte is None:
        return None
    data = bytes.fromhex(within.hex)
    place = problem.offset - within.offset
    if not 0 <= place < len(data):
        return None
    before = data[max(0, place - 8) : place].hex(" ")
    return (f"… {before}" if place > 8 else before), problem.byte, data[place + 1 : place + 9].hex(" ")
