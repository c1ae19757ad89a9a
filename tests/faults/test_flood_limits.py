"""Floods of what costs the sender six bytes: over the limit the connection is closed, and others do not notice."""

from __future__ import annotations

import ssl
import threading
from typing import Any

import pytest
from peers import RawFrame, Task, start
from raw_client import (
    CLOSE,
    CONTINUATION,
    DEADLINE,
    PING,
    PONG,
    TEXT,
    Entrance,
    RawClient,
    both_servers,
    echo,
    frame,
    server_and_client_contexts,
    serving,
)

import syncws

MANY = 100_000
CONTROL_FRAMES = b"more than 1000 control frames per second, the limit max_control_frames_per_second"
MESSAGES = b"more than 100 messages per second, the limit max_messages_per_second"
FLOODS = {"pings": frame(PING), "full pings": frame(PING, bytes(125)), "pongs": frame(PONG, b"not asked for")}
TINY = {"messages": frame(TEXT), "messages in fragments": frame(TEXT, b"a", fin=False) + frame(CONTINUATION)}


def last_frame_after(client: RawClient, data: bytes) -> RawFrame:
    """Send the same many times, and read whatever comes meanwhile to its end."""

    def send() -> None:
        for _ in range(MANY // 1000):
            client.send(data * 1000)

    if isinstance(client.sock, ssl.SSLSocket):
        # One thread at a time may use it. The server reads to the end what comes behind its close frame.
        send()
        return client.read_all()[-1]
    sending = start(send)
    last = client.read_all()[-1]
    sending.result(DEADLINE)
    return last


def others_are_served(others: list[RawClient], meanwhile: Task) -> None:
    rounds = 0
    while meanwhile.is_alive() or rounds < 100:
        for other in others:
            other.echo(str(rounds))
        rounds += 1


def closed(reason: bytes) -> RawFrame:
    return RawFrame(CLOSE, (1008).to_bytes(2, "big") + reason)


class Handler:
    """Echoes; on the path /busy it is elsewhere until it is told, and receives then."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.outcome: Any = None

    def __call__(self, ws: syncws.WebSocket) -> None:
        if ws.path != "/busy":
            echo(ws)
            return
        assert self.go_on.wait(DEADLINE)
        with pytest.raises(syncws.ConnectionClosed) as closed:
            while True:
                ws.receive()
        self.outcome = (closed.value.code, closed.value.initiator)


@both_servers
@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_flood_of_control_frames_ends_the_connection(entrance: Entrance, flood: str, tls: bool) -> None:
    server_context, client_context = server_and_client_contexts() if tls else (None, None)
    with (
        serving(entrance, ssl=server_context) as address,
        RawClient(address, tls=client_context) as flooding,
        RawClient(address, tls=client_context) as other,
    ):
        other.open().echo()
        flooding.open()
        task = start(last_frame_after, flooding, FLOODS[flood])
        others_are_served([other], task)
        assert task.result(DEADLINE) == closed(CONTROL_FRAMES)
        flooding.close()
        other.close_normally()


@both_servers
@pytest.mark.parametrize("flood", FLOODS)
def test_flood_of_control_frames_while_the_handler_is_busy(entrance: Entrance, flood: str) -> None:
    handler = Handler()
    with serving(entrance, handler) as address, RawClient(address) as flooding, RawClient(address) as other:
        other.open()
        flooding.open(target="/busy")
        task = start(last_frame_after, flooding, FLOODS[flood])
        others_are_served([other], task)
        assert task.result(DEADLINE) == closed(CONTROL_FRAMES)
        flooding.close()
        handler.go_on.set()
        other.close_normally()
    assert handler.outcome == (1008, "local")


@both_servers
@pytest.mark.parametrize("flood", TINY)
@pytest.mark.parametrize("target", ["/", "/busy"])
def test_flood_of_messages_ends_the_connection(entrance: Entrance, flood: str, target: str) -> None:
    handler = Handler()
    handler.go_on.set()
    with (
        serving(entrance, handler, max_messages_per_second=100) as address,
        RawClient(address) as flooding,
    ):
        flooding.open(target=target)
        assert last_frame_after(flooding, TINY[flood]) == closed(MESSAGES)


@both_servers
def test_flood_of_messages_does_not_disturb_those_that_keep_to_the_limit(entrance: Entrance) -> None:
    with (
        serving(entrance, max_messages_per_second=100) as address,
        RawClient(address) as flooding,
        RawClient(address) as other,
    ):
        other.open()
        flooding.open()
        task = start(last_frame_after, flooding, TINY["messages"])
        for number in range(100):
            other.echo(str(number))
        assert task.result(DEADLINE) == closed(MESSAGES)
        other.close_normally()


@both_servers
def test_client_that_floods_again_and_again_is_closed_again_and_again(entrance: Entrance) -> None:
    with serving(entrance) as address, RawClient(address) as other:
        other.open()
        for _ in range(5):
            with RawClient(address) as flooding:
                flooding.open()
                assert last_frame_after(flooding, FLOODS["pings"]) == closed(CONTROL_FRAMES)
            other.echo()
