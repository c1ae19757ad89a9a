"""What has gone wrong with simple-websocket 1.1.0, the library that most programs of this kind use now."""

from __future__ import annotations

import hashlib
import queue
import random

import pytest
from peers import RawFrame, start
from raw_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEADLINE,
    TEXT,
    WS_FIELDS,
    Entrance,
    RawClient,
    both_servers,
    deflated,
    frame,
    request,
    serving,
)

import syncws


@both_servers
def test_a_message_of_8_mib_arrives_both_ways(entrance: Entrance) -> None:
    data = random.Random(8).randbytes(8 * 2**20)
    with serving(entrance, max_message_size=len(data)) as address, RawClient(address) as client:
        client.open()
        sending = start(client.send, frame(BINARY, data))
        answer = client.read_frame()
        sending.result(DEADLINE)
        assert answer is not None
        assert hashlib.sha256(answer.payload).digest() == hashlib.sha256(data).digest()


@both_servers
def test_close_from_another_thread_wakes_a_blocked_receive(entrance: Entrance) -> None:
    got: queue.Queue[object] = queue.Queue()
    opened: queue.Queue[syncws.WebSocket] = queue.Queue()

    def handler(ws: syncws.WebSocket) -> None:
        opened.put(ws)
        try:
            got.put(ws.receive())
            got.put(ws.receive())
        except syncws.ConnectionClosed as error:
            got.put((error.code, error.initiator))

    with serving(entrance, handler) as address, RawClient(address) as client:
        client.open(glued=frame(TEXT, b"in receive"))
        assert got.get(timeout=DEADLINE) == "in receive"
        closing = start(opened.get(timeout=DEADLINE).close, 4001)
        assert client.read_frame() == RawFrame(CLOSE, b"\x0f\xa1")
        client.send(frame(CLOSE, b"\x0f\xa1"))
        assert client.read_to_end() == b""
        client.close()
        closing.result(DEADLINE)
        assert got.get(timeout=DEADLINE) == (4001, "local")


@both_servers
def test_close_from_another_thread_wakes_a_receive_whose_peer_is_silent(entrance: Entrance) -> None:
    got: queue.Queue[object] = queue.Queue()
    opened: queue.Queue[syncws.WebSocket] = queue.Queue()

    def handler(ws: syncws.WebSocket) -> None:
        opened.put(ws)
        try:
            got.put(ws.receive())
        except syncws.ConnectionClosed as error:
            got.put(error.initiator)

    with serving(entrance, handler, close_timeout=0.2) as address, RawClient(address) as client:
        client.open()
        opened.get(timeout=DEADLINE).close(4001)
        assert got.get(timeout=DEADLINE) == "local"


@both_servers
@pytest.mark.parametrize("size", [0, 5, 125, 126, 5000, 70_000])
def test_the_first_frame_may_share_a_packet_with_the_handshake(entrance: Entrance, size: int) -> None:
    with serving(entrance) as address, RawClient(address) as client:
        client.open(glued=frame(BINARY, bytes(size)) + frame(TEXT, b"second"))
        assert client.read_frame() == RawFrame(BINARY, bytes(size))
        assert client.read_frame() == RawFrame(TEXT, b"second")


@both_servers
def test_a_frame_may_begin_in_the_packet_of_the_handshake_and_end_in_another(entrance: Entrance) -> None:
    data = frame(TEXT, b"first")
    for cut in range(1, len(data)):
        with serving(entrance) as address, RawClient(address) as client:
            client.open(glued=data[:cut])
            client.send(data[cut:])
            assert client.read_frame() == RawFrame(TEXT, b"first")


@both_servers
def test_a_foreign_origin_is_refused(entrance: Entrance) -> None:
    with serving(entrance) as address, RawClient(address) as client:
        client.send(request(*WS_FIELDS, "Origin: https://attacker.example"))
        assert client.read_response().status == 403


@both_servers
def test_what_was_194_kb_on_the_wire_does_not_become_a_message_of_200_mb(entrance: Entrance) -> None:
    bomb = deflated(*[bytes(2**20)] * 200)
    assert len(bomb) < 210_000
    with serving(entrance, compression=True) as address, RawClient(address) as client:
        client.open("Sec-WebSocket-Extensions: permessage-deflate")
        client.send(frame(BINARY, bomb, rsv=4))
        assert client.read_close() == 1009


@both_servers
def test_the_size_limit_counts_bytes_not_characters(entrance: Entrance) -> None:
    fits, over = "é" * 50, "é" * 50 + "!"
    with serving(entrance, max_message_size=100) as address, RawClient(address) as client:
        client.open().echo(fits)
        client.send(frame(TEXT, fits[:30].encode(), fin=False) + frame(CONTINUATION, fits[30:].encode()))
        assert client.read_frame() == RawFrame(TEXT, fits.encode())
        client.send(frame(TEXT, over.encode()))
        assert client.read_close() == 1009
