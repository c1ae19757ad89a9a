"""What plain requests notice of open WebSockets: ``python benchmarks/gthread_pool.py [--rounds N] [--websockets N]``.

A Flask app runs under Gunicorn's gthread worker with a pool of 4 threads. 1000 plain requests are timed without any
WebSocket and while many are open, in turns, and so that each of 4 clients has one request under way. The table shows
the medians over the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from gthread_app import PAGE
from processes import free_port, wait_for

import syncws

CLIENTS = 4
REQUESTS = 1000


@contextlib.contextmanager
def _gunicorn() -> Iterator[int]:
    """Run the app; yield its port."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "gthread_app:app", "--worker-class", "gthread", "--threads", "4"]
    options = ["--bind", f"127.0.0.1:{port}", "--log-level", "warning", "--chdir", str(Path(__file__).parent)]
    process = subprocess.Popen([*command, *options])
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _ask(port: int, count: int) -> list[float]:
    """Send plain requests, one after the other; return the seconds that each took."""
    times = []
    with requests.Session() as session:
        session.trust_env = False
        for _ in range(count):
            begin = time.perf_counter()
            answer = session.get(f"http://127.0.0.1:{port}/")
            times.append(time.perf_counter() - begin)
            assert answer.text == PAGE
    return times


def _latencies(port: int) -> tuple[float, float]:
    """Return the median and the 99th percentile of the time of a request, in milliseconds."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        parts = pool.map(lambda count: _ask(port, count), [REQUESTS // CLIENTS] * CLIENTS)
        times = sorted(1000 * seconds for part in parts for seconds in part)
    return statistics.median(times), times[len(times) * 99 // 100]


def _with_websockets(port: int, count: int) -> tuple[float, float]:
    """The same while WebSockets are open, each of which has to work before and afterwards."""
    with contextlib.ExitStack() as stack:
        open_ones = [stack.enter_context(syncws.connect(f"ws://127.0.0.1:{port}/echo")) for _ in range(count)]
        _echo(open_ones)
        latencies = _latencies(port)
        _echo(open_ones)
    return latencies


def _echo(open_ones: list[syncws.WebSocket]) -> None:
    for ws in open_ones:
        ws.send("hello")
    for ws in open_ones:
        assert ws.receive(timeout=20) == "hello"


def main() -> None:
    """Measure, and print the table as Markdown."""
    parser = argparse.ArgumentParser(description="Time plain requests while WebSockets are open.")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured (default: 7)")
    parser.add_argument("--websockets", type=int, default=300, help="how many are open (default: 300)")
    arguments = parser.parse_args()
    without, while_open = [], []
    with _gunicorn() as port:
        _latencies(port)  # warm up
        for _ in range(arguments.rounds):
            without.append(_latencies(port))
            while_open.append(_with_websockets(port, arguments.websockets))
    ratio = statistics.median(b[1] / a[1] for a, b in zip(without, while_open, strict=True))
    print("| | median | 99th percentile |\n|---|---|---|")
    for name, rounds in (("no WebSocket", without), (f"{arguments.websockets} WebSockets", while_open)):
        median, p99 = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"| {name} | {median:.1f} ms | {p99:.1f} ms |")
    print(f"\nratio of the 99th percentiles, median of {arguments.rounds} rounds: {ratio:.2f}")


if __name__ == "__main__":
    main()
