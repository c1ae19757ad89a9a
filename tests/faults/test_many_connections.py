"""Thousands of connections at once, all of them echoing; what each costs, and what all of them cost while idle."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from socket import socket

import pytest
from faulting import (
    LONG,
    address_of,
    cpu_seconds,
    descriptors,
    echo_all,
    figure,
    fully,
    on_threads_and_greenlets,
    open_all,
    open_descriptors_of,
    serving_process,
    status_of,
)


@contextlib.contextmanager
def opened() -> Iterator[list[socket]]:
    """A list of sockets, closed at the end."""
    clients: list[socket] = []
    try:
        yield clients
    finally:
        for sock in clients:
            sock.close()


@on_threads_and_greenlets
@pytest.mark.timeout(LONG)
def test_thousands_at_once_are_all_echoed_to(gevent: bool) -> None:
    count = fully(10_000 if gevent else 5000, 300)
    options = {"max_connections": None, "max_handshakes": None}
    with descriptors(count + 500), serving_process(gevent=gevent, **options) as server, opened() as clients:
        open_all(address_of(server), 20, clients)
        echo_all(clients, "warm")
        threads, memory, files = (
            status_of(server, "Threads"),
            status_of(server, "VmRSS"),
            open_descriptors_of(server),
        )
        began = time.monotonic()
        open_all(address_of(server), count - 20, clients)
        opening = time.monotonic() - began
        assert open_descriptors_of(server) - files == count - 20
        began = time.monotonic()
        for words in ("first", "second"):
            echo_all(clients, words)
        echoing = (time.monotonic() - began) / 2
        each = (status_of(server, "VmRSS") - memory) / (count - 20)
        assert status_of(server, "Threads") - threads == (0 if gevent else count - 20)
        before, began = cpu_seconds(server), time.monotonic()
        time.sleep(fully(5, 1))
        idle = (cpu_seconds(server) - before) / (time.monotonic() - began)
        echo_all(clients, "still there")
        began = time.monotonic()
        for sock in clients[20:]:
            sock.close()
        # All at once: each thread wants Python's lock then.
        while open_descriptors_of(server) > files or status_of(server, "Threads") > threads:
            assert time.monotonic() < began + LONG / 2
            time.sleep(0.05)
        figure(
            f"{count} connections opened in {opening:.1f} s, all echoed to in {echoing:.2f} s, "
            f"{each / 1024:.1f} KiB each, {idle:.2%} CPU while idle, gone in {time.monotonic() - began:.1f} s"
        )
        echo_all(clients[:20], "the last ones")
        assert server.log() == ""
