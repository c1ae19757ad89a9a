"""A diagram of states and the moves between them, drawn from a table as SVG.

:func:`draw` takes a table such as ``syncws.protocol.machine.TRANSITIONS`` and returns an ``<svg>`` element to stand in
a page: it takes the page's colours, so that it is readable on light and on dark, and has a title and a description,
which say the same in words. States stand in rows, each below all from which it can be reached. It needs nothing but
Python.
"""

from __future__ import annotations

import enum
import textwrap
from collections.abc import Mapping
from typing import NamedTuple
from xml.sax.saxutils import escape

__all__ = ["draw"]

_WIDTH = 720  # all in pixels
_MARGIN = 12
_BOX = (150, 44)
_ROW = 150  # from one row to the next
_COLUMN = 340  # from one state of a row to the next
_LINE = 17  # of text
_CHARACTER = 7  # the width of one, roughly: fonts differ
_LANE = 76  # from the left edge: a move around the states that are in its way

# For whoever has chosen another colour scheme than the system's: text and lines take the colour of the text around.
_STYLE = (
    "max-width:100%;min-width:36rem;height:auto;color:inherit;"
    f"--paper:var(--color-background-primary,Canvas);width:{_WIDTH}px"
)

Table = Mapping[tuple[enum.Enum, enum.Enum], enum.Enum]


class _Point(NamedTuple):
    x: float
    y: float


def draw(table: Table, *, title: str) -> str:
    """Return the diagram.

    :param table: the next state for a state and an event.
    :param title: what is to be seen, for those who do not see it.
    :raises ValueError: a way leads back to a state; the rows are for states that are passed once.
    """
    moves: dict[tuple[enum.Enum, enum.Enum], list[str]] = {}
    for (state, event), following in table.items():
        moves.setdefault((state, following), []).append(str(event.value))
    rows = _rows(moves)
    places = _places(rows)
    height = max(place.y for place in places.values()) + _BOX[1] / 2 + _MARGIN
    words = [f"{state.value}, {event.value}: {following.value}." for (state, event), following in table.items()]
    lines, labels = [], []
    for (state, following), events in moves.items():
        path, label = _move(state, following, places, _text(events, width=30 if state is following else 18))
        lines.append(path)
        labels.append(label)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" style="{_STYLE}" role="img"',
            '  aria-labelledby="state-diagram-title state-diagram-words" font-family="inherit" font-size="14">',
            f'<title id="state-diagram-title">{escape(title)}</title>',
            f'<desc id="state-diagram-words">{escape(" ".join(words))}</desc>',
            '<defs><marker id="state-diagram-arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
            'markerHeight="8" orient="auto"><path d="M0 0 10 5 0 10z" fill="currentColor"/></marker></defs>',
            '<g fill="none" stroke="currentColor" stroke-width="1.5" marker-end="url(#state-diagram-arrow)">',
            *lines,
            "</g>",
            *labels,
            *(_box(str(state.value), place) for state, place in places.items()),
            "</svg>",
        ]
    )


def _rows(moves: Mapping[tuple[enum.Enum, enum.Enum], object]) -> dict[enum.Enum, int]:
    """Return the number of each state's row: the length of the longest way to it, from 0."""
    rows = {state: 0 for move in moves for state in move}
    for _ in range(len(rows)):
        for state, following in moves:
            if state is not following:
                rows[following] = max(rows[following], rows[state] + 1)
    if max(rows.values()) >= len(rows):
        raise ValueError("a way leads back to a state, and none would be the lowest row")
    return rows


def _places(rows: Mapping[enum.Enum, int]) -> dict[enum.Enum, _Point]:
    """Return the middle of each state's box."""
    places = {}
    for state, row in rows.items():
        beside = [other for other in rows if rows[other] == row]
        offset = beside.index(state) - (len(beside) - 1) / 2
        places[state] = _Point(_WIDTH / 2 + offset * _COLUMN, _MARGIN + _BOX[1] / 2 + row * _ROW)
    return places


def _move(
    state: enum.Enum, following: enum.Enum, places: Mapping[enum.Enum, _Point], text: list[str]
) -> tuple[str, str]:
    """Return the arrow of a move, and what is written at it."""
    here, there = places[state], places[following]
    half_width, half_height = _BOX[0] / 2, _BOX[1] / 2
    if state is following:
        side = here.x + half_width
        path = f"M{side} {here.y - 12} C{side + 60} {here.y - 30} {side + 60} {here.y + 30} {side} {here.y + 12}"
        return f'<path d="{path}"/>', _label(text, _Point(side + 54, here.y), "start")
    between = [place for place in places.values() if here.y < place.y < there.y]
    if any(abs(place.x - (here.x + there.x) / 2) < half_width for place in between):
        path = (
            f"M{here.x - half_width} {here.y} H{_LANE + 16} Q{_LANE} {here.y} {_LANE} {here.y + 16} "
            f"V{there.y - 16} Q{_LANE} {there.y} {_LANE + 16} {there.y} H{there.x - half_width}"
        )
        return f'<path d="{path}"/>', _label(text, _Point(_LANE, (here.y + there.y) / 2), "middle")
    # Arrows that come from the side do not all end in one point.
    lean = max(-1, min(1, (here.x - there.x) / _COLUMN * 2))
    begin = _Point(here.x - lean * half_width * 0.6, here.y + half_height)
    end = _Point(there.x + lean * half_width * 0.6, there.y - half_height)
    middle = _Point((begin.x + end.x) / 2, (begin.y + end.y) / 2)
    return f'<path d="M{begin.x} {begin.y} L{end.x} {end.y}"/>', _label(text, middle, "middle")


def _text(events: list[str], *, width: int) -> list[str]:
    return textwrap.wrap(", or ".join(events), width)


def _label(lines: list[str], place: _Point, anchor: str) -> str:
    """Return text whose middle is at a place, on paper that hides the line below it."""
    width, height = max(map(len, lines)) * _CHARACTER, len(lines) * _LINE
    left = place.x - (width / 2 if anchor == "middle" else 0)
    top = place.y - height / 2
    spans = [
        f'<tspan x="{place.x}" y="{top + index * _LINE + 13}">{escape(line)}</tspan>'
        for index, line in enumerate(lines)
    ]
    return (
        f'<rect x="{left:.0f}" y="{top}" width="{width:.0f}" height="{height}" fill="var(--paper)"/>'
        f'<text text-anchor="{anchor}" fill="currentColor">{"".join(spans)}</text>'
    )


def _box(name: str, middle: _Point) -> str:
    width, height = _BOX
    return (
        f'<rect x="{middle.x - width / 2}" y="{middle.y - height / 2}" width="{width}" height="{height}" rx="8" '
        'fill="var(--paper)" stroke="currentColor" stroke-width="2"/>'
        f'<text x="{middle.x}" y="{middle.y + 5}" text-anchor="middle" font-weight="bold" '
        f'fill="currentColor">{escape(name[0].upper() + name[1:])}</text>'
    )
