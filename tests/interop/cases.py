"""Which library can play which part, for the parameters of the tests."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

__all__ = [
    "CLIENTS",
    "DEFLATING",
    "FRAGMENTING",
    "LIBRARIES",
    "LIMITING",
    "OUR_CLIENT",
    "OUR_SERVERS",
    "SENDING_NO_CODE",
    "SERVERS",
    "cases",
]

LIBRARIES = ("websockets", "websocket-client", "aiohttp", "ws")
CLIENTS = LIBRARIES
SERVERS = ("websockets", "aiohttp", "ws")
# Can send a message in several frames.
FRAGMENTING = ("websockets", "websocket-client", "ws")
# Has permessage-deflate.
DEFLATING = ("websockets", "aiohttp", "ws")
# Limits the size of messages.
LIMITING = ("websockets", "aiohttp", "ws")
# Can send a close frame without a code.
SENDING_NO_CODE = ("websockets", "websocket-client", "ws")

# What we are, against a client and against a server.
OUR_SERVERS = ("WebSocketServer", "WSGIServer")
OUR_CLIENT = "connect"


def cases(libraries: Iterable[str] = LIBRARIES, *, role: str | None = None) -> pytest.MarkDecorator:
    """Parametrize a test with ``library`` and ``role``, our part: all of them, or one."""
    found = [
        pytest.param(library, part, id=f"{library}-{part}")
        for library in libraries
        for part in (*OUR_SERVERS, OUR_CLIENT)
        if role in (None, part) and (part != OUR_CLIENT or library in SERVERS)
    ]
    return pytest.mark.parametrize(("library", "role"), found, indirect=["library"])
