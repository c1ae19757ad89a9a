"""TLS without waiting, over real sockets: what a read brings, what it waits for, and what it leaves to the next one."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from peers import DEADLINE, pair, sockets, start, threads_only
from wire import tls_contexts

from syncws.transport_session import READ, WRITE, Plain, Session, SharedSession
from syncws.transport_tls import TLSTransport

pytestmark = threads_only
LEAST, MOST = 448, 28672
BLOCK = bytes(4096)
contexts = functools.lru_cache(tls_contexts)


class Sizes:
    """An SSLSocket that notes how many bytes it is asked for."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.asked: list[int] = []
        self._sock = sock
        self.write = sock.write

    def read(self, size: int) -> bytes:
        self.asked.append(size)
        return self._sock.read(size)


class Ends:
    """Two SSLSockets that do not block, before the handshake, and the session of the server's."""

    def __init__(self) -> None:
        server, client = contexts()
        one, two = sockets()
        self.sock = server.wrap_socket(one, server_side=True, do_handshake_on_connect=False)
        self.peer = client.wrap_socket(two, server_hostname="localhost", do_handshake_on_connect=False)
        for sock in (self.sock, self.peer):
            sock.setblocking(False)
        self.tls = Sizes(self.sock)
        self.session = Session(self.tls)

    def shake_hands(self) -> None:
        for sock in (self.peer, self.sock, self.peer, self.sock):
            with contextlib.suppress(ssl.SSLWantReadError):
                sock.do_handshake()
        # Behind the handshake come the server's session tickets.
        assert self.session.send(b"!") == 1
        assert self.peer.read(1) == b"!"

    def fill(self) -> int:
        """Fill the server's socket; return with how many bytes, which are not of TLS."""
        count = 0
        with pytest.raises(BlockingIOError):
            while True:
                count += socket.socket.send(self.sock, BLOCK)
        return count

    def drain(self, count: int) -> None:
        while count:
            count -= len(socket.socket.recv(self.peer, count))


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.sock.close()
    ends.peer.close()


def test_a_read_returns_what_has_arrived(ends: Ends) -> None:
    ends.shake_hands()
    session = ends.session
    assert session.filled  # nobody knows yet
    assert session.recv_now() is None
    assert not session.filled
    ends.peer.write(b"abc")
    assert session.recv_now() == b"abc"
    assert not session.filled


