"""A blocking WebSocket server and client for Python programs that do not run an event loop.

What is here is loaded when it is first asked for, so that a program pays for what it uses.
"""

from __future__ import annotations

TYPE_CHECKING = False  # for type checkers it is true, as that of typing, which takes longer to load than what is here

if TYPE_CHECKING:
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
    from .opening import accept
    from .options import Options
    from .prepared import PreparedMessage
    from .protocol.deflate import Deflate
    from .protocol.headers import Headers
    from .protocol.machine import State
    from .server import WebSocketServer
    from .server_wsgi import WSGIServer
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
    "PreparedMessage",
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

# The module of each public name. No module may have the name of what is in it: once loaded, it would be the module.
_MODULES = {
    "BacklogFull": "errors",
    "ConcurrencyError": "errors",
    "ConnectionClosed": "errors",
    "Deflate": "protocol.deflate",
    "HandshakeError": "errors",
    "Headers": "protocol.headers",
    "MessageTooBig": "errors",
    "Options": "options",
    "PreparedMessage": "prepared",
    "ProtocolError": "errors",
    "State": "protocol.machine",
    "SyncwsError": "errors",
    "WSGIServer": "server_wsgi",
    "WebSocket": "websocket",
    "WebSocketServer": "server",
    "accept": "opening",
    "compiled": "builds",
    "connect": "client",
    "hand_over": "wsgi",
    "upgrade": "wsgi",
}


def __getattr__(name: str) -> object:
    """Load a public name, or a module of the package; the next time it is found without coming here."""
    from importlib import import_module

    if name in _MODULES:
        value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
        return value
    if not name.startswith("_"):
        try:
            return import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise  # it needs something that is not installed
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
