"""The C types of frames.py, where it is compiled. Nothing else differs between the two builds."""

cimport cython

cdef int _FIN
cdef int _RSV1
cdef int _MASK
cdef tuple _OCTETS
cdef tuple _SMALL


@cython.locals(first=int, mask_bit=int, header=bytes)
cpdef bytes frame_header(int opcode, Py_ssize_t size, bint fin=*, bint rsv1=*, bytes key=*)

@cython.locals(header=bytes)
cpdef bytes encode_frame(int opcode, bytes payload, bint fin=*, bint rsv1=*, bytes key=*)
