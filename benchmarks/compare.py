"""Echo servers side by side: ``python benchmarks/compare.py [--rounds N] [--seconds S] [--peers A,B] [--json FILE]``.

Each server runs in a process of its own, pinned to one core; the load comes from this process on another core. The
servers take turns, round after round, so that a machine that gets slower or faster meanwhile treats them alike. The
table has medians over the rounds, and the ratio to websockets.sync in the same run; with ``--json`` all that was
measured is written to a file, of which ``report.py`` makes the table and the plots of the documentation.

With the default settings it takes a quarter of an hour. ``--short`` is a smoke test.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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
    server = subprocess.Popen([sys.executable, str(peers), peer, str(port)], stderr=subprocess.DEVNULL)
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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare echo servers.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each server is measured (default: 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each time, in seconds (default: 3)")
    parser.add_argument("--peers", default=",".join(PEERS), help="the names of the servers, with commas between them")
    parser.add_argument("--json", metavar="FILE", help="write all that was measured to this file")
    parser.add_argument("--short", action="store_true", help="only the first cell, one short round: a smoke test")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.rounds, arguments.seconds = 1, 0.5
    # A comma may be in a name as well, but then a space is behind it.
    arguments.peers = arguments.peers.replace(", ", "\0").split(",")
    arguments.peers = [name.replace("\0", ", ") for name in arguments.peers]
    if unknown := set(arguments.peers) - set(PEERS):
        parser.error(f"there is no {sorted(unknown)[0]!r}; there are {sorted(PEERS)}")
    return arguments


def _environment(arguments: argparse.Namespace, peers: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Say what was measured, and on what."""
    return {
        "date": datetime.date.today().isoformat(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} on {platform.machine()}, {len(_CORES)} cores",
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "peers": {
            name: {"runs_on": PEERS[name].runs_on, "versions": versions, "compiled": PEERS[name].is_compiled()}
            for name, versions in peers.items()
        },
    }


def _rates(cell: dict[str, int], peers: list[str], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return the messages per second of each server in each round."""
    rates: dict[str, list[float]] = {peer: [] for peer in peers if peer != _RAW or cell["size"] < 126}
    for _ in range(rounds):
        for peer, measured in rates.items():
            measured.append(_measure(peer, cell, seconds))
    return rates


def main() -> None:
    """Measure, print the table as Markdown, and write the file."""
    arguments = _arguments()
    peers = {name: versions for name in arguments.peers if (versions := PEERS[name].versions()) is not None}
    for name in set(arguments.peers) - set(peers):
        print(f"{name} is left out: not all of {', '.join(PEERS[name].packages)} are installed\n")
    results = _environment(arguments, peers) | {"cells": {}}
    _pin(0, max(_CORES))
    print(f"{results['python']}, messages/s, median of {arguments.rounds}\n")
    print(f"| | {' | '.join(peers)} | syncws / {_BASE} |")
    print("|---" * (len(peers) + 2) + "|")
    for name, cell in list(CELLS.items())[: 1 if arguments.short else None]:
        rates = _rates(cell, list(peers), arguments.rounds, arguments.seconds)
        results["cells"][name] = rates
        row = [f"{statistics.median(rates[peer]):,.0f}" if peer in rates else "-" for peer in peers]
        if {"syncws", _BASE} <= set(rates):
            pairs = zip(rates["syncws"], rates[_BASE], strict=True)
            row.append(f"{statistics.median(ours / theirs for ours, theirs in pairs):.1f}")
        print(f"| {name} | {' | '.join(row)} |", flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
