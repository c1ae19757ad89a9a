"""Control frames without end, from a peer that reads nothing: no memory, and others do not notice.

The server runs in a process of its own, so that its memory can be measured.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import running as running_command
from faulting import MIB, Memory, address_of, figure, fully, on_threads_and_greenlets, percentile, serving_process
from peers import RawFrame, Task, start
from raw_client import CLOSE, DEADLINE, PING, PONG, TEXT, RawClient, frame

THOUSANDS = fully(1000, 20 if "COVERAGE_RUN" in os.environ else 200)  # tracing takes its time
PAYLOAD = bytes(range(125))  # the largest that a control frame may have (RFC 6455, 5.5)


def flood(client: RawClient, frames: bytes, times: int) -> None:
    """Send the same again and again, until the server has had enough."""
    with contextlib.suppress(ConnectionError):
        for _ in range(times):
            client.send(frames)


def latencies(client: RawClient, going_on: Task) -> list[float]:
    """Be echoed to for as long as a task runs; return how long each took, in seconds."""
    taken = []
    while going_on.is_alive() or len(taken) < 100:
        began = time.perf_counter()
        client.send(frame(TEXT, b"not disturbed"))
        while (answer := client.read_frame()) is not None and answer.opcode == PING:
            pass  # one of those that are due now and then
        assert answer == RawFrame(TEXT, b"not disturbed")
        taken.append(time.perf_counter() - began)
        time.sleep(0.002)  # as a client that has something else to do, not as another flood
    return taken


@on_threads_and_greenlets
@pytest.mark.parametrize(
    ("opcode", "payload"),
    [(PING, b""), (PING, PAYLOAD), (PONG, b"")],
    ids=["empty pings", "full pings", "pongs"],
)
def test_a_million_control_frames_and_nothing_read(gevent: bool, opcode: int, payload: bytes, tmp_path: Path) -> None:
    # Without the limit, which would end the flood after a thousand frames: tests/faults/test_flood_limits.py.
    path = str(tmp_path / "socket")
    with (
        serving_process(gevent=gevent, path=path, max_control_frames_per_second=None) as server,
        RawClient(path) as other,
    ):
        other.open()
        with RawClient(path) as warming:  # a connection costs something as well
            warming.open(glued=frame(opcode, payload) * 10_000 + frame(TEXT, b"\xff"))
            answers = warming.read_all()
            assert {answer.opcode for answer in answers[:-1]} <= {PONG}
            assert answers[-1].opcode == CLOSE
        usual = latencies(other, start(time.sleep, 1))
        memory = Memory(server)
        with RawClient(path, buffer=65536) as flooding:
            flooding.open()
            task = start(flood, flooding, frame(opcode, payload) * 1000, THOUSANDS)
            meanwhile = latencies(other, task)
            task.result(DEADLINE)
            growth = memory.growth()
        other.close_normally()
        figure(
            f"memory grew by {growth / MIB:.2f} MiB; another client: p99 {percentile(meanwhile, 0.99) * 1000:.2f} ms, "
            f"usually {percentile(usual, 0.99) * 1000:.2f} ms"
        )
        assert growth < MIB
        assert server.stop() == -signal.SIGTERM  # nothing else has ended it
        assert "Traceback" not in server.log()


# A process of its own, so that what it costs to send does not disturb who measures.
FLOODER = """
import contextlib, sys, time
from raw_client import PING, RawClient, frame

address, until, pings = ("127.0.0.1", int(sys.argv[1])), time.monotonic() + float(sys.argv[2]), frame(PING) * 1000
count = 0
while time.monotonic() < until:
    with RawClient(address) as client:
        client.open()
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                client.send(pings)
    count += 1
print(count)
"""


@on_threads_and_greenlets
def test_floods_over_the_limit_disturb_nobody(gevent: bool) -> None:
    """As the limit is by default: each flood of a million pings is over after a thousand, and the next one begins."""
    with (
        running_command("echo", "--port", "0", *(["--gevent"] if gevent else [])) as server,
        RawClient(address_of(server)) as other,
    ):
        other.open()
        seconds = fully(5, 1)
        usual = latencies(other, start(time.sleep, seconds))
        command = [sys.executable, "-c", FLOODER, str(address_of(server)[1]), str(seconds)]
        tests = str(Path(__file__).parent.parent)
        flooding = start(subprocess.run, command, cwd=tests, capture_output=True, text=True, check=True)
        meanwhile = latencies(other, flooding)
        floods = int(flooding.result(DEADLINE).stdout)
        figure(
            f"{floods} floods; another client: p50 {percentile(meanwhile, 0.5) * 1000:.2f} ms, p99 "
            f"{percentile(meanwhile, 0.99) * 1000:.2f} ms, usually {percentile(usual, 0.5) * 1000:.2f} and "
            f"{percentile(usual, 0.99) * 1000:.2f} ms"
        )
        assert floods
        other.close_normally()
        assert server.stop() == 0
        assert "Traceback" not in server.log()
