"""Connections that are refused without waiting for them."""

from __future__ import annotations

import errno
import os
import selectors
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from wire import ClientSocket

import syncws.refusals
from syncws.refusals import BUSY, Refusals


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


class NoMemory(selectors.DefaultSelector):
    """A selector that has no memory for another socket."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise MemoryError


def test_no_memory_to_keep_it() -> None:
    # It is closed then, but what the client has sent has been read: the answer arrives.
    with socket.create_server(("127.0.0.1", 0)) as listener, NoMemory() as selector, Refusals(selector) as refusals:
        with ClientSocket(socket.create_connection(listener.getsockname())) as client:
            client.send(b"GET / HTTP/1.1\r\n")
            sock, _ = listener.accept()
            refusals.add(sock, BUSY)
            assert sock.fileno() == -1
            assert client.read_to_end() == BUSY


def test_one_answer_is_enough(selector: selectors.BaseSelector) -> None:
    sock, client = connection()
    with client, Refusals(selector) as refusals:
        refusals.add(sock, b"busy")
        refusals.add(sock, BUSY)
        assert client.read_to_end() == b"busy"
        client.close()
        refusals.on_readable(sock)
        assert sock.fileno() == -1
        refusals.add(sock, BUSY)
        assert len(selector.get_map()) == 0


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


class NoDescriptors:
    """What os.open() says when there are no descriptors, except for those that are given back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 0
        self._open = os.open
        monkeypatch.setattr("syncws.refusals.os.open", self._open_one)

    def _open_one(self, path: str, flags: int) -> int:
        if self.free == 0:
            raise OSError(errno.EMFILE, "Too many open files")
        self.free -= 1
        return self._open(path, flags)


def test_spare_descriptor_is_lent(selector: selectors.BaseSelector, monkeypatch: pytest.MonkeyPatch) -> None:
    (first, _first), (second, _second) = connection(), connection()
    with _first, _second, Refusals(selector) as refusals:
        descriptors = NoDescriptors(monkeypatch)
        assert refusals.lend()
        # Whoever was faster has it.
        assert not refusals.lend()
        assert not refusals.restore()
        # One client after the other takes its place.
        refusals.add(first, b"busy")
        _first.send(b"GET / HTTP/1.1\r\n")
        assert refusals.lend()
        assert first.fileno() == -1
        refusals.add(second, b"busy")
        assert _first.read_to_end() == b"busy", "no reset"
        # There is one again.
        descriptors.free = 1
        refusals.expire()
        assert descriptors.free == 0
        assert refusals.restore()
        assert refusals.lend()
        assert second.fileno() != -1
        assert refusals.lend()
        assert second.fileno() == -1


def test_refused_ones_give_way(selector: selectors.BaseSelector, monkeypatch: pytest.MonkeyPatch) -> None:
    (first, _first), (second, _second), (third, _third) = connection(), connection(), connection()
    with _first, _second, _third, Refusals(selector) as refusals:
        descriptors = NoDescriptors(monkeypatch)
        assert not refusals.give_way()
        refusals.add(first, b"busy")
        refusals.add(second, b"busy")
        assert refusals.give_way()
        assert first.fileno() == second.fileno() == -1
        # The one that has the spare descriptor gives way to nobody but the next that is refused.
        assert refusals.lend()
        refusals.add(third, b"busy")
        descriptors.free = 1
        assert not refusals.give_way()
        assert third.fileno() == -1
        assert descriptors.free == 0


def test_no_descriptor_to_spare_from_the_beginning(
    selector: selectors.BaseSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    NoDescriptors(monkeypatch)
    with Refusals(selector) as refusals:
        assert not refusals.lend()
