"""Server processes of the benchmarks: started, pinned to a core, waited for, and ended."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from scenario import Scenario

__all__ = ["CORES", "free_port", "import_time", "pin", "running", "wait_for"]

CORES = sorted(os.sched_getaffinity(0))  # of this process as it was started
_PATIENCE = 20.0  # seconds until a server has to accept connections
_STARTING = 0.02  # seconds between two looks
_IMPORTS = 4


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def pin(process: int, *cores: int) -> None:
    """Let a process, or this one if it is 0, run on these cores only."""
    os.sched_setaffinity(process, cores)


def wait_for(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return when somebody accepts connections there.

    :param process: who; :exc:`ConnectionError` if it ends instead.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process is not None and process.poll() is not None:
                raise ConnectionError(f"the server has ended with status {process.returncode}") from None
            if time.monotonic() > deadline:
                raise
            time.sleep(_STARTING)


@contextlib.contextmanager
def running(peer: str, scenario: Scenario, *, all_cores: bool = False) -> Iterator[int]:
    """Run a server, on the first core unless it may have all; yield its process id.

    An exception that leaves the with-statement gets what the server has written to its standard error, as a note or,
    for a Python without them, on ours.
    """
    command = [sys.executable, str(Path(__file__).with_name("peers.py")), peer, *scenario.arguments()]
    cores = CORES if all_cores else CORES[:1]
    with tempfile.TemporaryFile() as errors:
        server = subprocess.Popen(command, stderr=errors, preexec_fn=lambda: pin(0, *cores))
        try:
            wait_for(scenario.port, server)
            yield server.pid
        except Exception:
            errors.seek(0)
            sys.stderr.write(errors.read().decode(errors="replace"))
            raise
        finally:
            server.kill()
            server.wait()


def import_time(modules: str) -> float:
    """Return the milliseconds that a new process, on the first core, needs to import some modules."""
    program = f"import time; begin = time.perf_counter(); import {modules}; print(time.perf_counter() - begin)"
    command = [sys.executable, "-c", program]
    # In this directory, as the servers are: in another, there may be sources beside what is installed.
    directory = Path(__file__).parent
    times = [
        subprocess.check_output(command, cwd=directory, preexec_fn=lambda: pin(0, CORES[0]))
        for _ in range(_IMPORTS + 1)
    ]
    return 1000 * min(map(float, times[1:]))  # the first one may have to read the files
