"""The primitives of threads and of greenlets: the same behaviour from both."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from syncws.runtime import THREADS, Runtime, is_killed
from syncws.runtime_gevent import GREENLETS

DEADLINE = 10.0


@pytest.fixture(params=["threads", "greenlets"])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    yield THREADS if request.param == "threads" else GREENLETS


def event_of(runtime: Runtime) -> Any:
    return threading.Event() if runtime is THREADS else Event()


def run(runtime: Runtime, function: Callable[[], object]) -> object:
    """Run a function in a thread or greenlet of its own and return its result."""
    results: list[object] = []
    done = event_of(runtime)

    def call() -> None:
        results.append(function())
        done.set()

    runtime.spawn(call, "test")
    assert done.wait(DEADLINE)
    return results[0]


def test_a_function_gets_its_arguments(runtime: Runtime) -> None:
    given: list[object] = []
    done = event_of(runtime)

    def call(*arguments: object) -> None:
        given.extend(arguments)
        done.set()

    runtime.spawn(call, "test", 1, "two")
    assert done.wait(DEADLINE)
    assert given == [1, "two"]


def test_a_greenlet_knows_its_name_and_not_where_it_comes_from() -> None:
    greenlet = run(GREENLETS, gevent.getcurrent)
    assert isinstance(greenlet, gevent.Greenlet)
    assert greenlet.name == "test"
    assert greenlet.spawning_stack is None


@pytest.mark.parametrize("kind", ["lock", "fair_lock"])
def test_a_lock_is_held_by_one(runtime: Runtime, kind: str) -> None:
    lock = getattr(runtime, kind)()
    with lock:
        assert lock.locked()
        assert not run(runtime, lambda: lock.acquire(False))
        assert not run(runtime, lambda: lock.acquire(timeout=0.01))
    assert not lock.locked()
    assert run(runtime, lambda: lock.acquire(timeout=-1))


def test_a_fair_lock_goes_to_whoever_has_waited_longest() -> None:
    lock = GREENLETS.fair_lock()
    order: list[str] = []

    def take(name: str) -> None:
        with lock:
            order.append(name)

    lock.acquire()
    waiting = [gevent.spawn(take, name) for name in ("one", "two")]
    gevent.idle()
    lock.release()
    # It is the other's already, even though that one has not run yet.
    assert not lock.acquire(False)
    with lock:
        order.append("three")
    gevent.joinall(waiting, DEADLINE)
    assert order == ["one", "two", "three"]


@pytest.mark.parametrize("had_it", [False, True], ids=["waiting", "handed over"])
def test_who_is_killed_passes_a_fair_lock_on(had_it: bool) -> None:
    lock = GREENLETS.fair_lock()
    lock.acquire()
    killed = gevent.spawn(lock.acquire)
    gevent.idle()
    if had_it:
        # The kill comes first, as it would from a callback that runs before that of the lock.
        killed.kill(block=False)
    else:
        killed.kill()
    lock.release()
    killed.join(DEADLINE)
    assert isinstance(killed.value, gevent.GreenletExit)
    assert lock.acquire(timeout=DEADLINE)


def test_a_lock_may_be_taken_again_by_its_owner(runtime: Runtime) -> None:
    lock = runtime.rlock()
    with lock:
        with lock:
            assert not run(runtime, lambda: lock.acquire(False))
        assert not run(runtime, lambda: lock.acquire(timeout=0.01))
    assert run(runtime, lambda: lock.acquire() and lock.release() is None)


def test_a_lock_is_given_back_by_its_owner_only(runtime: Runtime) -> None:
    lock = runtime.rlock()

    def fail() -> None:
        with pytest.raises(RuntimeError):
            lock.release()

    fail()
    with lock:
        run(runtime, fail)
        assert not run(runtime, lambda: lock.acquire(False))
    if runtime is GREENLETS:
        assert not lock.locked()


def test_each_has_its_own_number(runtime: Runtime) -> None:
    assert runtime.ident() == runtime.ident() != 0
    assert run(runtime, runtime.ident) != runtime.ident()


def test_a_condition_wakes_all_that_wait(runtime: Runtime) -> None:
    condition = runtime.condition()
    ready = []
    woken = []
    all_woken = event_of(runtime)

    def wait() -> None:
        with condition:
            ready.append(None)
            woken.append(condition.wait(DEADLINE))
        if len(woken) == 3:
            all_woken.set()

    for _ in range(3):
        runtime.spawn(wait, "waiter")
    limit = time.monotonic() + DEADLINE
    while len(ready) < 3 and time.monotonic() < limit:
        # The only way to wait that both have: let the others run.
        gevent.sleep(0.001) if runtime is GREENLETS else time.sleep(0.001)
    with condition:  # whoever has said that it is ready has given the lock back by now
        condition.notify_all()
    assert all_woken.wait(DEADLINE)
    assert woken == [True, True, True]


def test_a_condition_gives_up_after_the_timeout(runtime: Runtime) -> None:
    condition = runtime.condition()
    with condition:
        assert condition.wait(0.01) is False
        condition.notify_all()  # nobody is left to wake


def test_what_is_spawned_has_its_name() -> None:
    assert run(THREADS, lambda: threading.current_thread().name) == "test"
    assert run(GREENLETS, lambda: gevent.getcurrent().name) == "test"


def test_greenlets_may_wait_for_what_is_true_some_day() -> None:
    condition: Any = GREENLETS.condition()
    seen: list[int] = []

    def change() -> None:
        for number in range(3):
            with condition:
                seen.append(number)
                condition.notify_all()
            gevent.sleep(0)

    GREENLETS.spawn(change, "test")
    with condition:
        assert condition.wait_for(lambda: len(seen) == 3, DEADLINE)
        assert condition.wait_for(lambda: True, 0)
        assert not condition.wait_for(lambda: False, 0.01)


def test_a_killed_greenlet_is_told_from_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_killed(gevent.GreenletExit())
    assert not is_killed(SystemExit())
    assert not is_killed(None)
    monkeypatch.delitem(sys.modules, "greenlet")
    assert not is_killed(gevent.GreenletExit())
