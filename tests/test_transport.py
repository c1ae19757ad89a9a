"""Byte streams over real sockets: deadlines, partial writes, both ways at once, aborts; plain and TLS."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import random
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from peers import DEADLINE, Kind, eventually, open_descriptors, reset, sockets, start, threads_only, tls_transports

from syncws.descriptor import PureDescriptor
from syncws.transport import RECV_SIZE, SocketBase, SocketTransport, Transport, remaining, transport_for
from syncws.transport_tls import TLSTransport

Ends = tuple[Transport, Transport]
PAST = 0.0
BLOCK = bytes(4096)


def soon() -> float:
    return time.monotonic() + 0.02


def make(kind: str, buffer: int | None = None) -> Ends:
    family: Kind = "tcp" if kind.endswith("tcp") else "unix"
    if not kind.startswith("tls"):
        one, two = sockets(family, buffer=buffer)
        return transport_for(one), transport_for(two)
    server, client = tls_transports(family, buffer=buffer)
    handshake = start(server.handshake, time.monotonic() + DEADLINE)
    client.handshake(time.monotonic() + DEADLINE)
    handshake.result()
    # TLS 1.3: the server's session tickets come behind the handshake.
    server.send_all(b"!")
    assert client.recv(time.monotonic() + DEADLINE) == b"!"
    return server, client


@pytest.fixture(params=["unix", "tcp", "tls", "tls-tcp"])
def kind(request: Any) -> str:
    return str(request.param)


@pytest.fixture
def ends(kind: str) -> Iterator[Ends]:
    one, two = make(kind)
    yield one, two
    one.close()
    two.close()


@pytest.fixture
def small(kind: str) -> Iterator[Ends]:
    one, two = make(kind, buffer=4096)
    yield one, two
    one.close()
    two.close()


def fill(transport: Transport) -> int:
    """Write until the socket takes no more; return how much that was."""
    count = 0
    while True:
        while sent := transport.try_send(BLOCK):
            count += sent
        # With TCP there is room again when the other side's kernel has found some, at the latest for the first probe.
        select.select([], [transport.sock], [], 0.0 if transport.sock.family == socket.AF_UNIX else 0.3)
        if not (sent := transport.try_send(BLOCK)):
            return count
        count += sent


def read(transport: Transport, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += transport.recv(time.monotonic() + DEADLINE)
    return data


@threads_only
def test_the_transport_for_a_socket_goes_by_its_type() -> None:
    one, two = sockets("tcp")
    one.settimeout(5)
    plain = transport_for(one)
    assert isinstance(plain, SocketTransport)
    assert not plain.secure
    assert plain.remote_address == two.getsockname()
    assert plain.sock is one
    assert one.gettimeout() is None
    assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with context.wrap_socket(two, server_side=True, do_handshake_on_connect=False) as wrapped:
        secure = transport_for(wrapped)
        assert isinstance(secure, TLSTransport)
        assert secure.secure
        assert wrapped.gettimeout() == 0
    plain.close()


def test_a_peer_that_has_gone_has_no_address() -> None:
    one, two = sockets("tcp")
    reset(two)
    eventually(lambda: one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    transport = transport_for(one)
    assert transport.remote_address is None
    assert transport.recv() == b""
    transport.close()


def test_remaining() -> None:
    assert remaining(None) is None
    assert remaining(PAST) == 0
    left = remaining(time.monotonic() + 100)
    assert left is not None
    assert 99 < left <= 100
    # poll() takes no more than 2**31 milliseconds.
    assert remaining(float("inf")) == remaining(time.monotonic() + 1e9) == 1e6


@pytest.mark.parametrize("deadline", [None, float("inf")], ids=["no deadline", "infinite"])
def test_bytes_go_both_ways(ends: Ends, deadline: float | None) -> None:
    one, two = ends
    for sender, receiver in ((one, two), (two, one)):
        sender.send_all(b"abc", deadline)
        sender.send_all(memoryview(b"def"), deadline)
        assert sender.try_send(b"ghi") == 3
        data = b""
        while len(data) < 9:
            data += receiver.recv(deadline)
        assert data == b"abcdefghi"


def test_what_is_not_needed_does_no_harm(ends: Ends) -> None:
    one, two = ends
    one.handshake()  # done already, or there is none
    one.pause()  # there are other threads, but no other greenlets
    one.send_all(b"x")
    assert read(two, 1) == b"x"


def test_two_parts_leave_together_and_are_counted(ends: Ends) -> None:
    one, two = ends
    before = one.sent
    assert one.try_send_both(b"abc", b"def") == 6
    assert one.sent - before >= 6  # TLS adds to them
    data = b""
    while len(data) < 6:
        data += two.read() or b""
    assert data == b"abcdef"


def test_sending_nothing_sends_nothing(ends: Ends) -> None:
    one, two = ends
    assert one.try_send(b"") == 0
    one.send_all(b"")
    one.send_all(b"x")
    assert read(two, 1) == b"x"


def test_recv_returns_at_most_its_size(ends: Ends) -> None:
    one, two = ends
    sending = start(one.send_all, bytes(4 * RECV_SIZE))
    sizes = []
    while sum(sizes) < 4 * RECV_SIZE:
        sizes.append(len(two.recv()))
    sending.result()
    assert max(sizes) <= RECV_SIZE


@pytest.mark.parametrize("deadline", [PAST, None], ids=["past", "soon"])
def test_a_deadline_passes(ends: Ends, deadline: float | None) -> None:
    one, two = ends
    with pytest.raises(TimeoutError, match="timed out"):
        one.recv(soon() if deadline is None else deadline)
    two.send_all(b"x")
    assert read(one, 1) == b"x"


def test_what_has_arrived_is_read_after_any_deadline(ends: Ends) -> None:
    one, two = ends
    two.send_all(b"x")
    one.wait_ready()
    if isinstance(one, SocketTransport):
        assert one.recv(PAST) == b"x"
    else:
        assert read(one, 1) == b"x"


def test_a_full_socket_takes_nothing_until_the_peer_reads(small: Ends) -> None:
    one, two = small
    count = fill(one)
    # TLS wants to be given again what it has refused.
    assert one.try_send(BLOCK) == 0
    with pytest.raises(TimeoutError):
        one.send_all(BLOCK, soon())
    reading = start(read, two, count + len(BLOCK))
    one.send_all(BLOCK, time.monotonic() + DEADLINE)
    assert len(reading.result()) == count + len(BLOCK)


def test_wait_ready_returns_when_there_is_room_or_something_to_read(small: Ends) -> None:
    one, two = small
    one.wait_ready(PAST)  # room
    count = fill(one)
    with pytest.raises(TimeoutError):
        one.wait_ready(soon())
    waiting = start(one.wait_ready)
    reading = start(read, two, count + len(BLOCK))
    waiting.result()
    one.send_all(BLOCK)
    reading.result()
    fill(one)
    two.send_all(b"x")
    one.wait_ready()
    assert read(one, 1) == b"x"


def test_both_ways_at_once(kind: str) -> None:
    size = 50 << 20 if kind.startswith("tls") else 8 << 20
    block = random.Random(1).randbytes(100_003)
    blocks = size // len(block)
    one, two = make(kind)

    def send(transport: Transport) -> str:
        digest = hashlib.sha256()
        for number in range(blocks):
            data = number.to_bytes(4, "big") + block
            digest.update(data)
            transport.send_all(data, time.monotonic() + DEADLINE)
        return digest.hexdigest()

    def receive(transport: Transport) -> str:
        digest, left = hashlib.sha256(), blocks * (len(block) + 4)
        while left:
            data = transport.recv(time.monotonic() + DEADLINE)
            digest.update(data)
            left -= len(data)
        return digest.hexdigest()

    tasks = [start(action, end) for action in (send, receive) for end in (one, two)]
    sent_by_one, sent_by_two, received_by_one, received_by_two = (task.result(60) for task in tasks)
    assert received_by_two == sent_by_one
    assert received_by_one == sent_by_two
    one.close()
    two.close()


@pytest.mark.parametrize("on_its_way", [0, 1, 300_000])
def test_after_our_end_recv_waits_for_that_of_the_peer(ends: Ends, on_its_way: int) -> None:
    one, two = ends
    sending = start(two.send_all, bytes(on_its_way))
    if on_its_way:
        one.wait_ready()
    one.send_all(b"last")
    one.shutdown_write()
    one.shutdown_write()  # once more does no harm
    draining = start(lambda: list(iter(lambda: one.recv(time.monotonic() + DEADLINE), b"")))
    assert read(two, 4) == b"last"
    assert two.recv(time.monotonic() + DEADLINE) == b""
    sending.result()
    assert draining.is_alive()
    two.shutdown_write()
    draining.result()


def test_a_tls_stream_ends_with_a_close_notify_and_without_alerts() -> None:
    server, client = make_tls_strict()
    client.send_all(bytes(100_000))
    server.wait_ready()
    server.send_all(b"last")
    server.shutdown_write()
    assert read(client, 4) == b"last"
    # Without the close_notify this is an error, as the stream could have been cut off by anyone.
    assert client.sock.recv(1) == b""
    client.shutdown_write()
    while server.recv(time.monotonic() + DEADLINE):
        pass
    server.close()
    client.close()


def test_abort_wakes_a_reader_and_a_writer(small: Ends) -> None:
    one, two = small
    reader = start(one.recv)
    writer = start(one.send_all, bytes(1 << 22))
    # The writer is at work as soon as something arrives; whether the reader waits already makes no difference.
    assert two.recv()
    one.abort()
    assert reader.result() == b""
    with pytest.raises(OSError, match=r".") as caught:
        writer.result()
    assert not isinstance(caught.value, TimeoutError)
    with pytest.raises(OSError, match=r"."):
        one.try_send(b"x")


def test_abort_and_close_of_what_is_closed_do_nothing(kind: str) -> None:
    before = open_descriptors()
    one, two = make(kind)
    for end in (one, two):
        end.close()
        end.abort()
        end.shutdown_write()
        end.close()
    assert open_descriptors() == before


def test_abort_never_meets_the_descriptor_of_another_socket() -> None:
    # Whoever gets the number of the descriptor that close() gives back must not be shut down by a late abort().
    stop = threading.Event()
    current: list[Transport] = []

    def abort() -> None:
        while not stop.is_set():
            for transport in current[-1:]:
                transport.abort()
            time.sleep(0)

    aborting = start(abort)
    for _ in range(300):
        one, two = sockets()
        current.append(transport_for(one))
        current[-1].close()
        other_one, other_two = sockets()
        other_one.sendall(b"x")
        assert other_two.recv(1) == b"x"
        for sock in (two, other_one, other_two):
            sock.close()
    stop.set()
    aborting.result()


@pytest.mark.parametrize("kind", ["tcp", "tls-tcp"])
def test_a_reset_is_an_error_after_what_arrived_before(kind: str) -> None:
    one, two = make(kind)
    two.send_all(b"last")
    one.wait_ready()
    reset(two.sock)
    assert read(one, 4) == b"last"
    with contextlib.suppress(ConnectionResetError):
        # OpenSSL reports some resets as the end of the stream.
        assert (kind, one.recv(time.monotonic() + DEADLINE)) == ("tls-tcp", b"")
    with pytest.raises(OSError, match=r".") as caught:
        one.send_all(bytes(1 << 20))
    assert not isinstance(caught.value, TimeoutError)
    one.close()


@threads_only
def test_the_kernel_giving_up_a_peer_is_not_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncws.transport.Descriptor", PureDescriptor)

    class GivenUp(socket.socket):
        def recv(self, *_: Any) -> bytes:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

        def send(self, *_: Any) -> int:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    one, two = socket.socketpair()
    with two:
        transport = SocketTransport(GivenUp(fileno=one.detach()))
        for action in (transport.recv, lambda: transport.try_send(b"x"), lambda: transport.send_all(b"x")):
            with pytest.raises(ConnectionAbortedError, match="timed out") as caught:
                action()
            assert caught.value.errno == errno.ETIMEDOUT
        transport.close()


@threads_only
def test_the_kernel_giving_up_a_tls_peer_is_not_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = make("tls")

    def given_up(*_: Any) -> int:
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    for method in ("read", "write"):
        monkeypatch.setattr(ssl.SSLSocket, method, given_up)
    for action in (one.recv, lambda: one.send_all(b"x"), lambda: one.try_send(b"x")):
        with pytest.raises(ConnectionAbortedError, match="timed out"):
            action()
    one.close()
    two.close()


# TLS alone.


def make_tls_strict() -> Ends:
    server, client = tls_transports(ragged=False)
    handshake = start(server.handshake)
    client.handshake()
    handshake.result()
    return server, client


def test_a_tls_handshake_has_a_deadline() -> None:
    server, client = tls_transports()
    with pytest.raises(TimeoutError):
        server.handshake(soon())
    server.close()
    client.close()


def test_a_tls_handshake_with_something_else_fails() -> None:
    server, client = tls_transports()
    socket.socket.send(client.sock, b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ssl.SSLError):
        server.handshake(time.monotonic() + DEADLINE)
    server.close()
    client.close()


@pytest.mark.parametrize("ragged", [True, False])
@pytest.mark.parametrize("polite", [True, False])
def test_the_end_of_a_tls_stream(ragged: bool, polite: bool) -> None:
    server, client = tls_transports(ragged=ragged)
    handshake = start(server.handshake)
    client.handshake()
    handshake.result()
    if polite:
        # The peer says in TLS that it is over (close_notify).
        unwrapping = start(unwrap, client.sock)
        assert server.recv(time.monotonic() + DEADLINE) == b""
        client.abort()
        unwrapping.join(DEADLINE)
    else:
        client.abort()
        assert server.recv(time.monotonic() + DEADLINE) == b""
    server.close()
    client.close()


def unwrap(sock: Any) -> None:
    sock.settimeout(DEADLINE)
    with contextlib.suppress(OSError):  # the other side does not answer
        sock.unwrap()


def test_what_each_kind_of_transport_has_of_its_own() -> None:
    one, two = socket.socketpair()
    with one, two:
        base = SocketBase(one)
        for call in (base.recv, base.read, lambda: base.try_send(b"x"), lambda: base.try_send_both(b"x", b"y")):
            with pytest.raises(NotImplementedError):
                call()


class Late(PureDescriptor):
    """Finds nothing at first, as if a signal had interrupted it, and then what arrives meanwhile."""

    tried = False

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.arrive: Callable[[], object] = lambda: None

    def recv(self) -> bytes | None:
        return super().recv() if self._tries_again() else None

    def recv_now(self) -> bytes | None:
        return super().recv_now() if self._tries_again() else None

    def _tries_again(self) -> bool:
        tried, self.tried = self.tried, True
        if not tried:
            self.arrive()
        return tried


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[SocketTransport]:
    """A transport that finds nothing at first, then what arrives a moment later."""
    monkeypatch.setattr("syncws.transport.Descriptor", Late)
    one, two = socket.socketpair()
    with two:
        transport = SocketTransport(one)
        assert isinstance(transport._descriptor, Late)
        transport._descriptor.arrive = lambda: two.sendall(b"x")
        yield transport
        transport.close()


@threads_only
def test_where_there_is_no_poll(monkeypatch: pytest.MonkeyPatch, late: SocketTransport) -> None:
    monkeypatch.delattr("select.poll")
    assert late.recv(time.monotonic() + DEADLINE) == b"x"
    with pytest.raises(TimeoutError):
        late.recv(time.monotonic())


@threads_only
@pytest.mark.parametrize("deadline", [None, math.inf], ids=["no deadline", "infinite"])
def test_what_arrives_a_moment_later_is_waited_for(late: SocketTransport, deadline: float | None) -> None:
    # Without a deadline, it is a signal that has interrupted the first try.
    assert late.recv(deadline) == b"x"
