"""How long a peer may take over a message."""

from __future__ import annotations

import math
import time

import pytest

from syncws.patience import Patience, Rest

LONG = 1000.0


def left(patience: Patience, number: int) -> float:
    """Seconds that are left for a message."""
    return patience.begin(number) - time.monotonic()


def test_only_waiting_counts() -> None:
    patience = Patience(LONG)
    now = time.monotonic()
    # It began to wait with 1000 s, and ends as if 600 of them had passed.
    patience.end(5, now + 400)
    assert left(patience, 5) == pytest.approx(400, abs=60)
    assert left(patience, 6) == pytest.approx(LONG, abs=60)


def test_it_begins_anew_when_nothing_is_unfinished() -> None:
    patience = Patience(LONG)
    patience.end(5, time.monotonic() + 1)
    patience.renew()
    assert left(patience, 5) == pytest.approx(LONG, abs=60)


def test_the_error_names_the_limit() -> None:
    error = Patience(2.5).error()
    assert error.close_code == 1008
    assert str(error) == "message unfinished after 2.5 s, the limit message_timeout"


def test_the_rest_of_each_message_has_its_time() -> None:
    rest = Rest(60)
    assert rest.due(None, 0) == math.inf
    assert rest.due(1, 10) == 70
    assert rest.due(1, 50) == 70
    assert rest.due(2, 50) == 110
    assert rest.due(None, 60) == math.inf
    assert rest.due(2, 70) == 130


def test_the_rest_may_take_any_time() -> None:
    rest = Rest(None)
    assert rest.due(1, 10) == math.inf
