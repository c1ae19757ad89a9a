"""The C types of prepared.py, where it is compiled."""


cdef class PreparedMessage:
    cdef readonly int opcode
    cdef readonly bytes payload
    cdef readonly bytes frame
    cdef dict _compressed

    cpdef bytes compressed(self, object settings)
