"""The C types of runtime_gevent.py, where it is compiled."""

cimport cython


@cython.final
cdef class _FairLock:
    cdef bint _held
    cdef object _waiting
