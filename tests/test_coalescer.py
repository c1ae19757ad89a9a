"""The thread that sends what connections have gathered: when it runs, sleeps and wakes up, and across a fork."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from peers import DEADLINE, PATCHED, eventually, start, threads_only

from syncws import coalescer as module
from syncws.coalescer import COALESCER, Coalescer

pytestmark = threads_only

_native = module._native


class Note:
    """Notes how often it has been asked to send, and does something besides."""

    def __init__(self, action: Callable[[], object] = lambda: None) -> None:
        self.times = 0
        self._action = action

    def flush(self) -> None:
        self.times += 1
        self._action()


def traced(name: str, primitive: str) -> Any:
    """What is native, but for threads of a kind that coverage is told of."""
    if primitive != "start_new_thread":
        return _native(name, primitive)

    def run(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        with contextlib.suppress(SystemExit):
            function(*arguments)

    return lambda *args: threading.Thread(target=run, args=args, daemon=True).start()


@pytest.fixture(params=["native", "traced"])
def coalescer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Coalescer]:
    if request.param == "traced":
        monkeypatch.setattr(module, "_native", traced)
    coalescer = Coalescer()
    yield coalescer
    if coalescer._running:
        assert coalescer.add(Note(sys.exit))  # ends the thread
        eventually(lambda: not coalescer._waiting)


def test_the_thread_starts_when_it_is_needed(coalescer: Coalescer) -> None:
    assert not coalescer._running
    note = Note()
    assert coalescer.add(note)
    assert coalescer._running
    eventually(lambda: note.times == 1)
    again = [Note() for _ in range(10)]
    assert all(coalescer.add(note) for note in again)
    eventually(lambda: all(note.times == 1 for note in again))
    assert note.times == 1


def test_the_thread_goes_to_sleep_and_is_woken_up(coalescer: Coalescer) -> None:
    for _ in range(3):
        note = Note()
        assert coalescer.add(note)
        eventually(lambda: note.times)  # noqa: B023 - called at once
        eventually(lambda: coalescer._asleep)
    assert coalescer._running


def test_what_is_added_on_the_way_to_sleep_keeps_it_awake() -> None:
    coalescer = Coalescer()
    coalescer._waiting.append(Note())  # as by a thread that has seen it awake
    coalescer._sleep()  # returns
    assert not coalescer._asleep
    assert len(coalescer._waiting) == 1


def test_somebody_else_starts_it_or_wakes_it_up() -> None:
    # Such as the thread that a calling signal handler has interrupted.
    coalescer = Coalescer()
    with coalescer._changing:
        assert not coalescer.add(Note())  # which may fail
        coalescer._running = coalescer._asleep = True
        assert coalescer.add(Note())
    coalescer._waiting.pop()
    assert len(coalescer._waiting) == 1


def test_somebody_else_has_just_woken_it_up() -> None:
    coalescer = Coalescer()

    class Lock:
        def acquire(self, blocking: bool = True) -> bool:
            coalescer._asleep = False
            return True

        def release(self) -> None:
            pass

    coalescer._running = coalescer._asleep = True
    coalescer._changing = Lock()  # type: ignore[assignment]
    assert coalescer.add(Note())
    coalescer._running = False


def test_what_many_threads_add_is_not_lost(coalescer: Coalescer) -> None:
    def add() -> list[Note]:
        notes = []
        for number in range(2000):
            note, running = Note(), coalescer._running
            if coalescer.add(note):
                notes.append(note)
            else:  # another one was about to start the thread, which may fail
                assert not running
                eventually(lambda: coalescer._running)
            if number % 500 == 499:
                eventually(lambda: notes[-1].times)
        return notes

    tasks = [start(add) for _ in range(8)]
    notes = [note for task in tasks for note in task.result(30)]
    eventually(lambda: all(note.times == 1 for note in notes))


def test_what_is_added_while_it_goes_to_sleep_is_not_lost(
    coalescer: Coalescer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IDLE_ROUNDS", 0)  # it does so all the time
    for _ in range(300):
        note = Note()
        assert coalescer.add(note)
        eventually(lambda: note.times == 1)  # noqa: B023 - called at once


def test_what_is_added_within_a_flush_is_not_lost(coalescer: Coalescer) -> None:
    within = Note()
    assert coalescer.add(Note(lambda: coalescer.add(within)))
    eventually(lambda: within.times == 1)


def test_there_can_be_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(
        module, "_native", lambda name, item: no_more if item == "start_new_thread" else _native(name, item)
    )
    coalescer = Coalescer()
    assert not coalescer.add(Note())
    assert not coalescer._running
    assert not coalescer._waiting
    assert not coalescer._changing.locked()
    monkeypatch.undo()
    note = Note()
    assert coalescer.add(note)
    eventually(lambda: note.times)


def test_a_fork_waits_until_nothing_is_half_done(coalescer: Coalescer) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        go_on.wait(DEADLINE)

    coalescer.add(Note(block))
    assert begun.wait(DEADLINE)
    forking = start(coalescer.before_fork)
    assert forking.is_alive()
    go_on.set()
    forking.result()
    note = Note()
    coalescer.add(note)
    assert note.times == 0
    coalescer.after_fork()
    eventually(lambda: note.times == 1)


def test_what_is_abandoned_is_forgotten(coalescer: Coalescer) -> None:
    lock = coalescer.new_lock
    coalescer.before_fork()
    coalescer.add(Note())
    bell, waiting = coalescer._flushing, coalescer._waiting
    coalescer.abandon()
    assert coalescer._waiting is not waiting
    assert not coalescer._waiting
    assert not coalescer._running
    assert coalescer.new_lock is lock
    bell.release()
    note = Note()
    coalescer.add(note)
    eventually(lambda: note.times == 1)


def fork(child: Callable[[int], object]) -> bytes:
    """Run a function in a child process, with a descriptor to write to; return what it has written."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: there are other threads
        pid = os.fork()
    if pid == 0:
        try:
            child(writing)
        finally:
            os._exit(0)
    os.close(writing)
    try:
        assert select.select([reading], [], [], DEADLINE)[0], "the child process has not written anything"
        return os.read(reading, 100)
    finally:
        os.waitpid(pid, 0)
        os.close(reading)


