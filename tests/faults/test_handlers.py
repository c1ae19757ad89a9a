"""What handlers do: send from many threads, raise, use the connection wrongly."""

from __future__ import annotations

import collections
import logging
import queue
import random
import threading

import pytest
from peers import RawFrame, start
from raw_client import (
    BINARY,
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

SENDERS = 8
SIZES = (1, 100, 126, 5000, 65536, 300_000)  # the last ones are more than a small buffer takes at once


def message(sender: int, number: int) -> bytes:
    """What a thread sends: who it is, the how many-eth this is, and filling that tells of both."""
    filling = bytes([sender * 16 + number % 16])
    return b"%d %d " % (sender, number) + filling * SIZES[(sender + number) % len(SIZES)]


@both_servers
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("closing", ["handler", "another thread", "peer"])
def test_eight_threads_send_and_one_closes_and_frames_never_interleave(
    entrance: Entrance, tls: bool, closing: str
) -> None:
    enough = threading.Event()
    sent: queue.Queue[int] = queue.Queue()

    def send(ws: syncws.WebSocket, sender: int) -> None:
        number = 0
        try:
            while True:
                ws.send(message(sender, number))
                number += 1
        except syncws.ConnectionClosed:
            sent.put(number)

    def handler(ws: syncws.WebSocket) -> None:
        senders = [start(send, ws, sender) for sender in range(SENDERS)]
        if closing == "peer":
            with pytest.raises(syncws.ConnectionClosed):
                ws.receive()
        else:
            assert enough.wait(DEADLINE)
            if closing == "handler":
                ws.close(4000)
            else:
                start(ws.close, 4000).result(DEADLINE)
        for task in senders:
            task.result(DEADLINE)

    contexts = server_and_client_contexts()
    with (
        serving(entrance, handler, buffer=65536, ssl=contexts[0] if tls else None) as address,
        RawClient(address, tls=contexts[1] if tls else None) as client,
    ):
        client.open()
        next_numbers: collections.Counter[int] = collections.Counter()
        answer = client.read_frame()
        while answer is not None and answer.opcode == BINARY:
            sender, number, _ = answer.payload.split(b" ", 2)
            # Each message is whole, and each thread's are in order and complete.
            assert int(number) == next_numbers[int(sender)]
            assert answer.payload == message(int(sender), int(number))
            next_numbers[int(sender)] += 1
            if len(next_numbers) == SENDERS and not enough.is_set():
                enough.set()
                if closing == "peer":
                    client.send(frame(CLOSE, b"\x0f\xa0"))
            if number == b"5":  # control frames are let through in between
                client.send(frame(PING, sender))
            answer = client.read_frame()
            while answer is not None and answer.opcode == PONG:
                answer = client.read_frame()
        assert answer == RawFrame(CLOSE, b"\x0f\xa0")
        if closing != "peer":
            client.send(frame(CLOSE, b"\x0f\xa0"))
        assert client.read_to_end() == b""
        client.close()
        counts = [sent.get(timeout=DEADLINE) for _ in range(SENDERS)]
        # send() has returned for what has arrived, and for nothing else.
        assert sorted(counts) == sorted(next_numbers.values())


@both_servers
def test_eight_threads_send_in_fragments_and_whole_and_messages_never_interleave(entrance: Entrance) -> None:
    def send(ws: syncws.WebSocket, sender: int) -> None:
        for number in range(20):
            data = message(sender, number)
            if sender % 2:
                ws.send(data)
            else:
                cuts = sorted(random.Random(number).choices(range(len(data)), k=3))
                ws.send_fragments([data[: cuts[0]], data[cuts[0] : cuts[1]], data[cuts[1] : cuts[2]], data[cuts[2] :]])

    def handler(ws: syncws.WebSocket) -> None:
        for task in [start(send, ws, sender) for sender in range(SENDERS)]:
            task.result(DEADLINE)

    with serving(entrance, handler, buffer=65536) as address, RawClient(address) as client:
        client.open()
        received, pieces = [], []
        answer = client.read_frame()
        while answer is not None and answer.opcode != CLOSE:
            # RFC 6455, 5.4: only the first fragment of a message has its opcode.
            assert answer.opcode == (CONTINUATION if pieces else BINARY)
            pieces.append(answer.payload)
            if answer.fin:
                received.append(b"".join(pieces))
                pieces.clear()
            answer = client.read_frame()
        assert not pieces
        assert sorted(received) == sorted(message(sender, number) for sender in range(SENDERS) for number in range(20))


class Boom(Exception):
    pass


@both_servers
@pytest.mark.parametrize("error", [Boom, SystemExit, KeyboardInterrupt, TimeoutError, OSError])
@pytest.mark.parametrize("unread", [False, True], ids=["", "unread"])
def test_handler_that_raises_closes_with_1011_and_tells_only_the_log(
    entrance: Entrance, error: type[BaseException], unread: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(ws: syncws.WebSocket) -> None:
        ws.receive()
        raise error("the password is hunter2")

    caplog.set_level(logging.DEBUG, "syncws")
    with serving(entrance, handler) as address:
        with RawClient(address) as client:
            client.open(glued=frame(TEXT, b"go") + (frame(BINARY, bytes(60_000)) * 10 if unread else b""))
            answer = client.read_frame()
            assert answer is not None
            assert answer.opcode == CLOSE
            assert answer.payload[:2] == (1011).to_bytes(2, "big")
            for secret in (b"hunter2", b"Traceback", error.__name__.encode(), b".py"):
                assert secret not in answer.payload
            client.send(frame(CLOSE, answer.payload[:2]))
            assert client.read_to_end() == b""
        with RawClient(address) as another:
            another.open()
    tracebacks = [record for record in caplog.records if record.exc_info]
    assert len(tracebacks) == 1
    assert tracebacks[0].levelno == logging.ERROR
    assert "hunter2" in str(tracebacks[0].exc_info)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING and not record.exc_info]


@both_servers
def test_handler_that_raises_after_the_end_is_logged_as_well(
    entrance: Entrance, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(ws: syncws.WebSocket) -> None:
        for _ in ws:
            pass
        raise Boom

    with serving(entrance, handler) as address, RawClient(address) as client:
        client.open().close_normally()
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.ERROR]


@both_servers
@pytest.mark.parametrize("end", ["close", "drop", "reset", "break a rule"])
def test_end_that_the_peer_brings_about_is_no_error_of_the_handler(
    entrance: Entrance, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended: queue.Queue[int] = queue.Queue()

    def handler(ws: syncws.WebSocket) -> None:
        try:
            ws.receive()
        except syncws.ConnectionClosed as error:
            ended.put(error.code)
            raise

    with serving(entrance, handler) as address, RawClient(address) as client:
        client.open()
        if end == "close":
            client.close_normally()
        elif end == "break a rule":
            client.send(frame(TEXT, key=None))
            assert client.read_close() == 1002
        if end == "reset":
            client.reset()
        else:
            client.close()
        expected = {"close": 1000, "break a rule": 1002}.get(end, 1006)
        assert ended.get(timeout=DEADLINE) == expected
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@both_servers
def test_wrong_use_raises_at_once_and_leaves_the_connection_usable(entrance: Entrance) -> None:
    def receive(ws: syncws.WebSocket, outcomes: queue.Queue[object]) -> None:
        try:
            outcomes.put(ws.receive())
        except syncws.ConcurrencyError as error:
            outcomes.put(error)

    def receive_in_two_threads(ws: syncws.WebSocket) -> None:
        outcomes: queue.Queue[object] = queue.Queue()
        for _ in range(2):
            start(receive, ws, outcomes)
        assert isinstance(outcomes.get(timeout=DEADLINE), syncws.ConcurrencyError)
        ws.send("one of them")
        assert outcomes.get(timeout=DEADLINE) == "for the other"

    def handler(ws: syncws.WebSocket) -> None:
        with pytest.raises(TypeError):
            ws.send(None)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            ws.send(["a", "list"])  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="surrogate"):
            ws.send("lone \ud800 surrogate")
        with pytest.raises(ValueError, match="1005"):
            ws.close(1005)
        with pytest.raises(ValueError, match="123"):
            ws.close(1000, "é" * 62)
        with pytest.raises(TypeError):
            ws.close("1000")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="125"):
            ws.ping(bytes(126))
        with pytest.raises(ValueError):
            ws.send_fragments([])
        with pytest.raises(TimeoutError):
            ws.receive(timeout=0)
        assert not ws.closed
        receive_in_two_threads(ws)
        ws.send("still open")
        echo(ws)

    with serving(entrance, handler) as address, RawClient(address) as client:
        client.open()
        assert client.read_frame() == RawFrame(TEXT, b"one of them")
        client.send(frame(TEXT, b"for the other"))
        assert client.read_frame() == RawFrame(TEXT, b"still open")
        client.echo()
        client.close_normally()
