"""What passes on the connections of one page, shown to that page: the source of its frame inspector.

Each page has a session. The page's connections are recorded (:mod:`syncws.trace`), and what they carry is annotated and
sent to the page's inspector: a text message for each item, in the JSON form of :func:`syncws.trace.to_json`, with three
members changed or added. ``connection`` counts the session's connections from 1, ``endpoint`` says what is at the other
end, such as ``echo``, and ``number`` counts the session's items from 1, so that a page sees when some were left out.

Nothing here waits: what a slow inspector has not read is dropped, the oldest first, and what comes while there is no
inspector is kept for it, up to a limit. A session is forgotten with the last of its connections. Any thread may call
anything.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from ..errors import ConnectionClosed
from ..trace import Annotator, Chunk, Recorder, to_json
from ..websocket import WebSocket

__all__ = ["INSPECTOR_OPTIONS", "Inspection"]

INSPECTOR_OPTIONS: dict[str, Any] = {
    "max_message_size": 1024,
    "max_backlog": 512 * 1024,
    "backlog_policy": "drop-oldest",
    # Frames repeat much, in hexadecimal and in words.
    "compression": True,
}
# Items that wait for an inspector. A page opens its own before the other connections, so there are few.
_KEPT = 100

_SESSION = re.compile("[0-9a-f]{32}")


class _Session:
    """What one page may see."""

    def __init__(self) -> None:
        self.users = 0  # guarded by the lock of the Inspection
        self._started = time.monotonic()
        # Guards all below. It is held while an inspector's send(wait=False) is called, which does not wait; since no
        # inspector is traced, that never comes back here.
        self._lock = threading.Lock()
        self._connections = 0
        self._items = 0
        self._waiting: deque[str] = deque(maxlen=_KEPT)
        self._inspectors: list[WebSocket] = []

    def recorder(self, endpoint: str) -> Recorder:
        """Return what records a new connection."""
        with self._lock:
            self._connections += 1
            connection = self._connections
        annotate = Annotator()

        def pass_on(chunk: Chunk) -> None:
            with self._lock:
                chunk = chunk._replace(connection=connection, time=time.monotonic() - self._started)
                for item in annotate.feed(chunk):
                    self._show({**to_json(item), "endpoint": endpoint})

        return Recorder(sink=pass_on)

    def _show(self, item: dict[str, Any]) -> None:
        self._items += 1
        data = json.dumps({**item, "number": self._items})
        if not self._inspectors:
            self._waiting.append(data)
        for ws in self._inspectors:
            self._send(ws, data)

    def _send(self, ws: WebSocket, data: str) -> None:
        with contextlib.suppress(ConnectionClosed):  # its own thread sees it, and leaves
            ws.send(data, wait=False)

    def show(self, ws: WebSocket) -> None:
        """Send ``ws`` all items from now on, and those that wait, until its connection is over."""
        with self._lock:
            self._inspectors.append(ws)
            while self._waiting:
                self._send(ws, self._waiting.popleft())
        try:
            for _ in ws:  # it has nothing to say; this ends with the connection
                pass
        finally:
            with self._lock:
                self._inspectors.remove(ws)


class Inspection:
    """The sessions of all pages."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the sessions and how many use each
        self._sessions: dict[str, _Session] = {}

    @contextlib.contextmanager
    def recorder(self, name: str, endpoint: str) -> Iterator[Recorder | None]:
        """Give the recorder for a connection that lives as long as the block; ``None`` for one without a session.

        :param name: of the session.
        :param endpoint: what the connection is to.
        """
        if not _SESSION.fullmatch(name):
            yield None
            return
        with self._session(name) as session:
            yield session.recorder(endpoint)

    def show(self, ws: WebSocket, name: str) -> None:
        """Serve an inspector: send it what passes on the connections of a session."""
        with ws:
            if not _SESSION.fullmatch(name):
                ws.close(1008, "name a session: ?session= and 32 hexadecimal digits")
                return
            with self._session(name) as session:
                session.show(ws)

    @contextlib.contextmanager
    def _session(self, name: str) -> Iterator[_Session]:
        with self._lock:
            session = self._sessions.setdefault(name, _Session())
            session.users += 1
        try:
            yield session
        finally:
            with self._lock:
                session.users -= 1
                if session.users == 0:
                    del self._sessions[name]
