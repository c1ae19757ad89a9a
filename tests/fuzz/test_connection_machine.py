"""Any interleaving of what a peer sends, however it is cut, and of local calls, against :mod:`fuzz.connection_model`.

One thread: what the peer sends has arrived before a call is made that reads it, and the call does not wait. The other
machine, in ``test_sender_machine.py``, has a second thread.
"""

from __future__ import annotations

import contextlib
import copy
import socket
from collections.abc import Callable
from typing import Any

import peers
from fuzz.connection_model import Connection, Outcome
from fuzz.depth import depth
from fuzz.model import CLOSE, CONTINUATION, PING, PONG, TEXT, Inflate, close_content
from fuzz.peer import BITS, BROKEN, BROKEN_DEFLATE, Compress, Listener, frame, message
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from syncws import ConnectionClosed, Deflate
from syncws.errors import ProtocolError
from syncws.options import Options
from syncws.protocol.deflate import Parameters
from syncws.protocol.handshake import Agreement
from syncws.protocol.machine import State
from syncws.transport import transport_for
from syncws.websocket import WebSocket

MAX_SIZE, MAX_FRAGMENTS = 4000, 8
# A send buffer of the system's least size, which is full after a few small frames.
LEAST = 1

text = st.text(max_size=20)
payloads = st.one_of(
    text,
    st.binary(max_size=20),
    st.sampled_from([b"x" * 125, b"x" * 126, b"x" * 1000, "é" * 63, "é" * 1000, "", b"", b"x" * MAX_SIZE]),
)
# What is sent, and how many times as long: what hypothesis shows stays short.
large = st.tuples(payloads, st.just(1)) | st.sampled_from([(b"\x81", 65535), (b"\x00", 65536), ("é", 40_000)])
pings = st.sampled_from([b"", b"a", b"b", b"p" * 125])
controls = st.tuples(st.sampled_from([PING, PONG]), pings)
keys = st.sampled_from([bytes(4), b"\x01\x02\x03\x04", b"\xff\x80\x00\x7f"])
# How many bytes are kept back until the next delivery.
held = st.sampled_from([0, 0, 0, 0, 1, 2, 3, 5, 9, 130])
codes = st.sampled_from([1000, 1001, 1011, 3000, 4999])
reasons = st.sampled_from(["", "bye", "é" * 61])


def web_socket(
    sock: socket.socket, role: Any, takeover: bool | None, close_timeout: float = 0, **options: Any
) -> WebSocket:
    """A connection that, with a timeout of 0, never waits for its end."""
    settings: dict[str, Any] = {
        "max_message_size": MAX_SIZE,
        "max_fragments": MAX_FRAGMENTS,
        "close_timeout": close_timeout,
        **options,
        "max_control_frames_per_second": None,  # the model has no time
    }
    agreement = Agreement()
    if takeover is not None:
        settings["compression"] = Deflate(threshold=10, max_window_bits=BITS, context_takeover=takeover)
        agreement = Agreement(None, ("permessage-deflate",), Parameters(not takeover, not takeover, BITS, BITS))
    return WebSocket(transport_for(sock), role, peers.REQUEST, agreement, Options.of(settings))


