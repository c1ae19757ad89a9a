"""A connection and its keeper: what each knows of the other."""

from __future__ import annotations

import math
import weakref
from typing import Protocol

from .turn import Turn

__all__ = ["Care", "Kept"]


class Caring(Protocol):
    """What is used of a :class:`syncws.keeper.Keeper`."""

    loose: set[Care]

    def schedule(self, care: Care, due: float) -> None: ...
    def wake(self, care: Care) -> None: ...


class Kept(Protocol):
    """A connection, as the keeper sees it. Nothing here waits.

    :ivar activity: a number that changes when something has been read.
    """

    @property
    def activity(self) -> int: ...

    def fileno(self) -> int:
        """The descriptor of the socket."""

    def attend(self) -> int:
        """Do what the thread in ``receive()`` would do, if there is none.

        :returns: what to wait for before the next call, a mask of :mod:`selectors`; 0: nothing, a look now and then.
        """

    def on_due(self, now: float) -> float:
        """Do what is due by ``now``; return when the next thing is: a point in time, :data:`math.inf` for never."""

    def fail(self, error: Exception) -> None:
        """Drop the connection: caring for it has failed in a way that nobody has foreseen."""


class Care(weakref.ref[Kept]):
    """What a keeper knows of one connection, which it refers to weakly: ``care()`` is the connection, or ``None``.

    :param kept: the connection.
    :param turn: that of those who read from it.
    :param keeper: the keeper.
    """

    __slots__ = ("descriptor", "due", "keeper", "room_awaited", "seen", "turn", "watched")

    # One is as good as another only if it is the same; references are equal if what they refer to is.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __new__(cls, kept: Kept, turn: Turn, keeper: Caring) -> Care:
        return super().__new__(cls, kept, cls.loosen)  # when nobody has it any more

    def __init__(self, kept: Kept, turn: Turn, keeper: Caring) -> None:
        self.turn = turn
        self.keeper = keeper
        self.due = math.inf  # when Kept.on_due() is to be called
        self.seen = -1  # its activity at the last look, or when the keeper has read from it
        self.watched = 0  # what the selector waits for
        self.descriptor = -1  # that the selector knows
        self.room_awaited = False  # it will be attended to as soon as there is room in its socket

    def hasten(self, due: float) -> None:
        """Have :meth:`Kept.on_due` called at the latest at ``due``, and the connection looked at. Any thread."""
        self.keeper.schedule(self, due)

    def wake(self) -> None:
        """Have :meth:`Kept.attend` called at once: something waits for room in the socket. Any thread."""
        if not self.room_awaited:
            self.keeper.wake(self)

    def park(self) -> bool:
        """Have the thread that reads from it, if there is one, tell the keeper when it no longer does."""
        return self.turn.on_free(self.loosen)

    def park_watched(self) -> None:
        """Have the next thread that reads from it tell the keeper when it no longer does, and leaves something behind.

        The selector says that there is something to read. Who reads it first may keep more than was asked for, of
        which the selector knows nothing then.
        """
        self.turn.on_free(self.loosen, even_if_free=True)

    def loosen(self) -> None:
        """Have the keeper look at it. Any thread, at any point of what it does."""
        self.keeper.loose.add(self)
