"""How a connection stands and how it ends."""

from __future__ import annotations

import pytest

from syncws.errors import ProtocolError
from syncws.fate import Fate
from syncws.protocol.machine import State
from syncws.runtime import THREADS

BROKEN = ProtocolError("a rule", 1002)


@pytest.fixture
def fate() -> Fate:
    return Fate(THREADS)


def test_this_side_closes(fate: Fate) -> None:
    assert (fate.state, fate.end) == (State.OPEN, None)
    assert fate.close(4000, "first", None)
    assert not fate.close(4001, "second", None)
    fate.close_sent()
    assert (fate.state, fate.end) == (State.CLOSE_SENT, (4000, "first", "local"))
    fate.close_received(4000, "echo")
    assert (fate.state, fate.end) == (State.CLOSED, (4000, "first", "local"))
    fate.over()
    assert fate.state is State.CLOSED


def test_the_peer_closes(fate: Fate) -> None:
    fate.close_received(1001, "bye")
    assert (fate.state, fate.end) == (State.CLOSE_RECEIVED, (1001, "bye", "remote"))
    fate.close_sent()
    assert fate.state is State.CLOSED


def test_lost(fate: Fate) -> None:
    fate.lost("reset", "remote")
    assert (fate.state, fate.end) == (State.CLOSED, (1006, "reset", "remote"))
    # A close frame that is found in what had arrived before counts more.
    fate.close_received(1001, "bye")
    assert fate.end == (1001, "bye", "remote")


def test_lost_while_closing(fate: Fate) -> None:
    fate.close(1000, "", None)
    fate.close_sent()
    fate.lost("too late", "remote")
    assert fate.end == (1006, "too late", "local")


def test_a_broken_rule_counts_more_than_what_follows(fate: Fate) -> None:
    fate.close(1002, "a rule", BROKEN)
    fate.close(1002, "another rule", ProtocolError("another rule", 1007))
    fate.lost("reset", "remote")
    assert fate.end == (1002, "a rule", "local")
    assert fate.error(None).__cause__ is BROKEN


def test_error(fate: Fate) -> None:
    fate.lost("reset", "remote")
    cause, websocket = OSError(), object()
    error = fate.error(websocket, cause)
    assert (error.code, error.reason, error.initiator) == (1006, "reset", "remote")
    assert error.__cause__ is cause
    assert error.websocket is websocket
    assert fate.error(websocket).__cause__ is None


def test_cause_has_no_traceback_but_what_the_program_was_handling_keeps_its_own() -> None:
    fate = Fate(THREADS)
    fate.lost("reset", "remote")
    try:
        raise KeyError("the program's own")
    except KeyError as error:
        own = error
        try:
            try:
                raise UnicodeError
            except UnicodeError as reason:
                raise OSError("within send(), while the program handles it") from reason
        except OSError as caught:
            cause = caught
    assert fate.error(None, cause).__cause__ is cause
    assert cause.__cause__ is not None
    assert cause.__traceback__ is None and cause.__cause__.__traceback__ is None
    assert own.__traceback__ is not None
