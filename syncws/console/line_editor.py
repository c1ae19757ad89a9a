"""A line that is being typed: keys go in, finished lines come out, and what the terminal's row looks like.

Why not ``readline``: a message that arrives has to be shown above the line, which is then drawn again, with the cursor
where it was. Python's ``readline`` has no means for that. The keys are those of ``readline``, as far as there are any.

No input or output, no thread; :mod:`syncws.console.keyboard` has the terminal.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

from ..escapes import escaped

__all__ = ["END", "SUSPEND", "LineEditor", "cells"]

END = "end"  # Ctrl-D in an empty line
SUSPEND = "suspend"  # Ctrl-Z

# A key is a character, an escape sequence (ECMA-48, 5.4), or the escape character and another one, for Alt. Characters
# that are there together are one key: to insert them one by one would copy a long line for each.
_KEY = re.compile(
    r"""
    \x1b\[ [0-?]* [\ -/]* [@-~]
    | \x1bO [\ -~]
    | \x1b [^\[O\x00-\x07\x09-\x1f]
    | [^\x00-\x1f\x7f]+
    | [\x00-\x1a\x1c-\x1f\x7f]
    # What cannot become any of these, whatever follows, is a key that does nothing; what follows counts by itself.
    | \x1b\[ [0-?]* (?= [^\ -~] )
    | \x1b\[ [0-?]* [\ -/]+ (?= [^\ -/@-~] )
    | \x1bO (?= [^\ -~] )
    | \x1b (?= [\x00-\x07\x09-\x1f] )
    """,
    re.VERBOSE,
)
_TEXT = re.compile(r"[^\x1b]+")  # as it is pasted
_PASTE, _PASTED = "\x1b[200~", "\x1b[201~"
_WORD = re.compile(r"\w+", re.ASCII)


def cells(char: str) -> int:
    """Return how many cells of the terminal's row a printable character takes."""
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


class LineEditor:
    """The text, the cursor and the place in the history. One thread, or a lock.

    :ivar text: what has been typed since the last finished line.
    """

    def __init__(self, history: list[str]) -> None:
        """Begin with an empty line.

        :param history: lines to be recalled, the latest last; the caller adds to it.
        """
        self.text = ""
        self._cursor = 0  # an index into the text
        self._history = history
        self._back = 0  # how many lines of the history ago; 0: the line that is being typed
        self._unfinished = ""  # that line, while another one is shown
        self._killed = ""
        self._keys = ""  # not yet a whole key
        self._pasting = False

    def feed(self, keys: str) -> list[tuple[str, str]]:
        """Take what was typed; return what came of it: pairs of ``"line"`` and the line, or of END or SUSPEND and "".

        A line that was pasted does not end at its line feeds: it is one.
        """
        keys = self._keys + keys
        position = 0
        outcomes = []
        while match := (self._pasting and _TEXT.match(keys, position)) or _KEY.match(keys, position):
            position = match.end()
            outcome = self._press(match[0])
            if outcome is not None:
                outcomes.append(outcome)
        self._keys = keys[position:]
        return outcomes

    def row(self, width: int) -> tuple[str, int]:
        """Return what to show of the line, and the cells in front of the cursor; a long line is shown around it.

        :param width: cells; what is returned is narrower than that by one at least, for the cursor behind the end.
        """
        room = width - 1
        left, before = _fitting((self.text[index] for index in range(self._cursor - 1, -1, -1)), room)
        right, _ = _fitting((self.text[index] for index in range(self._cursor, len(self.text))), room - before)
        return "".join([*reversed(left), *right]), before

    def _press(self, key: str) -> tuple[str, str] | None:
        if key in (_PASTE, _PASTED):
            self._pasting = key == _PASTE
        elif self._pasting:  # nothing in it is a command
            if not key.startswith("\x1b"):
                self._insert(_without_controls(key.replace("\r", "\n")))
        elif key in "\r\n":
            line = self.text
            self._replace("")
            self._back = 0
            return "line", line
        elif key == "\x04" and not self.text:
            return END, ""
        elif key == "\x1a":
            return SUSPEND, ""
        elif key in _ACTIONS:
            _ACTIONS[key](self)
        elif not key.startswith("\x1b"):
            self._insert(_without_controls(key))
        return None

    # What keys do.

    def _insert(self, text: str) -> None:
        self.text = self.text[: self._cursor] + text + self.text[self._cursor :]
        self._cursor += len(text)

    def _move(self, position: int) -> None:
        self._cursor = min(max(position, 0), len(self.text))

    def _delete(self, end: int, *, keep: bool) -> None:
        """Delete from the cursor to ``end``, on either side of it."""
        low, high = sorted((self._cursor, min(max(end, 0), len(self.text))))
        if keep and low < high:
            self._killed = self.text[low:high]
        self.text = self.text[:low] + self.text[high:]
        self._cursor = low

    def _word_left(self) -> int:
        starts = [match.start() for match in _WORD.finditer(self.text) if match.start() < self._cursor]
        return starts[-1] if starts else 0

    def _word_right(self) -> int:
        match = _WORD.search(self.text, self._cursor)
        return match.end() if match else len(self.text)

    def _replace(self, text: str) -> None:
        self.text = text
        self._cursor = len(text)

    def _recall(self, back: int) -> None:
        if not 0 <= back <= len(self._history):
            return
        if self._back == 0:
            self._unfinished = self.text
        self._back = back
        self._replace(self._history[-back] if back else self._unfinished)


def _fitting(chars: Iterable[str], room: int) -> tuple[list[str], int]:
    """Return the first characters as they are shown, as many as there is room for, and the cells that they take."""
    shown, used = [], 0
    for char in chars:
        text = char if char.isprintable() else escaped(char)
        size = cells(char) if char.isprintable() else len(text)
        if used + size > room:
            break
        shown.append(text)
        used += size
    return shown, used


def _without_controls(text: str) -> str:
    """Return the characters that can be part of a line: those that are to be seen, and ``\\t`` and ``\\n``."""
    return text if text.isprintable() else "".join(char for char in text if char.isprintable() or char in "\t\n")


def _actions() -> dict[str, Callable[[LineEditor], None]]:
    table: dict[str, Callable[[LineEditor], None]] = {
        "\x01 \x1b[H \x1bOH \x1b[1~": lambda line: line._move(0),
        "\x05 \x1b[F \x1bOF \x1b[4~": lambda line: line._move(len(line.text)),
        "\x02 \x1b[D \x1bOD": lambda line: line._move(line._cursor - 1),
        "\x06 \x1b[C \x1bOC": lambda line: line._move(line._cursor + 1),
        "\x1bb \x1b[1;5D \x1b[1;3D": lambda line: line._move(line._word_left()),
        "\x1bf \x1b[1;5C \x1b[1;3C": lambda line: line._move(line._word_right()),
        "\x08 \x7f": lambda line: line._delete(line._cursor - 1, keep=False),
        "\x04 \x1b[3~": lambda line: line._delete(line._cursor + 1, keep=False),
        "\x15": lambda line: line._delete(0, keep=True),
        "\x0b": lambda line: line._delete(len(line.text), keep=True),
        "\x17 \x1b\x7f \x1b\x08": lambda line: line._delete(line._word_left(), keep=True),
        "\x1bd": lambda line: line._delete(line._word_right(), keep=True),
        "\x19": lambda line: line._insert(line._killed),
        "\x10 \x1b[A \x1bOA": lambda line: line._recall(line._back + 1),
        "\x0e \x1b[B \x1bOB": lambda line: line._recall(line._back - 1),
    }
    return {key: action for keys, action in table.items() for key in keys.split(" ")}


_ACTIONS = _actions()
