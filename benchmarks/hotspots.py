"""Where a server's time goes: ``python benchmarks/hotspots.py SERVER [--cell CELL] [--seconds S] [--native]``.

Runs one server under the load of a cell of ``compare.py``, and prints the processor time that a message costs it, in
the program and in the system. If py-spy is installed (``pip install py-spy``), the functions follow in which the
samples were taken, and the shares of the samples that they, and what they call, had; ``--native`` adds functions of
compiled modules, and slows the server down. The processor time is measured before, without sampling.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from cells import CELLS
from load import LoadError
from measuring import Unavailable, check, measure, raise_limits
from peers import PEERS
from processes import CORES, pin
from samples import own_and_total

_CELLS = {cell.key: cell for cell in CELLS if not cell.less_is_better}
_SHOWN = 20  # functions
_RATE = 200  # samples per second


def cpu_times(process: int) -> tuple[float, float]:
    """Return the seconds of processor time that a process has used, in itself and in the system."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / ticks, int(fields[12]) / ticks


def _timed(times: list[float]) -> Callable[[int], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def watch(process: int) -> Iterator[None]:
        before = cpu_times(process)
        yield
        times.extend(after - at_first for after, at_first in zip(cpu_times(process), before, strict=True))

    return watch


def _sampled(file: str, seconds: float, native: bool) -> Callable[[int], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def watch(process: int) -> Iterator[None]:
        options = [
            "--duration",
            str(max(1, int(seconds))),
            "--rate",
            str(_RATE),
            "--gil",
            "--nonblocking",
            "--format",
            "raw",
        ]
        command = ["py-spy", "record", "--pid", str(process), *options, *(["--native"] if native else [])]
        with subprocess.Popen([*command, "--output", file], stdout=subprocess.DEVNULL) as sampler:
            yield
            sampler.wait()

    return watch


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Show where a server's time goes.")
    parser.add_argument("server", choices=list(PEERS))
    parser.add_argument("--cell", choices=list(_CELLS), default="small", help="under which load (default: small)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long (default: 5)")
    parser.add_argument("--native", action="store_true", help="functions of compiled modules too")
    return parser.parse_args()


def main() -> None:
    """Measure, then sample, and print."""
    arguments = _arguments()
    cell = _CELLS[arguments.cell]
    raise_limits()
    pin(0, CORES[-1])
    check(cell, arguments.server)
    times: list[float] = []
    rate, _ = measure(cell, arguments.server, arguments.seconds, watch=_timed(times))
    messages = rate * arguments.seconds * 1.2  # with those of the warm-up
    inside, system = (1e6 * each / messages for each in times)
    print(f"{cell.name}: {rate:,.0f} {cell.unit}; µs each: {inside:.1f} in the program, {system:.1f} in the system")
    if shutil.which("py-spy") is None:
        sys.exit("py-spy is not installed: no functions")
    with tempfile.NamedTemporaryFile("r") as file:
        measure(
            cell, arguments.server, arguments.seconds, watch=_sampled(file.name, arguments.seconds, arguments.native)
        )
        print("\n| function | own | with what it calls |\n|---|--:|--:|")
        for name, own, total in own_and_total(file.read())[:_SHOWN]:
            print(f"| {name} | {own:.1%} | {total:.1%} |")


if __name__ == "__main__":
    try:
        main()
    except (LoadError, Unavailable) as error:
        sys.exit(f"hotspots.py: {error}")
