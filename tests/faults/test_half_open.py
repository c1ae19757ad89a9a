"""Half-open peers: gone or frozen without a word. They are found idle, in mid-send, and while the handler is elsewhere.

Two ways to be half open: a process that is stopped, whose kernel goes on to confirm what comes in, and a network that
drops every packet, which is between two network namespaces of the test's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.half_open import INTERVAL, TIMEOUT
from support import require_tool

PATHS = ("/receive", "/send", "/elsewhere")
# What is promised, and what a machine that is busy may take longer.
PROMISE = INTERVAL + TIMEOUT + 1.0
DEADLINE = PROMISE + 20.0

PROGRAM = Path(__file__).with_name("half_open.py")
Process = subprocess.Popen[str]


@contextlib.contextmanager
def process(*arguments: str, prefix: tuple[str, ...] = ()) -> Iterator[Process]:
    with subprocess.Popen(
        [*prefix, sys.executable, str(PROGRAM), *arguments], stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def line(running: Process) -> str:
    assert running.stdout is not None
    return running.stdout.readline()


def find(server: Process, clients: list[Process], lose: Callable[[], None]) -> None:
    """Lose the peers, and have the server find out about each of them."""
    for client in clients:
        assert line(client) == "open\n"
    time.sleep(2 * INTERVAL)  # pings go back and forth
    assert all(client.poll() is None for client in clients)
    lost = time.monotonic()
    lose()
    for _ in clients:
        path, code, reason, found, over = json.loads(line(server))
        print(f"{path}: {found - lost:.2f} s, on_close() {over - lost:.2f} s ({reason})", end=", ")
        assert code == 1006
        assert lost < found < lost + DEADLINE
        assert lost < over < lost + DEADLINE
    print(f"promised: {PROMISE} s")


@pytest.mark.parametrize("kind", ["threads", "greenlets"])
def test_a_process_that_is_stopped(kind: str) -> None:
    with process("server", kind, "127.0.0.1") as server, contextlib.ExitStack() as stack:
        port = line(server).strip()
        clients = [stack.enter_context(process("client", "127.0.0.1", port, path)) for path in PATHS]

        def stop() -> None:
            for client in clients:
                client.send_signal(signal.SIGSTOP)

        find(server, clients, stop)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextlib.contextmanager
def two_networks() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a link between them: 192.0.2.1 in the first one, 192.0.2.2 in the second."""
    names = (f"syncws-{os.getpid()}-1", f"syncws-{os.getpid()}-2")
    with contextlib.ExitStack() as stack:
        for name in names:
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
        ip("-n", names[0], "link", "add", "one", "type", "veth", "peer", "name", "two", "netns", names[1])
        for name, device, number in zip(names, ("one", "two"), (1, 2), strict=True):
            ip("-n", name, "addr", "add", f"192.0.2.{number}/24", "dev", device)
            ip("-n", name, "link", "set", device, "up")
        yield names


@pytest.mark.parametrize("kind", ["threads", "greenlets"])
def test_a_network_that_drops_all_packets(kind: str) -> None:
    root = sys.platform == "linux" and os.geteuid() == 0
    require_tool("the command ip, and the right to make network namespaces", root and shutil.which("ip"))
    with two_networks() as (here, there), contextlib.ExitStack() as stack:
        enter = ("ip", "netns", "exec")
        server = stack.enter_context(process("server", kind, "192.0.2.1", prefix=(*enter, here)))
        port = line(server).strip()
        clients = [
            stack.enter_context(process("client", "192.0.2.1", port, path, prefix=(*enter, there))) for path in PATHS
        ]
        # What arrives for an address that a machine does not have is dropped without a word.
        find(server, clients, lambda: ip("-n", there, "addr", "del", "192.0.2.2/24", "dev", "two"))
