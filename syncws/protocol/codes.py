"""Opcodes, close codes, and which close codes may go on the wire (RFC 6455, sections 5.2 and 7.4)."""

from __future__ import annotations

__all__ = [
    "BINARY",
    "CLOSE",
    "CLOSE_CODE_MEANINGS",
    "CONTINUATION",
    "OPCODE_NAMES",
    "PING",
    "PONG",
    "TEXT",
    "may_be_sent",
]

# RFC 6455, 5.2: opcodes; 0x3-0x7 are reserved for data frames, 0xB-0xF for control frames.
CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

OPCODE_NAMES = {
    CONTINUATION: "continuation",
    TEXT: "text",
    BINARY: "binary",
    CLOSE: "close",
    PING: "ping",
    PONG: "pong",
}

# RFC 6455, 7.4.1, and the IANA registry "WebSocket Close Code Number".
CLOSE_CODE_MEANINGS = {
    1000: "normal closure",
    1001: "going away",
    1002: "protocol error",
    1003: "unsupported data",
    1005: "no status received",
    1006: "abnormal closure",
    1007: "invalid frame payload data",
    1008: "policy violation",
    1009: "message too big",
    1010: "mandatory extension",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
    1014: "bad gateway",
    1015: "TLS handshake",
}

# RFC 6455, 7.4.1: these three describe what happened to a connection; they MUST NOT be set in a close frame.
_NEVER_ON_THE_WIRE = frozenset({1005, 1006, 1015})
_ASSIGNED = frozenset(CLOSE_CODE_MEANINGS) - _NEVER_ON_THE_WIRE


def may_be_sent(code: int) -> bool:
    """Whether a close frame may carry ``code``, sent or received.

    True for the registered codes that may go on the wire and for 3000-4999, which RFC 6455, 7.4.2 leaves to
    libraries, frameworks and applications; false for 0-999, the unassigned of 1000-2999, and 1005, 1006, 1015.
    """
    return code in _ASSIGNED or 3000 <= code <= 4999
