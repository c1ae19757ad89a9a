"""The C types of messages.py, where it is compiled: only what a message in one frame has to do with."""

cimport cython

from .parser cimport Frame, Parser


@cython.final
cdef class MessageReader:
    cdef Parser _parser
    cdef object _inflater
    cdef object _max_size
    cdef Py_ssize_t _plain_limit
    cdef object _max_fragments
    cdef public bint ended
    cdef public long long completed
    cdef object _kept
    cdef Py_ssize_t _kept_size
    cdef long long _set_aside
    cdef unsigned char _opcode
    cdef bint _compressed
    cdef object _fragments
    cdef object _wire_size
    cdef object _inflated_size
    cdef object _decoder
    cdef object _parts
    cdef bint _streaming
    cdef object _pieces

    cpdef feed(self, bytes data)

    @cython.locals(parser=Parser, payload=bytes)
    cpdef object next_plain(self)

    cpdef bint has_plain(self)

    cpdef bint between(self)

    @cython.locals(frame=Frame)
    cpdef object next_message(self)

    @cython.locals(frame=Frame)
    cpdef object next_control(self)

    cdef Frame _next_frame(self)

    @cython.locals(end=bint)
    cdef object _add(self, Frame frame)
