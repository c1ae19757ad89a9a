"""The C types of runtime_gevent.py, where it is compiled."""

cimport cython

from .locks cimport HotLock


# Not final: Cython then calls what is inherited with pointers of another type, which new compilers refuse.
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
