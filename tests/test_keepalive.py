"""Pings that find out whether the peer is there: when they go out, and what counts as a sign of life."""

from __future__ import annotations

import math
import socket
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from peers import sockets

from syncws import keepalive
from syncws.keepalive import Keepalive, limit_unanswered
from syncws.pings import Pings
from syncws.runtime import THREADS
from syncws.transport import Transport, transport_for
from syncws.turn import Turn
from syncws.writer import FrameWriter

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much the peer has confirmed")


class Kept(NamedTuple):
    """The pings of a side, and the side."""

    side: Side
    keepalive: Keepalive

    def on_due(self, now: float) -> float | None:
        return self.keepalive.on_due(now, self.side)


class Side:
    """One side of a TCP connection, with the pings of a connection and what it has received."""

    def __init__(self, kind: str = "tcp") -> None:
        one, self.peer = sockets(kind)  # type: ignore[arg-type]
        self.peer.settimeout(10)
        self.transport: Transport = transport_for(one)
        self.activity = 0
        self.held_up = False
        self.pings = Pings(Turn(THREADS), THREADS)
        self.writer = FrameWriter(
            self.transport,
            masked=False,
            on_close_sent=lambda: None,
            on_cut_off=lambda reason: None,
            on_unsent=lambda: None,
        )

    def keepalive(self, interval: float | None, timeout: float | None) -> Kept:
        return Kept(self, Keepalive(interval, timeout, transport=self.transport, writer=self.writer, pings=self.pings))

    def read_ping(self) -> bytes:
        """The payload of the next frame, which is a small ping."""
        head = self.peer.recv(2, socket.MSG_WAITALL)
        assert head[0] == 0x89
        return self.peer.recv(head[1], socket.MSG_WAITALL)

    def fill(self) -> None:
        """Send until neither side's buffers take anything."""
        self.transport.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                self.transport.sock.send(bytes(65536))


@pytest.fixture(params=["tcp", "unix"])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    side = Side(request.param)
    yield side
    side.transport.close()
    side.peer.close()


@pytest.fixture
def tcp() -> Iterator[Side]:
    side = Side()
    yield side
    side.transport.close()
    side.peer.close()


def begin(side: Side, interval: float | None = 20, timeout: float | None = 5) -> tuple[Keepalive, float]:
    """Return pings whose first is due, and when that is."""
    pings = side.keepalive(interval, timeout)
    due = pings.on_due(0)
    assert due is not None
    return pings, due


def test_none_without_an_interval(side: Side) -> None:
    pings, due = begin(side, None, 5)
    assert due == math.inf
    assert pings.on_due(10**9) == math.inf


def test_a_ping_every_interval(side: Side) -> None:
    pings, due = begin(side)
    assert pings.on_due(due - 1) == due
    assert pings.on_due(due) == due + 5  # when the pong must be there
    side.pings.answer(side.read_ping())
    assert pings.on_due(due + 1) == due + 20
    assert pings.on_due(due + 21) == due + 26  # a little late, as the next one
    assert side.read_ping()


def test_no_pong(side: Side) -> None:
    pings, due = begin(side)
    pings.on_due(due)
    assert pings.on_due(due + 4.9) == due + 5
    assert pings.on_due(due + 5) is None


def test_nothing_can_be_said_while_nobody_reads(side: Side) -> None:
    pings, due = begin(side)
    pings.on_due(due)
    side.held_up = True
    assert pings.on_due(due + 5) == due + 20
    side.held_up = False
    pings.on_due(due + 20)
    assert pings.on_due(due + 25) is None


def test_something_else_was_received(side: Side) -> None:
    pings, due = begin(side)
    pings.on_due(due)
    side.activity += 1
    assert pings.on_due(due + 5) == due + 20
    # That ping is forgotten: nobody wants its pong, or to send it, any more.
    side.pings.answer(side.read_ping())
    assert side.pings.latency is None
    # The next one is on its own.
    pings.on_due(due + 20)
    assert pings.on_due(due + 25) is None


@linux_only
def test_the_peer_takes_what_is_sent(side: Side) -> None:
    side.fill()
    pings, due = begin(side)
    pings.on_due(due)
    taken = pings.keepalive._taken()
    while pings.keepalive._taken() == taken:
        assert pings.keepalive._untaken()
        side.peer.recv(200_000)
    assert pings.on_due(due + 5) == due + 20
    pings.on_due(due + 20)
    assert pings.on_due(due + 25) is None


def test_the_peer_takes_nothing(side: Side) -> None:
    side.fill()
    pings, due = begin(side)
    pings.on_due(due)
    assert pings.on_due(due + 5) is None


def test_a_machine_that_confirms_while_its_program_hangs(tcp: Side) -> None:
    pings, due = begin(tcp)
    pings.on_due(due)
    tcp.transport.sock.send(b"x")  # all of it is confirmed, by the kernel
    while pings.keepalive._untaken():
        pass
    assert pings.on_due(due + 5) is None


def test_a_timeout_longer_than_the_interval(side: Side) -> None:
    pings, due = begin(side, 20, 50)
    assert pings.on_due(due) == due + 20
    # One is under way; there is none beside it.
    assert pings.on_due(due + 20) == due + 20
    side.pings.answer(side.read_ping())
    assert pings.on_due(due + 21) == due + 41


def test_no_limit_for_the_pong(side: Side) -> None:
    pings, due = begin(side, 20, None)
    assert pings.on_due(due) == due + 20
    assert pings.on_due(due + 10**6) == due + 10**6


@pytest.mark.parametrize("lack", ["fcntl", "ioctl"])
def test_where_the_system_tells_nothing(lack: str, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    if lack == "fcntl":
        monkeypatch.setattr(keepalive, "fcntl", None)
    else:
        monkeypatch.setattr(keepalive.termios, "TIOCOUTQ", 0)
        monkeypatch.setattr(keepalive.termios, "FIONREAD", 0)
    side.fill()
    pings, due = begin(side)
    pings.on_due(due)
    # What it takes over to be sent is a sign that the peer takes it.
    side.peer.recv(10**6)
    assert side.transport.try_send(b"x") == 1
    assert pings.on_due(due + 5) == due + 20
    pings.on_due(due + 20)
    assert pings.on_due(due + 25) is None


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no TCP_USER_TIMEOUT")
def test_the_limit_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = sockets("tcp")
    with one, two:
        limit_unanswered(one, 2.5)
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2500
        limit_unanswered(two, math.inf)
        assert two.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2**31 - 1
        monkeypatch.setattr(keepalive, "_USER_TIMEOUT", None)
        limit_unanswered(one, 7)
    one, two = sockets("unix")
    with one, two:
        limit_unanswered(one, 7)
