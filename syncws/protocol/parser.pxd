"""The C types of parser.py, where it is compiled. Nothing else differs between the two builds.

The length of a payload has 63 bits on every platform; positions in a buffer are what Python's are.
"""

cimport cython

from ._mask cimport Gathering as _Gathering, masked_slice, unmasked


cdef int _TEXT


@cython.final
@cython.freelist(16)
cdef class Frame:
    cdef public unsigned char opcode
    cdef public bint fin
    cdef public bint rsv1
    cdef public long long length
    cdef public bytes payload
    cdef public bint first
    cdef public bint last


@cython.final
cdef class Parser:
    cdef bint _masked
    cdef bint _rsv1_allowed
    cdef bytes _data
    cdef Py_ssize_t _pos
    cdef unsigned char _opcode
    cdef bint _fin
    cdef long long _length
    cdef long long _left
    cdef unsigned int _offset
    cdef bytes _key
    cdef _Gathering _gathering
    cdef Py_ssize_t _before_plain
    cdef Py_ssize_t _plain_end

    cpdef feed(self, bytes data)

    @cython.locals(
        data=bytes,
        pos=Py_ssize_t,
        size=Py_ssize_t,
        first=cython.uchar,
        second=cython.uchar,
        opcode=cython.uchar,
        length=cython.longlong,
        width=Py_ssize_t,
        end=Py_ssize_t,
        key=bytes,
        payload=bytes,
    )
    cpdef Frame next_frame(self, bint gather=*)

    @cython.locals(start=Py_ssize_t, end=Py_ssize_t, data=bytes)
    cpdef bytes next_plain(self, Py_ssize_t limit)

    cpdef bint plain_is_text(self)

    cpdef bint plain_compressed(self)

    cpdef take_back(self)

    cpdef bint has_plain(self)

    cpdef bint between(self)

    @cython.locals(
        data=bytes,
        pos=Py_ssize_t,
        size=Py_ssize_t,
        start=Py_ssize_t,
        first=cython.uchar,
        second=cython.uchar,
        length=cython.longlong,
        width=Py_ssize_t,
    )
    cdef Py_ssize_t _plain_start(self)

    @cython.locals(gathering=_Gathering)
    cpdef bytes take_gathered(self)

    @cython.locals(payload=bytes)
    cdef Frame _begin_pieces(self, unsigned char first, long long length, bytes key, Py_ssize_t pos, bint gather)

    cdef bytes _take_payload(self, Py_ssize_t start, Py_ssize_t end, bytes key, unsigned int offset)

    @cython.locals(start=Py_ssize_t, end=Py_ssize_t, payload=bytes)
    cdef Frame _next_piece(self)

    cdef Frame _need_more(self)

    cdef _check_header(self, unsigned char first, unsigned char second)


cdef long long _LARGE


cdef long long _extended_length(bytes encoded) except -1
