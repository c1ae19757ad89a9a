"""Eight senders, pings in between, and a close: frames never interleave, and nothing is lost that was accepted."""

from __future__ import annotations

import collections
import json

import pytest
from faulting import LONG, address_of, figure, fully, on_threads_and_greenlets, serving_process
from peers import RawFrame
from raw_client import CLOSE, PING, PONG, TEXT, RawClient, frame

SENDERS = 8  # of fault_server.py


@on_threads_and_greenlets
@pytest.mark.parametrize("closing", ["at the end", "in the middle"])
@pytest.mark.timeout(LONG)
def test_eight_senders_lose_nothing_that_was_accepted(gevent: bool, closing: str) -> None:
    count = fully(10_000, 1000)
    close_at = 0 if closing == "at the end" else count // 2
    with (
        serving_process("senders", gevent=gevent) as server,
        RawClient(address_of(server)) as client,
    ):
        client.open(target=f"/{count}/{close_at}")
        arrived: collections.Counter[int] = collections.Counter()
        pings = 0
        while (answer := client.read_frame()) is not None and answer.opcode != CLOSE:
            assert answer.fin
            if answer.opcode == PING:
                pings += 1
                client.send(frame(PONG, answer.payload))
                continue
            assert answer.opcode == TEXT
            sender, number, filling = answer.payload.decode().split(" ")
            # Whole, and in the order in which that sender has sent them.
            assert int(number) == arrived[int(sender)]
            assert filling == "x" * (int(number) % 200)
            arrived[int(sender)] += 1
        assert answer == RawFrame(CLOSE, (4000).to_bytes(2, "big"))
        client.send(frame(CLOSE, answer.payload))
        assert client.read_to_end() == b""
        assert server.process.stdout is not None
        accepted = json.loads(server.process.stdout.readline())
        figure(f"{sum(accepted)} messages accepted, {sum(arrived.values())} arrived, {pings} pings in between")
        assert pings > 0 or closing == "in the middle"
        assert [arrived[sender] for sender in range(SENDERS)] == accepted
        if closing == "at the end":
            assert accepted == [count] * SENDERS
        assert "Traceback" not in server.log()
