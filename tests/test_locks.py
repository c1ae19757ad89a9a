"""The lock of threads, whichever the build has: what a :class:`threading.Lock` does."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest
from peers import DEADLINE, eventually, start, threads_only

import syncws
from syncws.locks import HotLock
from syncws.runtime import THREADS

pytestmark = threads_only


def test_which_one_goes_by_the_build() -> None:
    assert isinstance(THREADS.lock(), HotLock) is syncws.compiled


def test_what_all_locks_have_in_common_is_no_lock() -> None:
    for use in (HotLock().acquire, HotLock().release):
        with pytest.raises(NotImplementedError):
            use()


def test_taking_and_giving_back() -> None:
    lock = THREADS.lock()
    assert not lock.locked()
    assert lock.acquire()
    assert lock.locked()
    assert not lock.acquire(False)
    assert not lock.acquire(blocking=True, timeout=0)
    assert not lock.acquire(timeout=0.01)
    lock.release()
    assert not lock.locked()
    with lock:
        assert lock.locked()
    assert not lock.locked()


def test_what_nobody_has_cannot_be_given_back() -> None:
    lock = THREADS.lock()
    with pytest.raises(RuntimeError):
        lock.release()
    assert lock.acquire(False)
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()


def test_an_error_gives_it_back() -> None:
    lock = THREADS.lock()
    with pytest.raises(ZeroDivisionError), lock:
        raise ZeroDivisionError
    assert not lock.locked()


@pytest.mark.parametrize("timeout", [-1, DEADLINE])
def test_those_that_wait_get_it(timeout: float) -> None:
    lock = THREADS.lock()
    lock.acquire()
    taken: list[int] = []

    def wait(number: int) -> None:
        assert lock.acquire(timeout=timeout)
        taken.append(number)
        lock.release()

    waiting = [start(wait, number) for number in range(5)]
    time.sleep(0.05)  # most likely they wait by now; they get it in any case
    assert taken == []
    lock.release()
    for each in waiting:
        each.result()
    assert sorted(taken) == [0, 1, 2, 3, 4]
    assert not lock.locked()


@pytest.mark.skipif(not syncws.compiled, reason="Python's lock does not promise that")
def test_one_that_takes_it_again_and_again_leaves_it_to_others() -> None:
    lock = THREADS.lock()
    done = threading.Event()

    def hog() -> None:
        while not done.is_set():
            with lock:
                time.sleep(0.0001)  # others run while it is held, and only then

    hogging = start(hog)
    waiting = [start(lock.acquire, timeout=DEADLINE) for _ in range(3)]
    for _ in range(3):
        eventually(lambda: any(not each.is_alive() for each in waiting))
        taker = next(each for each in waiting if not each.is_alive())
        assert taker.result()
        waiting.remove(taker)
        lock.release()
    done.set()
    hogging.result()
    assert not lock.locked()


def test_one_that_has_given_up_takes_nobody_s_turn() -> None:
    lock = THREADS.lock()
    lock.acquire()
    patient = start(lock.acquire)
    assert not start(lock.acquire, timeout=0.05).result()
    lock.release()
    assert patient.result()
    lock.release()
    assert not lock.locked()


def test_giving_up_in_the_moment_in_which_it_is_handed_on() -> None:
    lock = THREADS.lock()

    def try_for(seconds: float) -> None:
        if lock.acquire(timeout=seconds):
            lock.release()

    for number in range(300):
        lock.acquire()
        waiting = [start(try_for, 0.002 + number % 10 * 0.0001) for _ in range(1 + number % 2)]
        time.sleep(0.002)
        lock.release()
        for each in waiting:
            each.result()
        assert not lock.locked()


def test_one_thread_at_a_time_has_it() -> None:
    lock = THREADS.lock()
    inside = most = total = 0

    def work() -> None:
        nonlocal inside, most, total
        for number in range(300):
            # Some wait, some only for a while, some not at all.
            how = ({}, {"timeout": DEADLINE}, {"blocking": False})[number % 3]
            if lock.acquire(**how):  # type: ignore[arg-type]
                inside += 1
                most = max(most, inside)
                time.sleep(0)
                total += 1
                inside -= 1
                lock.release()

    tasks = [start(work) for _ in range(6)]
    for task in tasks:
        task.result(60)
    assert most == 1
    assert total >= 6 * 200
    assert not lock.locked()


def test_another_thread_may_give_it_back() -> None:
    lock = THREADS.lock()
    lock.acquire()
    waiting = start(lock.acquire)
    start(lock.release).result()
    assert waiting.result()


class Noticed(Exception):
    """What the signal handler raises."""


@pytest.fixture
def alarms() -> Iterator[list[int]]:
    """The signals that have come; the second one raises."""
    came: list[int] = []

    def handle(number: int, _: object) -> None:
        came.append(number)
        if len(came) == 2:
            raise Noticed

    before = signal.signal(signal.SIGUSR1, handle)
    yield came
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal can be sent to a thread")
def test_a_signal_handler_runs_while_it_is_waited_for(alarms: list[int]) -> None:
    lock = THREADS.lock()
    lock.acquire()
    main = threading.get_ident()

    def disturb() -> None:
        for number in (1, 2):
            signal.pthread_kill(main, signal.SIGUSR1)
            eventually(lambda number=number: len(alarms) >= number)

    disturbing = start(disturb)
    with pytest.raises(Noticed):
        lock.acquire()
    disturbing.result()
    # Nobody waits any more: the next one does so afresh.
    lock.release()
    assert lock.acquire(timeout=DEADLINE)
    waiting = start(lock.acquire)
    lock.release()
    assert waiting.result()
