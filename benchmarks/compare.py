"""Echo servers side by side: ``python benchmarks/compare.py [--rounds N] [--seconds S] [--short]``.

Each server runs in a process of its own, pinned to one core; the load comes from this process on another core. The
servers take turns, round after round, so that a machine that gets slower or faster meanwhile treats them alike. The
table shows medians over the rounds, and the ratio to websockets.sync in the same run.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from load import echo_rate
from peers import PEERS

CELLS: dict[str, dict[str, int]] = {
    "64 connections x 32 B, one in flight": {"connections": 64, "size": 32},
    "64 connections x 32 B, 32 in flight": {"connections": 64, "size": 32, "in_flight": 32},
    "8 connections x 64 KiB": {"connections": 8, "size": 65536},
    "1 connection x 1 MiB": {"connections": 1, "size": 2**20},
}
_CORES = os.sched_getaffinity(0)  # of this process as it was started
_BASE = "websockets.sync"
_RAW = "raw threads"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def _measure(peer: str, cell: dict[str, int], seconds: float) -> float:
    port = _free_port()
    peers = Path(__file__).with_name("peers.py")
    server = subprocess.Popen([sys.executable, str(peers), peer, str(port)])
    try:
        _pin(server.pid, min(_CORES))
        _wait_for(port)
        return echo_rate(port, seconds=seconds, **cell)
    finally:
        server.kill()
        server.wait()


def _pin(process: int, core: int) -> None:
    """Let a process, or this one if it is 0, run on one core only."""
    os.sched_setaffinity(process, {core})


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def main() -> None:
    """Measure, and print the table as Markdown."""
    parser = argparse.ArgumentParser(description="Compare echo servers.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each server is measured (default: 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each time, in seconds (default: 3)")
    parser.add_argument("--short", action="store_true", help="only the first cell, one short round: a smoke test")
    arguments = parser.parse_args()
    cells = CELLS
    if arguments.short:
        arguments.rounds, arguments.seconds = 1, 0.5
        cells = dict(list(CELLS.items())[:1])
    _pin(0, max(_CORES))
    print(f"{platform.python_implementation()} {platform.python_version()}, messages/s, median of {arguments.rounds}\n")
    print(f"| | {' | '.join(PEERS)} | syncws / {_BASE} |")
    print("|---" * (len(PEERS) + 2) + "|")
    for name, cell in cells.items():
        peers = [peer for peer in PEERS if peer != _RAW or cell["size"] < 126]
        rates: dict[str, list[float]] = {peer: [] for peer in peers}
        for _ in range(arguments.rounds):
            for peer in peers:
                rates[peer].append(_measure(peer, cell, arguments.seconds))
        ratio = statistics.median(a / b for a, b in zip(rates["syncws"], rates[_BASE], strict=True))
        row = [f"{statistics.median(rates[peer]):,.0f}" if peer in rates else "-" for peer in PEERS]
        print(f"| {name} | {' | '.join(row)} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
