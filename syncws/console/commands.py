"""The lines that begin with a slash: :func:`perform` does what one says.

What a command has to tell goes to a function that the caller gives. :class:`Hint` is raised for a line that cannot be
done as it is; nothing has been sent then, unless a file could not be read to its end. What the connection raises is
passed on.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

from ..escapes import escaped
from ..websocket import WebSocket
from .formats import size_of

__all__ = ["Hint", "perform"]

_HELP = """\
/ping [DATA]             send a ping, show how long its pong takes
/close [CODE] [REASON]   close the connection, with 1000 if not told otherwise
/file PATH               send a file as a binary message
/help                    show this
//TEXT                   send a line that begins with a slash: /TEXT
Every other line is sent as a text message. Ctrl-D in an empty line ends the conversation."""

_PING_TIMEOUT = 10.0  # seconds
_PIECE = 2**16  # bytes; a longer file is sent in fragments of so many

_Note = Callable[[str], None]


class Hint(Exception):
    """A line that cannot be done: ``str()`` says in one line what was wrong and what to write."""


def perform(ws: WebSocket, line: str, note: _Note) -> None:
    """Do what a line says that begins with a single slash.

    :param note: shows a line, or several.
    :raises Hint: there is no such command, or it cannot be done so.
    :raises ConnectionClosed: the connection is over.
    :raises TimeoutError: the peer did not read.
    """
    name, _, rest = line.partition(" ")
    command = _COMMANDS.get(name)
    if command is None:
        shown = escaped(name[:20])
        raise Hint(f"there is no {shown}; /help shows what there is, /{shown} is sent as text")
    command(ws, rest.strip(), note)


def _ping(ws: WebSocket, data: str, note: _Note) -> None:
    try:
        seconds = ws.ping(data.encode(), _PING_TIMEOUT)
    except ValueError as error:
        raise Hint(str(error)) from error
    except TimeoutError as error:
        note(str(error))
    else:
        note(f"pong after {seconds * 1000:.1f} ms")


def _close(ws: WebSocket, words: str, note: _Note) -> None:
    code, _, reason = words.partition(" ")
    if not ((code.isascii() and code.isdecimal()) or not code):
        raise Hint(f"write /close [CODE] [REASON] with a number such as 4000, not {escaped(code)!r}")
    try:
        # Not close(), which drops what has arrived and is not shown yet.
        ws.begin_close(int(code or "1000"), reason.strip())
    except ValueError as error:
        raise Hint(str(error)) from error


def _file(ws: WebSocket, path: str, note: _Note) -> None:
    if not path:
        raise Hint("write /file PATH, the file to be sent as a binary message")
    pieces = _pieces(path)
    first = next(pieces)
    if len(first) < _PIECE:
        ws.send(first)
        note(f"sent {size_of(first)}")
        return
    sizes = []

    def counted() -> Iterator[bytes]:
        for piece in itertools.chain([first], pieces):
            sizes.append(len(piece))
            yield piece

    ws.send_fragments(counted())
    note(f"sent {sum(sizes)} bytes, piece by piece")


def _pieces(path: str) -> Iterator[bytes]:
    """Read a file piece by piece: one at least, and all but the last of the full size."""
    try:
        with open(os.path.expanduser(path), "rb") as file:
            piece = file.read(_PIECE)
            yield piece
            while len(piece) == _PIECE and (piece := file.read(_PIECE)):
                yield piece
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Hint(f"cannot read {escaped(path)}: {reason}") from error


def _help(_ws: WebSocket, _words: str, note: _Note) -> None:
    note(_HELP)


_COMMANDS: dict[str, Callable[[WebSocket, str, _Note], None]] = {
    "/ping": _ping,
    "/close": _close,
    "/file": _file,
    "/help": _help,
}