class ConnectionMachine(RuleBasedStateMachine):
    """``takeover`` is ``None`` without permessage-deflate; ``narrow``: the send buffer is small.

    :ivar life: for so many steps nothing ends the connection, so that there is time for the rest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outbox = b""
        self.fragment: int | None = None  # the opcode of the message that the peer is sending in fragments
        self.writable = True  # the peer can still write
        self.reading = True  # the peer can still read

    @initialize(
        role=st.sampled_from(["server", "client"]),
        takeover=st.sampled_from([None, True, False]),
        narrow=st.booleans(),
        life=st.sampled_from([0, 10, 25, 1000]),
    )
    def open(self, role: str, takeover: bool | None, narrow: bool, life: int) -> None:
        one, self.sock = socket.socketpair()
        if narrow:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LEAST)
        self.role, self.takeover, self.narrow, self.life = role, takeover, narrow, life
        self.compress = None if takeover is None else Compress(takeover)
        self.ws = web_socket(one, role, takeover)
        self.ws._keeper.forget(self.ws._care)  # it would come at any time; here it comes when it is told to
        self.listener = Listener(self.sock, role, takeover)
        self.model = Connection(role, None if takeover is None else Inflate(BITS, takeover), MAX_SIZE, MAX_FRAGMENTS)

    @property
    def may_end(self) -> bool:
        return self.life <= 0

    # What the peer does.

    def put(self, data: bytes, hold: int) -> None:
        self.outbox += data
        self.deliver(len(self.outbox) - hold)

    def key(self, key: bytes) -> bytes | None:
        return key if self.role == "server" else None

    @precondition(lambda self: self.writable and self.outbox)
    @rule(size=st.sampled_from([1, 2, 3, 10, 100, 10**6]))
    def deliver(self, size: int) -> None:
        while size > 0 and self.outbox:
            try:
                sent = self.sock.send(self.outbox[:size], socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                self.writable = False
                return
            self.model.frames.feed(self.outbox[:sent])
            self.outbox = self.outbox[sent:]
            size -= sent

    @precondition(lambda self: self.writable and self.fragment is None)
    @rule(
        data=payloads,
        cuts=st.lists(st.integers(0, 50), max_size=MAX_FRAGMENTS - 1),
        between=st.lists(controls, max_size=3),
        compressed=st.booleans(),
        key=keys,
        hold=held,
    )
    def peer_sends(
        self,
        data: str | bytes,
        cuts: list[int],
        between: list[tuple[int, bytes]],
        compressed: bool,
        key: bytes,
        hold: int,
    ) -> None:
        self.put(message(data, cuts, between, self.key(key), self.compress if compressed else None), hold)

    @precondition(lambda self: self.writable)
    @rule(data=st.text("aé", max_size=5), binary=st.booleans(), fin=st.booleans(), key=keys, hold=held)
    def peer_sends_a_fragment(self, data: str, binary: bool, fin: bool, key: bytes, hold: int) -> None:
        opcode = CONTINUATION if self.fragment else TEXT + binary
        self.fragment = None if fin else (self.fragment or opcode)
        self.put(frame(opcode, data.encode(), self.key(key), fin=fin), hold)

    @precondition(lambda self: self.writable)
    @rule(frames=st.lists(controls, min_size=1, max_size=4), times=st.sampled_from([1, 1, 5, 20]), key=keys, hold=held)
    def peer_sends_control_frames(self, frames: list[tuple[int, bytes]], times: int, key: bytes, hold: int) -> None:
        numbered = [
            frame(opcode, payload[:120] + b"%d" % number, self.key(key))
            for number in range(times)
            for opcode, payload in frames
        ]
        self.put(b"".join(numbered), hold)

    @precondition(lambda self: self.writable and self.may_end)
    @rule(code=st.none() | codes, reason=reasons, key=keys, hold=held)
    def peer_closes(self, code: int | None, reason: str, key: bytes, hold: int) -> None:
        payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
        self.put(frame(CLOSE, payload, self.key(key)), hold)

    @precondition(lambda self: self.writable and self.may_end)
    @rule(name=st.sampled_from(sorted(BROKEN)), key=keys, hold=held)
    def peer_breaks_a_rule(self, name: str, key: bytes, hold: int) -> None:
        first, payload = BROKEN[name]
        self.put(frame(first, payload, self.key(key), fin=False), hold)

    @precondition(lambda self: self.writable and self.may_end)
    @rule(
        how=st.sampled_from(
            ["mask", "width 2", "width 8", "sign", "continuation", "interleaved", "fragments", "deflate"]
        ),
        key=keys,
        choice=st.sampled_from(BROKEN_DEFLATE),
        hold=held,
    )
    def peer_breaks_another_rule(self, how: str, key: bytes, choice: bytes, hold: int) -> None:
        right = self.key(key)
        wrong = None if right else key
        begin, go_on = frame(TEXT, b"a", right, fin=False), frame(CONTINUATION, b"a", right, fin=False)
        end = b"" if self.fragment is None else frame(CONTINUATION, b"", right)
        data = {
            "mask": frame(TEXT, b"a", wrong),
            "width 2": frame(TEXT, b"a", right, width=2),
            "width 8": frame(TEXT, b"a" * 1000, right, width=8),
            "sign": bytes([0x82, 0xFF if right else 0x7F, 0x80]) + bytes(7),
            "continuation": end + frame(CONTINUATION, b"a", right),
            "interleaved": end + begin + begin,
            "fragments": end + begin + go_on * MAX_FRAGMENTS,
            "deflate": end + frame(TEXT, choice, right, rsv1=True),
        }[how]
        self.put(data, hold)

    @precondition(lambda self: self.writable and self.may_end)
    @rule(whole=st.booleans())
    def peer_ends_its_direction(self, whole: bool) -> None:
        if whole:
            self.deliver(len(self.outbox))
        self.writable = False
        self.model.eof = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    @precondition(lambda self: self.reading and self.may_end)
    @rule()
    def peer_goes(self) -> None:
        self.writable = self.reading = False
        self.listener.read()
        self.check_what_the_peer_saw()
        self.model.eof = self.model.deaf = True
        self.sock.close()

    @precondition(lambda self: self.reading)
    @rule()
    def peer_reads(self) -> None:
        self.listener.read()

    # What the program does.

    def attempt(self, call: Callable[[], Any]) -> Any:
        """The call's result, or an Outcome, whose exception is checked."""
        try:
            return call()
        except ConnectionClosed as error:
            self.error = error
            return Outcome.CLOSED
        except TimeoutError:
            return Outcome.TIMEOUT

    def expect(self, outcome: object, expected: object) -> None:
        assert outcome == expected and type(outcome) is type(expected), (outcome, expected)
        if outcome is Outcome.CLOSED:
            self.check_error()

    def check_error(self) -> None:
        error, model = self.error, self.model
        assert model.end is not None
        assert (error.code, error.reason, error.initiator) == (
            self.ws.close_code,
            self.ws.close_reason,
            model.end[2],
        )
        assert error.websocket is self.ws
        if model.cause is not None and self.ws.close_code in model.cause:
            assert isinstance(error.__cause__, ProtocolError)
            assert error.__cause__.close_code in model.cause

    @rule()
    def receive(self) -> None:
        if self.model.aborted:
            self.receive_behind_an_abort()
        else:
            self.expect(self.attempt(lambda: self.ws.receive(timeout=0)), self.model.receive())

    def receive_behind_an_abort(self) -> None:
        """What had been read already may come, then the end."""
        for _ in range(1000):
            if self.attempt(lambda: self.ws.receive(timeout=0)) is Outcome.CLOSED:
                return
        raise AssertionError("no end")

    @precondition(lambda self: not self.model.aborted)
    @rule()
    def receive_stream(self) -> None:
        pieces: list[Any] = []
        outcome = self.attempt(lambda: pieces.extend(iter_into(pieces, self.ws.receive_stream(timeout=0))))
        content, expected = self.model.stream()
        self.expect(outcome, expected)
        if pieces and expected is not Outcome.CLOSED:
            assert all(len(piece) <= 65536 for piece in pieces)
            self.expect(pieces[0][:0].join(pieces), content)
        elif expected is None:
            raise AssertionError("a message without a piece")

    @precondition(lambda self: not self.model.aborted)
    @rule()
    def leave_a_stream(self) -> None:
        rehearsal = copy.deepcopy(self.model)
        begun = rehearsal.streaming or rehearsal.message.fragments
        content, outcome = rehearsal.stream()
        if begun or outcome is not None:
            return
        stream = self.ws.receive_stream(timeout=0)
        piece = next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert content[: len(piece)] == piece
        assert bool(piece) is bool(content)
        self.model.leave_after(piece)

    @rule(data=st.sampled_from([b"a", b"b", b"p" * 125]))
    def ping(self, data: bytes) -> None:
        outcome = self.attempt(lambda: self.ws.ping(data, timeout=0))
        self.expect(None if isinstance(outcome, float) else outcome, self.model.ping(data))

    @precondition(lambda self: not self.model.aborted)
    @rule()
    def keeper_looks(self) -> None:
        self.ws.attend()
        self.model.attend()

    @rule(large=large)
    def send(self, large: tuple[str | bytes, int]) -> None:
        data = large[0] * large[1]
        outcome = self.attempt(lambda: self.ws.send(data, timeout=0))
        if outcome is Outcome.TIMEOUT and self.model.end is None and not self.model.deaf:
            self.model.cut_off()  # how much the system takes is its business
        else:
            self.expect(outcome, self.model.send(data))

    @rule(pieces=st.lists(text, min_size=1, max_size=3) | st.lists(st.binary(max_size=9), min_size=1, max_size=3))
    def send_fragments(self, pieces: list[Any]) -> None:
        outcome = self.attempt(lambda: self.ws.send_fragments(pieces, timeout=0))
        if outcome is Outcome.TIMEOUT and self.model.end is None and not self.model.deaf:
            self.model.cut_off()
        else:
            self.expect(outcome, self.model.send(pieces[0][:0].join(pieces)))

    @precondition(lambda self: self.may_end and not self.narrow)
    @rule()
    def send_half_a_message(self) -> None:
        try:
            outcome = self.attempt(lambda: self.ws.send_fragments(["text", b"bytes"], timeout=0))  # type: ignore[list-item]
        except TypeError:
            assert self.model.send() is None
            self.model.begin_close(1011, "the message could not be completed")
        else:
            self.expect(outcome, self.model.send())

    @precondition(lambda self: self.may_end)
    @rule(code=codes, reason=reasons)
    def begin_close(self, code: int, reason: str) -> None:
        self.ws.begin_close(code, reason)
        self.model.begin_close(code, reason)

    @precondition(lambda self: self.may_end)
    @rule(code=codes, reason=reasons)
    def close(self, code: int, reason: str) -> None:
        self.ws.close(code, reason)
        self.model.close(code, reason)

    @precondition(lambda self: self.may_end)
    @rule()
    def abort(self) -> None:
        self.ws.abort()
        self.model.abort()

    @rule(
        call=st.sampled_from(
            [
                (ValueError, "close", (1005,)),
                (ValueError, "close", (999,)),
                (ValueError, "begin_close", (1000, "x" * 124)),
                (ValueError, "close", (1000, "\ud800")),
                (TypeError, "close", ("1000",)),
                (TypeError, "send", (None,)),
                (ValueError, "send", ("\ud800",)),
                (TypeError, "send_fragments", ([1],)),
                (ValueError, "send_fragments", ([],)),
            ]
        )
    )
    def use_it_wrongly(self, call: tuple[type[Exception], str, tuple[Any, ...]]) -> None:
        kind, name, arguments = call
        try:
            getattr(self.ws, name)(*arguments)
        except kind:
            return
        raise AssertionError("no exception")

    # What is true at any time.

    @invariant()
    def time_passes(self) -> None:
        self.life -= 1

    @invariant()
    def it_says_how_it_is(self) -> None:
        model, ws = self.model, self.ws
        assert ws.closed is (model.end is not None)
        assert (ws.state is State.CLOSED) is model.lost
        if model.end is None:
            assert (ws.close_code, ws.close_reason) == (None, None)
        elif not model.aborted:
            assert ws.close_code in model.end[0]
            assert model.end[1] in (None, ws.close_reason)
            repr(ws)

    @invariant()
    def the_peer_sees_what_was_sent(self) -> None:
        if self.reading and not self.narrow:
            self.listener.read()
            self.check_what_the_peer_saw()

    def check_what_the_peer_saw(self) -> None:
        seen, model = self.listener, self.model
        answers = iter(model.pings)
        assert all(pong in answers for pong in seen.pongs), "a pong without its ping"
        if self.narrow:
            messages = [item for item in seen.seen if not isinstance(item, tuple)]
            assert messages == [item for item in model.sent if not isinstance(item, tuple)]
        else:
            assert seen.seen == model.sent
            assert seen.ended is model.gone or model.deaf
            assert (seen.close is not None) is (model.close_frame is not None) or model.deaf
            if model.end is None and not model.deaf:
                assert seen.pongs[-1:] == model.pings[-1:], "the latest ping is not answered"
        if seen.close is not None:
            assert model.close_frame is not None
            code, reason = close_content(seen.close)
            assert code in model.close_frame[0]
            assert model.close_frame[1] in (None, reason)

    # The end.

    def teardown(self) -> None:
        if not hasattr(self, "ws"):
            return
        try:
            self.finish()
        finally:
            self.ws.abort()
            self.sock.close()

    def finish(self) -> None:
        """All that was held arrives, is received, and is answered; then it closes cleanly, if it is still open."""
        for _ in range(100):
            if self.writable:
                self.deliver(len(self.outbox))
            if self.reading:
                self.listener.read()
            self.receive()
        assert not self.outbox or not self.writable
        if self.reading:
            self.check_what_the_peer_saw()
        if self.model.end is None and self.writable and self.reading and not self.model.frames.rest:
            assert self.listener.pongs[-1:] == self.model.pings[-1:]
            if not self.model.frames.missing:
                self.put(frame(CLOSE, b"\x03\xe8", self.key(bytes(4))), 0)
                self.close(1000, "")
                assert self.ws.close_code == 1000
        self.ws.close()
        self.model.close(1000, "")
        self.it_says_how_it_is()
        self.the_peer_sees_what_was_sent()


def iter_into(pieces: list[Any], stream: Any) -> Any:
    """Put what the stream yields into the list, so that it is there when the stream raises."""
    for piece in stream:
        pieces.append(piece)
    return ()


TestConnection = ConnectionMachine.TestCase
TestConnection.settings = depth(examples=400, steps=40)
