"""What a conversation shows: messages on standard output, everything about the connection on standard error.

Each stream is looked at by itself. On a terminal a message is marked with ``<``, JSON is shown with its structure,
bytes as a dump of the first of them, and characters that could steer the terminal as escapes: they come from a
stranger. Elsewhere a text message is a line of UTF-8 as it came, a binary one a line with its size and its bytes.
Colours are for terminals only, and for none if ``NO_COLOR`` is set (https://no-color.org).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
from pathlib import Path
from typing import TextIO

from .formats import hex_dump, pretty_json, printable, size_of
from .keyboard import Keyboard
from .output import write_text

__all__ = ["Display", "wants_colour"]

_MARK, _NOTE = "36", "2"  # ECMA-48, 8.3.117: cyan; faint


class Display:
    """The two streams, and the keyboard's line between them. Any thread.

    :ivar keyboard: what a line is being typed on; whoever opens it sets it.
    """

    def __init__(self, *, json: bool | None = None, output: Path | None = None) -> None:
        """Find out what the streams are.

        :param json: whether JSON is shown with its structure; ``None``: on a terminal only.
        :param output: a directory, which is made if it does not exist, to save binary messages in.
        :raises OSError: the directory cannot be made.
        """
        self.keyboard: Keyboard | None = None
        self._json = json
        self._saved = output
        self._numbers = itertools.count(1)
        # One may wait for its reader for ever while the other is read.
        self._locks = {"output": threading.Lock(), "errors": threading.Lock()}
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)

    def message(self, message: str | bytes) -> None:
        """Show a message.

        :raises OSError: the output cannot be written, or the message not be saved.
        """
        if isinstance(message, bytes) and self._saved is not None:
            place = self._save(message, self._saved)
            shown = f"({size_of(message)}) saved as {printable(str(place))}"
        else:
            shown = ""
        if sys.stdout is None:  # the process was started without one
            return
        on_terminal = sys.stdout.isatty()
        if isinstance(message, str):
            pretty = pretty_json(message) if self._json or (self._json is None and on_terminal) else None
            shown = message if pretty is None else pretty
            if on_terminal:
                shown = printable(shown)
        elif not shown:
            shown = f"({size_of(message)})"
            if on_terminal:
                shown += f"\n{hex_dump(message)}" if message else ""
            else:
                shown += f" {message.hex(' ')}"
        if on_terminal:
            # What follows the first line is set off, or it could pass for a message of its own.
            shown = f"{_coloured(sys.stdout, '<', _MARK)} " + shown.replace("\n", "\n  ")
        self._write("output", sys.stdout, shown)

    def note(self, text: str) -> None:
        """Show lines about the connection."""
        self._write("errors", sys.stderr, _coloured(sys.stderr, text, _NOTE))

    def write_errors(self, text: str) -> None:
        """Write text that ends with a line feed to standard error as it is."""
        self._write("errors", sys.stderr, text.removesuffix("\n"))

    def _write(self, name: str, stream: TextIO | None, text: str) -> None:
        if stream is None:
            return
        with self._locks[name]:
            if self.keyboard is not None and stream.isatty():
                self.keyboard.show(f"{text}\n")
            else:
                write_text(stream, f"{text}\n")

    def _save(self, message: bytes, directory: Path) -> Path:
        """Write a file that was not there before, and return its path."""
        while True:
            path = directory / f"{next(self._numbers):04}.bin"
            with contextlib.suppress(FileExistsError), open(path, "xb") as file:
                file.write(message)
                return path


def wants_colour(stream: TextIO | None) -> bool:
    """Return whether the stream is a terminal that may be coloured."""
    if stream is None or os.environ.get("NO_COLOR"):
        return False
    return os.environ.get("TERM", "dumb") != "dumb" and stream.isatty()


def _coloured(stream: TextIO | None, text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if wants_colour(stream) else text
