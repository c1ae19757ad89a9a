"""Masking, compiled: a word at a time, and with one copy.

Bounds are checked by :func:`masked_slice`, once for all octets; who calls :func:`xor` must know them.
"""

# cython: boundscheck=False, wraparound=False

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from libc.string cimport memcpy


def apply_mask(bytes data not None, bytes key not None, offset=0):
    """Return ``data`` with octet *i* XORed with octet (*i* + ``offset``) mod 4 of ``key``.

    :param data: payload octets, or a piece of them.
    :param key: the masking key, 4 bytes.
    :param offset: where ``data`` begins in the payload, in bytes, for a payload that arrives in pieces.
    """
    return masked_slice(data, 0, len(data), key, offset & 3)


cpdef bytes masked_slice(bytes data, Py_ssize_t start, Py_ssize_t end, bytes key, unsigned int offset):
    """Return ``data[start:end]``, masked as by :func:`apply_mask`, with a key and an offset from 0 to 3."""
    if not 0 <= start <= end <= len(data):
        raise IndexError(f"octets {start} to {end} of {len(data)} cannot be masked")
    if start == end:
        return b""
    if len(key) != 4:
        raise ValueError(f"a masking key has 4 bytes, not {len(key)}")
    # The new object is nobody else's yet, so it may be written to.
    cdef bytes result = PyBytes_FromStringAndSize(NULL, end - start)
    xor(
        <unsigned char*>PyBytes_AS_STRING(result),
        <const unsigned char*>PyBytes_AS_STRING(data) + start,
        end - start,
        <const unsigned char*>PyBytes_AS_STRING(key),
        offset,
    )
    return result


cpdef bytes unmasked(bytes data, Py_ssize_t start, Py_ssize_t end):
    """Return ``data[start:end]``, unmasked with the key that is in front of it."""
    if not 4 <= start <= end <= len(data):
        raise IndexError(f"octets {start} to {end} of {len(data)}, with a key of 4 in front, cannot be unmasked")
    if start == end:
        return b""
    cdef bytes result = PyBytes_FromStringAndSize(NULL, end - start)
    cdef const unsigned char* source = <const unsigned char*>PyBytes_AS_STRING(data) + start
    xor(<unsigned char*>PyBytes_AS_STRING(result), source, end - start, source - 4, 0)
    return result


cdef void xor(
    unsigned char* target, const unsigned char* source, Py_ssize_t size, const unsigned char* key, unsigned int offset
) noexcept nogil:
    """Write ``size`` octets of ``source`` to ``target``, each XORed with its octet of the 4 of ``key``."""
    cdef unsigned char repeated[8]
    cdef uint64_t mask, first, second, third, fourth
    cdef Py_ssize_t at = 0
    cdef unsigned int i
    for i in range(8):
        repeated[i] = key[(i + offset) & 3]
    memcpy(&mask, repeated, 8)
    # memcpy() is how C reads and writes a word at any address; compilers make one instruction of it, or of several.
    while size - at >= 32:
        memcpy(&first, source + at, 8)
        memcpy(&second, source + at + 8, 8)
        memcpy(&third, source + at + 16, 8)
        memcpy(&fourth, source + at + 24, 8)
        first ^= mask
        second ^= mask
        third ^= mask
        fourth ^= mask
        memcpy(target + at, &first, 8)
        memcpy(target + at + 8, &second, 8)
        memcpy(target + at + 16, &third, 8)
        memcpy(target + at + 24, &fourth, 8)
        at += 32
    while size - at >= 8:
        memcpy(&first, source + at, 8)
        first ^= mask
        memcpy(target + at, &first, 8)
        at += 8
    while at < size:
        target[at] = source[at] ^ repeated[at & 7]
        at += 1
