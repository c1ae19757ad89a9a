"""``syncws connect --trace``: every frame of the conversation, explained on standard error as it passes."""

from __future__ import annotations

import sys
from typing import TextIO

from ..trace import Annotator, Chunk, Recorder, render_text
from ..trace.text import can_color
from .display import Display, wants_colour

__all__ = ["may_colour", "recorder_on"]


def may_colour(stream: TextIO | None) -> bool:
    """Return whether items may be shown in colours: on a terminal that has them, if the package rich is there."""
    return wants_colour(stream) and can_color()


def recorder_on(display: Display) -> Recorder:
    """Return a recorder, for the option ``trace`` of one connection, that shows at once what it records.

    It shows colours where :func:`may_colour` allows them.
    """
    annotator = Annotator()
    colour = may_colour(sys.stderr)

    def show(chunk: Chunk) -> None:
        items = annotator.feed(chunk)
        if items:
            display.write_errors(render_text(items, color=colour))

    return Recorder(show)
