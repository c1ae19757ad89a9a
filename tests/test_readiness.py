"""Waiting for a descriptor in gevent's event loop, and reading from it; nothing is monkey-patched here."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.exceptions import BlockingSwitchOutError
from gevent.hub import get_hub
from peers import DEADLINE, sockets

from syncws.descriptor import Descriptor
from syncws.hot import LONGEST_STRETCH, Stretch
from syncws.readiness import A_READ, READ, SIZE_OF_A_WRITE, WRITE, Readiness, Reading

LEAST = 448  # what a descriptor asks for at first


def late() -> float:
    return time.monotonic() + DEADLINE


def soon() -> float:
    return time.monotonic() + 0.02


def go(function: Callable[..., Any], *args: Any) -> gevent.Greenlet[..., Any]:
    """Run a function in a greenlet, up to where it waits."""
    greenlet = gevent.spawn(function, *args)
    gevent.idle()
    return greenlet


class Ends:
    """Two sockets; one is waited for."""

    def __init__(self) -> None:
        self.sock, self.peer = sockets()
        self.sock.setblocking(False)
        self.readable = Readiness(self.sock.fileno(), READ)
        self.writable = Readiness(self.sock.fileno(), WRITE)
        self.descriptor = Descriptor(self.sock)
        self.stretch = Stretch()
        self.reading = Reading(self.descriptor, self.readable, self.stretch)

    def fill(self) -> None:
        with pytest.raises(BlockingIOError):
            while True:
                self.sock.send(bytes(4096))


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.readable.close()
    ends.writable.close()
    ends.sock.close()
    ends.peer.close()


# Waiting.


@pytest.mark.parametrize("deadline", [None, late], ids=["no deadline", "deadline"])
def test_waiting_until_there_is_something_to_read(ends: Ends, deadline: Any) -> None:
    for number in range(3):  # the watcher stays in the event loop
        waiting = go(lambda: ends.readable.wait(deadline and deadline()))
        assert ends.readable.greenlet is waiting
        ends.peer.send(b"x")
        assert waiting.get(timeout=DEADLINE) is True
        assert ends.readable.greenlet is None
        assert ends.sock.recv(10) == b"x", number


def test_waiting_for_what_is_ready_already(ends: Ends) -> None:
    ends.peer.send(b"x")
    assert ends.readable.wait(None)
    assert ends.readable.wait(0.0)  # it goes before a deadline that has passed
    assert ends.writable.wait(None)


def test_waiting_until_there_is_room(ends: Ends) -> None:
    ends.fill()
    waiting = go(ends.writable.wait, late())
    assert not waiting.ready()
    ends.peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            ends.peer.recv(1 << 20)
    assert waiting.get(timeout=DEADLINE) is True


def test_a_deadline_passes(ends: Ends) -> None:
    assert ends.readable.wait(soon()) is False
    assert ends.readable.wait(1e-9) is False
    assert ends.readable.greenlet is None
    ends.peer.send(b"x")
    assert ends.readable.wait(late()) is True


def test_nobody_is_woken_up_later(ends: Ends) -> None:
    # Neither by the timer nor by the watcher of a wait that is over.
    woken: list[str] = []

    def wait() -> None:
        try:
            ends.readable.wait(time.monotonic() + 0.03)
        except ValueError as error:
            woken.append(str(error))
        gevent.sleep(0.1)
        woken.append("slept")

    waiting = go(wait)
    waiting.kill(ValueError("killed"), block=False)
    gevent.idle()
    assert woken == ["killed"]
    assert ends.readable.greenlet is None
    ends.peer.send(b"x")
    waiting.get(timeout=DEADLINE)
    assert woken == ["killed", "slept"]
    assert ends.readable.wait(0.0) is True


def test_a_raw_greenlet_that_fails_after_a_wait_leaves_it_to_the_next(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its exception goes to the event loop, out of the watcher's callback, which stops the watcher.
    errors: list[Any] = []
    monkeypatch.setattr(get_hub(), "handle_error", lambda *error: errors.append(error[2]))

    def fail() -> None:
        ends.readable.wait(None)
        raise LookupError("on purpose")

    gevent.spawn_raw(fail)
    gevent.idle()
    ends.peer.send(b"x")
    with gevent.Timeout(DEADLINE):
        while not errors:
            gevent.sleep(0)
    assert [str(error) for error in errors] == ["on purpose"]
    assert ends.sock.recv(10) == b"x"
    waiting = go(ends.readable.wait, None)
    ends.peer.send(b"y")
    assert waiting.get(timeout=DEADLINE) is True


def test_the_event_loop_cannot_wait_for_itself(ends: Ends) -> None:
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            ends.readable.wait(None)
        except BlockingSwitchOutError as error:
            errors.append(error)

    get_hub().loop.run_callback(wait)
    gevent.idle()
    assert len(errors) == 1
    assert ends.readable.greenlet is None
    waiting = go(ends.readable.wait, None)
    ends.peer.send(b"x")
    assert waiting.get(timeout=DEADLINE) is True


def test_a_gevent_timeout_ends_a_wait(ends: Ends) -> None:
    with gevent.Timeout(0.01, False):
        ends.readable.wait(None)
        pytest.fail("nothing has come")
    assert ends.readable.greenlet is None
    ends.peer.send(b"x")
    assert ends.readable.wait(None)


def test_a_watcher_for_which_nobody_waits_stops_itself(ends: Ends) -> None:
    assert ends.readable.wait(1e-9) is False
    ends.peer.send(b"x")
    # If it went on, it would be called in each round of the event loop.
    for _ in range(3):
        gevent.sleep(0.001)
    calls = get_hub().loop.activecnt
    gevent.sleep(0.001)
    assert get_hub().loop.activecnt == calls
    assert ends.readable.wait(None)
    assert ends.sock.recv(10) == b"x"
    assert ends.readable.wait(1e-9) is False


def test_closing_it_leaves_the_event_loop() -> None:
    ends = Ends()
    before = get_hub().loop.activecnt
    assert ends.readable.wait(1e-9) is False
    ends.readable.close()
    ends.writable.close()
    assert get_hub().loop.activecnt == before
    for closed in (ends.readable, ends.writable):
        with pytest.raises(ValueError):
            closed.wait(1e-9)  # the descriptor may be another's
    assert get_hub().loop.activecnt == before
    ends.sock.close()
    ends.peer.close()


# Reading.


def test_reading_what_has_arrived(ends: Ends) -> None:
    assert ends.reading.read_now() is None
    ends.peer.send(b"abc")
    assert ends.reading.read_now() == b"abc"
    ends.peer.shutdown(socket.SHUT_WR)
    assert ends.reading.read_now() == b""


def test_each_read_counts_and_large_ones_more(ends: Ends) -> None:
    ends.reading.read_now()
    assert ends.stretch.count == A_READ
    ends.peer.send(b"x" * LEAST)
    ends.reading.read_now()
    assert ends.stretch.count == 2 * A_READ
    ends.stretch.count = 0
    expected = 0
    ends.peer.send(os.urandom(150_000))
    while (data := ends.reading.read_now()) is not None:
        expected += A_READ + (len(data) >> SIZE_OF_A_WRITE)
        assert ends.stretch.count == expected
    assert expected >= LONGEST_STRETCH  # so it would read no more


def test_others_run_before_more_is_read(ends: Ends) -> None:
    ends.peer.send(b"abc")
    ends.stretch.count = LONGEST_STRETCH
    assert ends.reading.read_now() is None
    ran: list[str] = []
    gevent.spawn(ran.append, "another")
    assert ends.reading.read() == b"abc"
    assert ran == ["another"]
    assert ends.stretch.count == A_READ


def test_reading_waits(ends: Ends) -> None:
    for _ in range(3):
        reading = go(ends.reading.read)
        assert not reading.ready()
        ends.peer.send(b"abc")
        assert reading.get(timeout=DEADLINE) == b"abc"
    reading = go(ends.reading.read)
    ends.peer.shutdown(socket.SHUT_WR)
    assert reading.get(timeout=DEADLINE) == b""


def test_reading_at_once_what_may_be_left(ends: Ends) -> None:
    ran: list[str] = []
    ends.peer.send(b"x" * (LEAST + 1))
    gevent.spawn(ran.append, "another")
    assert ends.reading.read() == b"x" * LEAST  # nothing was known of it
    assert ends.reading.read() == b"x"
    assert ran == []
    # This one has brought less than was asked for, so the next waits.
    ends.peer.send(b"y")
    assert ends.reading.read() == b"y"
    assert ran == ["another"]


def test_another_greenlet_waits_for_the_same(ends: Ends) -> None:
    waiting = go(ends.readable.wait, None)
    assert ends.reading.read() is None
    ends.peer.send(b"abc")
    assert ends.reading.read() == b"abc"  # at once
    ends.peer.send(b"abc")
    assert waiting.get(timeout=DEADLINE) is True


def test_something_that_is_gone_when_it_is_to_be_read(ends: Ends) -> None:
    ends.peer.send(b"x")
    assert ends.reading.read() == b"x"
    reading = go(ends.reading.read)
    ends.peer.send(b"abc")
    assert ends.sock.recv(10) == b"abc"
    # Without another greenlet in between, the event loop may find nothing ready; then it goes on to wait.
    ends.peer.send(b"d")
    assert reading.get(timeout=DEADLINE) == b"d"


def test_a_greenlet_that_is_killed_while_it_reads_loses_nothing(ends: Ends) -> None:
    reading = go(ends.reading.read)
    reading.kill()
    assert ends.readable.greenlet is None
    ends.peer.send(b"abc")
    assert ends.reading.read() == b"abc"


def test_reading_from_what_is_closed(ends: Ends) -> None:
    ends.descriptor.close()
    ends.readable.close()
    ends.sock.close()
    for read in (ends.reading.read, ends.reading.read_now):
        with pytest.raises(OSError, match="Bad file descriptor"):
            read()
