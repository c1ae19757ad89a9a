"""Byte streams of greenlets over real sockets: the contract of transports, kills, and turns for the others.

Nothing is monkey-patched in this process. What both kinds of transport have in common is tested for threads in
``test_transport.py``, which also runs with everything patched.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import hashlib
import os
import random
import select
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.os
import gevent.socket
import gevent.ssl
import pytest
import trustme
from gevent.event import Event
from peers import DEADLINE, open_descriptors, reset, sockets

from syncws.descriptor import PureDescriptor
from syncws.runtime_gevent import GREENLETS
from syncws.transport import RECV_SIZE, SocketTransport, transport_for
from syncws.transport_gevent import (
    GreenletTLSTransport,
    GreenletTransport,
    _after_fork,
    _GreenletBase,
    transport_for_greenlets,
)

Ends = tuple[Any, Any]
PAST = 1e-9  # a deadline; unlike NOW, others may run before it has its effect
BLOCK = bytes(4096)
KINDS = ["native", "gevent", "tcp", "tls", "gevent-tls"]


class Task(gevent.Greenlet):
    """A greenlet whose result, or exception, is asked for with :meth:`result`."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        super().__init__(self._keep, function, *args)
        self.error: BaseException | None = None

    def _keep(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except BaseException as error:
            self.error = error
            return None

    def result(self, timeout: float = DEADLINE) -> Any:
        self.join(timeout)
        assert self.ready(), "it has not returned"
        if self.error is not None:
            raise self.error
        return self.value


def go(function: Callable[..., Any], *args: Any) -> Task:
    """Run a function in a greenlet, up to where it waits."""
    task = Task(function, *args)
    task.start()
    gevent.idle()
    return task


def soon() -> float:
    return time.monotonic() + 0.02


def late() -> float:
    return time.monotonic() + DEADLINE


@functools.lru_cache
def contexts(module: Any) -> tuple[Any, Any]:
    authority = trustme.CA()
    server, client = module.SSLContext(ssl.PROTOCOL_TLS_SERVER), module.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


def tls_sockets(kind: str = "tls", buffer: int | None = None) -> tuple[Any, Any]:
    """A server's and a client's SSLSocket, before the handshake."""
    one, two = sockets(buffer=buffer)
    module: Any = ssl
    if kind == "gevent-tls":
        module = gevent.ssl
        one, two = (gevent.socket.socket(fileno=sock.detach()) for sock in (one, two))
    server, client = contexts(module)
    return (
        server.wrap_socket(one, server_side=True, do_handshake_on_connect=False),
        client.wrap_socket(two, server_hostname="localhost", do_handshake_on_connect=False),
    )


def make(kind: str, buffer: int | None = None) -> Ends:
    if "tls" in kind:
        server, client = map(transport_for_greenlets, tls_sockets(kind, buffer))
        handshake = go(server.handshake, late())
        client.handshake(late())
        handshake.result()
        # TLS 1.3: the server's session tickets come behind the handshake.
        server.send_all(b"!")
        assert client.recv(late()) == b"!"
        return server, client
    one, two = sockets("tcp" if kind == "tcp" else "unix", buffer=buffer)
    if kind == "native":
        return GreenletTransport(one), GreenletTransport(two)
    return tuple(GreenletTransport(gevent.socket.socket(fileno=sock.detach())) for sock in (one, two))  # type: ignore[return-value]


@pytest.fixture(params=KINDS)
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


def fill(transport: Any) -> int:
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


def read(transport: Any, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += transport.recv(late())
    return data


def test_a_socket_of_gevents_gets_a_transport_for_greenlets() -> None:
    one, two = sockets("tcp")
    wrapped = gevent.socket.socket(fileno=one.detach())
    number = wrapped.fileno()
    transport = transport_for(wrapped)  # type: ignore[arg-type]
    assert isinstance(transport, GreenletTransport)
    assert transport.runtime is GREENLETS
    assert not transport.secure
    assert transport.remote_address == two.getsockname()
    # gevent's socket is empty now, and its watchers are gone.
    assert wrapped.fileno() == -1
    assert type(transport.sock) is socket.socket
    assert transport.sock.fileno() == number
    assert transport.sock.gettimeout() == 0
    assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    transport.close()
    native = transport_for(two)
    assert isinstance(native, SocketTransport)
    native.close()


@pytest.mark.parametrize("kind", ["tls", "gevent-tls"])
def test_a_tls_socket_stays_itself(kind: str) -> None:
    one, two = tls_sockets(kind)
    for sock in (one, two):
        transport = transport_for(sock) if kind == "gevent-tls" else transport_for_greenlets(sock)
        assert isinstance(transport, GreenletTLSTransport)
        assert transport.secure
        assert transport.sock is sock
        assert transport.runtime is GREENLETS
        transport.close()
        assert sock.fileno() == -1


@pytest.mark.parametrize("deadline", [None, float("inf")], ids=["no deadline", "infinite"])
def test_bytes_go_both_ways(ends: Ends, deadline: float | None) -> None:
    one, two = ends
    for sender, receiver in ((one, two), (two, one)):
        receiving = go(receiver.recv, deadline)
        sender.send_all(b"abc", deadline)
        data = receiving.result()
        sender.send_all(memoryview(b"def"), deadline)
        assert sender.try_send(b"ghi") == 3
        while len(data) < 9:
            data += receiver.recv(deadline)
        assert data == b"abcdefghi"


def test_a_plain_connection_needs_no_handshake() -> None:
    one, two = make("native")
    one.handshake(PAST)
    one.close()
    two.close()


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
    sending = go(one.send_all, bytes(4 * RECV_SIZE))
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
    for _ in range(100):  # those too in which it is time to let others run
        two.send_all(b"x")
        assert one.recv(PAST) == b"x"


def test_a_full_socket_takes_nothing_until_the_peer_reads(small: Ends) -> None:
    one, two = small
    count = fill(one)
    # TLS wants to be given again what it has refused.
    assert one.try_send(BLOCK) == 0
    with pytest.raises(TimeoutError):
        one.send_all(BLOCK, soon())
    sending = go(one.send_all, BLOCK, late())
    assert not sending.ready()
    assert len(read(two, count + len(BLOCK))) == count + len(BLOCK)
    sending.result()


def test_wait_ready_returns_when_there_is_room_or_something_to_read(small: Ends) -> None:
    one, two = small
    one.wait_ready(PAST)  # room
    count = fill(one)
    with pytest.raises(TimeoutError):
        one.wait_ready(soon())
    waiting = go(one.wait_ready)
    sending = go(one.send_all, BLOCK, late())  # two wait for room
    assert not waiting.ready()
    read(two, count + len(BLOCK))
    waiting.result()
    sending.result()
    fill(one)
    two.send_all(b"x")
    one.wait_ready()
    assert read(one, 1) == b"x"


@pytest.mark.parametrize("buffer", [None, 4096])
def test_both_ways_at_once(kind: str, buffer: int | None) -> None:
    block = random.Random(1).randbytes(100_003)
    blocks = 10 if buffer else 80
    one, two = make(kind, buffer)

    def send(transport: Any) -> str:
        digest = hashlib.sha256()
        for number in range(blocks):
            data = number.to_bytes(4, "big") + block
            digest.update(data)
            transport.send_all(data, late())
        return digest.hexdigest()

    def receive(transport: Any) -> str:
        digest, left = hashlib.sha256(), blocks * (len(block) + 4)
        while left:
            data = transport.recv(late())
            digest.update(data)
            left -= len(data)
        return digest.hexdigest()

    tasks = [Task(action, end) for action in (send, receive) for end in (one, two)]
    for task in tasks:
        task.start()
    sent_by_one, sent_by_two, received_by_one, received_by_two = (task.result(60) for task in tasks)
    assert received_by_two == sent_by_one
    assert received_by_one == sent_by_two
    one.close()
    two.close()


@pytest.mark.parametrize("on_its_way", [0, 1, 300_000])
def test_after_our_end_recv_waits_for_that_of_the_peer(ends: Ends, on_its_way: int) -> None:
    one, two = ends
    sending = go(two.send_all, bytes(on_its_way))
    one.send_all(b"last")
    one.shutdown_write()
    one.shutdown_write()  # once more does no harm
    draining = go(lambda: list(iter(lambda: one.recv(late()), b"")))
    assert read(two, 4) == b"last"
    assert two.recv(late()) == b""
    sending.result()
    gevent.idle()
    assert not draining.ready()
    two.shutdown_write()
    draining.result()


def test_abort_wakes_a_reader_and_a_writer(small: Ends) -> None:
    one, two = small
    reader, writer = go(one.recv), go(one.send_all, bytes(1 << 22))
    assert not reader.ready()
    assert not writer.ready()
    one.abort()
    assert reader.result() == b""
    with pytest.raises(OSError, match=r".") as caught:
        writer.result()
    assert not isinstance(caught.value, TimeoutError)
    with pytest.raises(OSError, match=r"."):
        one.try_send(b"x")
    del two


def test_abort_and_close_of_what_is_closed_do_nothing(kind: str) -> None:
    gevent.idle()
    before = open_descriptors()
    one, two = make(kind)
    fill(one)
    waiting = go(one.send_all, BLOCK, soon())
    with pytest.raises(TimeoutError):
        waiting.result()
    for end in (one, two):
        end.close()
        end.abort()
        end.shutdown_write()
        end.close()
    assert open_descriptors() == before


def test_the_event_loop_knows_no_closed_connection() -> None:
    # Another socket soon has the number of the descriptor: a watcher that stays would be its.
    for _ in range(50):
        one, two = make("native")
        receiving = go(one.recv)
        two.send_all(b"x")
        assert receiving.result() == b"x"
        two.close()
        one.close()
    one, two = make("native")
    receiving = go(one.recv)
    two.send_all(b"y")
    assert receiving.result() == b"y"
    one.close()
    two.close()


def test_the_event_loop_forgets_a_connection_that_was_forgotten() -> None:
    loop: Any = gevent.get_hub().loop
    gevent.idle()
    before = loop.activecnt
    one, two = make("native", buffer=4096)
    fill(one)
    with contextlib.suppress(TimeoutError):
        one.recv(PAST)
    with contextlib.suppress(TimeoutError):
        one.send_all(BLOCK, PAST)
    assert loop.activecnt == before + 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del one
        gc.collect()
    gevent.idle()
    assert loop.activecnt == before
    two.close()


def test_a_reset_is_an_error_after_what_arrived_before() -> None:
    one, two = make("tcp")
    two.send_all(b"last")
    one.wait_ready()
    reset(two.sock)
    assert read(one, 4) == b"last"
    with pytest.raises(ConnectionResetError):
        one.recv(late())
    with pytest.raises(OSError, match=r"."):
        one.send_all(bytes(1 << 20))
    one.close()
    two.close()


def test_the_kernel_giving_up_a_peer_is_not_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncws.transport_gevent.Descriptor", PureDescriptor)

    class GivenUp(socket.socket):
        def recv(self, *_: Any) -> bytes:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

        def send(self, *_: Any) -> int:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    one, two = socket.socketpair()
    with two:
        transport = GreenletTransport(GivenUp(fileno=one.detach()))
        for action in (transport.recv, lambda: transport.try_send(b"x"), lambda: transport.send_all(b"x")):
            with pytest.raises(ConnectionAbortedError, match="timed out") as caught:
                action()
            assert caught.value.errno == errno.ETIMEDOUT
        transport.close()


# Kills and time limits in a wait.


@pytest.mark.parametrize("how", ["kill", "timeout"])
def test_who_has_been_stopped_in_recv_is_not_woken_by_what_comes_later(ends: Ends, how: str) -> None:
    one, two = ends
    something_else = Event()

    def receive_then_wait() -> str:
        try:
            with gevent.Timeout(0.01 if how == "timeout" else None):
                one.recv()
        except (gevent.Timeout, gevent.GreenletExit):
            something_else.wait()
            return "woken by what it waited for" if something_else.is_set() else "woken by a stranger"
        return "received"

    task = go(receive_then_wait)
    if how == "kill":
        task.kill(block=False)
    else:
        gevent.sleep(0.03)
    gevent.idle()
    two.send_all(b"x")
    for _ in range(3):
        gevent.sleep(0.001)
    assert not task.ready()
    something_else.set()
    assert task.result() == "woken by what it waited for"
    assert read(one, 1) == b"x"


def test_who_has_been_stopped_in_a_write_is_not_woken_by_room(small: Ends) -> None:
    one, two = small
    count = fill(one)
    something_else = Event()

    def send_then_wait() -> str:
        try:
            one.send_all(BLOCK)
        except gevent.GreenletExit:
            something_else.wait()
            return "woken by what it waited for" if something_else.is_set() else "woken by a stranger"
        return "sent"

    task = go(send_then_wait)
    task.kill(block=False)
    gevent.idle()
    read(two, count)
    gevent.sleep(0.001)
    assert not task.ready()
    something_else.set()
    assert task.result() == "woken by what it waited for"
    if not one.secure:
        one.send_all(b"x")
        assert read(two, 1) == b"x"


def test_who_is_woken_by_a_stranger_goes_on_waiting(ends: Ends) -> None:
    one, two = ends
    task = go(one.recv)
    gevent.get_hub().loop.run_callback(task.switch)
    gevent.idle()
    assert not task.ready()
    two.send_all(b"x")
    assert task.result() == b"x"


def test_the_deadline_of_one_does_not_end_the_wait_of_the_next(ends: Ends) -> None:
    one, two = ends
    with pytest.raises(TimeoutError):
        one.recv(soon())
    task = go(one.recv)
    gevent.sleep(0.03)
    assert not task.ready()
    two.send_all(b"x")
    assert task.result() == b"x"


# Turns for the others.


def turns() -> tuple[Task, list[int]]:
    """A greenlet that counts its turns."""
    counted = [0]

    def count() -> None:
        while True:
            counted[0] += 1
            gevent.sleep(0)

    return go_without_waiting(count), counted


def go_without_waiting(function: Callable[[], object]) -> Task:
    task = Task(function)
    task.start()
    return task


@pytest.mark.parametrize("busy_with", ["reading", "writing", "messages"])
def test_a_connection_that_never_has_to_wait_lets_others_run(ends: Ends, busy_with: str) -> None:
    one, two = ends
    native: Any = getattr(two.sock, "_sock", two.sock)
    task, counted = turns()
    for _ in range(1000):
        # The peer's end is used without its transport, which would let others run as well.
        if busy_with == "reading":
            assert two.try_send(b"x") == 1
            assert one.recv() == b"x"
        else:
            if busy_with == "messages":
                one.pause()
                assert one.try_send(b"x") == 1
            else:
                one.send_all(b"x")
            assert native.recv(1000)
    task.kill()
    assert counted[0] > 5


def test_what_tls_has_read_already_is_not_waited_for() -> None:
    one, two = make("tls")
    for count in range(40):
        # So many reads without a wait, and then one more than fits: the rest is where the event loop does not see it.
        for _ in range(count):
            assert two.try_send(b"x") == 1
            assert one.recv(late()) == b"x"
        two.send_all(bytes(16000))
        assert len(read(one, 16000)) == 16000
    one.close()
    two.close()


# TLS alone.


def test_a_tls_handshake_has_a_deadline() -> None:
    one, two = tls_sockets()
    server = transport_for_greenlets(one)
    with pytest.raises(TimeoutError):
        server.handshake(soon())
    server.close()
    two.close()


def test_a_tls_handshake_with_something_else_fails() -> None:
    one, two = tls_sockets()
    server = transport_for_greenlets(one)
    socket.socket.send(two, b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ssl.SSLError):
        server.handshake(late())
    server.close()
    two.close()


def test_the_kernel_giving_up_a_peer_in_the_handshake_is_not_a_deadline() -> None:
    class Session:
        def do_handshake(self) -> None:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    one, two = tls_sockets()
    server: Any = transport_for_greenlets(one)
    server._session.replace(Session())
    with pytest.raises(ConnectionAbortedError, match="timed out"):
        server.handshake(late())
    server.close()
    two.close()


@pytest.mark.parametrize("kind", ["tls", "gevent-tls"])
@pytest.mark.parametrize("calls", [["handshake"], ["recv"], ["recv", "send_all"]], ids="+".join)
def test_tls_waits_for_what_openssl_wants(kind: str, calls: list[str]) -> None:
    # The handshake is run by whatever comes first. It begins with reading, which is then what a writer waits for; its
    # answer meets a full socket, which is then what a reader waits for.
    one, two = tls_sockets(kind)
    server: Any = transport_for_greenlets(one)
    client: Any = transport_for_greenlets(two)
    raw_server, raw_client = (getattr(sock, "_sock", sock) for sock in (one, two))
    tasks = [go(getattr(server, name), *([b"abc"] if name == "send_all" else [])) for name in calls]
    with pytest.raises(ssl.SSLWantReadError):
        client._tls.do_handshake()  # sends the first message, and no more
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += socket.socket.send(raw_server, BLOCK)
    gevent.idle()
    assert not any(task.ready() for task in tasks)
    while filled:
        filled -= len(socket.socket.recv(raw_client, filled))
    client.handshake(late())
    client.send_all(b"x")
    results = [task.result() for task in tasks]
    assert results == [b"x" if name == "recv" else None for name in calls]
    if "send_all" in calls:
        assert read(client, 3) == b"abc"
    server.close()
    client.close()


@pytest.mark.parametrize("kind", ["tls", "gevent-tls"])
def test_a_read_over_tls_leaves_to_recv_what_is_not_the_common_case(kind: str) -> None:
    one, two = tls_sockets(kind)
    server: Any = transport_for_greenlets(one)
    client: Any = transport_for_greenlets(two)
    raw_server, raw_client = (getattr(sock, "_sock", sock) for sock in (one, two))
    with pytest.raises(ssl.SSLWantReadError):
        client._tls.do_handshake()
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += socket.socket.send(raw_server, BLOCK)
    assert server.read() is None  # OpenSSL has to write
    with pytest.raises(TimeoutError):
        server.recv(soon())
    while filled:
        filled -= len(socket.socket.recv(raw_client, filled))
    reading = go(server.recv)
    client.handshake(late())
    client.send_all(b"x" * 1000)
    received = len(reading.result())
    assert received < 1000
    server.stretch.count += 1000
    assert received + len(server.read()) == 1000  # the event loop does not know of it
    reading = go(server.read)
    client.send_all(b"y")
    assert reading.result() == b"y"
    assert client.sent == 1001
    server.close()
    client.close()


@pytest.mark.parametrize("kind", ["tls", "gevent-tls"])
@pytest.mark.parametrize("polite", [True, False])
def test_the_end_of_a_tls_stream(kind: str, polite: bool) -> None:
    server, client = make(kind)
    reading = go(server.recv, late())
    if polite:
        client.shutdown_write()
    else:
        client.abort()
    assert reading.result() == b""
    server.close()
    client.close()


def test_a_tls_stream_ends_with_a_close_notify_and_without_alerts() -> None:
    one, two = tls_sockets()
    server, client = transport_for_greenlets(one), transport_for_greenlets(two)
    handshake = go(server.handshake)
    client.handshake()
    handshake.result()
    client.send_all(bytes(100_000))
    server.send_all(b"last")
    server.shutdown_write()
    assert read(client, 4) == b"last"
    # Without the close_notify this is an error, as the stream could have been cut off by anyone.
    two.suppress_ragged_eofs = False
    assert two.recv(1) == b""
    client.shutdown_write()
    while server.recv(late()):
        pass
    server.close()
    client.close()


def test_a_closed_transport_touches_no_descriptor(ends: Ends) -> None:
    # Its number may be another's: of the next socket, which must not get what OpenSSL still wants to write.
    end = ends[0]
    descriptor = end._native.fileno()
    end.abort()
    end.close()
    others = sockets()
    try:
        assert descriptor in (others[0].fileno(), others[1].fileno())
        for _ in range(200):
            end.pause()
        for action in (lambda: end.send_all(b"late"), lambda: end.try_send(b"late"), end.recv, end.wait_ready):
            with pytest.raises(OSError, match="Bad file descriptor"):
                action()
        for other in others:
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                other.recv(1)
    finally:
        for other in others:
            other.close()


@pytest.mark.parametrize("kind", ["tls", "gevent-tls"])
def test_sends_of_the_event_loop_do_not_hide_what_openssl_has(ends: Ends) -> None:
    one, two = ends
    two.send_all(b"x" * 10000)
    received = len(one.recv(late()))
    one.stretch.count += 1000  # as by messages sent in the event loop, which cannot make way for others
    while received < 10000:
        received += len(one.recv(late()))


@pytest.mark.parametrize("kind", ["native", "gevent", "tcp"], indirect=True)
def test_child_of_a_fork_leaves_the_parents_connections_alone(ends: Ends) -> None:
    one, two = ends
    waiting = go(one.recv)
    child = gevent.os.fork()
    if child == 0:
        # Whatever the greenlets do that it has inherited, the connection does not end, and loses nothing.
        status = 1
        try:
            one.abort()
            two.abort()
            gevent.sleep(0.1)
            status = 0 if waiting.value is None else 2
        finally:
            os._exit(status)
    two.send_all(b"for the parent")
    assert waiting.result() == b"for the parent"
    assert gevent.os.waitpid(child, 0)[1] == 0
    waiting = go(one.recv)
    two.send_all(b"only for the parent")
    assert waiting.result() == b"only for the parent"


def test_what_has_been_closed_after_a_fork_is_closed(ends: Ends) -> None:
    # In this process, as the child does it.
    _after_fork()
    for end in ends:
        with pytest.raises(OSError) as caught:
            end.recv(late())
        assert caught.value.errno == errno.EBADF


def test_what_each_kind_of_transport_has_of_its_own() -> None:
    one, two = socket.socketpair()
    with one, two:
        base = _GreenletBase(one, one)
        for call in (base._read_now, lambda: base.try_send(b"x")):
            with pytest.raises(NotImplementedError):
                call()
        base.close()


def test_the_kernel_giving_up_a_tls_peer_is_not_a_deadline() -> None:
    class Session:
        def read(self, *_: Any) -> Any:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

        write = read

    one, two = tls_sockets()
    server: Any = transport_for_greenlets(one)
    server._session.replace(Session())
    for call in (lambda: server.recv(late()), lambda: server.try_send(b"x")):
        with pytest.raises(ConnectionAbortedError, match="timed out"):
            call()
    server.close()
    two.close()
