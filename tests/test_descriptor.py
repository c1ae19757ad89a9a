"""The system calls of a transport on real sockets: in plain Python, and compiled where that has been built."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from peers import DEADLINE, eventually, reset, sockets, start, threads_only

import syncws
from syncws import descriptor
from syncws.descriptor import RECV_SIZE, Descriptor, PureDescriptor

KINDS = [PureDescriptor] if Descriptor is PureDescriptor else [PureDescriptor, Descriptor]
LEAST = 448
GROWN = [LEAST, LEAST * 4, LEAST * 16, LEAST * 64, LEAST * 256, RECV_SIZE]

pytestmark = threads_only
compiled_only = pytest.mark.skipif(not syncws.compiled, reason="there is no compiled one")

Make = Callable[[socket.socket], Any]


@pytest.fixture(params=KINDS, ids=["pure", "compiled"][: len(KINDS)])
def make(request: pytest.FixtureRequest) -> Make:
    kind: Make = request.param
    return kind


class Ends:
    """A descriptor and the socket at the other end."""

    def __init__(self, make: Make, buffer: int | None = None) -> None:
        self.sock, self.peer = sockets(buffer=buffer)
        self.peer.settimeout(DEADLINE)
        self.descriptor = make(self.sock)

    def read(self, count: int) -> bytes:
        """Read so much at the other end."""
        data = b""
        while len(data) < count:
            data += self.peer.recv(count - len(data))
        return data

    def fill(self) -> int:
        """Send until the socket takes no more; return how much that was."""
        return sum(iter(lambda: self.descriptor.send(bytes(4096)), 0))


@pytest.fixture
def ends(make: Make) -> Iterator[Ends]:
    ends = Ends(make)
    yield ends
    ends.sock.close()
    ends.peer.close()


@pytest.fixture
def small(make: Make) -> Iterator[Ends]:
    ends = Ends(make, buffer=4096)
    yield ends
    ends.sock.close()
    ends.peer.close()


def test_the_one_that_is_used_goes_by_the_build() -> None:
    assert (Descriptor is not PureDescriptor) is syncws.compiled
    assert descriptor.__all__ == ["RECV_SIZE", "Descriptor"]


def test_recv_now_returns_what_has_arrived(ends: Ends) -> None:
    assert ends.descriptor.recv_now() is None
    ends.peer.sendall(b"abc")
    assert ends.descriptor.recv_now() == b"abc"
    assert ends.descriptor.recv_now() is None
    ends.peer.close()
    assert ends.descriptor.recv_now() == b""
    assert ends.descriptor.recv_now() == b""


@pytest.mark.parametrize("grown", [False, True])
def test_recv_waits(ends: Ends, grown: bool) -> None:
    if grown:
        ends.peer.sendall(bytes(LEAST))
        assert ends.descriptor.recv() == bytes(LEAST)
    receiving = start(ends.descriptor.recv)
    ends.peer.sendall(b"abc")
    assert receiving.result() == b"abc"
    ends.peer.sendall(b"at once")
    assert ends.descriptor.recv() == b"at once"
    receiving = start(ends.descriptor.recv)
    ends.peer.shutdown(socket.SHUT_WR)
    assert receiving.result() == b""
    assert ends.descriptor.recv() == b""


@pytest.mark.parametrize("how", ["recv", "recv_now"])
def test_it_asks_for_more_as_long_as_that_comes(ends: Ends, how: str) -> None:
    for size in [*GROWN, RECV_SIZE]:
        data = os.urandom(size)
        ends.peer.sendall(data)  # when it returns, all of it is there
        assert getattr(ends.descriptor, how)() == data
        assert ends.descriptor.filled


def test_it_asks_for_less_when_little_comes(ends: Ends) -> None:
    for _ in range(2):
        ends.peer.sendall(bytes(LEAST * 5))
        assert [len(ends.descriptor.recv()) for _ in range(2)] == [LEAST, LEAST * 4]
        assert ends.descriptor.filled
        # Now it asks for 16 times as much as at first. A sixteenth of that is not little.
        for size in (LEAST + 1, LEAST):
            ends.peer.sendall(bytes(size))
            assert len(ends.descriptor.recv()) == size
            assert not ends.descriptor.filled
        ends.peer.sendall(bytes(LEAST * 17))
        assert [len(ends.descriptor.recv()) for _ in range(2)] == [LEAST * 16, LEAST]
        # Less than a sixteenth, three times.
        for _ in range(3):
            ends.peer.sendall(b"x")
            assert ends.descriptor.recv() == b"x"
            assert not ends.descriptor.filled
        ends.peer.sendall(bytes(LEAST + 1))
        assert [len(ends.descriptor.recv()) for _ in range(2)] == [LEAST, 1]
        ends.peer.sendall(b"x")
        assert ends.descriptor.recv() == b"x"


def test_what_is_filled_at_first_and_when_it_is_closed(ends: Ends) -> None:
    assert ends.descriptor.filled
    assert ends.descriptor.recv_now() is None
    assert ends.descriptor.filled  # nothing is known
    ends.peer.sendall(b"x")
    ends.descriptor.recv()
    assert not ends.descriptor.filled
    ends.descriptor.close()
    assert ends.descriptor.filled


@pytest.mark.parametrize("kind", [bytes, memoryview, bytearray])
def test_send_takes_bytes_and_views_of_them(ends: Ends, kind: Any) -> None:
    assert ends.descriptor.sent == 0
    assert ends.descriptor.send(kind(b"abc")) == 3
    assert ends.read(3) == b"abc"
    assert ends.descriptor.send(kind(b"")) == 0
    assert ends.descriptor.send(memoryview(kind(b"_abc"))[1:]) == 3
    assert ends.read(3) == b"abc"
    assert ends.descriptor.sent == 6
    ends.descriptor.sent += 1  # by whoever sends past it
    assert ends.descriptor.sent == 7


def test_send_refuses_what_is_not_bytes(ends: Ends) -> None:
    for wrong in ("text", None, 1):
        with pytest.raises(TypeError):
            ends.descriptor.send(wrong)
    assert ends.descriptor.sent == 0


@pytest.mark.parametrize("size", [0, 1, 300, RECV_SIZE])
def test_send_both_sends_one_behind_the_other(ends: Ends, size: int) -> None:
    tail = os.urandom(size)
    assert ends.descriptor.send_both(b"head", tail) == 4 + size
    assert ends.read(4 + size) == b"head" + tail
    assert ends.descriptor.sent == 4 + size


@pytest.mark.parametrize("size", [1, RECV_SIZE])
def test_send_both_to_a_socket_that_is_full_or_a_peer_that_is_gone(small: Ends, size: int) -> None:
    small.fill()
    sent = small.descriptor.sent
    assert small.descriptor.send_both(b"head", bytes(size)) == 0
    assert small.descriptor.sent == sent
    small.peer.close()
    with pytest.raises(BrokenPipeError):
        small.descriptor.send_both(b"head", bytes(size))
    with pytest.raises(TypeError):
        small.descriptor.send_both(b"head", None)


def test_send_both_sends_as_much_as_there_is_room_for(make: Make) -> None:
    one, two = sockets("tcp", buffer=4096)
    two.settimeout(DEADLINE)
    data = os.urandom(5_000_000)
    descriptor = make(one)
    sent = descriptor.send_both(b"head", data)
    assert 4 < sent < 4 + len(data)
    one.shutdown(socket.SHUT_WR)
    received = b"".join(iter(lambda: two.recv(RECV_SIZE), b""))
    assert received == (b"head" + data)[:sent]
    one.close()
    two.close()


def test_what_the_kernel_has_given_up_is_no_deadline() -> None:
    class GivenUp(socket.socket):
        def _give_up(self, *_: Any) -> Any:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

        recv = recv_into = send = sendmsg = _give_up

    one, two = socket.socketpair()
    with two, GivenUp(fileno=one.detach()) as sock:
        descriptor = PureDescriptor(sock)
        for call in (
            descriptor.recv,
            descriptor.recv_now,
            lambda: descriptor.send(b"x"),
            lambda: descriptor.send_both(b"x", b"y"),
        ):
            with pytest.raises(ConnectionAbortedError) as caught:
                call()
            assert caught.value.errno == errno.ETIMEDOUT


def test_a_full_socket_takes_nothing_until_there_is_room(small: Ends) -> None:
    count = small.fill()
    assert count > 0
    assert small.descriptor.send(b"x") == 0
    assert small.descriptor.send(bytes(1 << 20)) == 0
    assert small.descriptor.sent == count
    assert small.read(count) == bytes(count)
    assert small.descriptor.send(b"x") == 1
    assert small.read(1) == b"x"


@pytest.mark.parametrize("size", [RECV_SIZE - 1, RECV_SIZE, 5_000_003])
def test_what_is_too_large_is_sent_in_parts(make: Make, size: int) -> None:
    # A Unix socket of Linux takes all or nothing up to its limit; TCP takes what there is room for.
    one, two = sockets("tcp", buffer=4096)
    two.settimeout(DEADLINE)
    descriptor = make(one)
    data = os.urandom(size)

    def receive() -> str:
        digest, left = hashlib.sha256(), size
        while left:
            part = two.recv(left)
            digest.update(part)
            left -= len(part)
        return digest.hexdigest()

    rest = memoryview(data)
    sent = descriptor.send(rest)
    assert 0 < sent < size
    rest = rest[sent:]
    receiving = start(receive)

    def send_some() -> bool:
        nonlocal rest
        rest = rest[descriptor.send(rest) :]
        return not rest

    eventually(send_some)
    assert receiving.result() == hashlib.sha256(data).hexdigest()
    assert descriptor.sent == size
    one.close()
    two.close()


def test_sending_to_a_peer_that_is_gone_is_an_error(ends: Ends) -> None:
    ends.peer.close()
    for data in (b"x", bytes(RECV_SIZE)):
        with pytest.raises(BrokenPipeError) as caught:
            ends.descriptor.send(data)
        assert caught.value.errno == errno.EPIPE
    assert ends.descriptor.sent == 0


@compiled_only
def test_the_compiled_one_needs_no_signal_to_be_ignored() -> None:
    ends = Ends(Descriptor)
    ends.peer.close()
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # it would end the process
    try:
        for data in (b"x", bytes(RECV_SIZE)):
            with pytest.raises(BrokenPipeError):
                ends.descriptor.send(data)
    finally:
        signal.signal(signal.SIGPIPE, before)
    ends.sock.close()


def test_a_closed_socket_is_an_error(ends: Ends) -> None:
    ends.descriptor.close()
    ends.sock.close()
    # Somebody else has the number now.
    one, two = sockets()
    two.sendall(b"of another")
    for call in (ends.descriptor.recv, ends.descriptor.recv_now, lambda: ends.descriptor.send(b"x")):
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            call()
        assert caught.value.errno == errno.EBADF
    assert one.recv(100) == b"of another"
    one.close()
    two.close()


def test_a_closed_socket_is_an_error_when_much_had_come(ends: Ends) -> None:
    ends.peer.sendall(bytes(LEAST))
    ends.descriptor.recv()
    ends.descriptor.close()
    ends.sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        ends.descriptor.recv()


@pytest.mark.parametrize("how", ["recv", "recv_now"])
@pytest.mark.parametrize("grown", [False, True])
def test_a_reset_is_an_error(make: Make, how: str, grown: bool) -> None:
    one, two = sockets("tcp")
    descriptor = make(one)
    if grown:
        two.sendall(bytes(LEAST))
        assert descriptor.recv() == bytes(LEAST)
    two.sendall(b"last")
    assert descriptor.recv() == b"last"
    reset(two)
    with pytest.raises(ConnectionResetError) as caught:
        eventually(lambda: getattr(descriptor, how)() is not None)
    assert caught.value.errno == errno.ECONNRESET
    one.close()


@pytest.mark.parametrize("grown", [False, True])
def test_a_thread_that_waits_is_woken_by_a_shutdown(ends: Ends, grown: bool) -> None:
    if grown:
        ends.peer.sendall(bytes(LEAST))
        assert ends.descriptor.recv() == bytes(LEAST)
    receiving = start(ends.descriptor.recv)
    ends.sock.shutdown(socket.SHUT_RDWR)
    assert receiving.result() == b""


@pytest.mark.parametrize("grown", [False, True])
def test_signal_handlers_have_their_turn_while_it_waits(ends: Ends, grown: bool) -> None:
    if grown:
        ends.peer.sendall(bytes(LEAST))
        assert ends.descriptor.recv() == bytes(LEAST)
    handled = threading.Event()
    done = threading.Event()

    def handler(*_: object) -> None:
        handled.set()
        # What recv() of the socket does: it goes on. That of the compiled one says that it is to be called again.
        ends.peer.sendall(b"behind the signal")

    def interrupt() -> None:
        # One that comes before recv() has begun to wait is handled as well, but a second one then is not too many.
        while not done.wait(0.05) and not handled.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    interrupting = start(interrupt)
    try:
        data = None
        while data is None:
            data = ends.descriptor.recv()
    finally:
        done.set()
        interrupting.result()
        signal.signal(signal.SIGUSR1, before)
    assert handled.is_set()
    assert data.startswith(b"behind the signal")


def test_an_exception_of_a_signal_handler_comes_out_of_recv(ends: Ends) -> None:
    class Interrupted(Exception):
        pass

    def handler(*_: object) -> None:
        raise Interrupted

    def receive() -> None:
        while ends.descriptor.recv() is None:
            pass

    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.05, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1))
    try:
        with pytest.raises(Interrupted):
            timer.start()
            receive()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    ends.peer.sendall(b"nothing is lost")
    assert ends.descriptor.recv() == b"nothing is lost"


@compiled_only
@pytest.mark.parametrize("grown", [False, True])
def test_the_compiled_one_returns_when_a_signal_has_come(grown: bool) -> None:
    ends = Ends(Descriptor)
    if grown:
        ends.peer.sendall(bytes(LEAST))
        assert ends.descriptor.recv() == bytes(LEAST)
    handled: list[int] = []
    returned = threading.Event()

    def interrupt() -> None:
        # One that comes before recv() waits is handled before it; then another is needed.
        while not returned.wait(0.05):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda number, _: handled.append(number))
    interrupting = start(interrupt)
    try:
        assert ends.descriptor.recv() is None
    finally:
        returned.set()
        interrupting.result()
        signal.signal(signal.SIGUSR1, before)
    assert handled
    ends.sock.close()
    ends.peer.close()
