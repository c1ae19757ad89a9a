"""The C types of transport_session.py, where it is compiled."""

cimport cython


cdef class Session:
    cdef object _tls
    cdef Py_ssize_t _size
    cdef public int blocked_by
    cdef public bint filled
    cdef public object sent


@cython.final
cdef class SharedSession(Session):
    cdef object _lock
