"""Frames that leave together: in one write while more messages wait, and soon, whatever the handler does next.

That it is a millisecond no test says. They say that the frames arrive while the handler is still at something else.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import gevent
import pytest
from gevent.hub import get_hub
from peers import RawFrame, RawPeer, Task, eventually, sockets, start, threads_only, websocket
from raw_client import frame, serving
from wire import tls_contexts

from syncws.coalescer import Coalescer
from syncws.errors import ConnectionClosed
from syncws.protocol.codes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from syncws.trace import Recorder
from syncws.transport import SocketTransport, Transport, transport_for
from syncws.transport_gevent import transport_for_greenlets
from syncws.websocket import WebSocket

pytestmark = threads_only

DEADLINE = 30.0
RunsOn = Literal["threads", "greenlets"]
Handler = Callable[[WebSocket], object]
contexts = functools.lru_cache(tls_contexts)

both = pytest.mark.parametrize("runs_on", ["threads", "greenlets"])
plain_or_tls = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


class Held(Coalescer):
    """A coalescer that has not come yet: what is gathered leaves by other ways."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Any] = []

    def add(self, gathered: Any) -> bool:
        self.held.append(gathered)
        return True


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    held = Held()
    monkeypatch.setattr("syncws.connection.COALESCER", held)
    return held


class Served:
    """A handler at work, and its peer."""

    ws: WebSocket

    def __init__(self, peer: RawPeer) -> None:
        self.peer = peer
        self.writes: list[int] = []  # the sizes of what has been given to the socket
        self.handling: Task

    def frames(self, count: int) -> list[RawFrame]:
        """Read so many frames."""
        found = [self.peer.read_frame() for _ in range(count)]
        return [each for each in found if each is not None]

    def note_writes(self, transport: Transport) -> None:
        try_send = transport.try_send

        def noted(data: bytes | memoryview) -> int:
            self.writes.append(len(data))
            return try_send(data)

        transport.try_send = noted  # type: ignore[method-assign]


@contextlib.contextmanager
def served(
    runs_on: RunsOn,
    handler: Handler,
    *messages: str | bytes,
    tls: bool = False,
    buffer: int | None = None,
    behind: bytes = b"",
    **options: Any,
) -> Iterator[Served]:
    """Run a handler in a thread, or in a greenlet of a thread of its own; the messages have arrived already."""
    one, two = sockets(buffer=buffer)
    server_context, client_context = contexts()
    arguments: dict[str, Any] = {"do_handshake_on_connect": False}
    over = threading.Event()
    ready = threading.Event()
    if tls:
        two = client_context.wrap_socket(two, server_hostname="localhost", **arguments)
    peer = RawPeer(two, masked=True)
    peer.sock.settimeout(DEADLINE)
    served = Served(peer)
    wire = b"".join(
        peer.frame(TEXT, each.encode()) if isinstance(each, str) else peer.frame(BINARY, each) for each in messages
    )

    def serve() -> object:
        sock = server_context.wrap_socket(one, server_side=True, **arguments) if tls else one
        transport = transport_for_greenlets(sock) if runs_on == "greenlets" else transport_for(sock)
        transport.handshake()
        served.note_writes(transport)
        served.ws = websocket(transport, "server", wire + behind, **options)
        ready.set()
        try:
            return handler(served.ws)
        finally:
            # Connections of greenlets are dropped by one of their event loop.
            if runs_on == "greenlets":
                while not over.is_set():
                    gevent.sleep(0.005)
                served.ws.abort()
                served.ws.close()

    def run() -> object:
        if runs_on == "threads":
            return serve()
        hub = get_hub()
        greenlet = gevent.spawn(serve)
        try:
            return greenlet.get()
        finally:
            hub.destroy(destroy_loop=True)

    served.handling = start(run)
    if tls:
        two.do_handshake()  # type: ignore[attr-defined]
    assert ready.wait(DEADLINE)
    try:
        yield served
        over.set()
        with contextlib.suppress(OSError):  # it is over already
            socket.socket.shutdown(two, socket.SHUT_WR)
        with contextlib.suppress(ConnectionClosed):
            served.handling.result(DEADLINE)
    finally:
        over.set()
        peer.close()
        if runs_on == "threads":
            served.ws.abort()
            served.ws.close()


