"""Items as text, for a terminal or a file; in colour with the package rich, which is optional.

What peers have sent cannot steer the terminal. Any thread may call :func:`render_text`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..escapes import escaped
from .items import Frame, Handshake, Item, Problem
from .words import arrow, bit_patterns, payload_rows, pointed_at, shown_hex, summary, where, with_frames

__all__ = ["can_color", "render_text"]

_INDENT = " " * 4
# How many bytes of a payload are shown.
_MOST = 32
_STYLES = {
    "time": "dim",
    "client": "bold cyan",
    "server": "bold magenta",
    "name": "bold",
    "value": "green",
    "note": "",
    "section": "dim",
    "problem": "bold red",
    "byte": "bold white on red",
}


class _Span(NamedTuple):
    """A piece of a line, and what it is."""

    text: str
    style: str = "note"


_Line = list[_Span]


def can_color() -> bool:
    """Whether the package rich is there."""
    try:
        import rich  # noqa: F401
    except ImportError:
        return False
    return True


def render_text(items: Iterable[Item], color: bool = False) -> str:
    """Return items as text, each with its lines.

    :param color: with escape sequences for a terminal. Needs the extra ``syncws[trace]``.
    :raises ImportError: colour is wanted, and the package rich is not installed.
    """
    lines = [line for item, within in with_frames(items) for line in _lines(item, within)]
    if color:
        return _colored(lines)
    return "".join("".join(span.text for span in line).rstrip() + "\n" for line in lines)


def _colored(lines: list[_Line]) -> str:
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError as error:
        raise ImportError("colours need the package rich: pip install 'syncws[trace]'") from error
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="standard", highlight=False, width=80)
    for line in lines:
        # Text, not markup: brackets that a peer has sent mean nothing.
        text = Text.assemble(*((span.text, _STYLES[span.style]) for span in line))
        console.print(text, soft_wrap=True)
    return file.getvalue()


def _lines(item: Item, within: Frame | Handshake | None) -> Iterator[_Line]:
    title = [_Span(f"{item.time:.6f} ", "time"), _Span(f"#{item.connection} "), _Span(arrow(item), item.sender)]
    if isinstance(item, Problem):
        yield [*title, _Span("  "), _Span("PROBLEM: " + summary(item), "problem"), *_section(item.section)]
        yield from _of_problem(item, within)
    elif isinstance(item, Frame):
        yield [*title, _Span("  "), _Span(summary(item), "name"), *_section(item.section)]
        yield from _of_frame(item)
    else:
        yield [*title, _Span("  "), _Span(summary(item), "name")]
        if isinstance(item, Handshake):
            yield from _of_head(item)
    yield []


def _section(section: str) -> _Line:
    return [_Span(f"  ({section})", "section")] if section else []


def _of_head(head: Handshake) -> Iterator[_Line]:
    if head.note:
        yield [_Span(f"{_INDENT}{head.note}")]
    for field in head.fields:
        yield [_Span(f"{_INDENT}{escaped(field.name)}", "name"), _Span(": "), _Span(escaped(field.value), "value")]
        if field.note:
            yield [_Span(f"{_INDENT}    {field.note}"), *_section(field.section)]
    accept = head.accept
    if accept is None:
        return
    rows = (
        ("key + GUID", escaped(accept.key) + accept.guid),
        ("its SHA-1", accept.sha1),
        ("in base64", accept.accept),
        ("received", "nothing" if accept.received is None else escaped(accept.received)),
    )
    for name, value in rows:
        yield [_Span(f"{_INDENT}{name:<12}"), _Span(value, "value")]
    yield [_Span(f"{_INDENT}{'':<12}"), _Span("right", "value") if accept.ok else _Span("wrong", "problem")]


def _of_frame(frame: Frame) -> Iterator[_Line]:
    for part, pattern in bit_patterns(frame.parts):
        if part.name == "payload data":
            continue
        place = [_Span(f"{_INDENT}byte {part.offset:<2} {pattern:<9}  "), _Span(f"{part.name:<23} ", "name")]
        yield [*place, _Span(part.value, "value"), _Span(f"  {part.meaning}"), *_section(part.section)]
    for name, value, is_hex in payload_rows(frame):
        value = shown_hex(value, _MOST) if is_hex else value
        yield [_Span(f"{_INDENT}{name:<18} "), _Span(value, "value")]


def _of_problem(problem: Problem, within: Frame | Handshake | None) -> Iterator[_Line]:
    place = where(problem)
    if place:
        yield [_Span(f"{_INDENT}{place}")]
    pointed = pointed_at(problem, within)
    if pointed is not None:
        before, wrong, behind = pointed
        lead = f"{_INDENT}{before} " if before else _INDENT
        yield [_Span(lead), _Span(wrong, "byte"), _Span(f" {behind}")]
        yield [_Span(" " * len(lead)), _Span("^^", "problem")]
