"""Servers to compare with, each on its own: ``python peers.py NAME PORT``.

Every one listens on 127.0.0.1, without a limit on the size of a message, and is otherwise as its documentation says
that it is used; ``NAME --help`` tells what else can be asked of it. :data:`PEERS` has what they are and which packages
they need, those of the extra ``benchmark``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import peers_blocking
import peers_loops
import peers_raw
from scenario import Scenario

__all__ = ["PEERS", "Peer"]

_PURE = "syncws, pure Python"


class Peer(NamedTuple):
    """A server.

    :ivar serve: runs it, for ever.
    :ivar runs_on: what a connection is: a thread, a greenlet, or a task of an event loop.
    :ivar packages: what has to be installed for it, by the names of the package registry, itself first.
    :ivar compiled: a module with a compiled part for its frames; ``None``: it has none.
    :ivar imports: what a program imports that is to be such a server.
    """

    serve: Callable[[Scenario], None]
    runs_on: str
    packages: tuple[str, ...] = ()
    compiled: str | None = None
    imports: str = ""

    def versions(self) -> dict[str, str] | None:
        """Return the versions of its packages; ``None`` if one is not installed."""
        try:
            return {package: importlib.metadata.version(package) for package in self.packages}
        except importlib.metadata.PackageNotFoundError:
            return None

    def is_compiled(self) -> bool:
        """Tell whether its frames are read and written by compiled code, as it is installed here."""
        if self.compiled == "syncws":
            return bool(getattr(importlib.import_module("syncws"), "compiled", False))
        found = importlib.util.find_spec(self.compiled) if self.compiled else None
        return found is not None and Path(found.origin or "").suffix != ".py"


_WEBSOCKETS = "websockets.speedups"
PEERS = {
    "syncws": Peer(peers_blocking.syncws, "threads", ("syncws",), "syncws", "syncws"),
    "syncws.gevent": Peer(peers_blocking.syncws_gevent, "greenlets", ("syncws", "gevent"), "syncws", "syncws.gevent"),
    _PURE: Peer(peers_blocking.syncws_pure, "threads", ("syncws",)),
    "websockets.sync": Peer(
        peers_blocking.websockets_sync, "threads", ("websockets",), _WEBSOCKETS, "websockets.sync.server"
    ),
    "simple-websocket": Peer(
        peers_blocking.simple_websocket,
        "threads",
        ("simple-websocket", "wsproto", "werkzeug"),
        None,
        "simple_websocket, werkzeug.serving",
    ),
    "gevent-websocket": Peer(
        peers_blocking.gevent_websocket,
        "greenlets",
        ("gevent-websocket", "gevent"),
        None,
        "gevent.pywsgi, geventwebsocket.handler",
    ),
    "websockets": Peer(
        peers_loops.websockets_asyncio, "asyncio", ("websockets",), _WEBSOCKETS, "websockets.asyncio.server"
    ),
    "websockets, uvloop": Peer(peers_loops.websockets_uvloop, "uvloop", ("websockets", "uvloop"), _WEBSOCKETS),
    "aiohttp": Peer(peers_loops.aiohttp, "asyncio", ("aiohttp",), "aiohttp._websocket.reader_c", "aiohttp.web"),
    "picows": Peer(peers_loops.picows, "uvloop", ("picows", "uvloop"), "picows.picows", "picows, uvloop"),
    "raw threads": Peer(peers_raw.raw_threads, "threads"),
    "raw gevent": Peer(peers_raw.raw_gevent, "greenlets", ("gevent",)),
}


def _compute() -> None:
    """Be a thread that never waits."""
    while True:
        sum(range(1000))


def main() -> None:
    """Run a server."""
    if len(sys.argv) < 2 or sys.argv[1] not in PEERS:
        sys.exit(f"peers.py NAME PORT, where NAME is one of: {'; '.join(PEERS)}")
    name, scenario = sys.argv[1], Scenario.parse(sys.argv[2:])
    if scenario.busy:
        threading.Thread(target=_compute, daemon=True).start()
    PEERS[name].serve(scenario)


if __name__ == "__main__":
    main()
