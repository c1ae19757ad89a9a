"""The demo's ticker: the server pushes the price and the volume of a fund that nobody can buy.

It sends JSON objects, each with a ``type``: first ``history`` with the last ``quotes``, oldest first, then ``quote``
each time that there is a new one. A quote has a ``number``, a ``price`` and a ``volume``. The page may send the texts
``pause`` and ``resume``; after the latter there is a ``history`` again.

The handler's own thread does all of it: it waits for a message until the next quote is due. No thread drives the
market: whoever comes first at a quote's time makes it, for all.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from typing import Any, NamedTuple

from ..websocket import WebSocket

__all__ = ["TICKER_OPTIONS", "Ticker"]

_KEPT = 60  # quotes

# Who reads too slowly misses quotes; none has to wait, and only the latest count.
TICKER_OPTIONS: dict[str, Any] = {"max_message_size": 1024, "max_backlog": 64 * 1024, "backlog_policy": "drop-oldest"}


class _Quote(NamedTuple):
    number: int
    price: float
    volume: int


class Ticker:
    """A market with one fund. Any thread may call any method.

    :param interval: seconds from one quote to the next.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._started = time.monotonic()
        self._random = random.Random()
        self._lock = threading.Lock()  # guards the quotes
        # As if the market had been open for a while, so that there is a line to see at once.
        self._quotes = deque([_Quote(-_KEPT, 100.0, 300)], maxlen=_KEPT)
        self._quotes_until_now()

    def serve(self, ws: WebSocket) -> None:
        """Send quotes until the connection is over."""
        with ws:
            number: int | None = self._send_history(ws)
            while True:
                try:
                    message = ws.receive(timeout=None if number is None else self._seconds_until(number + 1))
                except TimeoutError:
                    quote = self._quotes_until_now()[-1]
                    number = quote.number
                    ws.send(json.dumps({"type": "quote", **quote._asdict()}), wait=False)
                else:
                    number = None if message == "pause" else self._send_history(ws)

    def _send_history(self, ws: WebSocket) -> int:
        """Send the last quotes, and return the number of the newest."""
        quotes = self._quotes_until_now()
        ws.send(json.dumps({"type": "history", "quotes": [quote._asdict() for quote in quotes]}), wait=False)
        return quotes[-1].number

    def _seconds_until(self, number: int) -> float:
        return max(0.0, self._started + number * self._interval - time.monotonic())

    def _quotes_until_now(self) -> list[_Quote]:
        """Make the quotes that are due, and return the last ones."""
        with self._lock:
            due = int((time.monotonic() - self._started) / self._interval)
            # If nobody has looked for long, the first of those would be forgotten at once.
            for number in range(max(self._quotes[-1].number + 1, due - _KEPT + 1), due + 1):
                self._quotes.append(self._quote_after(self._quotes[-1], number))
            return list(self._quotes)

    def _quote_after(self, quote: _Quote, number: int) -> _Quote:
        """Return the next quote: a random walk that is drawn back to 100, with more trade when the price moves."""
        step = self._random.gauss(0, 0.35) + (100 - quote.price) * 0.03
        volume = int(self._random.uniform(80, 260) + abs(step) * 900)
        return _Quote(number, round(max(1.0, quote.price + step), 2), volume)
