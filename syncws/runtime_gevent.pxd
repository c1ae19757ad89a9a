"""The C types of runtime_gevent.py, where it is compiled."""

cimport cython

from .locks cimport HotLock


# Not final: for a final class that overrides a method of another module, Cython makes C that newer compilers refuse.
cdef class _FairLock(HotLock):
    cdef bint _held
    cdef object _waiting


@cython.final
cdef class _OwnedLock:
    cdef int _count
    cdef _FairLock _lock
    cdef object _owner

    cpdef bint acquire(self, bint blocking=*, double timeout=*) except -1

    cpdef release(self)


@cython.final
cdef class _Condition:
    cdef _OwnedLock _lock
    cdef set _waiting
