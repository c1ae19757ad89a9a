"""How much a peer may send in a second: the buckets by a clock of the test's own, connections over real sockets."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import DEADLINE, RawFrame, RawPeer, eventually, pair, raw_pair, start

from syncws.errors import ConnectionClosed, ProtocolError
from syncws.protocol.codes import CLOSE, CONTINUATION, PING, PONG, TEXT
from syncws.rates import Allowance, Rates
from syncws.websocket import WebSocket

NORMAL = (1000).to_bytes(2, "big")
MANY = 10_000  # at 10 in a second, what is allowed in a quarter of an hour
CONTROL_REASON = "more than 10 control frames per second, the limit max_control_frames_per_second"
MESSAGE_REASON = "more than 10 messages per second, the limit max_messages_per_second"
REASONS = {PING: CONTROL_REASON, PONG: CONTROL_REASON, TEXT: MESSAGE_REASON}


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Reader:
    """Somebody who reads messages, and what the peer may send."""

    def __init__(self, limit: float | None) -> None:
        self.clock = Clock()
        self.rates = Rates(limit, None, self.clock)
        self.count = 0

    def find(self, number: int) -> bool:
        """Whether so many messages are allowed."""
        for _ in range(number):
            self.count += 1
            if self.count > self.rates.messages.until:
                try:
                    self.rates.messages.extend(self.count)
                except ProtocolError:
                    return False
        return True

    def most(self) -> int:
        """How many messages are allowed now, at once; the next one was not."""
        number = 0
        while self.find(1):
            number += 1
        return number

    def busy(self, seconds: float) -> None:
        self.clock.now += seconds

    def wait(self, seconds: float, *, in_vain: bool = False) -> None:
        self.clock.now += seconds
        self.rates.waited(seconds, receiving=True, in_vain=in_vain)


# The buckets.


@pytest.mark.parametrize(("limit", "most"), [(10, 10), (1, 1), (2.5, 2), (0.2, 1)])
def test_as_much_as_in_a_second_is_allowed_at_once(limit: float, most: int) -> None:
    assert Reader(limit).most() == most


def test_the_error_names_the_limit() -> None:
    allowance = Allowance("max_messages_per_second", "messages", 2.5, Clock())
    with pytest.raises(ProtocolError) as caught:
        allowance.extend(3)
    assert str(caught.value) == "more than 2.5 messages per second, the limit max_messages_per_second"
    assert caught.value.close_code == 1008


@pytest.mark.parametrize("limit", [None, math.inf])
def test_no_limit(limit: float | None) -> None:
    reader = Reader(limit)
    assert reader.rates.messages.until == math.inf
    reader.wait(1.0, in_vain=True)
    assert reader.find(MANY)


def test_after_too_much_nothing_is_allowed_any_more() -> None:
    reader = Reader(10)
    reader.most()
    reader.busy(1000)
    assert reader.most() == 0
    reader.wait(1000, in_vain=True)
    assert reader.most() == 0


def test_waiting_brings_what_is_allowed_in_a_second_and_no_more() -> None:
    reader = Reader(10)
    assert reader.find(10)
    reader.wait(0.2)
    reader.wait(0.1)
    assert reader.find(3)
    reader.wait(3600)
    assert reader.most() == 10


def test_after_a_pause_two_seconds_worth() -> None:
    reader = Reader(10)
    assert reader.find(1)
    reader.wait(3600)
    assert reader.most() == 19


def test_short_waits_add_up_to_no_more_than_a_second() -> None:
    reader = Reader(10)
    assert reader.find(10)
    for _ in range(1000):
        reader.wait(0.1)
    assert reader.most() == 10


def test_what_waited_in_buffers_is_no_flood() -> None:
    # Nine in a second, for a hundred seconds in which the program did something else.
    reader = Reader(10)
    reader.wait(10)
    reader.busy(100)
    reader.wait(0)
    assert reader.find(900)


@pytest.mark.parametrize("how", ["a while", "in vain", "bit by bit"])
def test_what_a_pause_has_brought_lapses_when_the_reader_has_caught_up(how: str) -> None:
    reader = Reader(10)
    reader.busy(100)
    assert reader.find(11)
    if how == "bit by bit":
        for _ in range(12):
            reader.wait(0.2)
            assert reader.find(1)
    else:
        reader.wait(1.1 if how == "a while" else 0, in_vain=how == "in vain")
    assert reader.most() <= 20


def test_a_program_that_only_polls_is_not_always_busy() -> None:
    reader = Reader(10)
    for _ in range(1000):
        reader.busy(0.1)
        reader.wait(0, in_vain=True)
    assert reader.most() == 20


def test_more_than_one_at_a_time() -> None:
    # Such as the rest of a message that is skipped, and the next one.
    allowance = Allowance("option", "messages", 10, clock := Clock())
    clock.now += 5
    allowance.extend(55)
    assert allowance.until == 55
    allowance.waited += 0.1
    clock.now += 0.1
    with pytest.raises(ProtocolError):
        allowance.extend(62)


waits = st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 0.3, 2.0]))
work = st.tuples(st.just("busy"), st.sampled_from([0.001, 0.1, 1.0, 30.0]))


@settings(deadline=None)
@given(
    limit=st.sampled_from([0.1, 1, 7, 100]),
    load=st.sampled_from([0.3, 0.99]),
    steps=st.lists(st.one_of(waits, work), max_size=40),
)
def test_who_keeps_to_the_limit_is_never_over_it(limit: float, load: float, steps: list[tuple[str, float]]) -> None:
    reader = Reader(limit)
    begin, interval = reader.clock.now, 1 / (limit * load)

    def pending() -> int:
        return int((reader.clock.now - begin) / interval) - reader.count

    for what, seconds in steps:
        if what == "busy":
            reader.busy(seconds)
            continue
        until_next = max(0.0, begin + (reader.count + 1) * interval - reader.clock.now)
        reader.wait(min(seconds, until_next), in_vain=until_next > seconds)
        assert reader.find(pending())


@pytest.mark.parametrize("busy", [0.0, 0.9])
@pytest.mark.parametrize("chunk", [1, 50])
def test_who_sends_twice_as_much_is_over_it_soon(busy: float, chunk: int) -> None:
    reader = Reader(100)
    for _ in range(400 // chunk):
        seconds = chunk / 200
        reader.busy(seconds * busy)
        reader.wait(seconds * (1 - busy))
        if not reader.find(chunk):
            return
    pytest.fail("four seconds' worth in two seconds")


def test_what_the_keeper_waits_for_counts_as_waiting() -> None:
    clock = Clock()
    rates = Rates(None, 10, clock)
    rates.watched()
    clock.now += 3600
    rates.waited(0.0, receiving=False)
    assert not rates.watching
    for _ in range(20):
        rates.control_frame()
    with pytest.raises(ProtocolError):
        rates.control_frame()


def test_connections_without_a_limit_share_an_allowance_that_never_changes() -> None:
    clock = Clock()
    one, two = Rates(None, 10, clock), Rates(None, 10, clock)
    assert one.messages is two.messages
    for receiving in (False, True):
        one.waited(3600.0, receiving=receiving, in_vain=True)
    assert one.messages.waited == 0
    assert one.messages.until == math.inf


def test_who_looks_ahead_does_not_wait_for_messages() -> None:
    clock = Clock()
    rates = Rates(10, 10, clock)
    for _ in range(10):
        clock.now += 10
        rates.waited(10.0, receiving=False, in_vain=True)
    rates.messages.extend(1000)
    for _ in range(20):
        rates.control_frame()
    with pytest.raises(ProtocolError):
        rates.control_frame()


# Connections.


def ends_with(ws: WebSocket, reason: str, call: Callable[[WebSocket], object]) -> None:
    """A call that finds the peer guilty."""
    with pytest.raises(ConnectionClosed) as caught:
        call(ws)
    error = caught.value
    assert (error.code, error.reason, error.initiator) == (1008, reason, "local")
    assert isinstance(error.__cause__, ProtocolError)
    assert (ws.close_code, ws.close_reason) == (1008, reason)


@contextlib.contextmanager
def flooding(peer: RawPeer, data: bytes) -> Iterator[None]:
    """Have the peer send something many times, and read what it gets to its end."""

    def flood() -> RawFrame:
        peer.send(data * MANY)
        last = peer.read_all()[-1]
        peer.close()
        return last

    task = start(flood)
    yield
    assert task.result() == RawFrame(CLOSE, (1008).to_bytes(2, "big") + REASONS[data[0] & 0x0F].encode())


def stream(ws: WebSocket) -> None:
    for _ in range(MANY):
        list(ws.receive_stream(DEADLINE))


def leave_streams(ws: WebSocket) -> None:
    for _ in range(MANY):
        next(iter(ws.receive_stream(DEADLINE)))


def receive_all(ws: WebSocket) -> None:
    for _ in range(MANY):
        ws.receive(DEADLINE)


def poll(ws: WebSocket) -> None:
    limit = time.monotonic() + DEADLINE
    while time.monotonic() < limit:
        with contextlib.suppress(TimeoutError):
            ws.receive(timeout=0)


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("opcode", [PING, PONG])
def test_a_flood_of_control_frames(role: Any, opcode: int) -> None:
    with raw_pair(role, max_control_frames_per_second=10, ping_interval=None) as (ws, peer):
        with flooding(peer, peer.frame(opcode, b"x")):
            ends_with(ws, CONTROL_REASON, lambda ws: ws.receive(DEADLINE))


def test_a_flood_of_pings_while_nobody_receives() -> None:
    with raw_pair(max_control_frames_per_second=10) as (ws, peer):
        with flooding(peer, peer.frame(PING)):
            eventually(lambda: ws.closed)
        ends_with(ws, CONTROL_REASON, lambda ws: ws.receive(DEADLINE))


def test_a_flood_of_pings_instead_of_a_pong() -> None:
    with raw_pair(max_control_frames_per_second=10) as (ws, peer):
        with flooding(peer, peer.frame(PING)):
            ends_with(ws, CONTROL_REASON, lambda ws: ws.ping(timeout=DEADLINE))


def test_a_flood_of_pings_instead_of_a_close_frame() -> None:
    with raw_pair(max_control_frames_per_second=10) as (ws, peer):
        closing = start(ws.close, 3000)
        peer.send(peer.frame(PING) * MANY)
        assert peer.read_all()[-1] == RawFrame(CLOSE, (3000).to_bytes(2, "big"))
        peer.close()
        closing.result()
        assert ws.close_code == 3000
        with pytest.raises(ConnectionClosed) as caught:
            ws.receive()
        assert isinstance(caught.value.__cause__, ProtocolError)
        assert caught.value.__cause__.message == CONTROL_REASON


def test_pongs_that_have_been_asked_for_do_not_count() -> None:
    with raw_pair(max_control_frames_per_second=0.01, ping_interval=None) as (ws, peer):

        def answer() -> None:
            for _ in range(200):
                ping = peer.read_frame()
                assert ping is not None
                peer.send_frame(PONG, ping.payload)

        answering = start(answer)
        for _ in range(200):
            ws.ping(timeout=DEADLINE)
        answering.result()
        assert not ws.closed


def test_pongs_that_come_late_do_not_count() -> None:
    with raw_pair(max_control_frames_per_second=0.01, ping_interval=None) as (ws, peer):
        for _ in range(20):
            with pytest.raises(TimeoutError):
                ws.ping(timeout=0)
        for number in range(1, 21):
            peer.send_frame(PONG, number.to_bytes(4, "big"))
        peer.send_frame(TEXT, b"and a message")
        assert ws.receive(DEADLINE) == "and a message"


def test_a_close_frame_does_not_count() -> None:
    with raw_pair(max_control_frames_per_second=0.01) as (ws, peer):
        peer.send_frame(PING)
        peer.send_frame(CLOSE, NORMAL)
        with pytest.raises(ConnectionClosed) as caught:
            ws.receive(DEADLINE)
        assert caught.value.code == 1000


@pytest.mark.parametrize("program", [receive_all, stream, leave_streams, poll, list])
@pytest.mark.parametrize("fragments", [1, 2])
def test_a_flood_of_messages(program: Callable[[WebSocket], object], fragments: int) -> None:
    with raw_pair(max_messages_per_second=10, ping_interval=None) as (ws, peer):
        first = peer.frame(TEXT, b"a", fin=fragments == 1)
        with flooding(peer, first + peer.frame(CONTINUATION, b"b") * (fragments - 1)):
            ends_with(ws, MESSAGE_REASON, program)


def test_a_flood_of_messages_that_the_keeper_has_set_aside() -> None:
    with raw_pair(max_messages_per_second=10, ping_interval=None) as (ws, peer):
        with flooding(peer, peer.frame(TEXT, b"a")):
            eventually(lambda: ws._reader.looked_ahead)
            assert not ws.closed, "it harms nobody"
            ends_with(ws, MESSAGE_REASON, receive_all)
            # What is still set aside is not returned.
            ends_with(ws, MESSAGE_REASON, lambda ws: ws.receive(0))


def test_messages_that_are_within_the_limit() -> None:
    with pair(max_messages_per_second=10, max_control_frames_per_second=10) as (server, client):
        for number in range(10):
            client.send(str(number))
            assert server.receive(DEADLINE) == str(number)
            server.send(str(number))
            assert client.receive(DEADLINE) == str(number)


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_a_program_that_was_busy_may_catch_up(tls: bool) -> None:
    # As much as is allowed in 2.1 s is received at once; some has been set aside, the rest was in the socket's buffers.
    with pair("tcp", tls=tls, max_messages_per_second=1000) as (server, client):
        sending = start(lambda: [client.send(str(number)) for number in range(2100)])
        time.sleep(1.2)
        assert [server.receive(DEADLINE) for _ in range(2100)] == [str(number) for number in range(2100)]
        sending.result()


def test_messages_that_are_dropped_while_closing_do_not_count() -> None:
    with raw_pair(max_messages_per_second=10, ping_interval=None) as (ws, peer):
        closing = start(ws.close)
        peer.send(peer.frame(TEXT, b"a") * MANY + peer.frame(CLOSE, NORMAL))
        assert peer.read_all() == [RawFrame(CLOSE, NORMAL)]
        peer.close()
        closing.result()
        with pytest.raises(ConnectionClosed) as caught:
            ws.receive()
        assert (caught.value.code, caught.value.__cause__) == (1000, None)
