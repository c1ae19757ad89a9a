"""The backlog of a connection: messages of ``send(wait=False)`` that its socket has not taken yet, oldest first.

They wait as they were given, and are compressed and framed when their turn comes: one that is dropped before has left
no trace, neither on the wire nor in the compressor.

Any thread may call anything here; nothing waits. A signal handler may come here while it has interrupted this very
thread, so the lock is one that its owner may take again, and each step is one of the queue. The sizes are sums up to
each message, so what such a handler puts out of step is in step again when those messages have gone.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

from .errors import BacklogFull
from .runtime import THREADS, Runtime

__all__ = ["MAX_MESSAGES", "POLICIES", "Backlog"]

# What happens when a message would make the backlog too large.
POLICIES = ("close", "drop-oldest", "error")
# So many messages at most, however small: each takes a hundred bytes of memory or two besides its payload.
MAX_MESSAGES = 16384

_NONE: Sequence[Any] = ()


class Backlog:
    """A queue of messages.

    :param runtime: of those who call.
    :param lock: that its owner may take again, and that nobody holds for long; default: one of its own.
    :param limit: bytes of payload; ``None``: no limit, not on the number of messages either.
    :param drops: make room for a new message by dropping the oldest.
    :ivar most: how many bytes a message may have that is to wait.
    :ivar items: the messages: opcode, payload, and the bytes of all payloads up to and with this one. Only to be read.
        The same object from the first :meth:`prepare` on; most connections never need a queue.
    """

    __slots__ = ("_accepted", "_closed", "_drops", "_limit", "_lock", "items", "most")

    def __init__(
        self, runtime: Runtime = THREADS, limit: int | None = None, *, drops: bool = False, lock: Any = None
    ) -> None:
        self._lock = runtime.rlock() if lock is None else lock
        self._limit = limit
        # Not a property with a min() in it: for that, the constructor of a connection needs another page of stack.
        self.most = sys.maxsize if limit is None or limit > sys.maxsize else limit
        self._drops = drops
        self._accepted = 0  # bytes, since the beginning
        self._closed = False
        self.items: deque[tuple[int, bytes, int]] | Sequence[tuple[int, bytes, int]] = _NONE

    def prepare(self) -> deque[tuple[int, bytes, int]]:
        """Return :attr:`items` as they are from the first message on."""
        if self.items is _NONE:
            items: deque[tuple[int, bytes, int]] = deque()
            with self._lock:
                # Nothing is called in between, so no signal handler comes in between, either.
                if self.items is _NONE:
                    self.items = items
        assert isinstance(self.items, deque)
        return self.items

    @property
    def size(self) -> int:
        """How many bytes of payload wait."""
        try:
            _, payload, end = self.items[0]
            return self.items[-1][2] - end + len(payload)
        except IndexError:  # empty, perhaps since a moment ago
            return 0

    def has_room(self, size: int, begun: int) -> bool:
        """Whether a message of so many bytes fits in, without dropping any.

        :param begun: bytes that wait in front of the backlog, of what has been begun already.
        """
        return self._limit is None or (self.size + begun + size <= self._limit and len(self.items) < MAX_MESSAGES)

    def put(self, opcode: int, payload: bytes, begun: int = 0) -> bool:
        """Add a message and return True, or False if the backlog is closed.

        :param begun: as for :meth:`has_room`. What has been begun cannot be dropped.
        :raises BacklogFull: there is no room for it.
        """
        size = len(payload)
        items = self.prepare()
        with self._lock:
            if self._closed:
                return False
            fits = self.has_room(size, begun)
            if not fits and self._limit is not None and (size > self._limit or not self._drops):
                raise BacklogFull(size, self.size + begun, len(items), self._limit)
            while items and not fits:
                self.take()
                fits = self.has_room(size, begun)
            self._accepted += size
            items.append((opcode, payload, self._accepted))
            if self._closed and items:  # by a signal handler, a moment ago, when it was empty
                items.clear()
                return False
        return True

    def take(self) -> tuple[int, bytes] | None:
        """Remove the oldest message and return its opcode and payload; ``None`` if there is none."""
        if isinstance(self.items, deque):
            with contextlib.suppress(IndexError):
                return self.items.popleft()[:2]
        return None

    def end(self) -> bool:
        """Close the backlog if it is empty; return whether it is closed."""
        with self._lock:
            # First, so that nobody can add a message unseen.
            closed, self._closed = self._closed, True
            if self.items and not closed:
                self._closed = False
            return self._closed

    def close(self) -> None:
        """Take no more messages, and drop those that wait."""
        with self._lock:
            self._closed = True
            if isinstance(self.items, deque):
                self.items.clear()
