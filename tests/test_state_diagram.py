"""The diagram of the state machine has everything that its table has, and nothing of it lies on something else."""

from __future__ import annotations

import enum
import importlib.util
import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from syncws.protocol.machine import TRANSITIONS, Event, State

SOURCE = Path(__file__).resolve().parent.parent / "docs" / "_extensions" / "state_diagram.py"
SVG = "{http://www.w3.org/2000/svg}"


def module() -> Any:
    spec = importlib.util.spec_from_file_location("state_diagram", SOURCE)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


draw = module().draw


@pytest.fixture
def diagram() -> ET.Element:
    return ET.fromstring(draw(TRANSITIONS, title="States & moves"))


def text_of(element: ET.Element) -> str:
    return " ".join(element.itertext())


def test_every_state_is_in_a_box(diagram: ET.Element) -> None:
    names = [text_of(text) for text in diagram.iter(f"{SVG}text") if text.get("font-weight")]
    assert sorted(names) == sorted(state.value.capitalize() for state in State)


def test_every_move_has_an_arrow_with_its_events(diagram: ET.Element) -> None:
    moves: dict[tuple[State, State], list[str]] = {}
    for (state, event), following in TRANSITIONS.items():
        moves.setdefault((state, following), []).append(event.value)
    (arrows,) = (group for group in diagram.iter(f"{SVG}g") if group.get("marker-end"))
    assert len(arrows) == len(moves)
    labels = [text_of(text) for text in diagram.iter(f"{SVG}text") if not text.get("font-weight")]
    assert labels == [", or ".join(events) for events in moves.values()]


def test_it_can_be_read_aloud(diagram: ET.Element) -> None:
    title, words = diagram.find(f"{SVG}title"), diagram.find(f"{SVG}desc")
    assert title is not None and words is not None and words.text
    assert title.text == "States & moves"
    assert diagram.get("role") == "img"
    assert diagram.get("aria-labelledby") == f"{title.get('id')} {words.get('id')}"
    for (state, event), following in TRANSITIONS.items():
        assert f"{state.value}, {event.value}: {following.value}." in words.text


def test_colours_are_those_of_the_page() -> None:
    colours = re.findall(r'(?:fill|stroke)="([^"]+)"', draw(TRANSITIONS, title=""))
    assert set(colours) == {"currentColor", "var(--paper)", "none"}


def test_nothing_is_on_something_else_or_outside(diagram: ET.Element) -> None:
    _, _, width, height = map(float, diagram.get("viewBox", "").split())
    areas = []
    for rect in diagram.iter(f"{SVG}rect"):
        x, y, wide, high = (float(rect.get(name, "")) for name in ("x", "y", "width", "height"))
        assert min(x, y) >= 0 and x + wide <= width and y + high <= height
        areas.append((x, y, x + wide, y + high))
    for (a, b, c, d), (e, f, g, h) in itertools.combinations(areas, 2):
        assert c <= e or g <= a or d <= f or h <= b


def test_a_way_back_has_no_place_in_it() -> None:
    back: dict[tuple[enum.Enum, enum.Enum], enum.Enum] = {**TRANSITIONS, (State.CLOSED, Event.OPENED): State.OPEN}
    with pytest.raises(ValueError, match="a way leads back"):
        draw(back, title="")
