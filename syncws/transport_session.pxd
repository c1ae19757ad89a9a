"""The C types of transport_session.py, where it is compiled."""

cimport cython


@cython.final
cdef class Session:
    cdef object _lock
    cdef object _tls
    cdef Py_ssize_t _size
    cdef public int blocked_by
    cdef public bint filled
    cdef public object sent

    @cython.locals(size=Py_ssize_t, received=Py_ssize_t, data=bytes)
    cpdef bytes recv_now(self)

    cpdef send(self, data)
