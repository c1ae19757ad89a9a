"""The C types of hot_writer.py, where it is compiled."""

cimport cython

from .locks cimport HotLock
from .prepared cimport PreparedMessage

from .protocol.frames cimport encode_frame, frame_header


cdef Py_ssize_t _LARGE
cdef Py_ssize_t _MOST_GATHERED


cdef class Gathered:
    cdef object _transport
    cdef object _coalescer
    cdef object _lock
    cdef Py_ssize_t _size
    cdef readonly list pieces

    @cython.locals(pieces=list)
    cpdef bint add(self, bytes head, bytes tail) except -1

    cpdef bytes take(self)

    @cython.locals(pieces=list, before=list, data=bytes, sent=Py_ssize_t)
    cpdef flush(self)


cdef class HotWriter:
    cdef public bint _awaited
    cdef public object _coalescer
    cdef public Gathered _gathered
    cdef public HotLock _lock
    cdef public bint _masked
    cdef public bint _midway
    cdef public dict _posted
    cdef public object _queued
    cdef public object _transport
    cdef public object _try_send
    cdef public object _unsent
    cdef public object compressor
    cdef public bint ended
    cdef public long long messages
    cdef public Py_ssize_t most_queued

    @cython.locals(gathered=Gathered, head=bytes, tail=bytes, compressed=bytes, compress=bint)
    cpdef int send_now(self, int opcode, bytes payload, PreparedMessage prepared, bint gather, bint wait=*) except? -2

    @cython.locals(gathered=Gathered, sent=int)
    cpdef bint send_gathered(self) except -1

    @cython.locals(sent=Py_ssize_t)
    cdef int _send_both(self, bytes header, bytes payload) except? -2

    @cython.locals(sent=Py_ssize_t)
    cdef int _send_some(self, bytes data) except? -2
