"""Little on the wire, a lot in memory: compression bombs, and messages of a million fragments.

The server runs in a process of its own, so that its memory can be measured. What it may grow by is 4 MiB, and the size
limit if there is a message of that size; the frames of a client that goes on sending are counted as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from commands import Server
from commands import running as running_command
from faulting import MIB, Memory, address_of, figure
from peers import RawFrame, start
from raw_client import BINARY, CONTINUATION, DEADLINE, TEXT, RawClient, deflated, frame

LIMIT = MIB  # max_message_size by default
SLACK = 4 * MIB
# Tracing for the coverage takes many times as long, and more than message_timeout on a machine that is busy.
MILLION = 100_000 if "COVERAGE_RUN" in os.environ else 1_000_000
OFFER = "Sec-WebSocket-Extensions: permessage-deflate"
NO_TAKEOVER = f"{OFFER}; server_no_context_takeover"


def warm_up(server: Server) -> None:
    """Have the server do once what it does later, so that only data is measured."""
    for code, data in ((1007, frame(TEXT, b"\xff")), (1009, frame(BINARY, deflated(bytes(LIMIT + 1)), rsv=4))):
        with RawClient(address_of(server)) as client:
            client.open(OFFER).send(frame(BINARY, deflated(b"warm"), rsv=4))
            answer = client.read_frame()
            assert answer is not None
            client.send(data)
            assert client.read_close() == code


@pytest.fixture(params=[[], ["--gevent"]], ids=["threads", "gevent"])
def arguments(request: pytest.FixtureRequest) -> list[str]:
    return ["echo", "--port", "0", "--compression", *request.param]


@pytest.fixture
def server(arguments: list[str]) -> Iterator[Server]:
    with running_command(*arguments) as server:
        warm_up(server)
        yield server


@pytest.fixture
def server_without_fragment_limit(arguments: list[str]) -> Iterator[Server]:
    with running_command(*arguments, "--max-fragments", "none") as server:
        warm_up(server)
        yield server


def check(growth: int, limit: int) -> None:
    figure(f"memory grew by {growth / MIB:.2f} MiB")
    assert growth < limit


def bombs() -> dict[str, bytes]:
    payload = deflated(*[bytes(MIB)] * 64)
    assert len(payload) < 70_000, "64 MiB in a few KB"
    pieces = [payload[at : at + 1000] for at in range(0, len(payload), 1000)]
    fragments = [frame(CONTINUATION, piece, fin=piece is pieces[-1]) for piece in pieces[1:]]
    within = deflated(b"small") + b"\0\0\xff\xff" + payload
    return {
        "one frame": frame(BINARY, payload, rsv=4),
        "text": frame(TEXT, payload, rsv=4),
        "in fragments": frame(BINARY, pieces[0], fin=False, rsv=4) + b"".join(fragments),
        "behind something small": frame(BINARY, within, rsv=4),
        "that never ends": frame(BINARY, payload, fin=False, rsv=4),
        "on its way": frame(BINARY, payload, rsv=4)[:-1],
    }


BOMBS = bombs()


@pytest.mark.parametrize("bomb", BOMBS)
def test_compression_bomb_of_64_mib_is_refused_and_never_inflated(server: Server, bomb: str) -> None:
    memory = Memory(server)
    with RawClient(address_of(server)) as client:
        client.open(OFFER, glued=frame(TEXT, b"before") + BOMBS[bomb])
        assert client.read_frame() == RawFrame(TEXT, b"before")
        assert client.read_close() == 1009
    check(memory.growth(), LIMIT + SLACK)


def test_twenty_bombs_at_once_cost_twenty_times_the_limit_at_the_most(server: Server) -> None:
    memory = Memory(server)
    clients = [RawClient(address_of(server)) for _ in range(20)]
    for client in clients:
        client.open(OFFER, glued=BOMBS["in fragments"])
    for client in clients:
        with client:
            assert client.read_close() == 1009
    check(memory.growth(), 20 * LIMIT + SLACK)


def test_size_limit_holds_to_the_byte_after_inflation(server: Server) -> None:
    with RawClient(address_of(server)) as client:
        client.open(NO_TAKEOVER)
        for size in (LIMIT - 1, LIMIT):
            client.send(frame(BINARY, deflated(bytes(size)), rsv=4))
            answer = client.read_frame()
            assert answer is not None
            assert answer.rsv1
        client.send(frame(BINARY, deflated(bytes(LIMIT + 1)), rsv=4))
        assert client.read_close() == 1009


def test_size_limit_holds_to_the_byte_without_compression(server: Server) -> None:
    half = LIMIT // 2
    with RawClient(address_of(server)) as client:
        client.open()
        for data in (
            frame(BINARY, bytes(LIMIT)),
            frame(BINARY, bytes(half), fin=False) + frame(CONTINUATION, bytes(half)),
        ):
            sending = start(client.send, data)
            assert client.read_frame() == RawFrame(BINARY, bytes(LIMIT))
            sending.result(DEADLINE)
        # Refused at its header, whatever comes behind that.
        client.send(frame(BINARY, bytes(LIMIT + 1))[:14])
        assert client.read_close() == 1009


def test_header_that_promises_a_lot_costs_nothing(server: Server) -> None:
    memory = Memory(server)
    with RawClient(address_of(server)) as client:
        client.open(glued=bytes([0x82, 0xFF]) + (2**62).to_bytes(8, "big") + b"mask" + bytes(100_000))
        assert client.read_close() == 1009
    check(memory.growth(), SLACK)


def send_times(client: RawClient, data: bytes, times: int) -> None:
    """Send the same again and again, which the server has to read to the end."""
    for _ in range(times):
        client.send(data)


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "tiny"])
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "deflate"])
def test_a_million_fragments_are_too_many(server: Server, payload: bytes, compressed: bool) -> None:
    memory = Memory(server)
    with RawClient(address_of(server)) as client:
        # The compressed one: a stored block of which a byte arrives now and then.
        first = frame(BINARY, b"\x01\xff\xff\0\0" if compressed else b"", fin=False, rsv=4 if compressed else 0)
        client.open(OFFER, glued=frame(TEXT, b"before") + first)
        sending = start(send_times, client, frame(CONTINUATION, payload, fin=False) * 1000, MILLION // 1000)
        assert client.read_frame() == RawFrame(TEXT, b"before")
        assert client.read_close() == 1008
        sending.result(DEADLINE)
    check(memory.growth(), SLACK)


def test_a_million_fragments_that_are_allowed_cost_what_their_content_does(
    server_without_fragment_limit: Server,
) -> None:
    server = server_without_fragment_limit
    memory = Memory(server)
    with RawClient(address_of(server)) as client:
        client.open(glued=frame(BINARY, b"", fin=False))
        pieces = bytes(range(250))
        block = b"".join(frame(CONTINUATION, pieces[at : at + 1], fin=False) for at in range(250))
        sending = start(send_times, client, block, MILLION // 250)
        sending.result(100)
        client.send(frame(CONTINUATION, b"end"))
        client.sock.settimeout(100)
        assert client.read_frame() == RawFrame(BINARY, pieces * (MILLION // 250) + b"end")
    # The message, and the frame that carries it back.
    check(memory.growth(), 2 * LIMIT + SLACK)


def test_fragments_that_add_up_to_more_than_the_limit_are_refused(server_without_fragment_limit: Server) -> None:
    server = server_without_fragment_limit
    memory = Memory(server)
    with RawClient(address_of(server)) as client:
        client.open(glued=frame(BINARY, b"", fin=False))
        block = frame(CONTINUATION, bytes(10), fin=False) * 1000
        sending = start(send_times, client, block, LIMIT // 10_000 + 1)
        assert client.read_close() == 1009
        sending.result(DEADLINE)
    check(memory.growth(), LIMIT + SLACK)
