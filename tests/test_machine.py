"""The table of states: every event in every state, and what the table as a whole promises."""

from __future__ import annotations

import itertools

import pytest

from syncws.protocol.machine import TRANSITIONS, Event, State, next_state

# Every pair of a state and an event; None: the event cannot happen there.
EXPECTED = {
    (State.CONNECTING, Event.OPENED): State.OPEN,
    (State.CONNECTING, Event.CLOSE_SENT): None,
    (State.CONNECTING, Event.CLOSE_RECEIVED): None,
    (State.CONNECTING, Event.LOST): State.CLOSED,
    (State.OPEN, Event.OPENED): None,
    (State.OPEN, Event.CLOSE_SENT): State.CLOSE_SENT,
    (State.OPEN, Event.CLOSE_RECEIVED): State.CLOSE_RECEIVED,
    (State.OPEN, Event.LOST): State.CLOSED,
    (State.CLOSE_SENT, Event.OPENED): None,
    (State.CLOSE_SENT, Event.CLOSE_SENT): None,
    (State.CLOSE_SENT, Event.CLOSE_RECEIVED): State.CLOSED,
    (State.CLOSE_SENT, Event.LOST): State.CLOSED,
    (State.CLOSE_RECEIVED, Event.OPENED): None,
    (State.CLOSE_RECEIVED, Event.CLOSE_SENT): State.CLOSED,
    (State.CLOSE_RECEIVED, Event.CLOSE_RECEIVED): None,
    (State.CLOSE_RECEIVED, Event.LOST): State.CLOSED,
    (State.CLOSED, Event.OPENED): None,
    (State.CLOSED, Event.CLOSE_SENT): State.CLOSED,
    (State.CLOSED, Event.CLOSE_RECEIVED): State.CLOSED,
    (State.CLOSED, Event.LOST): State.CLOSED,
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_event_in_every_state(state: State, event: Event) -> None:
    expected = EXPECTED[state, event]
    if expected is not None:
        assert next_state(state, event) is expected
        return
    with pytest.raises(ValueError, match=f"^'{event.value}' cannot happen to a connection that is {state.value}$"):
        next_state(state, event)


def test_the_table_has_no_other_line() -> None:
    assert {pair: after for pair, after in EXPECTED.items() if after is not None} == TRANSITIONS


@pytest.mark.parametrize("order", [(Event.CLOSE_SENT, Event.CLOSE_RECEIVED), (Event.CLOSE_RECEIVED, Event.CLOSE_SENT)])
def test_either_side_may_begin_to_close(order: tuple[Event, Event]) -> None:
    state = next_state(State.CONNECTING, Event.OPENED)
    for event in order:
        assert state is not State.CLOSED
        state = next_state(state, event)
    assert state is State.CLOSED


@pytest.mark.parametrize("event", list(Event))
def test_nothing_leads_out_of_closed(event: Event) -> None:
    assert TRANSITIONS.get((State.CLOSED, event), State.CLOSED) is State.CLOSED
