"""Reading and writing a connected socket, compiled: what descriptor.py does, without an exception for "would block".

What can be done at once is done without giving up the GIL: with a thread in the process that computes, each time it is
given up costs a switch interval until it comes back. It is given up to wait, and to copy what is large.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.errno cimport EAGAIN, EINTR, ETIMEDOUT, errno

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
    ssize_t c_recv "recv"(int descriptor, void* buffer, size_t size, int flags)
    ssize_t c_send "send"(int descriptor, const void* buffer, size_t size, int flags)

cdef extern from "<poll.h>" nogil:
    enum:
        POLLIN
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* descriptors, unsigned long count, int milliseconds)

# As descriptor.py says.
cdef enum:
    LEAST = 448
    MOST = 131072
    # From this size on, in bytes, copying to the kernel takes so long that other threads are let run meanwhile.
    LARGE = 131072


cdef class Descriptor:
    """See descriptor.py."""

    cdef int _number
    cdef Py_ssize_t _size
    cdef readonly bint filled
    cdef public object sent

    def __init__(self, sock):
        self._number = sock.fileno()
        self._size = LEAST
        self.filled = True
        self.sent = 0

    def close(self):
        """See descriptor.py."""
        self._number = -1
        self.filled = True  # the next read will not wait for it

    def recv_now(self):
        """See descriptor.py."""
        return self._recv(MSG_DONTWAIT)

    def recv(self):
        """See descriptor.py."""
        cdef pollfd waiting
        cdef int ready
        data = self._recv(MSG_DONTWAIT)
        if data is not None:
            return data
        if self._size == LEAST:
            return self._recv(0)
        # A thread that waits owns no large buffer.
        waiting.fd = self._number
        waiting.events = POLLIN
        with nogil:
            ready = poll(&waiting, 1, -1)
        return self._recv(MSG_DONTWAIT) if ready > 0 else None

    cdef _recv(self, int flags):
        cdef char small[LEAST]
        cdef char* buffer = small
        cdef int number = self._number
        cdef Py_ssize_t size = self._size
        cdef ssize_t received
        if size > LEAST:
            buffer = <char*>PyMem_RawMalloc(size)
            if buffer == NULL:
                raise MemoryError
        if flags:
            received = c_recv(number, buffer, size, flags)
        else:
            with nogil:
                received = c_recv(number, buffer, size, flags)
        try:
            if received < 0:
                if errno == EAGAIN or errno == EINTR:
                    return None
                # A TimeoutError would be taken for a deadline that has passed.
                PyErr_SetFromErrno(ConnectionAbortedError if errno == ETIMEDOUT else OSError)
            self.filled = received == size
            if self.filled:
                self._size = min(MOST, size * 4)
            elif received * 16 < size:
                self._size = max(LEAST, size // 4)
            return PyBytes_FromStringAndSize(buffer, received)
        finally:
            if buffer != small:
                PyMem_RawFree(buffer)

    def send(self, data):
        """See descriptor.py."""
        cdef Py_buffer view
        cdef ssize_t sent
        cdef int number = self._number
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if view.len < LARGE:
                sent = c_send(number, view.buf, view.len, MSG_DONTWAIT | MSG_NOSIGNAL)
            else:
                with nogil:
                    sent = c_send(number, view.buf, view.len, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0:
                if errno == EAGAIN or errno == EINTR:
                    return 0
                # A TimeoutError would be taken for a deadline that has passed.
                PyErr_SetFromErrno(ConnectionAbortedError if errno == ETIMEDOUT else OSError)
        finally:
            PyBuffer_Release(&view)
        self.sent += sent
        return sent
