"""A line that is being typed: keys go in, finished lines come out, and what the terminal's row looks like.

Why not ``readline``: a message that arrives has to be shown above the line, which is then drawn again, with the cursor
where it was. Python's ``readline`` has no means for that. The keys are those of ``readline``, as far as there are any.

No input or output, no thread; :mod:`syncws.console.keyboard` has the terminal.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from ..escapes import escaped

__all__ = ["END", "SUSPEND", "LineEditor", "cells"]

END = "end"  # Ctrl-D in an empty line
SUSPEND = "suspend"  # Ctrl-Z

# A key is a character, an escape sequence (ECMA-48, 5.4), or the escape character and another one, for Alt.
_KEY = re.compile(
    r"""
    \x1b\[ [0-?]* [\ -/]* [@-~]
    | \x1bO [\ -~]
    | \x1b [^\[O\x00-\x07\x09-\x1f]
    | [^\x1b]
    # What cannot become any of these, whatever follows, is a key that does nothing; what follows counts by itself.
    | \x1b\[ [0-?]* (?= [^\ -~] )
    | \x1b\[ [0-?]* [\ -/]+ (?= [^\ -/@-~] )
    | \x1bO (?= [^\ -~] )
    | \x1b (?= [\x00-\x07\x09-\x1f] )
    """,
    re.VERBOSE,
)
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
        self._keys += keys
        outcomes = []
        while match := _KEY.match(self._keys):
            self._keys = self._keys[match.end() :]
            outcome = self._press(match[0])
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes

    def row(self, width: int) -> tuple[str, int]:
        """Return what to show of the line, and the cells in front of the cursor; a long line is shown around it.

        :param width: cells; what is returned is narrower than that by one at least, for the cursor behind the end.
        """
        room = width - 1
        shown = [(char, cells(char)) if char.isprintable() else _escape(char) for char in self.text]
        before = sum(size for _, size in shown[: self._cursor])
        first = 0
        while before > room:
            before -= shown[first][1]
            first += 1
        visible, used = "", 0
        for text, size in shown[first:]:
            used += size
            if used > room:
                break
            visible += text
        return visible, before

    def _press(self, key: str) -> tuple[str, str] | None:
        if key in (_PASTE, _PASTED):
            self._pasting = key == _PASTE
        elif self._pasting:  # nothing in it is a command
            if key in "\r\n\t" or key.isprintable():
                self._insert("\n" if key == "\r" else key)
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
        elif key == "\t" or key.isprintable():
            self._insert(key)
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


def _escape(char: str) -> tuple[str, int]:
    text = escaped(char)
    return text, len(text)


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
