"""Bytes that have passed → what they mean: the opening handshake, frames, problems, ends.

An :class:`Annotator` is fed with chunks as they passed, live or from a recording, and returns the items that each has
completed. How the bytes of a direction are cut into chunks makes no difference to the items. It never raises for what
a peer has sent, and its memory is bounded for each connection.

What follows an opening handshake that was accepted is frames. On a connection that was used for plain HTTP before, its
requests and responses are shown too, without their bodies. One thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..protocol.deflate import Parameters
from .connection import Connection
from .items import Item
from .recorder import Chunk

__all__ = ["Annotator", "annotated"]


class Annotator:
    """Turns chunks into items.

    :param shown: how many bytes of a payload are shown, and how many characters of a text.
    :param opened: there is no opening handshake: connections are open from their first byte.
    :param deflate: for these, the parameters of permessage-deflate, if it is in use.
    """

    def __init__(self, *, shown: int = 1024, opened: bool = False, deflate: Parameters | None = None) -> None:
        self._shown = shown
        self._opened = opened
        self._deflate = deflate
        self._connections: dict[int, Connection] = {}
        self._time = 0.0

    def feed(self, chunk: Chunk) -> list[Item]:
        """Take the next chunk; return what it has completed, in order."""
        number = chunk.connection
        self._time = chunk.time
        if number not in self._connections:
            self._connections[number] = Connection(number, self._shown)
            if self._opened:
                self._connections[number].open(self._deflate)
        connection = self._connections[number]
        items = connection.feed(chunk)
        if connection.over:
            del self._connections[number]  # a recorder gives each number once
        return items

    def finish(self) -> list[Item]:
        """Return what is to be said of connections that had not ended when the recording did."""
        items = [item for each in self._connections.values() for item in each.finish(self._time)]
        self._connections.clear()
        return items


def annotated(chunks: Iterable[Chunk], annotator: Annotator | None = None) -> Iterator[Item]:
    """Yield the items of a recording, all of it."""
    annotator = annotator or Annotator()
    for chunk in chunks:
        yield from annotator.feed(chunk)
    yield from annotator.finish()
