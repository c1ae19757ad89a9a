"""Peers that do not read, or write a byte now and then: others are served meanwhile, and there is an end to it."""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import threading
from pathlib import Path

import pytest
from peers import RawFrame, start
from raw_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEADLINE,
    PING,
    TEXT,
    WS_FIELDS,
    Entrance,
    RawClient,
    both_servers,
    echo,
    frame,
    request,
    server_and_client_contexts,
    serving,
)
from wire import tls_contexts

import syncws

LARGE = bytes(50 * 2**20)  # more than any socket's buffers


class Flood:
    """A handler that sends a large message on the path /flood, and echoes on others."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.outcome: queue.Queue[object] = queue.Queue()

    def __call__(self, ws: syncws.WebSocket) -> None:
        if ws.path != "/flood":
            echo(ws)
            return
        self.begun.set()
        try:
            ws.send(LARGE)
        except (TimeoutError, syncws.ConnectionClosed) as error:
            self.outcome.put(error)
        with pytest.raises(syncws.ConnectionClosed) as closed:
            ws.send("more")
        self.outcome.put(closed.value.code)


@both_servers
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_reader_that_stops_holds_a_sender_no_longer_than_send_timeout(entrance: Entrance, tls: bool) -> None:
    contexts = server_and_client_contexts()
    flood = Flood()
    context = contexts[1] if tls else None
    with (
        serving(entrance, flood, send_timeout=1.0, ssl=contexts[0] if tls else None) as address,
        RawClient(address, tls=context) as stuck,
        RawClient(address, tls=context) as other,
    ):
        other.open().echo()
        stuck.open(target="/flood")
        assert flood.begun.wait(DEADLINE)
        rounds = 0
        while flood.outcome.empty():
            other.echo(str(rounds))
            rounds += 1
        assert rounds > 0
        error = flood.outcome.get(timeout=DEADLINE)
        assert isinstance(error, TimeoutError)
        assert "1.0 s" in str(error)
        assert flood.outcome.get(timeout=DEADLINE) == 1006
        other.close_normally()


@both_servers
def test_others_are_served_as_long_as_a_reader_does_not_read(entrance: Entrance) -> None:
    flood = Flood()
    with (
        serving(entrance, flood, send_timeout=None) as address,
        RawClient(address, buffer=4096) as stuck,
        contextlib.ExitStack() as stack,
    ):
        stuck.open(target="/flood")
        assert flood.begun.wait(DEADLINE)
        others = [stack.enter_context(RawClient(address)).open() for _ in range(10)]
        for number in range(50):
            for other in others:
                other.echo(str(number))
        assert flood.outcome.empty(), "the sender waits"
        stuck.close()
        assert isinstance(flood.outcome.get(timeout=DEADLINE), syncws.ConnectionClosed)
        for other in others:
            other.echo("still")


@both_servers
def test_peer_that_sends_and_never_reads_has_to_wait(entrance: Entrance) -> None:
    # Backpressure: the server stops reading what it could not answer, so that it does not grow.
    with serving(entrance, send_timeout=0.5) as address, RawClient(address) as stuck, RawClient(address) as other:
        stuck.open()
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 2**30:
                stuck.send(frame(BINARY, bytes(2**20)))
                sent += 2**20
        assert sent < 2**27, "128 MiB: the server has read on and on"
        other.open().echo()


@both_servers
def test_pings_that_are_never_read_cost_no_memory_and_no_time(entrance: Entrance, tmp_path: Path) -> None:
    # A Unix socket: see RawClient.
    with (
        serving(entrance, address=str(tmp_path / "socket"), max_control_frames_per_second=None) as address,
        RawClient(address, buffer=4096) as stuck,
        RawClient(address) as other,
    ):
        stuck.open()
        other.open()
        for number in range(100):
            # RFC 6455, 5.5.3: only the latest needs an answer; the server goes on reading without one in between.
            stuck.send(frame(PING, b"%d" % number * 10) * 1000)
            other.echo()
        stuck.send(frame(TEXT, b"last"))
        answer = stuck.read_frame()
        while answer is not None and answer.opcode == 0xA:
            answer = stuck.read_frame()
        assert answer == RawFrame(TEXT, b"last")


# Slowloris: whatever is to come, it comes a byte at a time.


def drip(client: RawClient | socket.socket, data: bytes, meanwhile: RawClient) -> int:
    """Send a byte whenever another client has been served, until the server answers or has enough; say how many."""
    sock = client.sock if isinstance(client, RawClient) else client
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    for sent in range(len(data)):
        meanwhile.echo(str(sent))
        # The pause makes the data last: without it the whole head would be there at once.
        if poll.poll(50):
            return sent
        try:
            sock.sendall(data[sent : sent + 1])
        except ConnectionError:
            return sent
    raise AssertionError("the server has read all of it")


@both_servers
@pytest.mark.parametrize("where", ["before the request", "in the request line", "in a field"])
def test_slow_request_has_to_be_complete_within_open_timeout(entrance: Entrance, where: str) -> None:
    head = request(*WS_FIELDS, f"Cookie: {'a' * 4000}")
    begin = {"before the request": 0, "in the request line": 5, "in a field": len(head) - 3990}[where]
    with (
        serving(entrance, open_timeout=0.5) as address,
        RawClient(address) as other,
        RawClient(address) as slow,
    ):
        other.open()
        slow.send(head[:begin])
        drip(slow, head[begin:], other)
        assert slow.read_response().status == 408
        other.close_normally()


@both_servers
def test_client_that_says_nothing_is_not_waited_for(entrance: Entrance) -> None:
    with serving(entrance, open_timeout=0.5) as address, RawClient(address) as other, RawClient(address) as silent:
        other.open()
        received = start(silent.read_to_end)
        while received.is_alive():
            other.echo()
        # A server of plain HTTP owes no answer to a connection without a request (RFC 9110, 15.5.9).
        assert received.result().startswith(b"HTTP/1.1 408 ") or entrance == "wsgi"


@both_servers
@pytest.mark.parametrize("begin", [0, 1, 20])
def test_slow_tls_handshake_has_to_be_complete_within_open_timeout(entrance: Entrance, begin: int) -> None:
    server, client = server_and_client_contexts()
    # A ClientHello's record header, and the beginning of what it announces.
    hello = b"\x16\x03\x01\x0f\xff\x01\x00\x0f\xfb\x03\x03" + bytes(4000)
    with serving(entrance, open_timeout=0.5, ssl=server) as address, RawClient(address, tls=client) as other:
        other.open()
        with socket.create_connection(address, DEADLINE) as slow:
            slow.sendall(hello[:begin])
            drip(slow, hello[begin:], other)
        other.close_normally()


@both_servers
def test_slow_request_over_tls_has_to_be_complete_within_open_timeout(entrance: Entrance) -> None:
    server, client = tls_contexts()
    server.num_tickets = 0  # there is nothing to read but the answer
    with (
        serving(entrance, open_timeout=1.0, ssl=server) as address,
        RawClient(address, tls=client) as other,
        RawClient(address, tls=client) as slow,
    ):
        other.open()
        drip(slow, request(*WS_FIELDS, f"Cookie: {'a' * 4000}"), other)
        assert slow.read_response().status == 408


FRAMES = {
    "in the first header": (0, frame(BINARY, bytes(70_000))[:2]),
    "in the length": (5, frame(BINARY, bytes(70_000))[:13]),
    "in the payload": (14, frame(BINARY, bytes(70_000))),
    "in a control frame": (3, frame(PING, b"control")[:-1]),
    "between fragments": (20, frame(TEXT, bytes(14), fin=False) + frame(CONTINUATION, b"", fin=False) * 1000),
}


@both_servers
@pytest.mark.parametrize("where", FRAMES)
def test_slow_message_has_to_be_complete_within_message_timeout(entrance: Entrance, where: str) -> None:
    begin, data = FRAMES[where]
    with (
        serving(entrance, message_timeout=0.5) as address,
        RawClient(address) as other,
        RawClient(address) as slow,
    ):
        other.open()
        slow.open(glued=frame(TEXT, b"before") + data[: begin + 1])
        assert slow.read_frame() == RawFrame(TEXT, b"before")
        if begin + 1 < len(data) and len(data) > 100:
            drip(slow, data[begin + 1 :], other)
        answered = start(slow.read_frame)
        while answered.is_alive():
            other.echo()
        answer = answered.result()
        assert answer is not None
        assert (answer.opcode, answer.payload[:2]) == (CLOSE, (1008).to_bytes(2, "big"))
        assert b"message_timeout" in answer.payload
        assert slow.read_to_end() == b""
        other.close_normally()


@both_servers
def test_connection_without_a_message_under_way_may_be_silent(entrance: Entrance) -> None:
    with serving(entrance, message_timeout=0.1) as address, RawClient(address) as silent, RawClient(address) as slow:
        silent.open().echo()
        # When this one has been thrown out, the silent one has been silent for longer than that.
        slow.open(glued=frame(TEXT, b"half", fin=False))
        assert slow.read_close() == 1008
        silent.echo()
