"""The C types of readiness.py, where it is compiled."""

cimport cython

from .hot cimport Stretch


@cython.final
cdef class Readiness:
    cdef bint _active
    cdef int _descriptor
    cdef int _events
    cdef object _hub
    cdef object _watcher
    cdef public object greenlet

    cpdef bint wait(self, object deadline) except -1


@cython.final
cdef class Reading:
    cdef object _descriptor
    cdef Stretch _stretch
    cdef Readiness _readable

    @cython.locals(stretch=Stretch, data=bytes)
    cpdef bytes read_now(self)

    @cython.locals(data=bytes)
    cpdef bytes read(self)
