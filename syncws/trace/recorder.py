"""What really passed on connections: recorded, written to a file, and read back.

A :class:`Recorder` is the value of the option ``trace``. Any number of connections, of threads and of greenlets, may
have the same one. A recording is a file of JSON lines, one for each :class:`Chunk`; :func:`read_recording` raises
:class:`ValueError`, with the number of the line, for what is none.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TextIO

from ..transport_traced import Report, Sender

__all__ = ["Chunk", "Recorder", "read_recording", "write_recording"]

_SENDERS = ("client", "server")
_LONGEST = 1e12  # seconds; neither infinity nor NaN is less
# How much of a line that is no chunk an error message quotes, in characters.
_QUOTED = 60


class Chunk(NamedTuple):
    """What one read or write has moved.

    :param connection: the number of the connection, from 1.
    :param time: when, in seconds since the recorder was made.
    :param sender: the side that has sent it.
    :param data: the bytes; ``b""``: this side has ended its direction.
    :param rebuilt: these are not the very bytes of the wire: a web server had read the request already, and what it
        has told of it has been written out again.
    """

    connection: int
    time: float
    sender: Sender
    data: bytes
    rebuilt: bool = False


class Recorder:
    """Takes note of all bytes that pass on the connections whose option ``trace`` it is.

    Thread safety: any. The sink is called by one thread at a time, in the thread or greenlet that sends or receives,
    which goes on when it returns: it must be quick, and must not wait for the network, for another thread, or for the
    connection itself. If it raises, the connection is traced no further, and its log (``syncws.trace``) says why.

    :param sink: called with each :class:`Chunk` as it passes. Default: chunks are kept in :attr:`chunks`, in memory,
        all of them.
    :ivar chunks: what has passed, in order, if there is no sink.
    """

    def __init__(self, sink: Callable[[Chunk], object] | None = None) -> None:
        self.chunks: list[Chunk] = []
        self._sink: Callable[[Chunk], object] = self.chunks.append if sink is None else sink
        self._numbers = itertools.count(1)
        self._began = time.monotonic()
        self._lock = threading.RLock()  # a signal handler may send while it has interrupted a sink

    def attach(self) -> Report:
        """Return what a new connection is to be reported to. For transports, and for programs of your own."""
        number = next(self._numbers)

        def report(sender: Sender, data: bytes, *, rebuilt: bool = False) -> None:
            with self._lock:
                # To the microsecond, so that a recording that is read back is the same.
                self._sink(Chunk(number, round(time.monotonic() - self._began, 6), sender, data, rebuilt))

        return report


def write_recording(file: TextIO, chunks: Iterable[Chunk]) -> None:
    """Write chunks to a text file, each as a line of JSON.

    As a sink for a recorder that writes to a file at once: ``lambda chunk: write_recording(file, [chunk])``.
    """
    for chunk in chunks:
        line: dict[str, Any] = {**chunk._asdict(), "data": chunk.data.hex()}
        if not chunk.rebuilt:
            del line["rebuilt"]
        file.write(json.dumps(line) + "\n")


def read_recording(file: Iterable[str]) -> Iterator[Chunk]:
    """Yield the chunks of a recording; empty lines are skipped.

    :param file: a text file, or other lines.
    :raises ValueError: a line is no chunk.
    """
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                yield _chunk(json.loads(line))
            except (ValueError, RecursionError) as error:
                shown = line.strip()
                shown = shown if len(shown) <= _QUOTED else f"{shown[:_QUOTED]}..."
                raise ValueError(f"line {number} is no chunk of a recording: {error}; it is {shown!r}") from None


def _chunk(line: Any) -> Chunk:
    if not isinstance(line, dict):
        raise ValueError("it is no JSON object")
    connection, moment, sender = line.get("connection"), line.get("time"), line.get("sender")
    data, rebuilt = line.get("data"), line.get("rebuilt", False)
    if isinstance(connection, bool) or not isinstance(connection, int):
        raise ValueError("connection must be a whole number")
    if isinstance(moment, bool) or not isinstance(moment, (int, float)) or not abs(moment) < _LONGEST:
        raise ValueError("time must be a number of seconds")
    if sender not in _SENDERS:
        raise ValueError("sender must be client or server")
    if not isinstance(data, str):
        raise ValueError("data must be a str of hex digits")
    if not isinstance(rebuilt, bool):
        raise ValueError("rebuilt must be true or false")
    try:
        return Chunk(connection, float(moment), sender, bytes.fromhex(data), rebuilt)
    except ValueError as error:
        raise ValueError(f"data must be hex digits ({error})") from None
