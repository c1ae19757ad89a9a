"""The turn to read: a lock whose waiters may lose their interest in it, and those that go first."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

import pytest
from peers import DEADLINE, Task, eventually, start

from syncws.runtime import THREADS, Condition
from syncws.turn import Turn


def never() -> bool:
    return False


def at_work(turn: Turn, count: int) -> None:
    """Wait until so many threads wait for the turn."""
    eventually(lambda: turn._waiting == count)
    with turn._condition():
        pass  # the last of them sleeps now


def take(turn: Turn, done: Callable[[], bool] = never, *, eager: bool = True, timeout: float = DEADLINE) -> Task:
    return start(turn.take, time.monotonic() + timeout, done, eager=eager)


def test_one_thread_at_a_time() -> None:
    turn = Turn(THREADS)
    assert turn.take_now()
    assert not turn.take_now()
    assert not start(turn.take_now).result()
    turn.release()
    assert turn.take(None, never)
    turn.release()


def test_what_is_done_needs_no_turn() -> None:
    turn = Turn(THREADS)
    assert not turn.take(None, lambda: True)
    assert turn.take_now()


def test_those_that_begin_to_wait_at_the_same_time_wait_for_the_same() -> None:
    others: list[Condition] = []

    def condition() -> Condition:
        if not others:
            others.append(threading.Condition())  # so that it gets no further than here the second time
            others.append(turn._condition())  # as if by another thread, a moment earlier
        return threading.Condition()

    turn = Turn(dataclasses.replace(THREADS, condition=condition))
    turn.notify()  # nobody waits
    assert not others
    assert turn._condition() is others[1] is turn._condition()


@pytest.mark.parametrize("eager", [True, False])
def test_a_released_turn_goes_to_a_waiter(eager: bool) -> None:
    turn = Turn(THREADS)
    assert turn.take_now()
    waiter = take(turn, eager=eager)
    at_work(turn, 1)
    assert bool(turn.wanted) == eager
    turn.release()
    assert waiter.result()
    assert not turn.take_now()
    assert not turn.wanted


@pytest.mark.parametrize("eager", [True, False])
def test_the_deadline_passes(eager: bool) -> None:
    turn = Turn(THREADS)
    assert turn.take_now()
    with pytest.raises(TimeoutError):
        turn.take(0.0, never, eager=eager)
    assert not turn.wanted
    with pytest.raises(TimeoutError):
        turn.wait(time.monotonic() + 0.01, never)


def test_a_free_turn_is_taken_after_any_deadline() -> None:
    turn = Turn(THREADS)
    assert turn.take(0.0, never)


def test_a_notification_lets_waiters_look_again() -> None:
    turn = Turn(THREADS)
    assert turn.take_now()
    done = threading.Event()
    taking = take(turn, done.is_set)
    waiting = start(turn.wait, None, done.is_set)
    at_work(turn, 2)
    turn.notify()
    at_work(turn, 2)
    done.set()
    turn.notify()
    assert not taking.result()
    waiting.result()


def test_waiting_ends_without_the_turn() -> None:
    turn = Turn(THREADS)
    turn.wait(None, lambda: True)
    assert turn.take_now()
    released = threading.Event()
    waiting = start(turn.wait, None, released.is_set)
    at_work(turn, 1)
    released.set()
    turn.release()
    waiting.result()
    assert turn.take_now()


def test_what_comes_true_as_the_deadline_passes_counts() -> None:
    turn = Turn(THREADS)
    assert turn.take_now()
    looks = iter([False, True, True])
    assert not turn.take(0.0, lambda: next(looks))
    looks = iter([False, True, True])
    turn.wait(0.0, lambda: next(looks))


def test_the_eager_go_first() -> None:
    turn = Turn(THREADS)
    assert turn.take_now()
    patient = take(turn, eager=False)
    at_work(turn, 1)
    eager = take(turn)
    at_work(turn, 2)
    turn.release()
    assert eager.result()
    assert patient.is_alive()
    turn.release()
    assert patient.result()


@pytest.mark.parametrize("outcome", ["timeout", "done"])
def test_a_patient_thread_gets_the_turn_that_an_eager_one_gave_up(outcome: str) -> None:
    # The release wakes both; the patient thread leaves the turn to the eager one, which does not want it any more.
    turn = Turn(THREADS)
    assert turn.take_now()
    done = threading.Event()
    patient = take(turn, eager=False)
    at_work(turn, 1)
    eager = take(turn, done.is_set, timeout=0.05 if outcome == "timeout" else DEADLINE)
    at_work(turn, 2)
    # As if the patient thread had been the first to look after the release.
    with turn._condition():
        turn._lock.release()
    if outcome == "timeout":
        with pytest.raises(TimeoutError):
            eager.result()
    else:
        done.set()
        turn.notify()
        if eager.result():
            turn.release()
    assert patient.result(5)


def test_many_threads_one_at_a_time() -> None:
    turn = Turn(THREADS)
    inside = 0
    most = 0
    done = threading.Event()

    def work(eager: bool) -> int:
        nonlocal inside, most
        count = 0
        while not done.is_set():
            try:
                if not turn.take(time.monotonic() + 0.001 * (count % 3), done.is_set, eager=eager):
                    break
            except TimeoutError:
                continue
            inside += 1
            most = max(most, inside)
            inside -= 1
            count += 1
            turn.release()
            if count == 500:
                done.set()
                turn.notify()
        return count

    tasks = [start(work, eager=number % 2 == 0) for number in range(6)]
    counts = [task.result() for task in tasks]
    assert most == 1
    assert max(counts) == 500
    assert turn.take_now()


def test_a_function_for_when_it_is_free() -> None:
    turn = Turn(THREADS)
    called: list[str] = []
    assert not turn.on_free(lambda: called.append("nobody has it"))
    assert turn.take_now()
    assert turn.on_free(lambda: called.append("free"))
    assert turn.on_free(lambda: called.append("one is enough"))
    turn.release()
    assert called == ["one is enough"]
    assert turn.take_now()
    turn.release()
    assert called == ["one is enough"]
    # A change that may mean nothing is enough as well.
    assert turn.take_now()
    assert turn.on_free(lambda: called.append("changed"))
    turn.notify()
    assert called == ["one is enough", "changed"]
    turn.release()
    assert called == ["one is enough", "changed"]
    # The next one that has it.
    assert turn.on_free(lambda: called.append("had"), even_if_free=True)
    assert turn.take_now()
    assert called == ["one is enough", "changed"]
    turn.release()
    assert called == ["one is enough", "changed", "had"]