def test_a_read_in_which_a_signal_handler_has_sent_is_tried_again(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    ends.shake_hands()
    errors: list[Exception] = []
    read = ends.tls.read

    def read_or_fail(size: int) -> bytes:
        if errors:
            raise errors.pop()
        return read(size)

    monkeypatch.setattr(ends.tls, "read", read_or_fail)
    # What ssl makes of an SSLWantReadError when the handler's write, in between, has gone well.
    errors.append(ssl.SSLError(ssl.SSL_ERROR_INVALID_ERROR_CODE, "Invalid error code"))
    assert ends.session.recv_now() is None
    errors.append(ssl.SSLError(ssl.SSL_ERROR_INVALID_ERROR_CODE, "Invalid error code"))
    ends.peer.write(b"abc")
    assert ends.session.recv_now() == b"abc"
    errors.append(ssl.SSLError(ssl.SSL_ERROR_SSL, "another one"))
    with pytest.raises(ssl.SSLError, match="another one"):
        ends.session.recv_now()


def test_the_end_of_the_stream_is_found_again(ends: Ends) -> None:
    ends.shake_hands()
    ends.peer.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        ends.peer.unwrap()  # a close_notify
    assert ends.session.recv_now() == b"last"
    for _ in range(3):
        assert ends.session.recv_now() == b""
        assert ends.session.filled


@pytest.mark.parametrize("ragged", [True, False])
def test_the_end_of_the_connection_is_that_of_the_stream(ends: Ends, ragged: bool) -> None:
    ends.shake_hands()
    ends.sock.suppress_ragged_eofs = ragged
    ends.peer.close()
    assert ends.session.recv_now() == b""


def test_a_record_in_parts_is_returned_when_it_is_whole(ends: Ends) -> None:
    ends.shake_hands()
    # What the client writes is taken from its socket, and given to that of the server bit by bit.
    one, two = sockets()
    os.dup2(one.fileno(), ends.peer.fileno())
    old = ends.sock.fileno()
    ends.peer.write(b"whole")
    record = two.recv(1 << 16)
    three, four = sockets()
    three.setblocking(False)
    os.dup2(three.fileno(), old)
    for size in (3, 5, 10):  # within its header, and within what follows
        four.sendall(record[:size])
        record = record[size:]
        assert ends.session.recv_now() is None
    four.sendall(record)
    assert ends.session.recv_now() == b"whole"
    for sock in (one, two, three, four):
        sock.close()


def test_a_read_asks_for_more_when_more_comes_and_then_for_less(ends: Ends) -> None:
    ends.shake_hands()
    for _ in range(2):
        ends.peer.write(bytes(30000))
    received = 0
    while received < 60000:
        received += len(ends.session.recv_now() or b"")
    assert ends.tls.asked[:4] == [LEAST, LEAST * 4, LEAST * 16, MOST]
    assert set(ends.tls.asked[4:]) <= {MOST, MOST // 4}
    for _ in range(7):
        ends.peer.write(b"x")
        assert ends.session.recv_now() == b"x"
    assert ends.tls.asked[-3:] == [LEAST] * 3


def test_what_a_read_has_left_is_there_for_the_next_one(ends: Ends) -> None:
    ends.shake_hands()
    ends.peer.write(b"x" * 1000)
    first = ends.session.recv_now()
    assert first == b"x" * LEAST
    assert ends.session.filled  # the system would not tell
    assert select.select([ends.sock], [], [], 0)[0] == []
    assert ends.session.recv_now() == b"x" * (1000 - LEAST)
    assert not ends.session.filled


def test_behind_a_whole_record_there_may_be_another(ends: Ends) -> None:
    ends.shake_hands()
    sizes = []
    for _ in range(4):
        ends.peer.write(bytes(16384))
        while data := ends.session.recv_now():
            sizes.append(len(data))
            assert ends.session.filled == (len(data) in (ends.tls.asked[-1], 16384))
    assert sum(sizes) == 4 * 16384
    assert sizes[-1] == 16384


def test_what_is_sent_is_counted(ends: Ends) -> None:
    ends.shake_hands()
    session = ends.session
    assert session.sent == 1
    assert session.send(b"") == 0
    assert session.send(memoryview(b"abc")) == 3
    assert ends.peer.read(10) == b"abc"
    assert session.sent == 4


def test_a_full_socket_takes_nothing_until_there_is_room(ends: Ends) -> None:
    ends.shake_hands()
    session = ends.session
    count = 1
    while sent := session.send(BLOCK):
        count += sent
    assert session.blocked_by == WRITE
    assert session.sent == count
    read = 1  # "!"
    while read < count:
        read += len(ends.peer.read(1 << 16))
    assert session.send(BLOCK) == len(BLOCK)
    assert session.sent == count + len(BLOCK)


def test_a_write_may_have_to_read_and_a_read_to_write(ends: Ends) -> None:
    # As the handshake is still to come.
    session = ends.session
    assert session.send(b"x") == 0
    assert session.blocked_by == READ
    with pytest.raises(ssl.SSLWantReadError):
        ends.peer.do_handshake()  # sends the first message
    count = ends.fill()
    for _ in range(2):
        with pytest.raises(ssl.SSLWantWriteError):
            session.recv_now()
        assert session.filled  # what is to be waited for is not that there is something to read
    ends.drain(count)
    assert session.recv_now() is None
    ends.shake_hands()


@pytest.mark.parametrize("call", ["recv", "handshake"])
def test_a_transport_waits_for_what_openssl_wants(ends: Ends, call: str) -> None:
    transport: Any = TLSTransport(ends.sock)
    with pytest.raises(ssl.SSLWantReadError):
        ends.peer.do_handshake()
    count = ends.fill()
    assert transport.read() is None
    with pytest.raises(TimeoutError):
        getattr(transport, call)(time.monotonic() + 0.02)
    calling = start(getattr(transport, call), time.monotonic() + DEADLINE)
    ends.drain(count)
    ends.peer.settimeout(DEADLINE)
    ends.peer.do_handshake()
    ends.peer.sendall(b"x")
    assert calling.result() == (b"x" if call == "recv" else None)
    assert call == "recv" or transport.read() == b"x"
    transport.close()


@pytest.mark.parametrize("gone", [True, False])
def test_a_reader_waits(ends: Ends, gone: bool) -> None:
    ends.shake_hands()
    transport = TLSTransport(ends.sock)
    assert transport.read() is None  # nothing is known yet
    for _ in range(2):
        reading = start(transport.read)
        ends.peer.write(b"x")
        assert reading.result() == b"x"
    reading = start(transport.read)
    if gone:
        ends.peer.close()
    else:
        transport.abort()
    assert reading.result() == b""
    transport.close()


def test_a_reader_waits_where_there_is_no_poll(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("select.poll")
    ends.shake_hands()
    transport = TLSTransport(ends.sock)
    assert transport.read() is None
    ends.peer.write(b"x")
    assert transport.read() == b"x"
    transport.close()


def test_the_kernel_giving_up_a_peer_in_the_handshake_is_not_a_deadline(ends: Ends) -> None:
    def given_up() -> None:
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    sock: Any = ends.sock
    sock.do_handshake = given_up
    transport = TLSTransport(sock)
    with pytest.raises(ConnectionAbortedError, match="timed out"):
        transport.handshake(time.monotonic() + DEADLINE)
    transport.close()


def test_the_lock_is_held_for_each_call_and_by_a_signal_handler_too() -> None:
    lock = threading.RLock()

    class Tls:
        def read(self, _size: int) -> bytes:
            self._look()
            return session.send(b"from a handler").to_bytes(1, "big")

        def write(self, data: Any) -> int:
            self._look()
            return len(data)

        def _look(self) -> None:
            assert start(lock.acquire, False).result() is False

    session = SharedSession(Tls(), lock)
    assert session.recv_now() == b"\x0e"
    assert start(lock.acquire, False).result() is True


@pytest.mark.parametrize("shared", [True, False])
def test_the_kernel_giving_up_a_peer_is_not_a_deadline(shared: bool) -> None:
    class Tls:
        def read(self, *_: Any) -> Any:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

        write = read

    session = SharedSession(Tls(), threading.RLock()) if shared else Session(Tls())
    for call in (session.recv_now, lambda: session.send(b"x")):
        with pytest.raises(ConnectionAbortedError, match="timed out") as caught:
            call()
        assert caught.value.errno == errno.ETIMEDOUT


def test_a_closed_one_touches_nothing(ends: Ends) -> None:
    ends.shake_hands()
    assert ends.session.recv_now() is None
    ends.session.close()
    assert ends.session.filled  # nobody waits for the descriptor of another one
    for call in (ends.session.handshake_now, ends.session.recv_now, lambda: ends.session.send(b"x")):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF


def test_a_socket_that_somebody_else_has_closed_is_lost(ends: Ends) -> None:
    ends.shake_hands()
    ends.sock.close()
    for call in (ends.session.recv_now, lambda: ends.session.send(b"x")):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF


def test_a_certificate_that_is_not_trusted_is_told_as_it_is(ends: Ends) -> None:
    # Those who have not shaken hands do so in the first read.
    ends.peer.context = ssl.create_default_context()  # does not know the authority
    session = Session(ends.peer)
    assert session.recv_now() is None
    assert ends.session.recv_now() is None
    with pytest.raises(ssl.SSLCertVerificationError):
        session.recv_now()


def test_behind_our_end_only_bytes_and_their_end_count() -> None:
    one, two = sockets()
    one.setblocking(False)
    with one, two:
        session = Session(Plain(one.recv))
        assert session.recv_now() is None
        two.sendall(b"whatever")
        assert session.recv_now() == b"whatever"
        two.close()
        assert session.recv_now() == b""
        with pytest.raises(BrokenPipeError):
            session.send(b"x")


@pytest.mark.parametrize("method", ["read", "write"])
def test_a_signal_handler_that_closes_does_not_wait_for_what_it_has_interrupted(method: str) -> None:
    with pair(tls=True) as (server, client):
        tls: Any = client._transport.sock
        real = getattr(tls, method)

        def interrupted(*args: Any) -> Any:
            delattr(tls, method)
            client.close(1000, "from the handler")
            return real(*args)

        setattr(tls, method, interrupted)
        if method == "write":
            start(client.send, "interrupted").result()
            assert server.receive(DEADLINE) == "interrupted"
        assert start(lambda: list(client)).result() == []
        assert client.close_reason == "from the handler"
