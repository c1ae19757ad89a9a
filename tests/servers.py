"""Servers for tests of what is the same for threads and for greenlets."""

from __future__ import annotations

import contextlib
import importlib
import queue
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from wire import DEADLINE, Running

import syncws

__all__ = ["RunsOn", "both", "running"]

RunsOn = Literal["threads", "greenlets"]
Kind = Literal["WebSocketServer", "WSGIServer"]

both = pytest.mark.parametrize("runs_on", ["threads", "greenlets"])


@contextlib.contextmanager
def running(runs_on: RunsOn, kind: Kind, serves: Any, address: Any = ("127.0.0.1", 0), **options: Any) -> Iterator[Any]:
    """A server; on greenlets, it has a thread with an event loop of its own, so that a test may wait as it likes."""
    if runs_on == "threads":
        server = getattr(syncws, kind)(address, serves, **options)
        with server, Running(lambda: server.serve_forever(poll_interval=0.05)):
            try:
                yield server
            finally:
                server.shutdown()
        return
    gevent = importlib.import_module("gevent")
    servers = importlib.import_module("syncws.gevent")
    made: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def serve() -> None:
        hub = gevent.get_hub()
        with getattr(servers, kind)(address, serves, **options) as server:
            made.put((server, hub))
            server.serve_forever()
        hub.destroy(destroy_loop=True)

    with Running(serve):
        server, hub = made.get(timeout=DEADLINE)
        try:
            yield server
        finally:
            hub.loop.run_callback_threadsafe(gevent.spawn, server.shutdown)
