"""Too many connections: over the limit; and what each connection costs in threads."""

from __future__ import annotations

import contextlib
import logging
import threading

import pytest
from peers import eventually, no_idle_threads
from raw_client import (
    WS_FIELDS,
    Entrance,
    RawClient,
    both_servers,
    request,
    server_and_client_contexts,
    serving,
)


@both_servers
def test_connection_over_the_limit_gets_503_and_the_next_one_is_served(
    entrance: Entrance, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(entrance, max_connections=3) as address, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(address)).open() for _ in range(3)]
        for _ in range(20):
            with RawClient(address) as refused:
                refused.send(request(*WS_FIELDS))
                response = refused.read_response()
                assert response.status == 503
                assert 0 < len(response.body) < 200
                assert refused.read_to_end() == b""
        for client in clients:
            client.echo("unharmed")
        clients[0].close_normally()
        clients[0].close()
        # The place is free when the server's thread is through with the connection.
        served = False
        while not served:
            with RawClient(address) as client:
                client.send(request(*WS_FIELDS))
                served = client.read_response().status == 101
        lines = [record for record in caplog.records if "max_connections" in record.getMessage()]
        assert [record.levelno for record in lines[:1]] == [logging.ERROR]
        assert len(lines) <= 2, "one line each time that the limit is reached"


@both_servers
def test_refusals_never_hold_up_the_accept_loop(entrance: Entrance) -> None:
    with serving(entrance, max_connections=1) as address, contextlib.ExitStack() as stack:
        only = stack.enter_context(RawClient(address)).open()
        # They neither send nor read nor go away.
        silent = [stack.enter_context(RawClient(address)) for _ in range(150)]
        with RawClient(address) as last:
            last.send(request(*WS_FIELDS))
            assert last.read_response().status == 503
        only.echo()
        for client in silent:
            assert client.read_response().status == 503


def threads() -> int:
    """How many threads there are, without the one that serves all connections."""
    return len([thread for thread in threading.enumerate() if thread.name != "syncws-keeper"])


@both_servers
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_each_connection_has_one_thread(entrance: Entrance, tls: bool) -> None:
    contexts = server_and_client_contexts()
    no_idle_threads()
    with serving(entrance, ssl=contexts[0] if tls else None) as address:
        before = threads()
        clients = []
        for number in range(1, 31):
            clients.append(RawClient(address, tls=contexts[1] if tls else None).open())
            clients[-1].echo()
            assert threads() == before + number
        for client in clients:
            client.echo("again")
        assert threads() == before + 30
        for client in clients:
            client.close_normally()
            client.close()
        eventually(lambda: threads() == before)
