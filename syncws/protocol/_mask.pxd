"""What compiled modules may use of _mask.pyx."""

cpdef bytes masked_slice(bytes data, Py_ssize_t start, Py_ssize_t end, bytes key, unsigned int offset)
cpdef bytes unmasked(bytes data, Py_ssize_t start, Py_ssize_t end)
cdef void xor(
    unsigned char* target, const unsigned char* source, Py_ssize_t size, const unsigned char* key, unsigned int offset
) noexcept nogil
