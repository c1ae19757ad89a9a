"""Out of descriptors, of threads, of memory: the server says so, refuses, costs next to nothing, and recovers.

Each server is a process of its own, whose limits are set from here. The clients that are refused come back at once,
which is the worst that they can do.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from commands import Server
from commands import running as running_command
from raw_client import WS_FIELDS, RawClient, request
from support import require_tool

DESCRIPTORS = 64
CLIENTS = 200
# What is promised is 5 % of a CPU, which tracing for the coverage multiplies, and two seconds, on a machine that has
# nothing else to do.
MAX_CPU = 0.3 if "COVERAGE_RUN" in os.environ else 0.05
MAX_RECOVERY = 10.0  # seconds

REQUEST = request(*WS_FIELDS)
on_threads_and_greenlets = pytest.mark.parametrize("arguments", [[], ["--gevent"]], ids=["threads", "gevent"])


class Crowd:
    """Clients that want a WebSocket each, keep it if they get it, and come back at once if they do not.

    :param tls: the server wants TLS. They do not begin with it, and a refusal is the end of the connection.
    :param wordless: the server may refuse without an answer.
    """

    def __init__(self, address: tuple[str, int], *, tls: bool, wordless: bool) -> None:
        self._address = address
        self._tls = tls
        self._wordless = wordless
        self._selector = selectors.DefaultSelector()
        self._sockets: set[socket.socket] = set()
        self.refused = 0
        self.answered = 0  # of those that were refused
        self.served: list[socket.socket] = []

    def come(self, size: int) -> None:
        """Connect for the first time."""
        for _ in range(size):
            self._connect()

    def _connect(self) -> None:
        sock = socket.create_connection(self._address)
        self._sockets.add(sock)
        if not self._tls:
            sock.sendall(REQUEST)
        self._selector.register(sock, selectors.EVENT_READ)

    def insist(self, seconds: float) -> None:
        """Go on for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                assert isinstance(key.fileobj, socket.socket)
                self._on_answer(key.fileobj)

    def _on_answer(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        try:
            answer = sock.recv(4096)
        except ConnectionResetError:
            # If it had been behind an answer, that would have come first.
            assert self._wordless, "reset, instead of an answer"
            answer = b""
        if answer.startswith(b"HTTP/1.1 101 "):
            self.served.append(sock)
            return
        if self._tls:
            assert answer == b""
        elif answer or not self._wordless:
            assert answer.startswith(b"HTTP/1.1 503 "), answer
            assert b"\r\nRetry-After: " in answer
            self.answered += 1
        self.refused += 1
        self._sockets.remove(sock)
        sock.close()
        self._connect()

    def leave(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._selector.close()


@contextlib.contextmanager
def crowd(address: tuple[str, int], *, tls: bool = False, wordless: bool = False) -> Iterator[Crowd]:
    crowd = Crowd(address, tls=tls, wordless=wordless)
    try:
        crowd.come(CLIENTS)
        yield crowd
    finally:
        crowd.leave()


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def address_of(server: Server) -> tuple[str, int]:
    return "127.0.0.1", int(server.ws_url.rstrip("/").rpartition(":")[2])


def cpu_share(server: Server, crowd: Crowd) -> float:
    """How much of a CPU the server uses while the clients go on to want what it does not have."""
    crowd.insist(1)  # until as many are served as can be
    served, refused = len(crowd.served), crowd.refused
    before, began = cpu_seconds(server.process.pid), time.monotonic()
    crowd.insist(3)
    share = (cpu_seconds(server.process.pid) - before) / (time.monotonic() - began)
    assert len(crowd.served) == served
    assert crowd.refused > refused
    return share


def seconds_to_serve(server: Server, count: int, tls: ssl.SSLContext | None = None) -> float:
    """How long it takes until so many clients at once have been served."""
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        clients = []
        while len(clients) < count:
            # Those who come too early are refused, over TLS without a word.
            with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
                client = stack.enter_context(RawClient(address_of(server), tls=tls))
                client.send(REQUEST)
                if client.read_response().status == 101:
                    client.echo()
                    clients.append(client)
        took = time.monotonic() - began
        for client in clients:
            client.echo("all of them")
            client.close_normally()
    return took


@on_threads_and_greenlets
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_descriptors(arguments: list[str], tls: bool, tmp_path: Path) -> None:
    require_tool("prlimit()", sys.platform == "linux")
    import resource

    context = None
    if tls:
        authority = trustme.CA()
        certificate = tmp_path / "certificate"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
        arguments = [*arguments, "--certfile", str(certificate)]
        context = ssl.create_default_context()
        authority.configure_trust(context)
    with running_command("echo", "--port", "0", *arguments) as server:
        seconds_to_serve(server, 1, context)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        with crowd(address_of(server), tls=tls) as clients:
            share = cpu_share(server, clients)
            print(f"{len(clients.served)} served, {clients.refused} refused, {share:.1%} CPU", end=", ")
            assert share < MAX_CPU
            assert len(clients.served) > DESCRIPTORS / 2 or tls
        took = seconds_to_serve(server, DESCRIPTORS // 2, context)
        print(f"recovered in {took:.2f} s")
        assert took < MAX_RECOVERY
        server.wait_for_log("over: cannot accept connections")
        assert server.log().count("cannot accept connections") == 2
        assert "Traceback" not in server.log()
        assert server.stop() == 0


@contextlib.contextmanager
def memory_limited(server: Server, more: int) -> Iterator[None]:
    """A server may have only so many bytes more of address space than it has now."""
    import resource

    pid = server.process.pid
    unlimited = resource.prlimit(pid, resource.RLIMIT_AS)
    size = int(Path(f"/proc/{pid}/status").read_text().partition("VmSize:")[2].split()[0]) * 1024
    resource.prlimit(pid, resource.RLIMIT_AS, (size + more, unlimited[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, unlimited)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the address space, what the C library reserves for each thread's small things is the largest part.
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    require_tool("prlimit()", sys.platform == "linux")
    import resource

    with running_command("echo", "--port", "0") as server:
        seconds_to_serve(server, 1)
        # Room for the stacks of some threads more.
        stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
        with memory_limited(server, 20 * (8 << 20 if stack == resource.RLIM_INFINITY else stack)):
            with crowd(address_of(server)) as clients:
                share = cpu_share(server, clients)
                print(f"{len(clients.served)} served, {clients.refused} refused, {share:.1%} CPU", end=", ")
                assert share < MAX_CPU
                assert len(clients.served) > 1
            took = seconds_to_serve(server, len(clients.served))
        print(f"recovered in {took:.2f} s")
        assert took < MAX_RECOVERY
        assert server.log().count("no thread for the connection: ") == 1
        server.wait_for_log("over: refusing connections (no thread)")
        assert len(server.log().splitlines()) == 2
        assert server.stop() == 0


@pytest.mark.skipif("COVERAGE_RUN" in os.environ, reason="tracing needs memory as well, at any time")
@on_threads_and_greenlets
def test_memory(arguments: list[str]) -> None:
    require_tool("prlimit()", sys.platform == "linux")
    with running_command("echo", "--port", "0", *arguments) as server:
        seconds_to_serve(server, 1)
        with memory_limited(server, 0):
            # There may be no memory for the answer either, in our code or in gevent's; then the connection is closed,
            # and what the client has sent makes a reset of that. Where descriptors or threads are missing, there is
            # always an answer.
            with crowd(address_of(server), wordless=True) as clients:
                share = cpu_share(server, clients)
                print(f"{len(clients.served)} served, {clients.refused} refused, {share:.1%} CPU", end=", ")
                assert share < MAX_CPU
                assert clients.answered > 0
            server.wait_for_log("no thread for the connection: not even")
        took = seconds_to_serve(server, DESCRIPTORS)
        print(f"recovered in {took:.2f} s")
        assert took < MAX_RECOVERY
        # gevent tells in a way of its own that it has had no memory.
        assert ("syncws/listener" if arguments else "Traceback") not in server.log()
        assert server.stop() == 0
