"""What compiled modules may use of _mask.pyx."""

cdef class Gathering:
    cdef bytes _buffer
    cdef Py_ssize_t _size
    cdef Py_ssize_t _room
    cdef long long _most
    cdef bint _lost

    cpdef add(self, bytes data, Py_ssize_t start, Py_ssize_t end, bytes key, unsigned int offset)
    cpdef bytes take(self)
    cdef _resize(self, Py_ssize_t room)
    cdef _check_whole(self)

cpdef bytes masked_slice(bytes data, Py_ssize_t start, Py_ssize_t end, bytes key, unsigned int offset)
cpdef bytes unmasked(bytes data, Py_ssize_t start, Py_ssize_t end)
cdef void xor(
    unsigned char* target, const unsigned char* source, Py_ssize_t size, const unsigned char* key, unsigned int offset
) noexcept nogil
