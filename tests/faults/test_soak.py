"""Connections that are opened and killed at any point, by the thousand: nothing is left of them.

SOAK_SECONDS, as in ``tox -e soak``, has it go on for so long.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable

import pytest
from commands import Server
from commands import running as running_command
from faulting import (
    LONG,
    MIB,
    REQUEST,
    address_of,
    connect,
    descriptors,
    figure,
    fully,
    on_threads_and_greenlets,
    open_descriptors_of,
    status_of,
)
from peers import reset
from raw_client import BINARY, CLOSE, CONTINUATION, PING, TEXT, RawClient, frame

SECONDS = float(os.environ.get("SOAK_SECONDS", 0))
ALIVE = 64  # connections that there are at the same time
LARGE = frame(BINARY, bytes(100_000))

# How far a connection gets before it is killed: what it sends, each piece with a moment in between.
STAGES = {
    "connected": [],
    "in the request": [REQUEST[:50]],
    "request sent": [REQUEST],
    "nonsense": [b"\x16\x03\x01\x02\x00 no request at all\r\n\r\n"],
    "refused": [REQUEST.replace(b"Version: 13", b"Version: 8")],
    "in a frame header": [REQUEST, frame(TEXT, b"whole"), LARGE[:5]],
    "in a payload": [REQUEST, LARGE[:50_000]],
    "between fragments": [REQUEST, frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"b", fin=False)],
    "answers unread": [REQUEST, *[LARGE] * 3],
    "pings": [REQUEST, frame(PING, b"ping") * 10],
    "broken rule": [REQUEST, frame(TEXT, key=None), LARGE],
    "closing": [REQUEST, frame(CLOSE, b"\x03\xe8")],
}


def finish(sock: socket.socket) -> None:
    """End our direction, as a client does that is through; the server's end is not waited for."""
    sock.shutdown(socket.SHUT_WR)
    sock.close()


KILLS: list[Callable[[socket.socket], None]] = [reset, socket.socket.close, finish]


class Churn:
    """Connections that come and go, the same for the same seed.

    :ivar killed: how many have come and gone.
    """

    def __init__(self, server: Server, seed: int) -> None:
        self._address = address_of(server)
        self._random = random.Random(seed)
        self._alive: list[tuple[socket.socket, list[bytes]]] = []
        self.killed = 0

    def step(self) -> None:
        """Let a connection come, and another send its next piece, or be killed if it has sent all."""
        if len(self._alive) < ALIVE:
            stage = self._random.choice(list(STAGES))
            self._alive.append((connect(self._address, self.killed), list(reversed(STAGES[stage]))))
        at = self._random.randrange(len(self._alive))
        sock, rest = self._alive[at]
        try:
            if rest:
                sock.send(rest.pop())
                return
            self._random.choice(KILLS)(sock)
        except OSError:  # the server has been faster
            sock.close()
        self._alive.pop(at)
        self.killed += 1

    def stop(self) -> None:
        """Kill those that are left."""
        for sock, _ in self._alive:
            self._random.choice(KILLS)(sock)
            self.killed += 1
        self._alive.clear()

    def until(self, killed: int) -> None:
        """Go on until so many have come and gone, and none is left."""
        while self.killed < killed - len(self._alive):
            self.step()
        self.stop()


def shows(server: Server) -> tuple[int, int]:
    """What each connection has while it is there: descriptors and threads."""
    return open_descriptors_of(server), status_of(server, "Threads")


def settled(server: Server) -> tuple[int, int]:
    """The same, with no connection, when the server has settled: when it has been the same for a second."""
    with RawClient(address_of(server)) as client:
        client.open().close_normally()
    seen, since = shows(server), time.monotonic()
    while time.monotonic() - since < 1:
        if shows(server) != seen:
            seen, since = shows(server), time.monotonic()
        time.sleep(0.01)
    return seen


def churning(churn: Churn, other: RawClient, count: int) -> None:
    """Have so many more come and go, while another client is served."""
    end = churn.killed + count
    while churn.killed < end:
        churn.until(min(end, churn.killed + 200))
        other.echo("served all the time")
        # Behind the others in the queue of the listening socket, which is not to overflow.
        with RawClient(other.sock.getpeername()) as newcomer:
            newcomer.open().close_normally()


def wait_for(server: Server, beginning: tuple[int, int]) -> None:
    """Wait until there is no more than there was at the beginning."""
    limit = time.monotonic() + 60
    while shows(server) != beginning:
        assert time.monotonic() < limit, f"descriptors and threads: {shows(server)}, {beginning} at the beginning"
        time.sleep(0.01)


OPTIONS = ("echo", "--port", "0", "--log-level", "error")


@on_threads_and_greenlets
@pytest.mark.timeout(LONG)
def test_connections_killed_at_any_point_leave_nothing_behind(gevent: bool) -> None:
    with descriptors(1000), running_command(*OPTIONS, *(["--gevent"] if gevent else [])) as server:
        beginning = settled(server)
        churn = Churn(server, seed=18)
        with RawClient(address_of(server)) as other:
            other.open()
            churning(churn, other, fully(2000, 300))
        wait_for(server, beginning)
        memory = status_of(server, "VmRSS")
        count, began = fully(10_000, 500), time.monotonic()
        with RawClient(address_of(server)) as other:
            other.open()
            churning(churn, other, count)
            other.close_normally()
        took = time.monotonic() - began
        wait_for(server, beginning)
        growth = status_of(server, "VmRSS") - memory
        figure(
            f"{count} connections in {took:.0f} s: descriptors and threads {beginning}, as at the beginning; "
            f"memory grew by {growth / MIB:.2f} MiB"
        )
        assert growth < 4 * MIB
        assert server.log() == ""
        assert server.stop() == 0


@on_threads_and_greenlets
@pytest.mark.skipif(not SECONDS, reason="takes as long as SOAK_SECONDS says: tox -e soak")
@pytest.mark.timeout(SECONDS + LONG)
def test_an_hour_of_churn_leaves_nothing_behind(gevent: bool) -> None:
    with descriptors(1000), running_command(*OPTIONS, *(["--gevent"] if gevent else [])) as server:
        beginning = settled(server)
        churn = Churn(server, seed=int(time.time()))
        until = time.monotonic() + SECONDS
        memory: list[int] = []
        while time.monotonic() < until:
            with RawClient(address_of(server)) as other:
                other.open()
                churning(churn, other, 2000)
                other.close_normally()
            wait_for(server, beginning)
            memory.append(status_of(server, "VmRSS"))
        # The first rounds are what memory is warmed up with.
        growth = memory[-1] - max(memory[: max(1, len(memory) // 10)])
        figure(
            f"{churn.killed} connections in {SECONDS:.0f} s: descriptors and threads {beginning}, as at the beginning; "
            f"memory grew by {growth / MIB:.2f} MiB after the first tenth"
        )
        assert growth < 4 * MIB
        assert server.log() == ""
        assert server.stop() == 0
