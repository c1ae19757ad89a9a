"""A transport that reports what passes through it: the hook of the option ``trace``.

:func:`traced` puts a :class:`TracedTransport` around another transport; without a :class:`Tracer` it returns that one
as it is, so that tracing costs nothing where it is off. What is reported has really passed: bytes that were received,
and bytes that the operating system has taken over. With TLS it is the plain text. No bytes, ``b""``, mean that a side
has ended its direction, or that the connection is lost; each side ends once.

What is sent is reported before anything that is received later, so that an answer comes behind what it answers.

A tracer must not wait for the network or for another thread. If it raises, that is logged once and this connection is
traced no further; it goes on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

from .hot import Stretch
from .logs import get_logger
from .runtime import Runtime
from .transport import Transport, remaining

__all__ = ["Report", "Sender", "TracedTransport", "Tracer", "check_tracer", "traced"]

_log = get_logger("syncws.trace")

Sender = Literal["client", "server"]


class Report(Protocol):
    """What a tracer is told of one connection; calls for one connection never overlap, unless one makes the other."""

    def __call__(self, sender: Sender, data: bytes, *, rebuilt: bool = False) -> None:
        """Take note of what has passed.

        :param sender: the side that has sent it.
        :param data: no bytes: this side has ended its direction.
        :param rebuilt: these are not the very bytes: somebody else has read them, and told what they meant.
        """


class Tracer(Protocol):
    """What the option ``trace`` takes, such as a :class:`syncws.trace.Recorder`."""

    def attach(self) -> Report:
        """Return what a new connection is to be reported to."""


def check_tracer(tracer: object) -> None:
    """Check the option ``trace``.

    :raises TypeError: it is no tracer.
    """
    if tracer is not None and not callable(getattr(tracer, "attach", None)):
        raise TypeError(f"trace must be a syncws.trace.Recorder or None, not {tracer!r}")


def traced(
    transport: Transport, role: Sender, tracer: Tracer | None, before: Sequence[tuple[bytes, bool]] = ()
) -> Transport:
    """Return a transport that reports to ``tracer``, unless there is none, or this transport is traced already.

    :param role: the side that we are.
    :param before: what the other side has sent before; for each part, whether it had to be rebuilt.
    """
    if tracer is None or isinstance(transport, TracedTransport):
        return transport
    wrapped = TracedTransport(transport, role, tracer)
    for data, rebuilt in before:
        wrapped.came_before(data, rebuilt=rebuilt)
    return wrapped


class TracedTransport:
    """A :class:`~syncws.transport.Transport` around another one; what is said there holds here."""

    def __init__(self, transport: Transport, role: Sender, tracer: Tracer) -> None:
        self._inner = transport
        self._ours: Sender = role
        self._theirs: Sender = "client" if role == "server" else "server"
        self.sock: socket.socket = transport.sock
        self.secure = transport.secure
        self.remote_address: Any = transport.remote_address
        self.runtime: Runtime = transport.runtime
        self._order = transport.runtime.rlock()  # a signal handler may send while it has interrupted a report
        self._ended: set[Sender] = set()  # guarded by _order, and so is _report
        self._report: Report | None = None
        with self._watched():
            self._report = tracer.attach()

    coalesces = False  # a trace shows when something was sent

    @property
    def sent(self) -> int:
        """Bytes that the operating system has taken over."""
        return self._inner.sent

    @property
    def stretch(self) -> Stretch | None:
        """What whoever writes messages is to count them in, when greenlets do it."""
        return self._inner.stretch

    def pause(self) -> None:
        self._inner.pause()

    def came_before(self, data: bytes, *, rebuilt: bool) -> None:
        """Report what the other side had sent before this transport was made."""
        self._passed(self._theirs, data, rebuilt=rebuilt)

    def handshake(self, deadline: float | None = None) -> None:
        self._inner.handshake(deadline)

    def recv(self, deadline: float | None = None) -> bytes:
        try:
            data = self._inner.recv(deadline)
        except TimeoutError:
            raise
        except OSError:
            self._end(self._theirs)
            raise
        if data:
            self._passed(self._theirs, data)
        else:
            self._end(self._theirs)
        return data

    def read(self) -> bytes | None:
        return self.recv()

    def send_all(self, data: bytes | memoryview, deadline: float | None = None) -> None:
        self.pause()
        # Not the other one's: what it has sent could be answered before it is reported.
        rest = memoryview(data)
        while rest and (rest := rest[self.try_send(rest) :]):
            self._wait_for_room(deadline)

    def _wait_for_room(self, deadline: float | None) -> None:
        with self.runtime.selector() as selector:
            selector.register(self.sock, selectors.EVENT_WRITE)
            if not selector.select(remaining(deadline)):
                raise TimeoutError("timed out")

    def try_send(self, data: bytes | memoryview) -> int:
        with self._in_order():
            sent = self._inner.try_send(data)
            self._passed(self._ours, bytes(data[:sent]))
        return sent

    def try_send_both(self, head: bytes, tail: bytes) -> int:
        return self.try_send(head + tail)

    def wait_ready(self, deadline: float | None = None) -> None:
        self._inner.wait_ready(deadline)

    def abort(self) -> None:
        self._inner.abort()
        self._end(self._ours)

    def shutdown_write(self) -> None:
        self._inner.shutdown_write()
        self._end(self._ours)

    def close(self) -> None:
        self._inner.close()
        self._end(self._ours)
        self._end(self._theirs)

    def _end(self, sender: Sender) -> None:
        with self._in_order():
            if sender not in self._ended:
                self._ended.add(sender)
                self._call(sender, b"", rebuilt=False)

    def _passed(self, sender: Sender, data: bytes, *, rebuilt: bool = False) -> None:
        if data:
            with self._in_order():
                self._call(sender, data, rebuilt=rebuilt)

    def _call(self, sender: Sender, data: bytes, *, rebuilt: bool) -> None:
        if self._report is not None:
            with self._watched():
                self._report(sender, data, rebuilt=rebuilt)

    @contextlib.contextmanager
    def _in_order(self) -> Iterator[None]:
        # A callback of gevent's event loop cannot wait; what it reports may be out of order then.
        held = self._order.acquire(self.runtime.can_wait())
        try:
            yield
        finally:
            if held:
                self._order.release()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._report = None
            _log.exception(
                "the trace of the connection with %s ends here: its recorder has failed", self.remote_address
            )
