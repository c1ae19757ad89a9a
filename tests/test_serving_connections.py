"""All connections of a server: their number and their end."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable

import pytest
from wire import DEADLINE, Running, pair, wait_until

from syncws.budgets import Place
from syncws.options import Options
from syncws.serving import ServedConnection
from syncws.serving_connections import Connections
from syncws.transport import SocketTransport, Transport


class Connection(ServedConnection):
    """A connection that does what a test wants."""

    def __init__(self, transport: Transport, act: Callable[[], object]) -> None:
        super().__init__(transport, Options())
        self.act = act
        self.calls: list[object] = []

    def _serve(self, deadline: float | None) -> None:
        self.act()

    def stop(self, code: int = 0, reason: str = "") -> None:
        self.calls.append((code, reason))

    def abort(self) -> None:
        self.calls.append("abort")


class Left(Place):
    """A place that has to be left."""

    left = False

    def leave(self) -> None:
        self.left = True


def all_of(shutdown_timeout: float | None = None) -> Connections:
    return Connections(threading.Condition(), threading.get_ident, shutdown_timeout)


def test_number() -> None:
    connections = all_of()
    with pair() as (sock, _):
        first, second = (Connection(SocketTransport(sock), lambda: None) for _ in range(2))
        first.place = place = Left()
        connections.add(first)
        connections.add(second)
        assert len(connections) == 2
        assert not place.left
        connections.forget(first)
        assert len(connections) == 1
        assert place.left


def test_connection_is_forgotten_when_it_is_over() -> None:
    connections = all_of()
    with pair() as (sock, client):
        connection = Connection(SocketTransport(sock), client.close)
        connections.add(connection)
        connections.serve(connection)
    assert len(connections) == 0
    assert connection.calls == []

    def fail() -> None:
        raise ZeroDivisionError

    with pair() as (sock, client):
        connection = Connection(SocketTransport(sock), fail)
        connections.add(connection)
        with pytest.raises(ZeroDivisionError):
            connections.serve(connection)
    assert len(connections) == 0


def test_end_tells_all_and_waits(caplog: pytest.LogCaptureFixture) -> None:
    connections = all_of()
    go_on = threading.Event()
    with pair() as (sock, _):
        early, late = (Connection(SocketTransport(sock), lambda: go_on.wait(DEADLINE)) for _ in range(2))
        connections.add(early)
        connections.stop(1012, "back soon")
        connections.stop(1001, "never mind")
        assert early.calls == []
        connections.add(late)
        assert late.calls == [(1012, "back soon")]
        with Running(connections.end) as end:
            wait_until(lambda: early.calls)
            assert early.calls == [(1012, "back soon")]
            connections.forget(early)
            assert end.running
            connections.forget(late)
    assert caplog.records == []


def test_two_connections_that_call_end_do_not_wait_for_each_other(caplog: pytest.LogCaptureFixture) -> None:
    connections = all_of()
    both = threading.Barrier(2)
    with pair() as (one, _), pair() as (two, _):

        def stop() -> None:
            both.wait(DEADLINE)
            connections.stop(1001, "")
            connections.end()

        ends = [Connection(SocketTransport(sock), stop) for sock in (one, two)]
        for each in ends:
            connections.add(each)
        with Running(functools.partial(connections.serve, ends[0])) as other:
            connections.serve(ends[1])
            other.result()
    assert len(connections) == 0
    assert caplog.records == []


def test_end_does_not_wait_for_the_connection_that_calls_it() -> None:
    connections = all_of()
    with pair() as (sock, client):

        def stop() -> None:
            connections.stop(1001, "")
            connections.end()
            client.close()

        connection = Connection(SocketTransport(sock), stop)
        connections.add(connection)
        with Running(lambda: connections.serve(connection)):
            pass
        assert connection.calls == [(1001, "")]


def test_end_drops_what_is_late_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "syncws")
    connections = all_of(shutdown_timeout=0.01)
    with pair() as (sock, _):
        connection = Connection(SocketTransport(sock), lambda: None)
        connections.add(connection)
        connections.stop(1001, "")
        for _ in range(2):
            connections.end()
        assert connection.calls == [(1001, ""), "abort", (1001, "")]
    assert [record.getMessage() for record in caplog.records] == [
        "dropping 1 connections that are still open after 0.01 s"
    ]
