"""What is measured: :data:`CELLS`, each with the servers that it makes sense for and the targets of this project.

Nothing is measured here, and nothing but the standard library is needed: the report of results that were measured
elsewhere reads it too.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["CELLS", "Cell", "Rates", "Reached", "Target", "named"]

Rates = Mapping[str, Sequence[float]]  # of each server, what came out in each round

_OURS = ("syncws", "syncws.gevent")
_BLOCKING = ("websockets.sync", "simple-websocket", "gevent-websocket")
_LOOPS = ("websockets", "websockets, uvloop", "aiohttp", "picows")
_RAW = ("raw threads", "raw gevent")

# What a client offers: the window that the servers are set to, so that all agree on the same.
_OFFER = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
_WITHOUT_TAKEOVER = f"{_OFFER}; server_no_context_takeover; client_no_context_takeover"


class Reached(NamedTuple):
    """How a target was met.

    :ivar value: what was measured: a ratio, or the figure itself.
    :ivar missed_by: the part of the target by which it was missed; 0 if it was reached.
    """

    value: float
    missed_by: float

    def __str__(self) -> str:
        return f"missed by {self.missed_by:.0%}" if self.missed_by else "reached"


class Target(NamedTuple):
    """What is to be shown.

    :ivar ours: of which server.
    :ivar limit: the ratio to each of :attr:`others`, or the figure itself if there are none.
    :ivar others: what it is compared with.
    :ivar at_most: less is better.
    """

    ours: str
    limit: float
    others: tuple[str, ...] = ()
    at_most: bool = False

    def in_words(self, unit: str) -> str:
        """Return what is to be shown, with the unit that a figure has."""
        sign = "≤" if self.at_most else "≥"
        if not self.others:
            return f"{sign} {self.limit:,.0f} {unit}".replace(",", "\N{NARROW NO-BREAK SPACE}")
        return f"{sign} {self.limit:g} × {' and '.join(self.others)}"

    def reached(self, rates: Rates) -> Reached | None:
        """Tell how it was met; ``None`` if not all of its servers were measured.

        A ratio is the median of those of each round, which is less noisy than the ratio of the medians; of several, the
        worst counts.
        """
        if not {self.ours, *self.others} <= set(rates):
            return None
        if self.others:
            ratios = [_ratio(rates[self.ours], rates[other]) for other in self.others]
            value = max(ratios) if self.at_most else min(ratios)
        else:
            value = statistics.median(rates[self.ours])
        short = value / self.limit - 1 if self.at_most else 1 - value / self.limit
        return Reached(value, max(0.0, short))


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(one / other if other else float("inf") for one, other in zip(ours, theirs, strict=True))


class Cell(NamedTuple):
    """One thing that is measured.

    :ivar key: its name on the command line.
    :ivar name: its name for readers.
    :ivar peers: the names of the servers.
    :ivar targets: what is to be shown.
    :ivar kind: ``"echo"``, ``"handshakes"``, ``"fan-out"``, ``"memory"`` or ``"import"``.
    :ivar unit: of the figures.
    :ivar connections: that are open at once.
    :ivar size: payload bytes of a message.
    :ivar in_flight: messages sent before their echoes are awaited, per connection.
    :ivar offer: extensions that the client offers; the server compresses, messages are JSON.
    :ivar tls: over TLS.
    :ivar busy: beside another thread of the server's process that computes all the time.
    :ivar all_cores: the server is not pinned to one core.
    """

    key: str
    name: str
    peers: tuple[str, ...]
    targets: tuple[Target, ...] = ()
    kind: str = "echo"
    unit: str = "messages per second"
    connections: int = 64
    size: int = 32
    in_flight: int = 1
    offer: str = ""
    tls: bool = False
    busy: bool = False
    all_cores: bool = False

    @property
    def less_is_better(self) -> bool:
        """Whether the figures are of what is used, not of what is done."""
        return self.kind in {"memory", "import"}

    @property
    def group(self) -> str:
        """The cells that it is shown with: ``"messages"``, ``"other"`` or ``"used"``."""
        if self.less_is_better:
            return "used"
        return "other" if self.kind != "echo" or self.tls or self.offer or self.busy else "messages"


_COMPRESSING = (*_OURS, "websockets.sync", "simple-websocket", "websockets, uvloop", "aiohttp")
_BESIDE = ("syncws", "websockets.sync", "simple-websocket", "websockets, uvloop", "picows", "raw threads")
_MEMORY = "KiB per connection"

CELLS = [
    Cell(
        "small",
        "64 connections x 32 B, one in flight",
        (*_OURS, "syncws, pure Python", *_BLOCKING, *_LOOPS, *_RAW),
        (
            Target("syncws", 5, ("websockets.sync", "simple-websocket")),
            Target("syncws", 1, ("raw threads",)),
            Target("syncws", 0.75, ("picows",)),
            Target("syncws.gevent", 4.5, ("gevent-websocket",)),
            Target("syncws.gevent", 2, ("raw gevent",)),
            Target("syncws.gevent", 0.95, ("picows",)),
            Target("syncws, pure Python", 2.5, ("websockets.sync",)),
        ),
    ),
    Cell(
        "in-flight",
        "64 connections x 32 B, 32 in flight",
        (*_OURS, *_BLOCKING, *_LOOPS, *_RAW),
        tuple(Target(ours, 5, ("picows",)) for ours in _OURS),
        in_flight=32,
    ),
    Cell(
        "64k",
        "8 connections x 64 KiB",
        (*_OURS, *_BLOCKING, *_LOOPS),
        (Target("syncws", 1, ("picows",)), Target("syncws.gevent", 1.2, ("picows",))),
        connections=8,
        size=2**16,
    ),
    Cell(
        "1m",
        "1 connection x 1 MiB",
        (*_OURS, *_BLOCKING, *_LOOPS),
        tuple(Target(ours, 1.1, ("picows",)) for ours in _OURS),
        connections=1,
        size=2**20,
    ),
    Cell(
        "latency",
        "1 connection x 32 B, one in flight",
        (*_OURS, *_BLOCKING, "websockets, uvloop", "picows", *_RAW),
        tuple(Target(ours, 1, ("picows",)) for ours in _OURS),
        connections=1,
    ),
    Cell(
        "tls",
        "64 connections x 32 B over TLS",
        (*_OURS, "websockets.sync", "websockets, uvloop", "aiohttp", "picows"),
        (Target("syncws", 4, ("websockets.sync",)), Target("syncws.gevent", 0.9, ("picows",))),
        tls=True,
    ),
    Cell(
        "deflate",
        "64 connections x 1 KiB of JSON, deflate",
        _COMPRESSING,
        tuple(Target(ours, 2, ("websockets.sync",)) for ours in _OURS),
        size=1024,
        offer=_OFFER,
    ),
    Cell(
        "deflate-alone",
        "64 connections x 1 KiB of JSON, deflate without context takeover",
        _COMPRESSING,
        tuple(Target(ours, 2, ("websockets.sync",)) for ours in _OURS),
        size=1024,
        offer=_WITHOUT_TAKEOVER,
    ),
    Cell(
        "handshakes",
        "opened and closed, 16 connections at a time",
        (*_OURS, *_BLOCKING, "websockets, uvloop", "aiohttp", "picows"),
        (Target("syncws", 2.5, ("websockets.sync",)), Target("syncws.gevent", 1.2, ("gevent-websocket",))),
        kind="handshakes",
        unit="connections per second",
        connections=16,
    ),
    Cell(
        "busy",
        "8 connections x 32 B, 32 in flight, beside a thread that computes",
        _BESIDE,
        (Target("syncws", 20, ("websockets.sync",)),),
        connections=8,
        in_flight=32,
        busy=True,
        all_cores=True,
    ),
    Cell(
        "busy-one-core",
        "64 connections x 32 B beside a thread that computes, on one core",
        _BESIDE,
        busy=True,
    ),
    Cell(
        "fan-out",
        "32 B to 1000 connections",
        (*_OURS, "websockets.sync", "websockets, uvloop", "picows", *_RAW),
        tuple(Target(ours, 300_000) for ours in _OURS),
        kind="fan-out",
        unit="frames per second",
        connections=1000,
    ),
    Cell(
        "memory",
        "an idle connection",
        (*_OURS, *_BLOCKING, "websockets, uvloop", "aiohttp", "picows", *_RAW),
        (Target("syncws", 27, at_most=True), Target("syncws.gevent", 14, at_most=True)),
        kind="memory",
        unit=_MEMORY,
        connections=1000,
    ),
    Cell(
        "memory-deflate",
        "an idle connection, deflate used once",
        _COMPRESSING,
        (Target("syncws", 36, at_most=True), Target("syncws.gevent", 22, at_most=True)),
        kind="memory",
        unit=_MEMORY,
        connections=1000,
        size=1024,
        offer=_OFFER,
    ),
    Cell(
        "import",
        "the import of the server",
        ("syncws", "syncws.gevent", *_BLOCKING, "websockets", "aiohttp", "picows"),
        (Target("syncws", 0.5, ("websockets.sync",), at_most=True),),
        kind="import",
        unit="milliseconds",
    ),
]


def named(name: str) -> Cell:
    """Return the cell of that name; for results of another version, one that is only a name."""
    return next((cell for cell in CELLS if cell.name == name), Cell(name, name, ()))
