"""The C types of runtime_gevent.py, where it is compiled."""

cimport cython

from .locks cimport HotLock


@cython.final
cdef class _FairLock(HotLock):
    cdef bint _held
    cdef object _waiting
