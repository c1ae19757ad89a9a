"""Standard output as ``trace`` and ``decode`` use it: what is written is out at once, and Python keeps none of it.

:func:`write` raises :class:`OSError`, also when the process was started without a standard output. A :class:`Writer`
is for those who must not wait: whoever reads may have paused, as ``less`` does, and Ctrl-S.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from ..trace import Item
from ..trace.items import Problem

__all__ = ["Writer", "in_pieces", "write"]

_PIECE = 50  # items that are written at once
_MOST_WAITING = 1000  # items
_PATIENCE = 1.0  # how long, in seconds, put() waits for a place before it takes the output for paused
_END_TIMEOUT = 3.0  # how long, in seconds, close() waits


def write(text: str) -> None:
    """Write all of a text to standard output.

    :raises OSError: that is not possible.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    # Whatever the terminal's encoding is; what it has no character for is no reason to stop.
    data = memoryview(text.encode(sys.stdout.encoding, "backslashreplace"))
    while data:
        # Not with Python's buffers: they would be tried again at its end, which may fail or never come.
        data = data[os.write(sys.stdout.fileno(), data) :]


def in_pieces(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield items in lists that are not long; a problem is in that of the item in front of it, which may show it."""
    piece: list[Item] = []
    for item in items:
        if len(piece) >= _PIECE and not isinstance(item, Problem):
            yield piece
            piece = []
        piece.append(item)
    if piece:
        yield piece


class Writer:
    """Writes items to standard output in a thread of its own. Any thread may call its methods.

    :param shown: turns items into what is written.
    :param left_out: what is written for so many items that could not be.
    :param on_failure: is told, in that thread, that nothing can be written any more.
    """

    def __init__(
        self,
        shown: Callable[[list[Item]], str],
        left_out: Callable[[int], str],
        on_failure: Callable[[OSError], None],
    ) -> None:
        self._shown = shown
        self._left_out = left_out
        self._on_failure = on_failure
        self._changed = threading.Condition()  # guards the rest
        self._waiting: deque[Item] = deque()
        self._paused = False  # until all that waits is written, nothing else is taken
        self._missing = 0  # items that were not taken
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="syncws-output", daemon=True)

    def start(self, greeting: str) -> None:
        """Begin; the greeting is written first."""
        self._greeting = greeting
        self._thread.start()

    def put(self, items: list[Item]) -> None:
        """Have items written. Waits for a moment if that does not keep up, and then leaves them out."""
        with self._changed:
            if not self._paused:
                self._paused = not self._changed.wait_for(self._has_room, _PATIENCE)
            if self._paused:
                self._missing += len(items)
            elif not self._ended:
                self._waiting += items
                self._changed.notify_all()

    def close(self) -> int:
        """Write what waits; return how many items are left, because the output does not take them."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(_END_TIMEOUT)
        with self._changed:
            return self._missing + len(self._waiting)

    def _has_room(self) -> bool:
        return self._ended or len(self._waiting) < _MOST_WAITING

    def _run(self) -> None:
        try:
            write(self._greeting)
            while (text := self._next()) is not None:
                write(text)
        except OSError as error:
            with self._changed:
                self._ended = True
                self._waiting.clear()
                self._missing = 0
                self._changed.notify_all()
            self._on_failure(error)

    def _next(self) -> str | None:
        """Wait for something to write; return ``None`` at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._missing or self._ended)
            if not self._waiting:
                missing, self._missing, self._paused = self._missing, 0, False
                return self._left_out(missing) if missing else None
            piece = next(in_pieces(self._waiting))
            for _ in piece:
                self._waiting.popleft()
            self._changed.notify_all()
        return self._shown(piece)
