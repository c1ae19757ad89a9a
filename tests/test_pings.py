"""Pings and their pongs, without a network."""

from __future__ import annotations

import pytest
from peers import eventually, start

from syncws.pings import Pings
from syncws.runtime import THREADS
from syncws.turn import Turn


def test_a_pong_answers_its_ping() -> None:
    pings = Pings(Turn(THREADS), THREADS)
    assert pings.latency is None
    ping = pings.begin(b"data")
    assert ping.payload == b"data"
    assert ping.round_trip is None
    pings.answer(b"data")
    assert ping.round_trip is not None
    assert ping.round_trip >= 0
    assert pings.latency == ping.round_trip


def test_pings_without_data_differ() -> None:
    pings = Pings(Turn(THREADS), THREADS)
    payloads = [pings.begin(b"").payload for _ in range(3)]
    assert len(set(payloads)) == 3
    assert all(payloads)


def test_a_number_that_somebody_uses_is_left_out() -> None:
    pings = Pings(Turn(THREADS), THREADS)
    pings.begin((1).to_bytes(4, "big"))
    assert pings.begin(b"").payload == (2).to_bytes(4, "big")


def test_a_pong_answers_all_pings_before_its_own_as_well() -> None:
    pings = Pings(Turn(THREADS), THREADS)
    one, two, three = (pings.begin(data) for data in (b"1", b"2", b"3"))
    pings.answer(b"2")
    assert one.round_trip is not None
    assert two.round_trip is not None
    assert three.round_trip is None
    assert pings.latency == two.round_trip
    pings.answer(b"1")
    assert pings.latency == two.round_trip


def test_a_pong_that_nobody_waits_for_is_ignored() -> None:
    pings = Pings(Turn(THREADS), THREADS)
    ping = pings.begin(b"1")
    pings.answer(b"unasked")
    assert ping.round_trip is None
    pings.forget(ping)
    pings.answer(b"1")
    assert ping.round_trip is None
    assert pings.latency is None
    pings.forget(ping)  # once more does no harm


def test_as_many_pongs_are_expected_as_there_have_been_pings() -> None:
    pings = Pings(Turn(THREADS), THREADS)
    assert not pings.answer(b"unasked")
    # Answered in another order, and after nobody waits for it any more.
    one, _, _ = (pings.begin(data) for data in (b"1", b"2", b"3"))
    assert pings.answer(b"2")
    assert pings.answer(b"1")
    pings.forget(one)
    assert pings.answer(b"3")
    assert not pings.answer(b"3")


def test_an_answer_wakes_those_that_wait_for_their_turn() -> None:
    turn = Turn(THREADS)
    pings = Pings(turn, THREADS)
    assert turn.take_now()
    ping = pings.begin(b"1")
    waiting = start(turn.take, None, lambda: ping.round_trip is not None, eager=False)
    eventually(lambda: turn._waiting)
    pings.answer(b"1")
    assert not waiting.result()


@pytest.mark.parametrize("data", [bytearray(b"x" * 125), memoryview(b"x" * 125)], ids=["bytearray", "memoryview"])
def test_any_bytes_will_do(data: bytearray | memoryview) -> None:
    assert Pings(Turn(THREADS), THREADS).begin(data).payload == b"x" * 125


def test_wrong_data() -> None:
    pings = Pings(Turn(THREADS), THREADS)
    with pytest.raises(TypeError, match="the data of a ping must be bytes-like, not str"):
        pings.begin("text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the data of a ping is 126 bytes; the limit is 125"):
        pings.begin(bytes(126))
    pings.begin(b"twice")
    with pytest.raises(ValueError, match="a ping with the data b'twice' is under way already"):
        pings.begin(b"twice")
