"""The keeper, with connections that only note what is asked of them, over real sockets."""

from __future__ import annotations

import _socket
import contextlib
import dataclasses
import gc
import logging
import math
import selectors
import socket
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event
from peers import threads_only

from syncws import keeper as keeping
from syncws.care import Care
from syncws.keeper import TICK, Keeper, keeper_of
from syncws.runtime import THREADS, Runtime
from syncws.runtime_gevent import GREENLETS
from syncws.turn import Turn

DEADLINE = 20.0


class Noted:
    """A connection that reads what there is when it is attended."""

    def __init__(self, runtime: Runtime) -> None:
        self.turn = Turn(runtime)
        self.sock, self.peer = socket.socketpair()
        self.sock.setblocking(False)
        self.peer.settimeout(DEADLINE)
        self.received = b""
        self.attended = 0
        self.failed: Exception | None = None
        self.dues = 0
        self.next_due: Callable[[float], float] = lambda now: math.inf
        self.events: Callable[[], int] = lambda: selectors.EVENT_READ

    @property
    def activity(self) -> int:
        return len(self.received)

    def fileno(self) -> int:
        return self.sock.fileno()

    def attend(self) -> int:
        if not self.turn.take_now():
            return 0
        self.attended += 1
        self.turn.release()
        with contextlib.suppress(BlockingIOError):
            self.received += self.sock.recv(1000)
        return self.events()

    def on_due(self, now: float) -> float:
        self.dues += 1
        return self.next_due(now)

    def fail(self, error: Exception) -> None:
        self.failed = error

    def close(self) -> None:
        self.sock.close()
        self.peer.close()


