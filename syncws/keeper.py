"""The keeper: one thread, or one greenlet of an event loop, for what no thread of a program is there to do.

A connection has no thread of its own (:mod:`syncws.connection`). While its handler is in ``receive()``, that thread
serves it; while there is none, the keeper does: it watches the socket, reads ahead, answers pings and close frames,
sends what waits for room, and notices that the peer is gone. And for every connection, whatever its handler does, it
owns what is due at a point in time: pings, their missing pongs, and ages.

There is a keeper for each domain (:attr:`syncws.runtime.Runtime.domain`): one for the threads of a process, one for
each event loop of greenlets. It starts with the first connection, ends when there is none left, and keeps none alive: a
connection that its program forgets is forgotten here as well. In a child process after a fork it begins anew, without
the connections of the parent, which are the parent's to serve.

Nothing that the keeper does waits, except in ``select()``: one connection cannot hold up another.

:meth:`Keeper.add`, :meth:`Keeper.forget` and :meth:`Keeper.wake` may be called by any thread of the domain, and nothing
waits in them, so that a signal handler may call them as well; all else is the keeper's own.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import os
import selectors
import threading
import time
import weakref

from .bell import Bell
from .care import Care, Kept
from .logs import get_logger
from .runtime import Runtime

__all__ = ["TICK", "Keeper", "keeper_of"]

_log = get_logger("syncws.keeper")

# How often, in seconds, the keeper looks what is due, and at connections that may want something: how late a ping may
# be, and how long, at most twice, a connection is without anybody who reads. Those that wait for their peer, in
# receive() or in the selector, cost nothing.
TICK = 0.4
# So many void entries more than twice the valid ones may be among what is due.
_SPARE_DUES = 1000


class Keeper:
    """Looks after the connections of one domain.

    :param runtime: what it runs in.
    :ivar loose: connections of which neither the selector nor a thread that reads will tell that they want something;
        they are looked at now and then. Any thread may add one, without a lock.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._told = False  # the log says that it cannot run
        self._bell: Bell | None = None  # while it runs: what wakes it up
        self.abandon()

    def abandon(self) -> None:
        """Forget everything without touching it: after a fork, it is the parent's."""
        if self._bell is not None:
            self._bell.close()  # this process's copy
        self._bell = None
        self._lock = self._runtime.rlock()  # guards what follows, a signal handler's way to it too
        self._all: set[Care] = set()
        self.loose: set[Care] = set()
        self._awake: set[Care] = set()  # to be attended to at once
        # A heap of what is due; the number is for its order only. Entries of another time than Care.due are void.
        self._dues: list[tuple[float, int, Care]] = []
        self._new: list[Care] = []  # the next sweep asks whether something is due; by then, many have gone
        self._numbers = itertools.count()
        self._selector: selectors.BaseSelector | None = None  # while it runs; only _run() closes it

    def add(self, care: Care) -> None:
        """Look after a connection, until :meth:`forget` or until nobody has it any more."""
        with self._lock:
            self._all.add(care)
            self.loose.add(care)
            care.due = 0.0
            self._new.append(care)
            if self._selector is None:
                self._start()

    def forget(self, care: Care) -> None:
        """Look after a connection no longer; to be called before its descriptor is closed."""
        with self._lock:
            self._all.discard(care)
            self.loose.discard(care)
            if care.watched:
                self._watch(care, 0)

    def schedule(self, care: Care, due: float) -> None:
        """Call :meth:`Kept.on_due` of a connection at the latest at ``due``."""
        with self._lock:
            if due < care.due and care in self._all:
                care.due = due
                heapq.heappush(self._dues, (due, next(self._numbers), care))

    def wake(self, care: Care) -> None:
        """Attend to a connection at once."""
        with self._lock:
            if self._bell is not None and care in self._all:
                self._awake.add(care)
                self._bell.ring()

    def _start(self) -> None:
        """Begin to run; the lock must be held."""
        with contextlib.ExitStack() as stack:
            try:
                bell = self._bell = stack.enter_context(contextlib.closing(Bell()))
                selector = self._selector = stack.enter_context(self._runtime.selector())
                selector.register(bell.fileno(), selectors.EVENT_READ)
                self._runtime.spawn(lambda: self._run(selector, bell), "syncws-keeper")
            except BaseException as error:
                self._selector = self._bell = None
                if not isinstance(error, (OSError, RuntimeError)):
                    raise
                # No descriptors, or no threads. The next connection is the next try.
                if not self._told:
                    _log.warning("the keeper cannot run, so that no pings are sent for now: %s", error)
                self._told = True
                return
            stack.pop_all()
        self._told = False
        self.loose.update(self._all)
        for care in self._all:
            care.watched, care.room_awaited = 0, False

    def _run(self, selector: selectors.BaseSelector, bell: Bell) -> None:
        try:
            with contextlib.closing(bell), selector:
                self._serve(selector, bell)
        finally:
            with self._lock:
                if self._selector is selector:  # somebody has killed this greenlet
                    self._selector = self._bell = None

    def _serve(self, selector: selectors.BaseSelector, bell: Bell) -> None:
        sweep_at = time.monotonic() + TICK
        # It is another one after a fork, in a child that has inherited this greenlet.
        while self._selector is selector:
            for key, _ in selector.select(max(0.0, sweep_at - time.monotonic())):
                if key.data is None:
                    bell.hush()
                else:
                    self._attend(key.data)
            self._attend_awake()
            if time.monotonic() >= sweep_at:
                self._sweep()
                sweep_at = time.monotonic() + TICK

    def _attend_awake(self) -> None:
        with self._lock:
            awake, self._awake = self._awake, set()
        for care in awake:
            self._attend(care)

    def _sweep(self) -> None:
        """Look at the connections for which something is due, and at those that are loose."""
        now = time.monotonic()
        with self._lock:
            if not self._all:
                self._selector = self._bell = None
            due = self._take_due(now)
            loose = list(self.loose)
        for care in due:
            self._on_due(care, now)
        for care in {*due, *loose}:
            self._look(care)

    def _take_due(self, now: float) -> list[Care]:
        """Return those for which something is due; the lock must be held."""
        due = [care for care in self._new if care in self._all]
        self._new.clear()
        for care in due:
            care.due = math.inf
        while self._dues and self._dues[0][0] <= now:
            moment, _, care = heapq.heappop(self._dues)
            if moment == care.due and care in self._all:
                care.due = math.inf
                due.append(care)
        if len(self._dues) > 2 * len(self._all) + _SPARE_DUES:
            self._dues = [entry for entry in self._dues if entry[0] == entry[2].due and entry[2] in self._all]
            heapq.heapify(self._dues)
        return due

    def _on_due(self, care: Care, now: float) -> None:
        kept = care()
        if kept is not None:
            try:
                self.schedule(care, kept.on_due(now))
            except Exception as error:
                self._fail(care, kept, error)

    def _look(self, care: Care) -> None:
        """Attend to a connection if nobody else reads from it."""
        kept = care()
        if kept is not None:
            activity = kept.activity
            if activity != care.seen:
                care.seen = activity  # the handler may be back in a moment, to read for itself
                return
            self.loose.discard(care)
            if care.park():
                return
        self._attend(care)

    def _attend(self, care: Care) -> None:
        if care not in self._all:
            self.loose.discard(care)
            return
        kept, events = care(), 0
        try:
            if kept is not None:
                events = kept.attend()
                if care.room_awaited and not events & selectors.EVENT_WRITE:
                    # Somebody may have met a full socket since it looked, and have woken nobody.
                    care.room_awaited = False
                    events = kept.attend()
        except Exception as error:
            assert kept is not None
            self._fail(care, kept, error)
        with self._lock:
            if kept is None:
                self._all.discard(care)
            # If it has been forgotten meanwhile, its descriptor may be another's.
            known = care in self._all
            self._watch(care, events if known else 0, kept)
            care.room_awaited = bool(care.watched & selectors.EVENT_WRITE)
            if known and not care.watched & selectors.EVENT_READ:
                self.loose.add(care)
            else:
                self.loose.discard(care)
        if known and kept is not None and care.watched & selectors.EVENT_READ:
            care.park_watched()
            if kept.activity != care.seen:  # somebody has read since attend(), and before he could be told to tell
                self.loose.add(care)

    def _fail(self, care: Care, kept: Kept, error: Exception) -> None:
        _log.error("the keeper failed at %r and drops it; this is a bug in syncws", kept, exc_info=error)
        self.forget(care)
        kept.fail(error)

    def _watch(self, care: Care, events: int, kept: Kept | None = None) -> None:
        """Have the selector wait for ``events`` of a connection, and for nothing else; the lock must be held."""
        selector = self._selector
        if events == care.watched or selector is None:
            return
        if care.watched:
            care.watched = 0
            # Not that of another connection, which has got the descriptor of one that nobody closed.
            if getattr(selector.get_map().get(care.descriptor), "data", None) is care:
                selector.unregister(care.descriptor)
        if events and kept is not None:
            care.descriptor = kept.fileno()
            try:
                if care.descriptor in selector.get_map():
                    selector.unregister(care.descriptor)
                selector.register(care.descriptor, events, care)
            except (OSError, ValueError):
                return  # no room in the kernel, or closed by somebody else: it stays loose
            care.watched = events


_keepers: weakref.WeakKeyDictionary[object, Keeper] = weakref.WeakKeyDictionary()
_lock = threading.RLock()  # a signal handler may open a connection as well


def keeper_of(runtime: Runtime) -> Keeper:
    """Return the keeper of the caller's domain."""
    domain = runtime.domain()
    with _lock:
        keeper = _keepers.get(domain)
        if keeper is None:
            keeper = _keepers[domain] = Keeper(runtime)
    return keeper


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    for keeper in list(_keepers.values()):
        keeper.abandon()


os.register_at_fork(after_in_child=_after_fork)
