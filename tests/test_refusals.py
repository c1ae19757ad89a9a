"""Connections that are refused without waiting for them."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator

import pytest
from wire import ClientSocket

import syncws.refusals
from syncws.refusals import Refusals


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as selector:
        yield selector


def connection() -> tuple[socket.socket, ClientSocket]:
    server, client = socket.socketpair()
    return server, ClientSocket(client)


def test_answer_survives_what_the_client_sends(selector: selectors.BaseSelector) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, Refusals(selector) as refusals:
        with ClientSocket(socket.create_connection(listener.getsockname())) as client:
            sock, _ = listener.accept()
            refusals.add(sock, b"busy")
            refusals.on_readable(sock)  # nothing there yet
            client.send(b"GET / HTTP/1.1\r\n")
            [(key, _)] = selector.select(10)
            assert key.data is sock
            refusals.on_readable(sock)
            assert client.read_to_end() == b"busy"
            assert sock.fileno() != -1
            client.close()
            selector.select(10)
            refusals.on_readable(sock)
            assert sock.fileno() == -1
            # It may have been ready and closed in the same round of the loop.
            refusals.on_readable(sock)


def test_client_that_is_gone(selector: selectors.BaseSelector) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, Refusals(selector) as refusals:
        client = socket.create_connection(listener.getsockname())
        sock, _ = listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        refusals.add(sock, b"busy")
        client.close()
        selector.select(10)
        refusals.on_readable(sock)
        assert sock.fileno() == -1
    with Refusals(selector) as refusals:
        server, other = connection()
        other.close()
        refusals.add(server, b"busy")


def test_time_and_number_are_limited(selector: selectors.BaseSelector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncws.refusals, "_KEPT", 2)
    pairs = [connection() for _ in range(3)]
    with Refusals(selector) as refusals:
        for sock, _ in pairs:
            refusals.add(sock, b"busy")
        assert [sock.fileno() == -1 for sock, _ in pairs] == [True, False, False]
        refusals.expire()
        assert [sock.fileno() == -1 for sock, _ in pairs] == [True, False, False]
        monkeypatch.setattr(syncws.refusals.time, "monotonic", lambda: float("inf"))
        refusals.expire()
        assert all(sock.fileno() == -1 for sock, _ in pairs)
    for _, client in pairs:
        assert client.read_to_end() == b"busy"
        client.close()


def test_all_are_closed_at_the_end(selector: selectors.BaseSelector) -> None:
    sock, client = connection()
    with Refusals(selector) as refusals:
        refusals.add(sock, b"busy")
    assert sock.fileno() == -1
    assert len(selector.get_map()) == 0
    client.close()
