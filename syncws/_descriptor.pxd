"""The C types of _descriptor.pyx."""

cdef class Descriptor:
    cdef int _number
    cdef Py_ssize_t _size
    cdef int _patience  # so many reads are not worth a try
    cdef readonly bint filled
    cdef public long long sent

    cpdef bytes recv_now(self)

    cdef bytes _recv(self, int flags)

    cdef bytes _recv_small(self)

    cdef bytes _recv_large(self)

    cdef bytes _nothing(self)

    cdef void _adapt(self, Py_ssize_t received) noexcept

    cdef Py_ssize_t _send(self, void* head, size_t head_size, void* tail, size_t tail_size) except -1
