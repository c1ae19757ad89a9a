"""Masking, compiled: a word at a time, and with one copy.

Bounds are checked by :func:`masked_slice`, once for all octets; who calls :func:`xor` must know them.
"""

# cython: boundscheck=False, wraparound=False

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, _PyBytes_Resize
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

# How many times what has arrived there is room for, at the most.
cdef enum:
    GROWTH = 4


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


cdef class Gathering:
    """A large payload that arrives in pieces, unmasked.

    What it takes is in proportion to what has arrived, whatever has been announced. One thread at a time.

    :param most: bytes that may come, as announced.
    """

    # There is one buffer, which in the end is what is returned; until then it is nobody else's, and may be written to.
    # Of the room that it has, the system gives what has been written to.

    def __init__(self, most):
        self._buffer = b""
        self._size = 0
        self._room = 0
        self._most = most
        self._lost = False

    cpdef add(self, bytes data, Py_ssize_t start, Py_ssize_t end, bytes key, unsigned int offset):
        """Add ``data[start:end]``, which is masked as for :func:`masked_slice`, or not if there is no key."""
        cdef Py_ssize_t size = end - start
        cdef unsigned char* target
        cdef const unsigned char* source
        self._check_whole()
        if not 0 <= start <= end <= len(data) or size > self._most - self._size or len(key) not in (0, 4):
            raise IndexError(f"octets {start} to {end} of {len(data)} cannot be gathered")
        if size > self._room - self._size:
            self._resize(<Py_ssize_t>min(self._most, <long long>GROWTH * (self._size + size)))
        target = <unsigned char*>PyBytes_AS_STRING(self._buffer) + self._size
        source = <const unsigned char*>PyBytes_AS_STRING(data) + start
        if len(key) == 0:
            memcpy(target, source, size)
        else:
            xor(target, source, size, <const unsigned char*>PyBytes_AS_STRING(key), offset)
        self._size += size

    cpdef bytes take(self):
        """Return all that has been added; nothing can be added any more."""
        self._check_whole()
        if self._size < self._room:
            self._resize(self._size)
        data = self._buffer
        self._buffer = b""
        self._size = self._room = 0
        self._most = 0
        return data

    cdef _resize(self, Py_ssize_t room):
        """Give the buffer another size, without copying it if that can be."""
        cdef PyObject* buffer
        if self._room == 0:
            self._buffer = PyBytes_FromStringAndSize(NULL, room)
        else:
            # It has to be referred to once, and will be another object.
            buffer = <PyObject*>self._buffer
            Py_INCREF(self._buffer)
            self._buffer = b""
            self._room = 0
            try:
                _PyBytes_Resize(&buffer, room)
            except MemoryError:
                self._lost = True
                raise
            self._buffer = <bytes>buffer
            Py_DECREF(self._buffer)
        self._room = room

    cdef _check_whole(self):
        if self._lost:  # with the buffer, which the system has given up for want of a larger one
            raise MemoryError("there was no room for a payload, of which the beginning is lost: lower max_message_size")


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
