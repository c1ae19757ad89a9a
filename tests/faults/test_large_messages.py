"""Bytes that get lost: small socket buffers, slow readers, large messages, many of them."""

from __future__ import annotations

import hashlib
import queue
import random
import zlib

import pytest
from peers import start
from raw_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEADLINE,
    Entrance,
    RawClient,
    both_servers,
    frame,
    server_and_client_contexts,
    serving,
)

import syncws

MIB = 2**20
LONG = 100.0  # seconds, for what takes some on a machine with nothing else to do


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@both_servers
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("compression", [False, True], ids=["plain", "deflate"])
def test_small_buffers_and_a_slow_reader_lose_nothing_of_10_mb_to_the_client(
    entrance: Entrance, tls: bool, compression: bool
) -> None:
    contexts = server_and_client_contexts()
    message = random.Random(10).randbytes(10**7)

    def handler(ws: syncws.WebSocket) -> None:
        ws.send(message)
        ws.send(digest(message))

    options = {"buffer": 4096, "ssl": contexts[0] if tls else None, "send_timeout": LONG, "compression": compression}
    with (
        serving(entrance, handler, **options) as address,
        RawClient(address, buffer=4096, tls=contexts[1] if tls else None) as client,
    ):
        client.open("Sec-WebSocket-Extensions: permessage-deflate")
        inflater = zlib.decompressobj(-15)
        received = []
        for _ in range(2):
            # The socket's file reads 8 KiB at the most, and each time the server waits until it has.
            answer = client.read_frame()
            assert answer is not None
            tail = b"\0\0\xff\xff"
            received.append(inflater.decompress(answer.payload + tail) if answer.rsv1 else answer.payload)
        assert len(received[0]) == len(message)
        assert digest(received[0]) == received[1].decode()
        client.send(frame(CLOSE, b"\x03\xe8"))
        assert client.read_close() == 1000


@both_servers
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_small_buffers_lose_nothing_of_10_mb_to_the_server(entrance: Entrance, tls: bool) -> None:
    contexts = server_and_client_contexts()
    message = random.Random(11).randbytes(10**7)

    def handler(ws: syncws.WebSocket) -> None:
        whole = ws.receive()
        assert isinstance(whole, bytes)
        ws.send(f"{len(whole)} {digest(whole)}")
        hashing = hashlib.sha256()
        for piece in ws.receive_stream():
            assert isinstance(piece, bytes)
            hashing.update(piece)
        ws.send(hashing.hexdigest())

    options = {"buffer": 4096, "ssl": contexts[0] if tls else None, "max_message_size": 10**7}
    with (
        serving(entrance, handler, **options) as address,
        RawClient(address, buffer=4096, tls=contexts[1] if tls else None) as client,
    ):
        client.open()
        client.send(frame(BINARY, message))
        answer = client.read_frame()
        assert answer is not None
        assert answer.payload.decode() == f"{len(message)} {digest(message)}"
        client.send(frame(BINARY, message[:4000], fin=False) + frame(CONTINUATION, message[4000:]))
        answer = client.read_frame()
        assert answer is not None
        assert answer.payload.decode() == digest(message)


@both_servers
def test_an_echo_of_10_mb_with_small_buffers_in_both_directions_at_once(entrance: Entrance) -> None:
    messages = [random.Random(seed).randbytes(10**6) for seed in range(10)]
    with (
        serving(entrance, buffer=4096, send_timeout=LONG) as address,
        RawClient(address, buffer=4096) as client,
    ):
        client.open()
        sending = start(client.send, b"".join(frame(BINARY, message) for message in messages))
        for message in messages:
            answer = client.read_frame()
            assert answer is not None
            assert digest(answer.payload) == digest(message)
        sending.result(DEADLINE)
        client.close_normally()


@both_servers
@pytest.mark.timeout(300)
def test_10_000_messages_of_64_kib_arrive_intact_both_ways(entrance: Entrance) -> None:
    count, size = 10_000, 65536
    material = random.Random(64).randbytes(size + count)
    failures: queue.Queue[int] = queue.Queue()

    def handler(ws: syncws.WebSocket) -> None:
        for number, message in enumerate(ws):
            if message != material[number : number + size]:
                failures.put(number)
            ws.send(message)

    def send_all(client: RawClient) -> None:
        for number in range(count):
            client.send(frame(BINARY, material[number : number + size]))

    with serving(entrance, handler, send_timeout=LONG) as address, RawClient(address) as client:
        client.open()
        sending = start(send_all, client)
        for number in range(count):
            answer = client.read_frame()
            assert answer is not None
            assert answer.payload == material[number : number + size], number
        sending.result(DEADLINE)
        client.close_normally()
        assert failures.empty()


@both_servers
@pytest.mark.parametrize("fragments", [1, 64])
@pytest.mark.timeout(300)
def test_a_message_of_64_mib_arrives_intact_both_ways(entrance: Entrance, fragments: int) -> None:
    size = 64 * MIB
    message = random.Random(65).randbytes(size)
    step = size // fragments

    def send(client: RawClient) -> None:
        for start_of in range(0, size, step):
            client.send(
                frame(
                    BINARY if start_of == 0 else CONTINUATION,
                    message[start_of : start_of + step],
                    fin=start_of + step == size,
                )
            )

    options = {"max_message_size": size, "send_timeout": LONG, "message_timeout": LONG}
    with serving(entrance, **options) as address, RawClient(address) as client:
        client.open()
        sending = start(send, client)
        client.sock.settimeout(LONG)
        answer = client.read_frame()
        sending.result(DEADLINE)
        assert answer is not None
        assert answer.opcode == BINARY
        assert digest(answer.payload) == digest(message)
        client.close_normally()