def wait_in_native_code(event: threading.Event) -> bool:
    """What blocks a thread, and an event loop with it."""
    return event.wait(DEADLINE)


def sleep(event: threading.Event) -> bool:
    """Sleep as it is good manners: greenlets let others run."""
    limit = time.monotonic() + DEADLINE
    nap = gevent.sleep if in_greenlet() else time.sleep
    while not event.is_set() and time.monotonic() < limit:
        nap(0.01)
    return event.is_set()


def in_greenlet() -> bool:
    return isinstance(gevent.getcurrent(), gevent.Greenlet)


def compute(event: threading.Event) -> bool:
    limit = time.monotonic() + DEADLINE
    number = 0
    while not event.is_set() and (number % 1000 or time.monotonic() < limit):
        number += 1
    return event.is_set()


def block_in_another_library(event: threading.Event) -> bool:
    limit = time.monotonic() + DEADLINE
    while not event.is_set() and time.monotonic() < limit:
        time.sleep(0.05)  # of the native library, for greenlets as well
    return event.is_set()


WAYS = [wait_in_native_code, sleep, compute, block_in_another_library]


@both
@plain_or_tls
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [1, 5])
def test_the_frames_arrive_while_the_handler_is_at_something_else(
    runs_on: RunsOn, tls: bool, way: Callable[[threading.Event], bool], count: int
) -> None:
    arrived = threading.Event()

    def handler(ws: WebSocket) -> bool:
        for _ in range(count):
            ws.send(ws.receive())
        return way(arrived)  # and more messages are there

    with served(runs_on, handler, *["x"] * (count + 1), tls=tls) as each:
        assert each.frames(count) == [RawFrame(TEXT, b"x")] * count
        arrived.set()
        if runs_on == "threads":
            assert each.handling.result(DEADLINE)


@both
@plain_or_tls
@pytest.mark.parametrize("raises", [False, True])
def test_the_frames_arrive_when_the_handler_returns_or_raises(runs_on: RunsOn, tls: bool, raises: bool) -> None:
    def handler(ws: WebSocket) -> None:
        for _ in range(3):
            ws.send(ws.receive())
        if raises:
            raise OSError("a bug")

    @contextlib.contextmanager
    def expected() -> Iterator[None]:
        if raises:
            with pytest.raises(OSError, match="a bug"):
                yield
        else:
            yield

    with expected(), served(runs_on, handler, *"abcd", tls=tls) as each:
        assert each.frames(3) == [RawFrame(TEXT, text) for text in (b"a", b"b", b"c")]


@both
def test_the_frames_arrive_again_and_again(runs_on: RunsOn) -> None:
    # The coalescer falls asleep in between, or does not.
    goes_on = [threading.Event() for _ in range(20)]

    def handler(ws: WebSocket) -> None:
        for event in goes_on:
            ws.send(ws.receive())
            sleep(event)

    with served(runs_on, handler, *map(str, range(21))) as each:
        for number, event in enumerate(goes_on):
            assert each.frames(1) == [RawFrame(TEXT, str(number).encode())]
            event.set()


def echo(ws: WebSocket) -> None:
    with contextlib.suppress(ConnectionClosed):
        for message in ws:
            ws.send(message)


def sizes(*payloads: int) -> int:
    """How long the frames of a server are."""
    return sum(size + (2 if size < 126 else 4 if size < 65536 else 10) for size in payloads)


# Over TLS with gevent, nothing may write but the greenlets themselves.
gathering = pytest.mark.parametrize(
    ("runs_on", "tls"),
    [("threads", False), ("threads", True), ("greenlets", False)],
    ids=["threads", "tls", "greenlets"],
)


