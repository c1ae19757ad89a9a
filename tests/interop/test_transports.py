"""TLS, IPv6 and Unix sockets, between syncws and libraries that others wrote."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from interop.cases import CLIENTS, SERVERS, cases
from interop.peers import Authority, Library, Peer, connected, our_server
from wire import DEADLINE, Running

import syncws


def talk(ws: syncws.WebSocket, peer: Peer) -> None:
    """Text and a large message both ways at once, a ping, and a close."""
    large = bytes(range(256)) * 4096

    def theirs() -> tuple[int, str]:
        assert peer.receive() == "hello"
        peer.send("hello yourself")
        assert peer.receive() == large
        return peer.ended()

    with Running(theirs) as other:
        ws.send("hello")
        assert ws.receive(DEADLINE) == "hello yourself"
        ws.send(large)
        ws.ping(b"are you there", timeout=DEADLINE)
        ws.close(4000, "再見")
        assert other.result() == (4000, "再見")


def talk_until_they_close(ws: syncws.WebSocket, peer: Peer) -> None:
    large = "語" * 200_000

    def theirs() -> None:
        peer.send(large)
        peer.close(4001, "that is all")

    with Running(theirs):
        assert ws.receive(DEADLINE) == large
        with pytest.raises(syncws.ConnectionClosed) as caught:
            ws.receive(DEADLINE)
    assert (caught.value.code, caught.value.reason) == (4001, "that is all")


@cases()
def test_tls(library: Library, role: str, authority: Authority) -> None:
    with connected(library, role, tls=authority) as (ws, peer):
        talk(ws, peer)
    with connected(library, role, tls=authority) as (ws, peer):
        talk_until_they_close(ws, peer)


@cases()
def test_ipv6(library: Library, role: str) -> None:
    with connected(library, role, host="::1") as (ws, peer):
        assert ws.remote_address[0] == "::1"
        talk(ws, peer)


@cases()
def test_tls_over_ipv6(library: Library, role: str, authority: Authority) -> None:
    with connected(library, role, host="::1", tls=authority) as (ws, peer):
        talk(ws, peer)


@pytest.mark.parametrize("library", CLIENTS, indirect=True)
@pytest.mark.parametrize("kind", ["WebSocketServer", "WSGIServer"])
def test_their_client_on_a_unix_socket(library: Library, kind: str, tmp_path: Path) -> None:
    path = str(tmp_path / "ws.sock")
    with our_server(kind, path) as server:
        peer = library.client("ws://localhost/", unix=path)
        ws = server.accepted()
        talk(ws, peer)
        peer.dispose()


@pytest.mark.parametrize("library", SERVERS, indirect=True)
def test_their_server_on_a_unix_socket(library: Library, tmp_path: Path) -> None:
    path = str(tmp_path / "ws.sock")
    with library.server(unix=path) as server:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        ws = syncws.connect("ws://localhost/", sock=sock, close_timeout=DEADLINE)
        peer = server.accepted()
        talk(ws, peer)
        peer.dispose()
