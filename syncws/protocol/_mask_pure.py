"""Masking in plain Python: what :mod:`.mask` offers where ``_mask`` has not been built.

Pure functions; any thread may call them.
"""

from __future__ import annotations

import functools

from .parts import Parts

__all__ = ["Gathering", "apply_mask", "masked_slice", "unmasked"]

# From this size on, in bytes, four translations are faster than one XOR of large integers: 64 KiB in 60 % of the time.
_LARGE = 1024


def apply_mask(data: bytes, key: bytes, offset: int = 0) -> bytes:
    """Return ``data`` with octet *i* XORed with octet (*i* + ``offset``) mod 4 of ``key``.

    :param data: payload octets, or a piece of them.
    :param key: the masking key, 4 bytes.
    :param offset: where ``data`` begins in the payload, in bytes, for a payload that arrives in pieces.
    """
    return masked_slice(data, 0, len(data), key, offset)


def masked_slice(data: bytes, start: int, end: int, key: bytes, offset: int) -> bytes:
    """Return ``data[start:end]``, masked as by :func:`apply_mask`, with a key and an offset from 0 to 3."""
    data = data[start:end]
    size = end - start
    if offset & 3:
        key = key[offset & 3 :] + key[: offset & 3]
    if size >= _LARGE:
        masked = bytearray(size)
        for lane in range(4):
            masked[lane::4] = data[lane::4].translate(_xor_table(key[lane]))
        return bytes(masked)
    # One XOR of two integers is the fastest loop over a few bytes that plain Python has; any byte order will do.
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


def unmasked(data: bytes, start: int, end: int) -> bytes:
    """Return ``data[start:end]``, unmasked with the key that is in front of it."""
    return masked_slice(data, start, end, data[start - 4 : start], 0)


class Gathering:
    """A large payload that arrives in pieces, unmasked.

    What it takes is in proportion to what has arrived, whatever has been announced. One thread at a time.

    :param most: bytes that may come, as announced.
    """

    def __init__(self, most: int) -> None:
        self._parts = Parts()

    def add(self, data: bytes, start: int, end: int, key: bytes, offset: int) -> None:
        """Add ``data[start:end]``, which is masked as for :func:`masked_slice`, or not if there is no key."""
        self._parts.add(masked_slice(data, start, end, key, offset) if key else data[start:end])

    def take(self) -> bytes:
        """Return all that has been added; nothing can be added any more."""
        data: bytes = self._parts.take(b"")  # type: ignore[assignment]
        return data


@functools.cache
def _xor_table(byte: int) -> bytes:
    """Return the table that :meth:`bytes.translate` XORs with ``byte`` by; there are 256 of them at the most."""
    return bytes(i ^ byte for i in range(256))
