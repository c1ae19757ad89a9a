"""A second thread sends while the first one receives, pings and closes: what it has sent arrives, whole and in order.

When the two threads meet is up to the system, so this machine knows less of what a call does than the one in
``test_connection_machine.py``, and checks more of what came of it.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable
from typing import Any

import peers
from fuzz.depth import depth
from fuzz.model import CLOSE, PING, TEXT
from fuzz.peer import Compress, Listener, frame, message
from fuzz.test_connection_machine import web_socket
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from syncws import ConnectionClosed

DEADLINE = peers.DEADLINE
# A short text, and how many times: what hypothesis shows stays short.
texts = st.tuples(st.text(max_size=9), st.just(1)) | st.sampled_from([("x", 200), ("é", 30_000), ("y", 300_000)])
messages = st.lists(texts, min_size=1, max_size=4)


class Peer(threading.Thread):
    """Reads all that the library sends; answers pings and the close frame as soon as it sees them.

    :param patient: as a client, it ends TCP only when the library has; otherwise at once.
    """

    def __init__(self, sock: Any, role: str, takeover: bool | None, patient: bool) -> None:
        super().__init__(daemon=True)
        self.listener = Listener(sock, role, takeover)
        self.closing = False  # it has sent a close frame
        self._sock = sock
        self._key = b"\1\2\3\4" if role == "server" else None
        # RFC 6455, 7.1.1: a server ends TCP first; one that does not is waited for, a second.
        self._patient = patient and role == "server"
        self._lock = threading.Lock()
        self._error: BaseException | None = None

    def send(self, data: bytes) -> None:
        with self._lock:
            if not self.closing:
                self._sock.sendall(data)

    def close(self) -> None:
        with self._lock:
            if not self.closing:
                self._sock.sendall(frame(CLOSE, b"\x03\xe8", self._key))
                self.closing = True

    def result(self) -> Listener:
        self.join(DEADLINE)
        assert not self.is_alive(), "the library has not ended the connection"
        if self._error is not None:
            raise self._error
        return self.listener

    def run(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self._error = error
        finally:
            self._sock.close()

    def _read(self) -> None:
        listener, answered = self.listener, 0
        while not listener.ended and (listener.close is None or self._patient or not self.closing):
            listener.read(wait=True)
            pings = [item[1] for item in listener.seen if isinstance(item, tuple)]
            try:
                for payload in pings[answered:]:
                    self.send(frame(10, payload, self._key))
                answered = len(pings)
                if listener.close is not None:
                    self.close()
            except OSError:  # the library has gone already
                self.closing = True


class SenderMachine(RuleBasedStateMachine):
    """``sent``: the messages for which ``send()`` has returned, in order, with and without waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []
        self.refused = 0  # messages for which it has raised
        self.expected: list[str] = []  # what the peer has sent and the first thread has not received
        self.closed = False
        self.orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.error: BaseException | None = None

    @initialize(
        role=st.sampled_from(["server", "client"]), takeover=st.sampled_from([None, True, False]), patient=st.booleans()
    )
    def open(self, role: str, takeover: bool | None, patient: bool) -> None:
        one, two = peers.sockets("tcp")
        two.settimeout(DEADLINE)
        self.ws = web_socket(one, role, takeover, close_timeout=DEADLINE, max_backlog=None)
        self.compress = None if takeover is None else Compress(takeover)
        self.key = b"\1\2\3\4" if role == "server" else None
        self.peer = Peer(two, role, takeover, patient)
        self.peer.start()
        self.sender = threading.Thread(target=self.work, daemon=True)
        self.sender.start()

    def work(self) -> None:
        """The second thread."""
        while (order := self.orders.get()) is not None:
            try:
                order()
            except ConnectionClosed:
                self.refused += 1
            except BaseException as error:
                self.error = error

    @rule(texts=messages, wait=st.booleans())
    def other_thread_sends(self, texts: list[tuple[str, int]], wait: bool) -> None:
        def send(text: str) -> None:
            if wait:
                self.ws.send(text, timeout=DEADLINE)
            else:
                self.ws.send(text, wait=False)
            assert not self.refused, "it was over already"
            self.sent.append(text)

        for text, times in texts:
            self.orders.put(functools.partial(send, text * times))

    @rule(texts=messages)
    def other_thread_sends_fragments(self, texts: list[tuple[str, int]]) -> None:
        pieces = [text * times for text, times in texts]

        def send() -> None:
            self.ws.send_fragments(pieces, timeout=DEADLINE)
            self.sent.append("".join(pieces))

        self.orders.put(send)

    @rule()
    def other_thread_pings(self) -> None:
        self.orders.put(lambda: self.check_ping(self.ws.ping(timeout=DEADLINE)))

    @staticmethod
    def check_ping(seconds: float) -> None:
        assert 0 <= seconds < DEADLINE

    @precondition(lambda self: not self.closed)
    @rule(texts=st.lists(st.text(max_size=9), max_size=3), ping=st.booleans())
    def peer_sends(self, texts: list[str], ping: bool) -> None:
        for text in texts:
            self.peer.send(message(text, [1, 3], [(PING, b"x")] if ping else [], self.key, self.compress))
        self.expected += texts

    @rule()
    def receive(self) -> None:
        """All that is due; while the second thread pings, it may be that one who reads it."""
        while self.expected:
            try:
                assert self.ws.receive(timeout=DEADLINE) == self.expected.pop(0)
            except ConnectionClosed:
                assert self.closed
                self.expected.clear()

    @precondition(lambda self: not self.closed)
    @rule()
    def ping(self) -> None:
        self.check_ping(self.ws.ping(timeout=DEADLINE))

    @precondition(lambda self: not self.closed)
    @rule(how=st.sampled_from(["close", "begin", "peer", "error"]))
    def close(self, how: str) -> None:
        """Whatever the second thread is doing."""
        self.closed = True
        if how == "close":
            self.ws.close(3000)
        elif how == "begin":
            self.ws.begin_close(3000)
        elif how == "peer":
            self.peer.close()
        else:
            self.peer.send(frame(TEXT, b"\xff", self.key))

    def teardown(self) -> None:
        if not hasattr(self, "ws"):
            return
        try:
            self.finish()
        finally:
            self.ws.abort()
            self.orders.put(None)

    def finish(self) -> None:
        if not self.closed:
            self.drain()
            self.receive()
            self.ws.close(3000)
            assert not self.refused
        self.end()
        self.drain()
        seen = self.peer.result()
        assert self.error is None, self.error
        texts = [item for item in seen.seen if isinstance(item, str)]
        # A broken rule is answered at once, in front of what has not been begun.
        assert texts == (self.sent[: len(texts)] if self.ws.close_code == 1007 else self.sent)
        assert seen.close is not None
        assert int.from_bytes(seen.close[:2], "big") == self.ws.close_code
        assert self.ws.close_code in (1000, 1007, 3000)

    def drain(self) -> None:
        """Wait for the second thread to have done what it was told."""
        done = threading.Event()
        self.orders.put(done.set)
        assert done.wait(2 * DEADLINE), "the second thread hangs"

    def end(self) -> None:
        """Receive until the connection is over."""
        for _ in range(1000):
            try:
                self.ws.receive(timeout=DEADLINE)
            except ConnectionClosed:
                break


TestSender = SenderMachine.TestCase
TestSender.settings = depth(examples=60, steps=15)
