"""Who is on the stack already."""

from __future__ import annotations

import signal
from collections.abc import Callable

from syncws.reentry import codes_of, within


class Lift:
    def __init__(self) -> None:
        self.answers: list[bool] = []

    @property
    def floor(self) -> int:
        self.ask()
        return 3

    def ride(self, meanwhile: Callable[[], object]) -> None:
        meanwhile()

    def stop(self) -> None:
        self.answers.append(within(CODES, self))

    def ask(self) -> None:
        self.answers.append(within(codes_of(Lift), self))


CODES = codes_of(Lift.ride, Lift.stop)


def test_only_functions_have_code() -> None:
    assert Lift.ride.__code__ in codes_of(Lift)
    assert codes_of(Lift.ride) == {Lift.ride.__code__}


def test_within_one_of_the_functions() -> None:
    lift, other = Lift(), Lift()
    lift.stop()  # the caller itself does not count
    lift.ride(lift.stop)
    lift.ride(other.stop)  # within that of another
    other.ride(lambda: lift.ride(lambda: other.ride(lift.stop)))
    assert lift.answers == [False, True, True]
    assert other.answers == [False]


def test_within_a_property() -> None:
    lift = Lift()
    assert lift.floor == 3
    lift.ask()
    assert lift.answers == [True, False]


def test_a_signal_handler_sees_what_it_has_interrupted() -> None:
    lift = Lift()
    before = signal.signal(signal.SIGUSR1, lambda *_: lift.stop())
    try:
        lift.ride(lambda: signal.raise_signal(signal.SIGUSR1))
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert lift.answers == [True, False]
