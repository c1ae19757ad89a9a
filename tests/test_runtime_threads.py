"""Threads that serve one connection after another, and those that must not."""

from __future__ import annotations

import contextvars
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest
from peers import DEADLINE, eventually, no_idle_threads, threads_only

import syncws
from syncws import runtime_threads
from syncws.runtime_threads import serve

NAME = "syncws-connection"
pytestmark = threads_only


@pytest.fixture(autouse=True)
def _none_from_before() -> Iterator[None]:
    no_idle_threads()
    yield
    no_idle_threads()


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the compiled build, if nothing uses locals."""
    monkeypatch.setattr(runtime_threads, "has_locals", lambda: False)


def served(function: Callable[[], object] = lambda: None, name: str = NAME) -> threading.Thread:
    """The thread that a function was called in, when it has ended or waits for another one."""
    threads: list[threading.Thread] = []

    def call() -> None:
        threads.append(threading.current_thread())
        function()

    serve(call, name)
    eventually(lambda: threads and (threads[0] in runtime_threads._idle or not threads[0].is_alive()))
    return threads[0]


@pytest.mark.usefixtures("keeping")
def test_one_thread_after_another() -> None:
    thread = served()
    assert thread.daemon
    assert thread.name == NAME
    assert served() is thread
    assert served(name="another") is thread
    assert thread.name == "another"
    thread.join(DEADLINE)
    assert not thread.is_alive()


@pytest.mark.usefixtures("keeping")
def test_where_locals_are_another_s_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "local", type("Local", (), {}))
    thread = served()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert served() is not thread


@pytest.mark.usefixtures("keeping")
def test_what_it_was_given_is_not_kept_while_it_waits() -> None:
    class Argument:
        pass

    argument = Argument()
    kept = weakref.ref(argument)
    serve(lambda given: None, NAME, argument)
    del argument
    eventually(lambda: len(runtime_threads._idle) == 1)
    assert kept() is None


@pytest.mark.usefixtures("keeping")
def test_only_some_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_threads, "_MOST", 2)
    go_on = threading.Event()
    running: list[threading.Thread] = []

    def wait() -> None:
        running.append(threading.current_thread())
        go_on.wait(DEADLINE)

    for _ in range(5):
        serve(wait, NAME)
    eventually(lambda: len(running) == 5)
    go_on.set()
    eventually(lambda: sum(thread.is_alive() for thread in running) == 2)


@pytest.mark.usefixtures("keeping")
def test_a_job_that_comes_at_the_last_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_threads, "_PATIENCE", 0.01)
    taken: list[runtime_threads._Worker] = []

    class Idle(list[runtime_threads._Worker]):
        def append(self, worker: runtime_threads._Worker) -> None:
            taken.append(worker)  # by somebody who has a job for it

    monkeypatch.setattr(runtime_threads, "_idle", Idle())
    done = threading.Event()
    serve(lambda: None, NAME)
    eventually(lambda: taken)
    worker = taken[0]
    worker.join(0.1)  # patience has ended
    worker.job = done.set, ()
    worker.bell.release()
    assert done.wait(DEADLINE)
    eventually(lambda: len(taken) == 2)
    worker.bell.release()  # without a job


@pytest.mark.usefixtures("keeping")
def test_a_signal_handler_that_raises_while_a_job_is_handed_over() -> None:
    class Name(str):
        __slots__ = ()

        def __ne__(self, other: object) -> bool:
            raise KeyboardInterrupt

    thread = served()
    with pytest.raises(KeyboardInterrupt):
        serve(lambda: None, Name())
    thread.join(DEADLINE)
    assert not thread.is_alive()


@pytest.mark.usefixtures("keeping")
def test_a_function_that_fails_ends_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    assert not served(lambda: 1 / 0).is_alive()
    assert len(failures) == 1


@pytest.mark.usefixtures("keeping")
def test_a_context_variable_ends_its_thread() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    assert not served(lambda: variable.set(1)).is_alive()
    thread = served(lambda: variable.reset(variable.set(1)))
    assert served() is thread


@pytest.mark.usefixtures("keeping")
def test_an_attribute_of_the_thread_ends_it() -> None:
    assert not served(lambda: setattr(threading.current_thread(), "user", "somebody")).is_alive()


@pytest.mark.usefixtures("keeping")
def test_a_function_that_profiles_or_traces_ends_its_thread() -> None:
    def look(*_: object) -> None:
        pass

    assert not served(lambda: sys.setprofile(look)).is_alive()
    assert not served(lambda: sys.settrace(look)).is_alive()


def test_a_local_ends_its_thread() -> None:
    local = threading.local()
    if syncws.compiled:
        thread = served()
        assert served() is thread
    assert not served(lambda: setattr(local, "value", 1)).is_alive()


@pytest.mark.usefixtures("keeping")
def test_a_child_process_has_none_of_them() -> None:
    served()
    process = os.fork()
    if process == 0:
        os._exit(len(runtime_threads._idle))
    assert os.waitpid(process, 0)[1] == 0
