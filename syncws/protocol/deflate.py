"""RFC 7692, permessage-deflate: its options, and the compression of messages.

A :class:`Compressor` turns messages into payloads, an :class:`Inflater` turns payloads back, whole or in pieces: they
are in :mod:`syncws.protocol.compressor` and :mod:`syncws.protocol.inflater`. What the two sides agreed on is a
:class:`Parameters`; how they come to agree is in :mod:`syncws.protocol.negotiation`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

from .compressor import Compressor
from .inflater import Inflater
from .zlibs import fast_library

__all__ = [
    "MAX_WINDOW_BITS",
    "MIN_WINDOW_BITS",
    "Compressor",
    "Deflate",
    "Inflater",
    "Parameters",
    "compressor_for",
    "inflater_for",
]

Role = Literal["server", "client"]

# RFC 7692, 7.1.2 allows windows of 2**8 bytes too, but zlib writes raw DEFLATE data only with 2**9 or more.
MIN_WINDOW_BITS = 9
MAX_WINDOW_BITS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflate:
    """How to compress messages: the value of the option ``compression`` (RFC 7692, permessage-deflate).

    A connection has a compressor from its second message on, and a decompressor, until it falls idle. The compressor
    takes ``2**(max_window_bits + 2) + 2**(mem_level + 9)`` bytes and 6 KiB, the decompressor ``2**max_window_bits``
    bytes and 7 KiB. Measured, in KiB:

    ===============  =========  ==========  ============
    max_window_bits  mem_level  compressor  decompressor
    ===============  =========  ==========  ============
    9                1          9           8
    11               4          22          9
    12 (default)     5          38          11
    15               8          262         39
    ===============  =========  ==========  ============

    While it is idle it keeps at most the ``2**max_window_bits`` bytes that it received last. Without context takeover
    it has nothing between messages.

    With the extra ``syncws[fast-deflate]``, levels 1 to 5 are those of ISA-L, which takes half the time of zlib for 1
    KiB of JSON, for messages that are a seventh larger. Its compressors take 105 KiB whatever the settings, of which
    small messages use 58.

    :param level: 1 (fastest) to 9 (smallest). On 1.3 KB of JSON, 6 takes a quarter more time than 5 and saves 2 %.
    :param mem_level: 1 to 9, see above.
    :param context_takeover: keep what was learned from one message for the next, in both directions. ``False`` asks
        the peer to do without as well; JSON of 150 bytes then shrinks to 73 % instead of 36 %.
    :param max_window_bits: 9 to 15, how far back a repetition is found: ``2**max_window_bits`` bytes. The peer is asked
        to keep to it too; one that cannot is accepted, and its decompressor takes up to 39 KiB.
    :param threshold: messages of fewer bytes than this are sent uncompressed; 0 compresses every message.
    :raises TypeError: a value of another type.
    :raises ValueError: a value out of range.
    :raises ImportError: the package ``isal`` is installed, and does not work.
    """

    level: int = 5
    mem_level: int = 5
    context_takeover: bool = True
    max_window_bits: int = 12
    threshold: int = 128

    def __post_init__(self) -> None:
        _check_range("level", self.level, 1, 9, "compression=None switches compression off")
        _check_range("mem_level", self.mem_level, 1, 9)
        _check_range("max_window_bits", self.max_window_bits, MIN_WINDOW_BITS, MAX_WINDOW_BITS, "as zlib can do it")
        _check_range("threshold", self.threshold, 0, sys.maxsize, "in bytes")
        if not isinstance(self.context_takeover, bool):
            raise TypeError(f"context_takeover must be True or False, not {self.context_takeover!r}")
        fast_library()  # not while a first message waits for it


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the two sides agreed on, with every default filled in (RFC 7692, section 7.1).

    A window is the one that is really used if that is smaller than the agreed one.
    """

    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int
    client_max_window_bits: int


def compressor_for(parameters: Parameters, config: Deflate, role: Role) -> Compressor:
    """Return the compressor of the side that is ``role``."""
    if role == "server":
        return Compressor(parameters.server_max_window_bits, not parameters.server_no_context_takeover, config)
    return Compressor(parameters.client_max_window_bits, not parameters.client_no_context_takeover, config)


def inflater_for(parameters: Parameters, role: Role) -> Inflater:
    """Return the inflater of the side that is ``role``: it reads what the other side has compressed."""
    if role == "server":
        return Inflater(parameters.client_max_window_bits, not parameters.client_no_context_takeover)
    return Inflater(parameters.server_max_window_bits, not parameters.server_no_context_takeover)


def _check_range(name: str, value: int, low: int, high: int, hint: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if not low <= value <= high:
        allowed = f"at least {low}" if high == sys.maxsize else f"{low} to {high}"
        raise ValueError(f"{name} must be {allowed}{hint and f' ({hint})'}, not {value}")
