"""``syncws connect --trace``: every frame of the conversation, explained on standard error as it passes."""

from __future__ import annotations

import importlib.util
import sys

from ..trace import Annotator, Chunk, Recorder, render_text
from .display import Display, wants_colour

__all__ = ["recorder_on"]


def recorder_on(display: Display) -> Recorder:
    """Return a recorder, for the option ``trace`` of one connection, that shows at once what it records.

    It shows colours where the display has them, if the package rich is there.
    """
    annotator = Annotator()
    colour = wants_colour(sys.stderr) and importlib.util.find_spec("rich") is not None

    def show(chunk: Chunk) -> None:
        items = annotator.feed(chunk)
        if items:
            display.write_errors(render_text(items, color=colour))

    return Recorder(show)
