"""What ``trace`` shows while connections are open, records, and keeps for a page.

Connections go on whatever happens here: they never wait for standard output for longer than a moment.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TextIO

from ..trace import Annotator, Chunk, Item
from ..trace.recorder import write_recording
from .commands import Failure
from .output import Writer

__all__ = ["BROKEN", "LiveView", "failure_of_output"]

BROKEN = "output broken"


def failure_of_output(error: OSError) -> Failure | None:
    """Return what is to be said of an error; nothing, if whoever reads has had enough."""
    return None if isinstance(error, BrokenPipeError) else Failure(f"cannot write: {error.strerror}", 1)


def _say(line: str) -> None:
    if sys.stderr is not None:  # the process was started without one
        sys.stderr.write(line)


class LiveView:
    """Shows what passes while it does.

    :param shown: turns items into what is written to standard output.
    :param events: gets :data:`BROKEN` when something cannot be written any more.
    :param json: standard output is for JSON alone.
    :param keep: keep all items, for a page.
    :ivar record: the file of a recording, if one is wanted; to be set before anything passes.
    :ivar items: what was kept.
    :ivar failure: why something could not be written.
    """

    def __init__(self, shown: Callable[[list[Item]], str], events: SimpleQueue[str], *, json: bool, keep: bool) -> None:
        self._events = events
        self._json = json
        self._keep = keep
        self._annotator = Annotator()
        self._lock = threading.Lock()  # the recorder lets one thread at a time call on_chunk(), but finish() is ours
        self._over = False
        self._writer = Writer(shown, self._left_out, lambda error: self._stop(failure_of_output(error)))
        self.record: TextIO | None = None
        self.items: list[Item] = []
        self.failure: Failure | None = None

    def start(self, url: str) -> None:
        """Say where the proxy listens, and show what passes from now on."""
        line = f"listening on {url}\n"
        if self._json:
            _say(line)
        self._writer.start("" if self._json else line)

    def on_chunk(self, chunk: Chunk) -> None:
        """Show what a chunk has completed. Never raises."""
        with self._lock:
            if self._over:
                return
            try:
                if self.record is not None:
                    write_recording(self.record, [chunk])
            except OSError as error:
                self._stop(Failure(f"cannot write the recording: {error.strerror}", 1))
            self._show(self._annotator.feed(chunk))

    def finish(self) -> None:
        """Show what is not complete. Nothing is written after that."""
        with self._lock:
            if not self._over:
                self._show(self._annotator.finish())
            self._over = True
        left = self._writer.close()
        if left:
            _say(f"{left} items not shown, because nobody reads standard output\n")

    def _left_out(self, count: int) -> str:
        line = f"{count} items not shown, because nobody was reading\n"
        if not self._json:
            return f"{line}\n"
        _say(line)
        return ""

    def _show(self, items: list[Item]) -> None:
        if self._keep:
            self.items += items
        if items:
            self._writer.put(items)

    def _stop(self, failure: Failure | None) -> None:
        self._over = True
        self.failure = self.failure or failure
        self._events.put(BROKEN)
