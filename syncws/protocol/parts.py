"""What has arrived of a message that is not complete, and how much that may be.

It takes little more memory than its content, however small the parts: they are joined now and then. One thread at a
time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import MessageTooBig

__all__ = ["Parts", "Piece", "check_wire_size"]

# How many parts are joined into one, so that tiny ones do not cost a multiple of their content.
_BATCH = 128


class Piece(NamedTuple):
    """A piece of a message: its data, and whether it is the last of its message."""

    data: str | bytes
    last: bool


class Parts:
    """The parts of one message, all ``str`` or all ``bytes``."""

    __slots__ = ("_batch", "_joined")

    def __init__(self) -> None:
        self._joined: list[Any] = []
        self._batch: list[Any] = []  # behind those, and to be joined next

    def add(self, part: str | bytes) -> None:
        """Add a part; an empty one leaves no trace."""
        if part:
            self._batch.append(part)
            if len(self._batch) == _BATCH:
                self._joined.append(part[:0].join(self._batch))
                self._batch.clear()

    def take(self, empty: str | bytes) -> str | bytes:
        """Return all of them in one, and forget them.

        :param empty: what that is if there are none.
        """
        parts: Any = empty.join([*self._joined, *self._batch])
        self.clear()
        return parts  # type: ignore[no-any-return]

    def clear(self) -> None:
        """Forget them."""
        self._joined.clear()
        self._batch.clear()


def check_wire_size(size: int, limit: int | None, compressed: int | None) -> None:
    """Check the frames of a message that is read as a whole.

    :param size: bytes of payload that they have announced.
    :param limit: bytes that the message may have; ``None``: any number.
    :param compressed: in how many frames it has been compressed; ``None``: it has not.
    :raises MessageTooBig: they are over the limit.
    """
    if limit is None:
        return
    # What cannot be compressed grows by less than a quarter (zlib: deflateBound), and by a few bytes per flush.
    most = limit if compressed is None else limit + limit // 4 + 16 * compressed
    if size > most:
        raise MessageTooBig(size, limit, "message" if compressed is None else "compressed message")