@gathering
def test_answers_to_what_has_come_together_leave_together(runs_on: RunsOn, tls: bool, held: Held) -> None:
    with served(runs_on, echo, *"abcde", tls=tls) as each:
        assert each.frames(5) == [RawFrame(TEXT, text.encode()) for text in "abcde"]
        assert each.writes == [sizes(1, 1, 1, 1, 1)]
        # What comes alone is answered at once.
        each.peer.send_frame(TEXT, b"f")
        assert each.frames(1) == [RawFrame(TEXT, b"f")]
        assert each.writes == [sizes(1, 1, 1, 1, 1), sizes(1)]
        assert each.ws.stats().messages_sent == 6
        assert each.ws.stats().backlog == each.ws.backlog == 0
    assert len(held.held) == 1


@gathering
def test_half_a_message_is_not_waited_for(runs_on: RunsOn, tls: bool, held: Held) -> None:
    more = frame(TEXT, b"half of it")
    with served(runs_on, echo, *"abc", tls=tls, behind=more[:9]) as each:
        assert each.frames(3) == [RawFrame(TEXT, text.encode()) for text in "abc"]
        assert each.writes == [sizes(1, 1, 1)]
        each.peer.send(more[9:])
        assert each.frames(1) == [RawFrame(TEXT, b"half of it")]


@gathering
def test_answers_that_are_many_bytes_leave_before(runs_on: RunsOn, tls: bool, held: Held) -> None:
    with served(runs_on, echo, *[bytes(20_000)] * 5, tls=tls) as each:
        assert each.frames(5) == [RawFrame(BINARY, bytes(20_000))] * 5
        # 64 KiB, and a frame at the most.
        assert each.writes[0] == sizes(20_000, 20_000, 20_000, 20_000)


@gathering
def test_a_message_for_each_does_not_wait_for_the_answers(runs_on: RunsOn, tls: bool, held: Held) -> None:
    # The handler reads the socket: what is gathered leaves before it waits.
    def handler(ws: WebSocket) -> None:
        ws.send(ws.receive())
        ws.send(ws.receive())
        ws.receive()  # nothing is sent for this one, so nothing takes the others along
        ws.receive()

    with served(runs_on, handler, *"abc", tls=tls) as each:
        assert each.frames(2) == [RawFrame(TEXT, b"a"), RawFrame(TEXT, b"b")]
        assert each.writes == [sizes(1, 1)]
        each.peer.send_frame(TEXT, b"d")


@both
@plain_or_tls
def test_the_option_switches_it_off(runs_on: RunsOn, tls: bool, held: Held) -> None:
    with served(runs_on, echo, *"abc", tls=tls, coalesce=False) as each:
        assert each.frames(3) == [RawFrame(TEXT, text.encode()) for text in "abc"]
        assert each.writes == [sizes(1)] * 3
    assert held.held == []


def test_tls_of_greenlets_does_without(held: Held) -> None:
    with served("greenlets", echo, *"abc", tls=True) as each:
        assert each.frames(3) == [RawFrame(TEXT, text.encode()) for text in "abc"]
        assert each.writes == [sizes(1)] * 3
    assert held.held == []


def test_what_is_traced_does_without(held: Held) -> None:
    recorder = Recorder()
    with serving("handler", echo, trace=recorder) as address:
        import syncws

        with syncws.connect(f"ws://127.0.0.1:{address[1]}/", trace=Recorder()) as ws:
            ws.send("a")
            assert ws.receive(DEADLINE) == "a"
    assert held.held == []


@gathering
def test_without_a_thread_to_send_them_frames_leave_at_once(
    runs_on: RunsOn, tls: bool, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Held, "add", lambda *_: False)
    with served(runs_on, echo, *"abc", tls=tls) as each:
        assert each.frames(3) == [RawFrame(TEXT, text.encode()) for text in "abc"]
        assert each.writes == [sizes(1)] * 3


# Order.


def answers_with(last: Handler) -> Handler:
    """A handler that answers twice while there is more, and then does something else."""

    def handler(ws: WebSocket) -> None:
        for _ in range(2):
            ws.send(ws.receive())
        last(ws)

    return handler


