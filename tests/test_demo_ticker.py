"""The demo's ticker: what it pushes, when it is asked not to, and that its market needs no thread."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from commands import DEADLINE

from syncws.demo import DemoApp
from syncws.demo.ticker import Ticker
from syncws.testing import InProcessWebSocket, connect


def next_event(ws: InProcessWebSocket) -> dict[str, Any]:
    event = json.loads(ws.receive(timeout=DEADLINE))
    assert isinstance(event, dict)
    return event


def numbers(quotes: list[dict[str, Any]]) -> list[int]:
    return [quote["number"] for quote in quotes]


def test_ticker_sends_the_last_quotes_and_then_each_new_one() -> None:
    with connect(DemoApp(tick=0.01), "/ticker") as ws:
        history = next_event(ws)
        assert history["type"] == "history"
        first = numbers(history["quotes"])
        assert first == list(range(first[0], first[0] + 60))
        newest = first[-1]
        for _ in range(5):
            quote = next_event(ws)
            assert quote["type"] == "quote"
            assert quote["number"] > newest  # one may be skipped when the machine is busy
            assert quote["price"] >= 1 and quote["price"] == round(quote["price"], 2)
            assert isinstance(quote["volume"], int) and quote["volume"] > 0
            newest = quote["number"]


def test_everybody_sees_the_same_quotes() -> None:
    app = DemoApp(tick=1000.0)
    with connect(app, "/ticker") as one, connect(app, "/ticker") as other:
        assert next_event(one) == next_event(other)


def test_ticker_pauses_and_resumes() -> None:
    with connect(DemoApp(tick=0.01), "/ticker") as ws:
        newest = numbers(next_event(ws)["quotes"])[-1]
        ws.send("pause")
        with contextlib.suppress(TimeoutError):
            # Those that were under way; unless it pauses, there is one each hundredth of a second.
            for _ in range(1000):
                newest = json.loads(ws.receive(timeout=0.5))["number"]
            pytest.fail("it does not pause")
        ws.send("resume")
        history = next_event(ws)
        assert history["type"] == "history"
        assert numbers(history["quotes"])[-1] > newest
        assert next_event(ws)["type"] == "quote"


def test_a_market_that_nobody_watched_goes_on_as_if() -> None:
    ticker = Ticker(interval=1.0)
    ticker._started -= 1000
    quotes = ticker._quotes_until_now()
    assert [quote.number for quote in quotes] == list(range(941, 1001))


def test_price_stays_above_nothing() -> None:
    ticker = Ticker(interval=1000.0)
    quote = ticker._quotes_until_now()[-1]
    assert ticker._quote_after(quote._replace(price=-100.0), 1).price >= 1.0
