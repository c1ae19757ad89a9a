"""Two hundred peers at once that send a byte a second: all are gone within their deadline, and others do not notice.

What a single one is answered, and when, is in ``test_slow_peers.py``.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from commands import Server
from faulting import (
    REQUEST,
    address_of,
    connect,
    descriptors,
    figure,
    fully,
    on_threads_and_greenlets,
    open_descriptors_of,
    percentile,
    serving_process,
    status_of,
)
from peers import RawFrame, eventually, start
from raw_client import BINARY, DEADLINE, PING, TEXT, RawClient, frame

SLOW = 200
SECONDS = fully(5, 2)  # open_timeout and message_timeout

# A ClientHello's record header, and the beginning of what it announces.
HELLO = b"\x16\x03\x01\x0f\xff\x01\x00\x0f\xfb\x03\x03" + bytes(4000)
# What comes at once, and what a byte at a time.
PLACES = {
    "TLS hello": (b"", HELLO),
    "head": (b"", REQUEST),
    "frame header": (REQUEST, frame(BINARY, bytes(70_000))[:14]),
    "payload": (REQUEST, frame(BINARY, bytes(70_000))),
}


class Slow:
    """The slow peers: a byte a second from each, one peer after the other."""

    def __init__(self, server: Server, place: str) -> None:
        at_once, self._rest = PLACES[place]
        # The first byte of a message is what its deadline counts from.
        self._socks = [connect(address_of(server), number) for number in range(SLOW)]
        for sock in self._socks:
            sock.sendall(at_once + self._rest[:1])
        self.began = time.monotonic()
        self.gone: list[float] = []  # when each was, in seconds since then

    def drip(self) -> None:
        """Go on until the server has ended all connections."""
        left = dict.fromkeys(self._socks, 1)
        while left:
            for sock, sent in list(left.items()):
                if self._is_over(sock):
                    self.gone.append(time.monotonic() - self.began)
                    del left[sock]
                    continue
                with contextlib.suppress(ConnectionError):
                    sock.sendall(self._rest[sent : sent + 1])
                left[sock] += 1
                time.sleep(1 / SLOW)

    def _is_over(self, sock: socket.socket) -> bool:
        while select.select([sock], [], [], 0)[0]:
            try:
                if not sock.recv(4096):
                    return True
            except ConnectionError:
                return True
        return False

    def close(self) -> None:
        for sock in self._socks:
            sock.close()


@contextlib.contextmanager
def slow_peers(server: Server, place: str) -> Iterator[Slow]:
    with contextlib.closing(Slow(server, place)) as slow:
        yield slow


def latencies(client: RawClient, over: threading.Event) -> list[float]:
    """Be echoed to until it is over; return how long each took, in seconds."""
    taken = []
    while not over.wait(0.005):
        began = time.perf_counter()
        client.send(frame(TEXT, b"a normal client"))
        while (answer := client.read_frame()) is not None and answer.opcode == PING:
            pass  # one of those that are due now and then
        assert answer == RawFrame(TEXT, b"a normal client")
        taken.append(time.perf_counter() - began)
    return taken


def usual_latencies(client: RawClient) -> list[float]:
    over = threading.Event()
    measuring = start(latencies, client, over)
    time.sleep(fully(3, 1))
    over.set()
    return measuring.result(DEADLINE)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost, and a client's context that trusts it."""
    authority = trustme.CA()
    path = tmp_path_factory.mktemp("slowloris") / "certificate"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return path, context


@on_threads_and_greenlets
@pytest.mark.parametrize("place", PLACES)
def test_200_slow_peers_are_gone_in_time(gevent: bool, place: str, certificate: tuple[Path, ssl.SSLContext]) -> None:
    path, context = certificate
    options: dict[str, object] = {"open_timeout": SECONDS, "message_timeout": SECONDS, "close_timeout": 1}
    tls = None
    if place == "TLS hello":
        options["certfile"], tls = str(path), context
    with (
        descriptors(SLOW + 200),
        serving_process(gevent=gevent, **options) as server,
        RawClient(address_of(server), tls=tls) as normal,
    ):
        normal.open()
        usual = usual_latencies(normal)
        before = open_descriptors_of(server), status_of(server, "Threads")
        over = threading.Event()
        with slow_peers(server, place) as slow:
            measuring = start(latencies, normal, over)
            slow.drip()
            over.set()
        meanwhile = measuring.result(DEADLINE)
        assert len(slow.gone) == SLOW
        figure(
            f"all {SLOW} gone in {max(slow.gone):.1f} s, the deadline is {SECONDS}; a normal client: "
            f"p99 {percentile(meanwhile, 0.99) * 1000:.2f} ms, usually {percentile(usual, 0.99) * 1000:.2f} ms"
        )
        # As late as a busy machine, and the second that a peer has for the closing handshake, may make it.
        assert min(slow.gone) > SECONDS - 1
        assert max(slow.gone) < SECONDS + DEADLINE
        eventually(lambda: (open_descriptors_of(server), status_of(server, "Threads")) == before)
        normal.echo("still")
        assert "Traceback" not in server.log()