def of_another_thread(ws: WebSocket) -> None:
    if in_greenlet():
        gevent.spawn(ws.send, "other").get()
    else:
        start(ws.send, "other").result(DEADLINE)


def fragments(ws: WebSocket) -> None:
    ws.send_fragments(["c", "d"])


def close(ws: WebSocket) -> None:
    ws.begin_close(1000)


def ping(ws: WebSocket) -> None:
    ws._writer.post_ping(b"p")


LAST: list[tuple[Handler, list[RawFrame]]] = [
    (of_another_thread, [RawFrame(TEXT, b"other")]),
    (fragments, [RawFrame(TEXT, b"c", False), RawFrame(CONTINUATION, b"d", False), RawFrame(CONTINUATION, b"")]),
    (close, [RawFrame(CLOSE, b"\x03\xe8")]),
    (ping, [RawFrame(PING, b"p")]),
    (lambda ws: ws.send("c", wait=False), [RawFrame(TEXT, b"c")]),
    (lambda ws: ws.send("c", timeout=5), [RawFrame(TEXT, b"c")]),
    (lambda ws: ws.send(bytearray(b"c")), [RawFrame(BINARY, b"c")]),
    (lambda ws: ws.send(memoryview(b"c")), [RawFrame(BINARY, b"c")]),
]


@gathering
@pytest.mark.parametrize("coalescer", ["held", "real"])
@pytest.mark.parametrize(
    ("last", "frames"), LAST, ids=["thread", "fragments", "close", "ping", "nowait", "timeout", "bytearray", "view"]
)
def test_whatever_follows_leaves_behind_what_is_gathered(
    runs_on: RunsOn,
    tls: bool,
    last: Handler,
    frames: list[RawFrame],
    coalescer: str,
    request: pytest.FixtureRequest,
) -> None:
    if coalescer == "held":
        request.getfixturevalue("held")
    with served(runs_on, answers_with(last), *"abcdef", tls=tls) as each:
        assert each.frames(2 + len(frames)) == [RawFrame(TEXT, b"a"), RawFrame(TEXT, b"b"), *frames]


@gathering
def test_a_pong_leaves_behind_what_is_gathered(runs_on: RunsOn, tls: bool, held: Held) -> None:
    behind = frame(PING, b"p") + frame(TEXT, b"c")
    with served(runs_on, echo, *"ab", tls=tls, behind=behind) as each:
        assert each.frames(4) == [
            RawFrame(TEXT, b"a"),
            RawFrame(TEXT, b"b"),
            RawFrame(PONG, b"p"),
            RawFrame(TEXT, b"c"),
        ]


@gathering
def test_the_answer_to_a_close_frame_leaves_behind_what_is_gathered(runs_on: RunsOn, tls: bool, held: Held) -> None:
    with served(runs_on, echo, *"abc", tls=tls, behind=frame(CLOSE, b"\x03\xe8")) as each:
        assert each.peer.read_all() == [
            *(RawFrame(TEXT, text.encode()) for text in "abc"),
            RawFrame(CLOSE, b"\x03\xe8"),
        ]


@gathering
def test_close_sends_what_is_gathered(runs_on: RunsOn, tls: bool, held: Held) -> None:
    with served(runs_on, answers_with(lambda ws: ws.close()), *"abc", tls=tls) as each:
        assert each.frames(3) == [RawFrame(TEXT, b"a"), RawFrame(TEXT, b"b"), RawFrame(CLOSE, b"\x03\xe8")]
        each.peer.send(frame(CLOSE, b"\x03\xe8"))
        assert each.peer.read_frame() is None


def test_many_threads_and_the_coalescer_at_once() -> None:
    # The frames of each thread are in order, whoever has sent them.
    count = 2000

    def handler(ws: WebSocket) -> None:
        def send(name: int) -> None:
            for number in range(count):
                ws.send(f"{name} {number}")

        others = [start(send, name) for name in (1, 2)]
        for number in range(count):
            ws.receive()
            ws.send(f"0 {number}")
        for other in others:
            other.result(DEADLINE)

    with served("threads", handler, *["x"] * (count + 1)) as each:
        found = [each.peer.read_frame() for _ in range(3 * count)]
        each.handling.result(DEADLINE)
    texts = [frame.payload.decode().split() for frame in found if frame]
    for name in "012":
        assert [int(number) for who, number in texts if who == name] == list(range(count))


