"""Sockets that are taken away from their owner: what the owner sees, and that the connection goes on."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import selectors
import socket
import ssl
import weakref
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import gevent.ssl
import pytest
import trustme
from wire import DEADLINE, Running

from syncws.transport import transport_for
from syncws.transport_gevent import GreenletTLSTransport, GreenletTransport
from syncws.wsgi_socket import is_taken, take

KINDS = ["plain", "tls", "gevent", "gevent-tls"]
on_all_kinds = pytest.mark.parametrize("kind", KINDS)


class Watcher:
    """Notes what the former owner attempts."""

    def __init__(self) -> None:
        self.attempts: list[Any] = []

    def owner_writes(self, beginning: bytes) -> bool:
        self.attempts.append(beginning)
        return beginning == b"succeed"

    def owner_closes(self) -> None:
        self.attempts.append("close")


@contextlib.contextmanager
def connection(kind: str) -> Iterator[tuple[Any, Any]]:
    """The socket of a server, and that of its client, a native one."""
    server: Any
    client: Any
    server, client = socket.socketpair()
    client.settimeout(DEADLINE)
    if kind.startswith("gevent"):
        server = gevent.socket.socket(fileno=server.detach())
    if kind.endswith("tls"):
        authority = trustme.CA()
        module: Any = gevent.ssl if kind == "gevent-tls" else ssl
        context = module.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(trusting)
        client = trusting.wrap_socket(client, server_hostname="localhost", do_handshake_on_connect=False)
        with Running(client.do_handshake):
            server = context.wrap_socket(server, server_side=True)
    with contextlib.closing(client):
        yield server, client


@on_all_kinds
def test_connection_goes_on(kind: str) -> None:
    with connection(kind) as (owners, client):
        number = owners.fileno()
        sock = take(owners, Watcher())
        assert type(sock).__name__ == ("SSLSocket" if "tls" in kind else "socket")
        assert sock.fileno() == number
        transport = transport_for(sock)
        assert transport.secure == ("tls" in kind)
        assert isinstance(transport, (GreenletTransport, GreenletTLSTransport)) == ("gevent" in kind)
        data = bytes(range(256)) * 4000
        with Running(lambda: client.sendall(data)):
            received = b""
            while len(received) < len(data):
                received += transport.recv()
        assert received == data
        with Running(lambda: client.makefile("rb").read(len(data))) as reading:
            transport.send_all(data)
            while reading.running:
                gevent.sleep(0.001)
            assert reading.result() == data
        transport.shutdown_write()
        assert client.recv(1) == b""
        transport.close()
        # The number may be another's now: what the owner does with its object must not reach it.
        with socket.socket() as other:
            owners.close()
            del owners, transport, sock
            gc.collect()
            assert other.getsockname()


@on_all_kinds
def test_what_the_owner_sees(kind: str) -> None:
    with connection(kind) as (owners, client):
        file = owners.makefile("rb")
        watcher = Watcher()
        assert not is_taken(owners)
        transport = transport_for(take(owners, watcher))
        assert is_taken(owners)
        client.sendall(b"not for you")
        assert (owners.recv(100), owners.recv_into(bytearray(100)), file.read()) == (b"", 0, b"")
        for attempt in (
            lambda: owners.sendall(b"HTTP/1.1 500 Internal Server Error\r\n"),
            lambda: owners.send(memoryview(b"bytes")),
            lambda: owners.sendfile(None),
        ):
            with pytest.raises(BrokenPipeError) as caught:
                attempt()
            assert caught.value.errno == errno.EPIPE
        assert watcher.attempts == [b"HTTP/1.1 500 Int", b"bytes", b""]
        del watcher.attempts[:]
        with pytest.raises(OSError, match="has become a WebSocket"):
            owners.getpeername()
        for blocking in (False, True):
            owners.setblocking(blocking)
        owners.settimeout(1.0)
        assert owners.unwrap() is owners
        assert owners.detach() == -1
        assert watcher.attempts == []
        file.close()
        owners.shutdown(socket.SHUT_RDWR)
        owners.close()
        assert watcher.attempts == ["close", "close"]
        assert transport.recv() == b"not for you"
        transport.close()


def test_while_the_owner_handles_an_exception() -> None:
    with connection("plain") as (owners, _):
        watcher = Watcher()
        sock = take(owners, watcher)
        try:
            raise ValueError("the app's")
        except ValueError:
            assert owners.send(b"HTTP/1.1 500 \r\n") == 15
            owners.sendall(b"more")
            assert owners.sendfile(None) == 0
        assert watcher.attempts == [b"HTTP/1.1 500 \r\n", b"more", b""]
        assert owners.send(b"succeed") == 7
        with pytest.raises(BrokenPipeError):
            owners.send(b"fail")
        sock.close()


def test_methods_of_tls_only() -> None:
    with connection("tls") as (owners, _):
        sock = take(owners, Watcher())
        assert (owners.pending(), owners.read(), owners.read(10, bytearray(10))) == (0, b"", 0)
        with pytest.raises(BrokenPipeError):
            owners.write(b"data")
        # Who the client is may still be asked.
        assert owners.version() == sock.version()
        assert owners.getpeercert() is None
        sock.close()


def test_native_socket_of_a_gevent_socket() -> None:
    with connection("gevent") as (owners, _):
        sock = take(owners, Watcher())
        # As pywsgi does it at the end of a connection.
        assert owners._sock.recv(16384) == b""
        owners._sock.close()
        with pytest.raises(AttributeError):
            owners.recvmsg(1)
        sock.close()


@pytest.mark.parametrize("selector", [selectors.DefaultSelector, selectors.SelectSelector, selectors.PollSelector])
def test_selectors_find_the_end_of_the_stream(selector: type[selectors.BaseSelector]) -> None:
    with connection("plain") as (first, _), connection("tls") as (second, _):
        ours = [take(first, Watcher()), take(second, Watcher())]
        for owners in first, second:
            with selector() as waiting:
                waiting.register(owners, selectors.EVENT_READ)
                assert [key.fileobj for key, _ in waiting.select(DEADLINE)] == [owners]
        # One selector for all connections, as Gunicorn's threaded worker has.
        with selector() as waiting:
            for owners in first, second:
                waiting.register(owners, selectors.EVENT_READ)
            assert len(waiting.select(DEADLINE)) == 2
            for owners in first, second:
                waiting.unregister(owners)
        assert first.fileno() == first.fileno() not in [sock.fileno() for sock in ours]
        for sock in ours:
            sock.close()
    assert select.select([first], [], [], 0)[0] == [first]
    number = first.fileno()
    del first, second, owners, waiting, ours, sock
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_no_descriptors_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with connection("plain") as (owners, _):
        sock = take(owners, Watcher())
        monkeypatch.setattr(os, "dup", fail)
        assert select.select([owners], [], [], 0)[0] == [owners]
        sock.close()


@on_all_kinds
def test_nothing_is_left_behind(kind: str) -> None:
    with connection(kind) as (owners, _):
        watcher = Watcher()
        sock = take(owners, watcher)
        sock.close()
        references = [weakref.ref(each) for each in (owners, watcher, sock)]
        del owners, watcher, sock
    gc.collect()
    assert [reference() for reference in references] == [None, None, None]


def test_only_sockets() -> None:
    class GreenSocket:
        pass

    sock = GreenSocket()
    with pytest.raises(TypeError, match=r"cannot take over a .*GreenSocket: it is no socket\.socket"):
        take(sock, Watcher())
    assert type(sock) is GreenSocket
