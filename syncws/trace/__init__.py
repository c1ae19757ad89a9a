"""The wire view: record what really passes on a connection, and see what it means, byte by byte.

::

    recorder = syncws.trace.Recorder()
    with syncws.connect("ws://localhost:8765/", trace=recorder) as ws:
        ...
    print(syncws.trace.render_text(syncws.trace.annotated(recorder.chunks)))

A :class:`Recorder` is the value of the option ``trace``. An :class:`Annotator` turns the chunks that it has recorded
into items, :func:`to_json`, :func:`render_text` and :func:`render_html` show these.
"""

from __future__ import annotations

from .annotator import Annotator, annotated
from .html import render_html
from .items import Accept, End, Field, Frame, Handshake, Item, Part, Problem, to_json
from .recorder import Chunk, Recorder, read_recording, write_recording
from .text import render_text

__all__ = [
    "Accept",
    "Annotator",
    "Chunk",
    "End",
    "Field",
    "Frame",
    "Handshake",
    "Item",
    "Part",
    "Problem",
    "Recorder",
    "annotated",
    "read_recording",
    "render_html",
    "render_text",
    "to_json",
    "write_recording",
]
