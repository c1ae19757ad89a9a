"""What the fault suite shares: servers in processes of their own, what they cost, and many clients at once.

The tests do in a moment what shows the same as the full figures, unless the environment variable FAULTS is ``full``.
The figures that are measured are printed; ``pytest -s`` shows them.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Server, running
from raw_client import DEADLINE, TEXT, WS_FIELDS, frame, request
from support import require_tool

__all__ = [
    "FULL",
    "HEAD_101",
    "LONG",
    "MIB",
    "REQUEST",
    "Memory",
    "address_of",
    "connect",
    "cpu_seconds",
    "descriptors",
    "echo_all",
    "figure",
    "fully",
    "on_threads_and_greenlets",
    "open_all",
    "open_descriptors_of",
    "percentile",
    "serving_process",
    "status_of",
]

FULL = os.environ.get("FAULTS") == "full"
LONG = 300.0  # seconds: for what takes a minute
MIB = 2**20

on_threads_and_greenlets = pytest.mark.parametrize("gevent", [False, True], ids=["threads", "gevent"])
REQUEST = request(*WS_FIELDS)
HEAD_101 = b"HTTP/1.1 101 "
# Addresses of the client: each has ports of its own, of which those used of late are not free yet.
_SOURCES = [f"127.0.0.{number}" for number in range(2, 18)] if sys.platform == "linux" else ["127.0.0.1"]


def fully(full: int, short: int) -> int:
    """How many: the full figure, or what is enough in the ordinary suite."""
    return full if FULL else short


def figure(text: str) -> None:
    """Show what has been measured."""
    name = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].removesuffix(" (call)")
    print(f"\n{name}: {text}")


def percentile(values: list[float], share: float) -> float:
    """The value that so large a share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


# The server's process.


@contextlib.contextmanager
def serving_process(handler: str = "echo", **options: Any) -> Iterator[Server]:
    """Run a handler of ``fault_server.py`` until the block is left."""
    program = [str(Path(__file__).with_name("fault_server.py"))]
    with running(handler, json.dumps(options), program=program) as server:
        yield server


def address_of(server: Server) -> tuple[str, int]:
    """Host and port."""
    return "127.0.0.1", int(server.ws_url.rstrip("/").rpartition(":")[2])


def status_of(server: Server, name: str) -> int:
    """A number from the status of the process, in bytes if it has a unit (proc(5))."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    words = next(line for line in lines if line.startswith(f"{name}:")).split()
    return int(words[1]) * (1024 if words[2:] == ["kB"] else 1)


def open_descriptors_of(server: Server) -> int:
    """How many descriptors the process has open."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def cpu_seconds(server: Server) -> float:
    """The CPU time that the process has used, in seconds."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Memory:
    """The memory of a server's process, in bytes, since this object was made."""

    def __init__(self, server: Server) -> None:
        require_tool("/proc", sys.platform == "linux")
        self._server = server
        # From here on VmHWM is the peak (proc(5), clear_refs).
        Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
        self._before = status_of(server, "VmRSS")

    def growth(self) -> int:
        """The peak, less what it was at the beginning."""
        return status_of(self._server, "VmHWM") - self._before


# Many clients.


@contextlib.contextmanager
def descriptors(needed: int) -> Iterator[None]:
    """Raise the limit on open descriptors, if it is low, for this process and those that it starts."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"{needed} descriptors are needed; the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(address: tuple[str, int], number: int = 0) -> socket.socket:
    """A connection; the number is spread over the addresses that this machine has for itself."""
    sock = socket.create_connection(address, DEADLINE, (_SOURCES[number % len(_SOURCES)], 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def open_all(address: tuple[str, int], count: int, clients: list[socket.socket], *, at_once: int = 100) -> None:
    """Open so many WebSockets, some at once, and add their sockets to the clients, whose owner closes them."""
    for first in range(0, count, at_once):
        some = range(first, min(first + at_once, count))
        for number in some:
            clients.append(connect(address, number))
            clients[-1].sendall(REQUEST)
        for sock in clients[-len(some) :]:
            read_until(sock, b"\r\n\r\n", HEAD_101)


def read_until(sock: socket.socket, end: bytes, beginning: bytes) -> None:
    """Read what begins and ends so, and nothing more but the pings that are due now and then."""
    data = b""
    while not data.endswith(end):
        piece = sock.recv(4096)
        data += piece
        assert piece, data
    while data.startswith(b"\x89"):
        data = data[2 + data[1] :]
    assert data.startswith(beginning), data


def echo_all(clients: list[socket.socket], words: str, *, at_once: int = 500) -> None:
    """Have each client's message sent back, some of them at the same time."""
    for first in range(0, len(clients), at_once):
        some = list(enumerate(clients))[first : first + at_once]
        for number, sock in some:
            sock.sendall(frame(TEXT, f"{words} {number}".encode()))
        for number, sock in some:
            text = f"{words} {number}".encode()
            read_until(sock, text, bytes([0x81, len(text)]) + text)
