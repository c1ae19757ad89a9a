"""One measurement: a cell, a server, and what came out."""

from __future__ import annotations

import contextlib
import functools
import importlib
import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cells import Cell
from load import Measured, echo_rate, fan_out_rate, handshake_rate
from load_tls import TLS
from memory import memory_per_connection
from messages import frames_of
from peers import PEERS
from processes import free_port, import_time, running
from scenario import Scenario

__all__ = ["Unavailable", "check", "measure", "raise_limits"]

_IDLE = 2.5  # how much longer than other measurements: what is given back when a connection falls idle counts as gone


class Unavailable(Exception):
    """A cell cannot be measured here, and why."""


def raise_limits() -> None:
    """Have this process, and those it starts, open as many files as it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def check(cell: Cell, peer: str) -> None:
    """Raise :exc:`Unavailable` if a server cannot do what is asked of it, as it is installed here."""
    if cell.tls:
        _tls()
        _trustme()
    needs_prepared = cell.kind == "fan-out" and peer.startswith("syncws")
    if needs_prepared and not hasattr(importlib.import_module("syncws"), "PreparedMessage"):
        raise Unavailable("this syncws has no PreparedMessage")


def measure(
    cell: Cell, peer: str, seconds: float, share: float = 1.0, watch: Callable[[int], Any] | None = None
) -> Measured:
    """Run a server, and measure it.

    :param seconds: how long, where that may be chosen.
    :param share: of the connections of those cells that have very many.
    :param watch: is called with the id of the server's process, and returns a context manager for the measurement.
    :raises LoadError: the server did something else than it should.
    """
    if cell.kind == "import":
        return Measured(import_time(PEERS[peer].imports), 0.0)
    frames = _frames(cell.size, bool(cell.offer))
    with contextlib.ExitStack() as stack:
        pem = stack.enter_context(_certificate()) if cell.tls else ""
        scenario = Scenario(
            free_port(), tls=pem, deflate=bool(cell.offer), fan_out=cell.kind == "fan-out", busy=cell.busy
        )
        process = stack.enter_context(running(peer, scenario, all_cores=cell.all_cores))
        if watch is not None:
            stack.enter_context(watch(process))
        port, many = scenario.port, max(1, round(cell.connections * share))
        if cell.kind == "memory":
            sent = frames if cell.offer else ()
            idle = _IDLE * seconds
            return memory_per_connection(process, port, count=many, idle=idle, frames=sent, extensions=cell.offer)
        if cell.kind == "fan-out":
            return fan_out_rate(port, count=many, seconds=seconds)
        if cell.kind == "handshakes":
            return handshake_rate(port, at_once=cell.connections, seconds=seconds)
        return echo_rate(
            port,
            frames,
            count=cell.connections,
            in_flight=cell.in_flight,
            seconds=seconds,
            extensions=cell.offer,
            tls=_tls() if cell.tls else None,
        )


_frames = functools.cache(frames_of)


@functools.cache
def _tls() -> TLS:
    try:
        return TLS()
    except OSError as error:
        raise Unavailable(str(error)) from error


def _trustme() -> Any:
    try:
        return importlib.import_module("trustme")
    except ImportError as error:
        raise Unavailable("the package trustme, which makes the certificate, is not installed") from error


@contextlib.contextmanager
def _certificate() -> Iterator[str]:
    """Yield the name of a file with a certificate for 127.0.0.1 and its key."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "server.pem"
        issued = _trustme().CA().issue_cert("127.0.0.1")
        file.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
        yield str(file)
