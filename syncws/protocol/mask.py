"""Masking (RFC 6455, section 5.3): the same operation masks and unmasks.

:func:`apply_mask` is a pure function; any thread may call it.
"""

from __future__ import annotations

import sys

__all__ = ["apply_mask"]

_BYTE_ORDER = sys.byteorder


def apply_mask(data: bytes, key: bytes, offset: int = 0) -> bytes:
    """Return ``data`` with octet *i* XORed with octet (*i* + ``offset``) mod 4 of ``key``.

    :param data: payload octets, or a piece of them.
    :param key: the masking key, 4 bytes.
    :param offset: where ``data`` begins in the payload, in bytes, for a payload that arrives in pieces.
    """
    size = len(data)
    offset &= 3
    if offset:
        key = key[offset:] + key[:offset]
    # One XOR of two large integers is the fastest loop over bytes that plain Python has.
    repeated = key * (size // 4) + key[: size & 3]
    masked = int.from_bytes(data, _BYTE_ORDER) ^ int.from_bytes(repeated, _BYTE_ORDER)
    return masked.to_bytes(size, _BYTE_ORDER)
