"""The C types of locks.py, where it is compiled."""


cdef class HotLock:
    cpdef bint acquire(self, bint blocking=*, double timeout=*) except -1

    cpdef release(self)
