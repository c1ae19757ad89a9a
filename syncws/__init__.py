"""A blocking WebSocket server and client for Python programs that do not run an event loop."""

from __future__ import annotations

from .accept import accept
from .builds import compiled
from .client import connect
from .errors import (
    BacklogFull,
    ConcurrencyError,
    ConnectionClosed,
    HandshakeError,
    MessageTooBig,
    ProtocolError,
    SyncwsError,
)
from .options import Options
from .protocol.deflate import Deflate
from .protocol.headers import Headers
from .protocol.machine import State
from .server import WebSocketServer, WSGIServer
from .websocket import WebSocket
from .wsgi import hand_over, upgrade

__version__ = "0.1.0"

__all__ = [
    "BacklogFull",
    "ConcurrencyError",
    "ConnectionClosed",
    "Deflate",
    "HandshakeError",
    "Headers",
    "MessageTooBig",
    "Options",
    "ProtocolError",
    "State",
    "SyncwsError",
    "WSGIServer",
    "WebSocket",
    "WebSocketServer",
    "accept",
    "compiled",
    "connect",
    "hand_over",
    "upgrade",
]
