"""The demo's chat: one room, in which text is said to everybody.

The room sends JSON objects, each with a ``type``: first ``welcome`` with the ``name`` that the newcomer got, then
``joined``, ``left`` and ``message`` as they happen. ``number`` counts the events of the room, and ``people`` are those
who were in it at that moment.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from typing import Any

from ..errors import ConnectionClosed
from ..prepared import PreparedMessage
from ..websocket import WebSocket

__all__ = ["CHAT_OPTIONS", "Room"]

_MAX_NAME = 32  # characters

# Whoever stops reading holds up nobody: what is said waits in a backlog, and over its limit the connection is closed,
# with little patience for the answer. In JSON, a message may have six times its size.
CHAT_OPTIONS: dict[str, Any] = {"max_message_size": 16 * 1024, "max_backlog": 256 * 1024, "close_timeout": 2.0}


class Room:
    """The people in the chat. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below; never held while sending
        self._names: dict[WebSocket, str] = {}
        self._number = 0

    def serve(self, ws: WebSocket, wanted: str) -> None:
        """Have ``ws`` in the room for as long as its connection lives.

        :param wanted: the name that the newcomer would like.
        """
        name = self._enter(ws, wanted)
        try:
            with ws:
                ws.send(json.dumps({"type": "welcome", "name": name}))
                self._tell("joined", name)
                for message in ws:
                    if isinstance(message, str):
                        self._tell("message", name, text=message)
                    else:
                        ws.close(1003, "the chat takes text, not binary messages")
        finally:
            with self._lock:
                del self._names[ws]
            self._tell("left", name)

    def _enter(self, ws: WebSocket, wanted: str) -> str:
        """Add a person under the wanted name, or one like it that nobody has yet, and return that."""
        base = " ".join(wanted.split())[:_MAX_NAME] or "Guest"
        with self._lock:
            taken = set(self._names.values())
            candidates = itertools.chain([base], (f"{base} {count}" for count in itertools.count(2)))
            self._names[ws] = name = next(candidate for candidate in candidates if candidate not in taken)
        return name

    def _tell(self, what: str, name: str, **details: str) -> None:
        """Send an event to everybody who is in the room."""
        with self._lock:
            self._number += 1
            people = sorted(self._names.values())
            members = list(self._names)
            event = {"type": what, "number": self._number, "name": name, "people": people, **details}
        prepared = PreparedMessage(json.dumps(event))
        for member in members:
            # Whoever cannot be reached is on the way out: the thread of that connection sees it, and leaves.
            with contextlib.suppress(ConnectionClosed):
                member.send(prepared, wait=False)