@pytest.mark.parametrize("asleep", [False, True])
def test_a_child_process_has_a_thread_of_its_own(asleep: bool) -> None:
    note = Note()
    assert COALESCER.add(note)
    eventually(lambda: note.times)
    if asleep:
        eventually(lambda: COALESCER._asleep)

    def child(descriptor: int) -> None:
        if COALESCER._running or COALESCER._asleep or COALESCER._waiting:
            os.write(descriptor, b"the parent's")
        done = threading.Event()
        COALESCER.add(Note(lambda: os.write(descriptor, b"sent")))
        COALESCER.add(Note(done.set))
        done.wait(DEADLINE)

    assert fork(child) == b"sent"
    note = Note()
    assert COALESCER.add(note)
    eventually(lambda: note.times)


@pytest.mark.parametrize("loaded", [False, True])
def test_what_gevent_may_have_replaced_is_native(loaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if loaded:
        __import__("gevent.monkey")
    else:
        monkeypatch.delitem(sys.modules, "gevent.monkey", raising=False)
    assert not PATCHED
    assert _native("time", "sleep") is time.sleep


GREENLETS = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent, os, time
from syncws.coalescer import Coalescer

sleep = gevent.monkey.get_original("time", "sleep")
assert sleep is not time.sleep
done = []

class Note:
    def flush(self):
        done.append(gevent.monkey.get_original("_thread", "get_ident")())

coalescer = Coalescer()
for asleep in (False, True):
    assert coalescer.add(Note())
    limit = time.monotonic() + 30
    while len(done) <= asleep or not coalescer._asleep:
        assert time.monotonic() < limit
        sleep(0.001)  # no greenlet runs meanwhile
assert len(set(done)) == 1 and gevent.monkey.get_original("_thread", "get_ident")() not in done
print("all sent")
"""


def test_with_all_patched_by_gevent_it_is_a_native_thread() -> None:
    result = subprocess.run([sys.executable, "-c", GREENLETS], capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("all sent\n", "")