@pytest.fixture(params=["threads", "greenlets"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return THREADS if request.param == "threads" else GREENLETS


@pytest.fixture
def keeper(runtime: Runtime) -> Iterator[Keeper]:
    keeper = Keeper(runtime)
    yield keeper
    assert eventually(runtime, lambda: keeper._selector is None)  # it ends without connections


@pytest.fixture
def keeper_for_threads() -> Iterator[Keeper]:
    keeper = Keeper(THREADS)
    yield keeper
    assert eventually(THREADS, lambda: keeper._selector is None)


@pytest.fixture
def keeper_of_greenlets() -> Iterator[Keeper]:
    keeper = Keeper(GREENLETS)
    yield keeper
    assert eventually(GREENLETS, lambda: keeper._selector is None)


@pytest.fixture
def noted(runtime: Runtime) -> Iterator[Noted]:
    noted = Noted(runtime)
    yield noted
    noted.close()


def care_for(noted: Noted, keeper: Keeper) -> Care:
    care = Care(noted, noted.turn, keeper)
    keeper.add(care)
    return care


def eventually(runtime: Runtime, condition: Callable[[], Any]) -> bool:
    """Wait until something is true, letting the other threads or greenlets run."""
    until = time.monotonic() + DEADLINE
    while not condition() and time.monotonic() < until:
        pause(runtime, 0.005)
    return bool(condition())


def pause(runtime: Runtime, seconds: float) -> None:
    (time.sleep if runtime is THREADS else gevent.sleep)(seconds)


def test_it_watches_whom_nobody_serves(runtime: Runtime, keeper: Keeper, noted: Noted) -> None:
    care = care_for(noted, keeper)
    assert eventually(runtime, lambda: care.watched)
    for number in range(3):
        noted.peer.send(b"%d" % number)
        assert eventually(runtime, lambda number=number: len(noted.received) > number)
    keeper.forget(care)
    assert care.watched == 0


def test_it_leaves_alone_whom_a_thread_serves(runtime: Runtime, keeper: Keeper, noted: Noted) -> None:
    assert noted.turn.take_now()
    care = care_for(noted, keeper)
    assert eventually(runtime, lambda: noted.dues and care not in keeper.loose)
    noted.peer.send(b"for the handler")
    pause(runtime, 4 * TICK)
    assert noted.attended == 0
    noted.turn.release()
    assert care in keeper.loose
    assert eventually(runtime, lambda: noted.received == b"for the handler")
    keeper.forget(care)


def test_a_thread_that_is_back_in_a_moment_is_not_helped(runtime: Runtime, keeper: Keeper, noted: Noted) -> None:
    noted.events = lambda: 0
    care = care_for(noted, keeper)
    assert eventually(runtime, lambda: noted.attended > 1)
    # Whenever the keeper looks, something has been read since.
    looks = 0

    class Busy(Noted):
        @property
        def activity(self) -> int:
            nonlocal looks
            looks += 1
            return looks

    attended = noted.attended
    noted.__class__ = Busy
    assert eventually(runtime, lambda: looks > 3)
    assert noted.attended == attended
    keeper.forget(care)


def test_what_to_wait_for_changes(runtime: Runtime, keeper: Keeper, noted: Noted) -> None:
    wanted = selectors.EVENT_READ
    noted.events = lambda: wanted
    care = care_for(noted, keeper)
    assert eventually(runtime, lambda: care.watched == selectors.EVENT_READ)
    wanted = selectors.EVENT_READ | selectors.EVENT_WRITE
    noted.peer.send(b"x")
    attended = noted.attended
    assert eventually(runtime, lambda: noted.attended > attended + 3)  # there is room all the time
    wanted = 0
    assert eventually(runtime, lambda: care.watched == 0)
    keeper.forget(care)


def test_what_is_due(runtime: Runtime, keeper: Keeper, noted: Noted) -> None:
    began = time.monotonic()
    noted.next_due = lambda now: began + 1.5 if noted.dues == 1 else math.inf
    care = care_for(noted, keeper)
    assert eventually(runtime, lambda: noted.dues == 2)
    assert time.monotonic() - began >= 1.5
    pause(runtime, 3 * TICK)
    assert noted.dues == 2
    care.hasten(time.monotonic())
    assert eventually(runtime, lambda: noted.dues == 3)
    keeper.forget(care)


@pytest.mark.parametrize("method", ["attend", "on_due"])
def test_a_failure_ends_one_connection_only(
    runtime: Runtime,
    keeper: Keeper,
    noted: Noted,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = ValueError("on purpose")

    def fail(*_: object) -> float:
        raise error

    monkeypatch.setattr(noted, method, fail)
    other = Noted(runtime)
    cares = [care_for(each, keeper) for each in (noted, other)]
    assert eventually(runtime, lambda: noted.failed is error)
    other.peer.send(b"still here")
    assert eventually(runtime, lambda: other.received == b"still here")
    assert keeper._all == {cares[1]}
    keeper.forget(cares[1])
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(records) == 1
    assert records[0].exc_info
    assert "this is a bug in syncws" in records[0].getMessage()
    other.close()


def test_one_that_cannot_be_watched(keeper_for_threads: Keeper) -> None:
    keeper = keeper_for_threads
    refused = Noted(THREADS)
    refused.fileno = lambda: -1  # type: ignore[method-assign]
    other = Noted(THREADS)
    cares = [care_for(each, keeper) for each in (refused, other)]
    for number in range(3):
        for each in (refused, other):
            each.peer.send(b"x")
            assert eventually(THREADS, lambda each=each, number=number: len(each.received) > number)
    for care, each in zip(cares, (refused, other), strict=True):
        keeper.forget(care)
        each.close()


def test_it_keeps_nobody_alive(runtime: Runtime, keeper: Keeper) -> None:
    noted = Noted(runtime)
    sock, peer = noted.sock, noted.peer
    care = care_for(noted, keeper)
    assert eventually(runtime, lambda: care.watched)
    del noted
    gc.collect()
    assert care() is None
    peer.send(b"x")
    assert eventually(runtime, lambda: care not in keeper._all)
    assert care.watched == 0
    sock.close()
    peer.close()


def test_nobody_has_it_and_nobody_cares(runtime: Runtime, keeper: Keeper, noted: Noted) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # what other tests have left is not what is looked at here
    other = Noted(runtime)
    sock, peer = other.sock, other.peer
    care = care_for(other, keeper)
    assert eventually(runtime, lambda: care.watched)
    keeper.forget(care)
    del care, other
    gc.collect()
    sock.close()
    peer.close()
    other = Noted(runtime)
    sock, peer = other.sock, other.peer
    idle: Any = SimpleNamespace(loose=set())  # the other one may have looked at it before this test does
    care = Care(other, other.turn, idle)
    assert care() is other
    assert care in {care}
    assert care not in {Care(other, other.turn, idle)}
    del other
    gc.collect()
    assert care() is None
    assert care in idle.loose
    sock.close()
    peer.close()
    # Something is due for one that is gone.
    other = Noted(runtime)
    sock, peer = other.sock, other.peer
    with keeper._lock:
        care = care_for(other, keeper)
        del other
    assert eventually(runtime, lambda: care not in keeper._all)
    sock.close()
    peer.close()


@threads_only
def test_a_descriptor_that_was_somebody_elses(runtime: Runtime, keeper: Keeper, noted: Noted) -> None:
    # Closed without a word, which nothing in syncws does: the next connection has its number.
    former = Noted(runtime)
    first = care_for(former, keeper)
    assert eventually(runtime, lambda: first.watched)
    number = former.fileno()
    former.close()
    # Its next one gets the number.
    pair = socket.socketpair()
    assert number in (pair[0].fileno(), pair[1].fileno())
    for sock in (noted.sock, noted.peer):
        sock.close()
    noted.sock, noted.peer = pair if pair[0].fileno() == number else pair[::-1]
    noted.sock.setblocking(False)
    second = care_for(noted, keeper)
    assert eventually(runtime, lambda: second.watched)
    keeper.forget(first)
    noted.peer.send(b"x")
    assert eventually(runtime, lambda: noted.received == b"x")
    keeper.forget(second)


def test_it_forgets_at_any_time(runtime: Runtime, keeper: Keeper, noted: Noted) -> None:
    care = Care(noted, noted.turn, keeper)

    def forget() -> int:
        keeper.forget(care)
        return selectors.EVENT_READ

    noted.events = forget
    keeper.add(care)
    assert eventually(runtime, lambda: keeper._selector is None)
    assert (noted.attended, care.watched) == (1, 0)
    keeper.forget(care)


@pytest.mark.parametrize("lack", ["threads", "descriptors", "selectors"])
def test_without_what_it_needs(lack: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    short = True

    def lacking() -> None:
        if short:
            raise RuntimeError("can't start new thread") if lack == "threads" else OSError("too many open files")

    def spawn(function: Callable[[], object], name: str) -> None:
        lacking()
        THREADS.spawn(function, name)

    def selector() -> selectors.BaseSelector:
        lacking()
        return THREADS.selector()

    changes: Any = {"threads": {"spawn": spawn}, "selectors": {"selector": selector}}.get(lack, {})
    keeper = Keeper(dataclasses.replace(THREADS, **changes))
    with monkeypatch.context() as patch:
        if lack == "descriptors":

            def socketpair() -> Any:
                lacking()
                return _socket.socketpair()

            patch.setattr("syncws.bell._socketpair", socketpair)
        connections = [Noted(THREADS) for _ in range(3)]
        cares = [care_for(each, keeper) for each in connections[:2]]
        assert caplog.text.count("so that no pings are sent for now") == 1
        cares[0].wake()
        short = False
        # With the next connection it tries again, and looks after all of them.
        cares.append(care_for(connections[2], keeper))
    assert eventually(THREADS, lambda: all(each.attended for each in connections))
    for care in cares:
        keeper.forget(care)
    assert eventually(THREADS, lambda: keeper._selector is None)
    for each in connections:
        each.close()


def test_another_failure_to_start(runtime: Runtime) -> None:
    def selector() -> selectors.BaseSelector:
        raise MemoryError

    keeper = Keeper(dataclasses.replace(runtime, selector=selector))
    noted = Noted(runtime)
    with pytest.raises(MemoryError):
        care_for(noted, keeper)
    assert keeper._selector is None
    noted.close()


def test_it_is_killed_and_begins_again(keeper_of_greenlets: Keeper) -> None:
    keeper = keeper_of_greenlets
    first, second = Noted(GREENLETS), Noted(GREENLETS)
    one = care_for(first, keeper)
    assert eventually(GREENLETS, lambda: one.watched)
    runner = next(
        each for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and each.name == "syncws-keeper"
    )
    runner.kill()
    assert keeper._selector is None
    first.peer.send(b"x")
    other = care_for(second, keeper)
    assert eventually(GREENLETS, lambda: first.received and other.watched)
    keeper.forget(one)
    keeper.forget(other)
    first.close()
    second.close()


def test_at_once(runtime: Runtime, keeper: Keeper, noted: Noted) -> None:
    noted.next_due = lambda now: now + 1000
    care = care_for(noted, keeper)
    assert eventually(runtime, lambda: care.watched)
    attended = noted.attended
    noted.events = lambda: selectors.EVENT_READ | selectors.EVENT_WRITE if noted.attended < attended + 5 else 0
    care.wake()
    assert eventually(runtime, lambda: noted.attended >= attended + 5)  # there is room all the time
    noted.events = lambda: selectors.EVENT_READ | selectors.EVENT_WRITE
    care.wake()
    assert eventually(runtime, lambda: care.room_awaited)
    care.wake()
    keeper.forget(care)
    care.wake()  # nobody cares any more


def test_what_is_void_is_cleared_away(runtime: Runtime, keeper: Keeper, noted: Noted) -> None:
    care = care_for(noted, keeper)
    far = time.monotonic() + 10**6
    assert eventually(runtime, lambda: noted.dues)
    for number in range(5000):
        care.hasten(far - number)
    assert eventually(runtime, lambda: len(keeper._dues) == 1)
    dues = noted.dues
    care.hasten(0)
    assert eventually(runtime, lambda: noted.dues > dues)
    keeper.forget(care)
    care.hasten(-1)
    assert not [entry for entry in keeper._dues if entry[0] == -1]


@threads_only
def test_one_for_each_domain() -> None:
    assert keeper_of(THREADS) is keeper_of(THREADS)
    assert keeper_of(GREENLETS) is keeper_of(GREENLETS)
    assert keeper_of(THREADS) is not keeper_of(GREENLETS)
    # Another thread has another event loop.
    others: list[Keeper] = []
    thread = threading.Thread(target=lambda: others.append(keeper_of(GREENLETS)))
    thread.start()
    thread.join()
    assert others[0] is not keeper_of(GREENLETS)


def test_greenlets_run_beside_it(keeper_of_greenlets: Keeper) -> None:
    noted = Noted(GREENLETS)
    care = care_for(noted, keeper_of_greenlets)
    ran = Event()
    gevent.spawn(ran.set)
    assert ran.wait(DEADLINE)
    keeper_of_greenlets.forget(care)
    noted.close()


def test_the_child_of_a_fork_has_no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    domain = Noted(THREADS)  # anything that can be referred to weakly
    keeper, noted = Keeper(THREADS), Noted(THREADS)
    monkeypatch.setattr(keeping, "_keepers", weakref.WeakKeyDictionary({domain: keeper}))
    monkeypatch.setattr(keeping, "_lock", threading.RLock())
    care = care_for(noted, keeper)
    assert eventually(THREADS, lambda: care.watched)
    keeping._after_fork()
    assert (keeper._all, keeper._selector, keeper._bell) == (set(), None, None)
    attended = noted.attended
    noted.peer.send(b"for the parent")
    care.wake()
    care.hasten(0)
    pause(THREADS, 2 * TICK)
    assert noted.attended <= attended + 1  # in a real child, its thread is not there
    noted.close()
    domain.close()
