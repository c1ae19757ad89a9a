"""One log line when something begins to happen again and again, one when it is over."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace

import pytest

from syncws.bursts import Bursts


def test_first_and_last(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, "syncws")
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("syncws.bursts.time", SimpleNamespace(monotonic=lambda: clock.now))
    bursts = Bursts(threading.Lock())

    def lines() -> list[tuple[str, str]]:
        said = [(record.levelname, record.getMessage()) for record in caplog.records]
        caplog.clear()
        return said

    bursts.settle()
    assert lines() == []
    bursts.note("fire", "it burns: 100 % of it")
    bursts.note("flood", "it is wet")
    assert lines() == [("ERROR", "it burns: 100 % of it"), ("ERROR", "it is wet")]
    for _ in range(3):
        clock.now += 9
        bursts.note("fire", "it burns")
        bursts.settle()
    assert lines() == [("WARNING", "over: flood, 1 times in 0.0 s, and not for 10 s since")]
    clock.now += 10
    bursts.settle()
    assert lines() == [("WARNING", "over: fire, 4 times in 27.0 s, and not for 10 s since")]
    bursts.settle()
    assert lines() == []
    bursts.note("fire", "again")
    assert lines() == [("ERROR", "again")]
