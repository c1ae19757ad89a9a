"""The C types of hot.py, where it is compiled."""

cimport cython

from .protocol.frames cimport encode_frame
from .protocol.messages cimport MessageReader


cdef class Stretch:
    cdef public int count


cdef class Gathered:
    cdef object _transport
    cdef object _coalescer
    cdef object _lock
    cdef Py_ssize_t _size
    cdef readonly object frames

    @cython.locals(frame=bytes)
    cpdef bint add(self, bytes frame) except -1

    cpdef bytes take(self)

    @cython.locals(data=bytes, sent=Py_ssize_t)
    cpdef flush(self)


cdef class HotTurn:
    cdef public object _lock
    cdef public object _waiting
    cdef public object _on_free
    cdef public int wanted

    cpdef bint take_now(self) except -1

    cpdef release(self)


cdef class HotWriter:
    cdef public object _coalescer
    cdef public Gathered _gathered
    cdef public object _lock
    cdef public bint _masked
    cdef public bint _midway
    cdef public dict _posted
    cdef public object _queued
    cdef public object _transport
    cdef public object _unsent
    cdef public object compressor
    cdef public bint ended
    cdef public long long messages

    @cython.locals(gathered=Gathered)
    cpdef int send_now(self, int opcode, bytes payload, bytes frame, bint gather) except? -2

    @cython.locals(gathered=Gathered, sent=int)
    cpdef bint send_gathered(self) except -1

    @cython.locals(sent=Py_ssize_t)
    cdef int _send_some(self, bytes data) except? -2


cdef class HotConnection:
    cdef public object _ending
    cdef public bint _gone
    cdef public bint _limited
    cdef public bint _more
    cdef public object _rates
    cdef public MessageReader _reader
    cdef public long long _received
    cdef public bint _receiving
    cdef public Stretch _stretch
    cdef public object _transport
    cdef public HotTurn _turn
    cdef public HotWriter _writer

    @cython.locals(turn=HotTurn)
    cpdef object receive_now(self)

    @cython.locals(opcode=int, payload=bytes, frame=bytes, sent=int, writer=HotWriter)
    cpdef bint send_now(self, object data, bint wait) except -1

    @cython.locals(writer=HotWriter)
    cdef bint _may_read(self) except -1

    @cython.locals(since=double, seconds=double, data=bytes)
    cdef object _read_plain(self)


@cython.final
cdef class Messages:
    cdef HotConnection _connection
