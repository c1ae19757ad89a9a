"""The states of a connection: one table.

::

    CONNECTING --opened--> OPEN --close frame sent------> CLOSE_SENT -----close frame received--> CLOSED
                           OPEN --close frame received--> CLOSE_RECEIVED --close frame sent-----> CLOSED
                           (any) --connection lost-----------------------------------------------> CLOSED

Pure functions on enumerations; whoever owns a state guards it with a lock of its own.
"""

from __future__ import annotations

import enum

__all__ = ["TRANSITIONS", "Event", "State", "next_state"]


class State(enum.Enum):
    """Where a connection is in its life (RFC 6455, sections 4 and 7)."""

    __hash__ = object.__hash__  # that of enumerations is a function in Python

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSE_SENT = "close sent"
    CLOSE_RECEIVED = "close received"
    CLOSED = "closed"


class Event(enum.Enum):
    """What moves a connection from one state to the next."""

    __hash__ = object.__hash__

    OPENED = "opening handshake complete"
    CLOSE_SENT = "close frame sent"
    CLOSE_RECEIVED = "close frame received"
    LOST = "TCP connection lost or dropped"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.CONNECTING, Event.OPENED): State.OPEN,
    (State.CONNECTING, Event.LOST): State.CLOSED,
    (State.OPEN, Event.CLOSE_SENT): State.CLOSE_SENT,
    (State.OPEN, Event.CLOSE_RECEIVED): State.CLOSE_RECEIVED,
    (State.OPEN, Event.LOST): State.CLOSED,
    (State.CLOSE_SENT, Event.CLOSE_RECEIVED): State.CLOSED,
    (State.CLOSE_SENT, Event.LOST): State.CLOSED,
    (State.CLOSE_RECEIVED, Event.CLOSE_SENT): State.CLOSED,
    (State.CLOSE_RECEIVED, Event.LOST): State.CLOSED,
    # A sender may find the connection lost while the peer's close frame still waits to be read.
    (State.CLOSED, Event.CLOSE_RECEIVED): State.CLOSED,
    (State.CLOSED, Event.CLOSE_SENT): State.CLOSED,
    (State.CLOSED, Event.LOST): State.CLOSED,
}


def next_state(state: State, event: Event) -> State:
    """Return the state that follows ``state`` upon ``event``.

    :raises ValueError: the event cannot happen in this state, for example a second close frame sent.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"{event.value!r} cannot happen to a connection that is {state.value}") from None
