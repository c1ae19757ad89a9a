"""The demo's chat, over the network with a client of others."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from commands import DEADLINE, Server, running
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from syncws import WSGIServer
from syncws.demo import DemoApp
from syncws.demo.chat import CHAT_OPTIONS


@pytest.fixture(scope="module")
def demo() -> Iterator[Server]:
    with running("demo", "--port", "0") as server:
        yield server


@contextlib.contextmanager
def chatting(demo: Server, name: str) -> Iterator[ClientConnection]:
    """Join the chat; leave it, and wait until the server has noticed, at the end."""
    with connect(f"{demo.ws_url}chat?name={name}") as ws:
        name = next_event(ws, "welcome")["name"]
        yield ws
    wait_until_gone(demo, name)


def wait_until_gone(demo: Server, name: str) -> None:
    """Wait until nobody in the chat has that name, which the next test may want."""
    with connect(demo.ws_url + "chat?name=watcher") as watcher:
        people = next_event(watcher, "joined")["people"]
        while name in people:
            people = next_event(watcher, "left")["people"]


def next_event(ws: ClientConnection, wanted: str, name: str | None = None) -> dict[str, Any]:
    """The next event of a type, about somebody; others, such as a late farewell of the test before, are skipped."""
    while True:
        event = json.loads(ws.recv(timeout=DEADLINE))
        assert isinstance(event, dict)
        if event["type"] == wanted and name in {None, event["name"]}:
            return event


def closing(ws: ClientConnection) -> tuple[int, str]:
    """The close code and reason with which the server ends a connection."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            ws.recv(timeout=DEADLINE)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_chat(demo: Server) -> None:
    with chatting(demo, "Ada") as ada:
        assert "Ada" in next_event(ada, "joined")["people"]
        with chatting(demo, "Grace") as grace:
            assert {"Ada", "Grace"} <= set(next_event(ada, "joined", "Grace")["people"])
            ada.send("hello <b>you</b>")
            for ws in (ada, grace):
                event = next_event(ws, "message")
                assert (event["name"], event["text"]) == ("Ada", "hello <b>you</b>")
        assert "Grace" not in next_event(ada, "left", "Grace")["people"]


def test_chat_numbers_its_events(demo: Server) -> None:
    with chatting(demo, "counter") as ws:
        numbers = [next_event(ws, "joined")["number"]]
        for _ in range(3):
            ws.send("x")
            numbers.append(next_event(ws, "message")["number"])
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    "wanted, expected",
    [("", "Guest"), ("%20%20", "Guest"), ("Zo%C3%AB%20%0A%20B", "Zoë B"), (40 * "x", 32 * "x")],
)
def test_chat_tidies_names(demo: Server, wanted: str, expected: str) -> None:
    with connect(f"{demo.ws_url}chat?name={wanted}") as ws:
        name = next_event(ws, "welcome")["name"]
    wait_until_gone(demo, name)
    assert name == expected


def test_chat_keeps_names_apart(demo: Server) -> None:
    with contextlib.ExitStack() as stack:
        names = []
        for _ in range(3):
            ws = stack.enter_context(connect(f"{demo.ws_url}chat?name=Twin"))
            names.append(next_event(ws, "welcome")["name"])
        assert names == ["Twin", "Twin 2", "Twin 3"]


def test_chat_takes_no_binary_message(demo: Server) -> None:
    with chatting(demo, "binary") as ws:
        ws.send(b"\x00")
        assert closing(ws)[0] == 1003


def test_chat_limits_messages(demo: Server) -> None:
    with chatting(demo, "long") as ws:
        ws.send(16 * 1024 * "x")
        assert len(next_event(ws, "message")["text"]) == 16 * 1024
        ws.send((16 * 1024 + 1) * "x")
        assert closing(ws)[0] == 1009


def test_chat_goes_on_when_somebody_vanishes(demo: Server) -> None:
    with chatting(demo, "Ada") as ada:
        with chatting(demo, "lost") as lost:
            lost.socket.shutdown(socket.SHUT_RDWR)
            assert "lost" not in next_event(ada, "left", "lost")["people"]
        ada.send("alone")
        assert next_event(ada, "message")["text"] == "alone"


def test_chat_drops_who_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHAT_OPTIONS, "close_timeout", 0.2)
    with WSGIServer(("127.0.0.1", 0), DemoApp()) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = "ws://{}:{}/chat?name=".format(*server.server_address)
        try:
            with socket.create_connection(server.server_address) as silent, connect(url + "Ada") as ada:
                assert next_event(ada, "joined")["name"] == "Ada"
                silent.sendall(
                    b"GET /chat?name=silent HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
                )
                assert next_event(ada, "joined")["name"] == "silent"
                # What the socket's buffers and the backlog take is not endless.
                while True:
                    ada.send(16 * 1024 * "x")
                    event = json.loads(ada.recv(timeout=DEADLINE))
                    if event["type"] == "left":
                        break
                assert event["name"] == "silent"
        finally:
            server.shutdown()
            thread.join()
