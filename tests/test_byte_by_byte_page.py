"""What the tutorial about the protocol shows is the wire view of its recording, and of such a session today."""

from __future__ import annotations

import re
from pathlib import Path

from wire_session import DIRECTORY, all_views, session, views

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "tutorial" / "byte-by-byte.rst").read_text()


def test_views_are_those_of_the_recording() -> None:
    files = {path.stem: path.read_text() for path in DIRECTORY.glob("*.txt")}
    assert files == all_views(), "make them again: PYTHONPATH=tests python tests/wire_session.py"


def test_every_view_that_the_page_shows_is_there() -> None:
    shown = re.findall(r"\.\. literalinclude:: session/([\w-]+)\.txt", PAGE)
    # Two are left out: they look like others.
    assert set(shown) == set(all_views()) - {"longer-from-server", "whole-from-server"}


def test_a_session_today_is_the_same_but_for_time_and_port() -> None:
    def without_chance(text: str) -> str:
        return re.sub(r"localhost:\d+", "localhost", re.sub(r"^\d+\.\d+", "", text, flags=re.MULTILINE))

    today = {name: without_chance(text) for name, text in views(session()).items()}
    assert today == {name: without_chance(text) for name, text in all_views().items() if name != "problem"}