# A full socket.


@both
@plain_or_tls
@pytest.mark.parametrize("size", [100, 5000])
def test_nothing_is_lost_when_the_socket_is_full(runs_on: RunsOn, tls: bool, size: int) -> None:
    count = 300
    answers = [str(number).encode().rjust(size) for number in range(count)]
    go_on = threading.Event()

    def handler(ws: WebSocket) -> None:
        for answer in answers:
            ws.receive()
            ws.send(answer)
        sleep(go_on)

    with served(runs_on, handler, *["x"] * (count + 1), tls=tls, buffer=4096) as each:
        for answer in answers:
            assert each.peer.read_frame() == RawFrame(BINARY, answer)
        go_on.set()


@both
def test_what_the_socket_had_no_room_for_leaves_without_the_handler(runs_on: RunsOn) -> None:
    answers = [str(number).encode().rjust(1000) for number in range(60)]
    all_there = threading.Event()

    def handler(ws: WebSocket) -> bool:
        for answer in answers:
            ws.receive()
            ws.send(answer)
        return sleep(all_there)

    with served(runs_on, handler, *["x"] * 61, buffer=4096) as each:

        def full() -> bool:
            stats = each.ws.stats()
            assert stats.messages_sent <= 60
            return stats.messages_sent == 60 and 0 < stats.backlog == 60 * sizes(1000) - stats.bytes_sent < 60_000

        eventually(full)
        for answer in answers:
            assert each.peer.read_frame() == RawFrame(BINARY, answer)
        eventually(lambda: each.ws.backlog == 0)
        all_there.set()


@gathering
def test_figures_count_what_is_gathered(runs_on: RunsOn, tls: bool, held: Held) -> None:
    seen = threading.Event()

    def handler(ws: WebSocket) -> tuple[int, int, int]:
        before = ws.stats().bytes_sent
        ws.send(ws.receive())
        ws.send(ws.receive())
        stats = ws.stats()
        found = stats.messages_sent, stats.bytes_sent - before, ws.backlog
        seen.set()
        held.held[0].flush()
        return (*found, ws.stats().bytes_sent - before, ws.backlog)  # type: ignore[return-value]

    with served(runs_on, handler, "abc", "de", "f", tls=tls) as each:
        assert each.frames(2) == [RawFrame(TEXT, b"abc"), RawFrame(TEXT, b"de")]
        assert seen.wait(DEADLINE)
    assert each.handling.result(DEADLINE) == (2, 0, sizes(3, 2), sizes(3, 2), 0)


# The end.


@gathering
def test_what_is_gathered_is_lost_with_an_abort(runs_on: RunsOn, tls: bool, held: Held) -> None:
    def abort(ws: WebSocket) -> None:
        ws.abort()
        assert ws.backlog == 0
        with pytest.raises(ConnectionClosed):
            ws.send("late")
        held.held[0].flush()  # the coalescer comes too late, which is no error

    with served(runs_on, answers_with(abort), *"abc", tls=tls) as each:
        each.handling.join(DEADLINE if runs_on == "threads" else 0)
        with contextlib.suppress(OSError):  # TLS would have had a word of its own
            assert each.peer.read_frame() is None


def test_what_is_gathered_leaves_although_nobody_has_the_connection_any_more() -> None:
    one, two = sockets()
    peer = RawPeer(two, masked=True)
    transport = SocketTransport(one)
    ws = websocket(transport, "server", peer.frame(TEXT, b"a") + peer.frame(TEXT, b"b"))
    ws.send(ws.receive())
    del ws
    gc.collect()
    assert peer.read_frame() == RawFrame(TEXT, b"a")
    peer.close()
    transport.close()
