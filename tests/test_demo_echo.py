"""The demo's echo, over the network with a client of others."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator

import pytest
from commands import DEADLINE, Server, running
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

import syncws
import syncws.demo.echo


@pytest.fixture(scope="module")
def demo() -> Iterator[Server]:
    with running("demo", "--port", "0") as server:
        yield server


def closing(ws: ClientConnection) -> tuple[int, str]:
    """The close code and reason with which the server ends a connection."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            ws.recv(timeout=DEADLINE)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_echo(demo: Server) -> None:
    with connect(demo.ws_url + "echo", origin=demo.url.rstrip("/")) as ws:  # type: ignore[arg-type]
        for message in ("hello", "", "Grüße 🙂", b"", b"\x00\xff", "/closed", "/close", "/fragments", "/x y"):
            ws.send(message)
            assert ws.recv(timeout=DEADLINE) == message


@pytest.mark.parametrize(
    "command, expected",
    [
        ("/close 1000", (1000, "")),
        ("/close 1011 something broke", (1011, "something broke")),
        ("/close 4001 lunch", (4001, "lunch")),
    ],
)
def test_echo_closes_when_asked(demo: Server, command: str, expected: tuple[int, str]) -> None:
    with connect(demo.ws_url + "echo") as ws:
        ws.send(command)
        assert closing(ws) == expected


@pytest.mark.parametrize(
    "command", ["/close ", "/close now", "/close 1005", "/close 99999", "/close 4000 " + 124 * "x"]
)
def test_echo_says_why_it_cannot_close_like_that(demo: Server, command: str) -> None:
    with connect(demo.ws_url + "echo") as ws:
        ws.send(command)
        answer = ws.recv(timeout=DEADLINE)
        assert isinstance(answer, str) and ("cannot close like that" in answer or "/close 4000 bye" in answer)
        ws.send("still there")
        assert ws.recv(timeout=DEADLINE) == "still there"


def test_echo_pings_when_asked(demo: Server) -> None:
    with connect(demo.ws_url + "echo") as ws:
        ws.send("/ping")
        assert re.fullmatch(r"The pong came after \d+\.\d\d ms\.", str(ws.recv(timeout=DEADLINE)))


def test_echo_says_when_no_pong_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncws.demo.echo, "_PING_TIMEOUT", 0.01)
    silent, served = socket.socketpair()
    with silent, served:
        silent.sendall(
            b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            b"\x81\x85\x00\x00\x00\x00/ping"
        )
        silent.settimeout(DEADLINE)
        ws = syncws.accept(served)
        thread = threading.Thread(target=syncws.demo.echo.echo, args=[ws])
        thread.start()
        received = b""
        while b"No pong came within 0.01 s." not in received:
            more = silent.recv(4096)
            assert more, received
            received += more
        silent.sendall(b"\x88\x80\x00\x00\x00\x00")
        thread.join(DEADLINE)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "text, pieces",
    [
        ("one two  three", ["one ", "two  ", "three", ""]),
        (" one", [" one", ""]),
        ("", ["", ""]),
        (" ", [" ", ""]),
    ],
)
def test_echo_sends_fragments_when_asked(demo: Server, text: str, pieces: list[str]) -> None:
    with connect(demo.ws_url + "echo") as ws:
        ws.send("/fragments " + text)
        assert list(ws.recv_streaming()) == pieces


@pytest.mark.parametrize("query, compressed", [("", False), ("?compress=1", True)])
def test_echo_compresses_when_asked(demo: Server, query: str, compressed: bool) -> None:
    with connect(f"{demo.ws_url}echo{query}") as ws:
        assert ws.response is not None
        assert ("Sec-WebSocket-Extensions" in ws.response.headers) == compressed
        ws.send("hello")
        assert ws.recv(timeout=DEADLINE) == "hello"
