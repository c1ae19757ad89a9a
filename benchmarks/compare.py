"""Servers side by side: ``python benchmarks/compare.py [--cells A,B] [--peers A,B] [--rounds N] [--json FILE]``.

Each server runs in a process of its own, pinned to one core; the load comes from this process on another core. The
servers take turns, round after round, so that a machine that gets slower or faster meanwhile treats them alike. The
first table has medians over the rounds, the second what this project is to show, and whether it does; with ``--json``
all that was measured is written to a file, of which ``report.py`` makes the tables and the plots of the documentation.

With the default settings it takes a quarter of an hour. ``--short`` is a smoke test: all cells, one very short round.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cells import CELLS, Cell
from load import LoadError
from measuring import Unavailable, check, measure, raise_limits
from peers import PEERS
from processes import CORES, pin

_CELLS = {cell.key: cell for cell in CELLS}
_MOST_MEMORY_ROUNDS = 2  # it takes long, and is the same each time
_QUIET = 0.5  # load average
_LIMIT = 0.95  # of a core
_SHORT = (0.1, 0.02)  # seconds, and the share of the connections where they are very many


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare WebSocket servers.")
    parser.add_argument("--cells", default=",".join(_CELLS), help=f"what to measure, of: {', '.join(_CELLS)}")
    parser.add_argument("--peers", default=",".join(PEERS), help="the names of the servers, with commas between them")
    parser.add_argument("--rounds", type=int, default=3, help="how often each server is measured (default: 3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each time, in seconds (default: 1)")
    parser.add_argument("--json", metavar="FILE", help="write all that was measured to this file")
    parser.add_argument("--short", action="store_true", help="one very short round: a smoke test")
    arguments = parser.parse_args()
    arguments.share = 1.0
    if arguments.short:
        arguments.rounds, (arguments.seconds, arguments.share) = 1, _SHORT
    arguments.cells = _names(parser, arguments.cells, list(_CELLS))
    arguments.peers = _names(parser, arguments.peers, list(PEERS))
    return arguments


def _names(parser: argparse.ArgumentParser, value: str, known: Sequence[str]) -> list[str]:
    # A comma may be in a name as well, but then a space is behind it.
    names = [name.replace("\0", ", ") for name in value.replace(", ", "\0").split(",")]
    if unknown := set(names) - set(known):
        parser.error(f"there is no {sorted(unknown)[0]!r}; there are {sorted(known)}")
    return [name for name in known if name in names]


def _installed(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Say what the servers are, those that can run here."""
    found = {}
    for name in names:
        peer = PEERS[name]
        if (versions := peer.versions()) is None:
            _say(f"{name} is left out: not all of {', '.join(peer.packages)} are installed")
        elif name.endswith(", pure Python") and not PEERS["syncws"].is_compiled():
            _say(f"{name} is left out: syncws is not compiled, it would be the same")
        else:
            found[name] = {"runs_on": peer.runs_on, "versions": versions, "compiled": peer.is_compiled()}
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _measured(cell: Cell, peers: Sequence[str], arguments: argparse.Namespace) -> tuple[dict[str, list[float]], float]:
    """Return what each server did in each round, and the largest share of its core that the load generator needed."""
    rates: dict[str, list[float]] = {}
    for peer in (name for name in cell.peers if name in peers):
        try:
            check(cell, peer)
            rates[peer] = []
        except Unavailable as error:
            _say(f"{cell.key}: {peer} is left out: {error}")
    busiest = 0.0
    for _ in range(min(arguments.rounds, _MOST_MEMORY_ROUNDS) if cell.kind == "memory" else arguments.rounds):
        for peer in list(rates):
            try:
                rate, busy = measure(cell, peer, arguments.seconds, arguments.share)
            except (LoadError, OSError) as error:
                if peer.startswith("syncws"):
                    raise
                _say(f"{cell.key}: {peer} is left out: {error}")
                del rates[peer]
                continue
            rates[peer].append(rate)
            busiest = max(busiest, busy)
            if busy > _LIMIT:
                _say(f"{cell.key}: {peer} may be faster than measured: the load generator used {busy:.0%} of its core")
    return rates, busiest


def _print_cell(cell: Cell, rates: dict[str, list[float]], busy: float) -> None:
    print(f"\n{cell.name}, {cell.unit} (the load generator used at most {busy:.0%} of its core)\n")
    print("| server | median | slowest | fastest |\n|---|--:|--:|--:|")
    for peer, each in rates.items():
        print(f"| {peer} | {_number(statistics.median(each))} | {_number(min(each))} | {_number(max(each))} |")
    sys.stdout.flush()


def _print_targets(measured: dict[str, dict[str, list[float]]]) -> None:
    print("\n| | server | target | measured | |\n|---|---|---|--:|---|")
    for cell in (each for each in CELLS if each.name in measured):
        for target in cell.targets:
            if (reached := target.reached(measured[cell.name])) is None:
                continue
            print(
                f"| {cell.name} | {target.ours} | {target.in_words(cell.unit)} | {_number(reached.value)} | {reached} |"
            )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    """Measure, print the tables as Markdown, and write the file."""
    arguments = _arguments()
    raise_limits()
    pin(0, CORES[-1])
    peers = _installed(arguments.peers)
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} on {platform.machine()}, {len(CORES)} cores",
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "peers": peers,
        "cells": {},
        "load": {},
    }
    if (load := os.getloadavg()[0]) > _QUIET:
        _say(f"the machine is busy with something else (load average {load:.1f}): the figures mean little")
    print(f"{results['python']}, medians of {arguments.rounds} rounds of {arguments.seconds:g} s")
    for cell in (_CELLS[key] for key in arguments.cells):
        rates, busy = _measured(cell, list(peers), arguments)
        if rates:
            results["cells"][cell.name], results["load"][cell.name] = rates, round(busy, 2)
            _print_cell(cell, rates, busy)
    _print_targets(results["cells"])
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except (LoadError, Unavailable) as error:
        sys.exit(f"compare.py: {error}")
