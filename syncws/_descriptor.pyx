"""Reading and writing a connected socket, compiled: what descriptor.py does, without an exception for "would block".

What can be done at once is done without giving up the GIL: with a thread in the process that computes, each time it is
given up costs a switch interval until it comes back. It is given up to wait, and to copy what is large.
To find out that nothing has come is a system call as well, so after that the next reads wait at once, until one brings
as much as it has asked for.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.errno cimport EAGAIN, EINTR, ETIMEDOUT, errno
from libc.string cimport memset

cdef extern from * nogil:
    """
    #include <sys/socket.h>
    #ifndef MSG_NOSIGNAL  /* older versions of macOS; Python ignores the signal in any case */
    #define MSG_NOSIGNAL 0
    #endif
    """

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
    ssize_t c_recv "recv"(int descriptor, void* buffer, size_t size, int flags)
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t sendmsg(int descriptor, const msghdr* message, int flags)
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
    # Up to this size a thread waits with its buffer on the stack.
    SMALL = 1792
    MOST = 131072
    # From this size on, in bytes, copying to the kernel takes so long that other threads are let run meanwhile.
    LARGE = 131072
    # So many reads wait at once when one has found nothing.
    PATIENCE = 15


cdef class Descriptor:
    """See descriptor.py."""

    cdef int _number
    cdef Py_ssize_t _size
    cdef int _patience  # so many reads are not worth a try
    cdef readonly bint filled
    cdef public long long sent

    def __init__(self, sock):
        self._number = sock.fileno()
        self._size = LEAST
        self._patience = 0
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
        if self._patience > 0 and self._size <= SMALL:
            self._patience -= 1
        else:
            data = self._recv(MSG_DONTWAIT)
            if data is not None:
                return data
            self._patience = PATIENCE
        if self._size == LEAST:
            return self._recv(0)
        if self._size <= SMALL:
            return self._recv_small()
        # A thread that waits owns no large buffer.
        waiting.fd = self._number
        waiting.events = POLLIN
        with nogil:
            ready = poll(&waiting, 1, -1)
        return self._recv(MSG_DONTWAIT) if ready > 0 else None

    cdef bytes _recv(self, int flags):
        cdef char small[LEAST]
        cdef int number = self._number
        cdef Py_ssize_t size = self._size
        cdef ssize_t received
        if size > LEAST:
            return self._recv_large()
        if flags:
            received = c_recv(number, small, size, flags)
        else:
            with nogil:
                received = c_recv(number, small, size, flags)
        if received < 0:
            return self._nothing()
        self._adapt(received)
        return PyBytes_FromStringAndSize(small, received)

    cdef bytes _recv_small(self):
        cdef char small[SMALL]
        cdef int number = self._number
        cdef Py_ssize_t size = self._size
        cdef ssize_t received
        with nogil:
            received = c_recv(number, small, size, 0)
        if received < 0:
            return self._nothing()
        self._adapt(received)
        return PyBytes_FromStringAndSize(small, received)

    cdef bytes _recv_large(self):
        """Read without waiting, with a buffer of the size that is asked for."""
        cdef Py_ssize_t size = self._size
        cdef ssize_t received
        cdef bytes data
        cdef char* buffer
        if self.filled and size == MOST:
            # Most likely it will be full again, so that nothing has to be copied.
            data = PyBytes_FromStringAndSize(NULL, size)
            received = c_recv(self._number, PyBytes_AS_STRING(data), size, MSG_DONTWAIT)
            if received < 0:
                return self._nothing()
            self._adapt(received)
            return data if received == size else data[:received]
        buffer = <char*>PyMem_RawMalloc(size)
        if buffer == NULL:
            raise MemoryError
        try:
            received = c_recv(self._number, buffer, size, MSG_DONTWAIT)
            if received < 0:
                return self._nothing()
            self._adapt(received)
            return PyBytes_FromStringAndSize(buffer, received)
        finally:
            PyMem_RawFree(buffer)

    cdef bytes _nothing(self):
        if errno == EAGAIN or errno == EINTR:
            return None
        # A TimeoutError would be taken for a deadline that has passed.
        PyErr_SetFromErrno(ConnectionAbortedError if errno == ETIMEDOUT else OSError)

    cdef void _adapt(self, Py_ssize_t received) noexcept:
        self.filled = received == self._size
        if self.filled:
            self._patience = 0
            self._size = min(MOST, self._size * 4)
        elif received * 16 < self._size:
            self._size = max(LEAST, self._size // 4)

    def send(self, data):
        """See descriptor.py."""
        cdef Py_buffer view
        if type(data) is bytes:
            return self._send(PyBytes_AS_STRING(data), len(<bytes>data), NULL, 0)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return self._send(view.buf, view.len, NULL, 0)
        finally:
            PyBuffer_Release(&view)

    def send_both(self, bytes head not None, bytes tail not None):
        """See descriptor.py."""
        return self._send(PyBytes_AS_STRING(head), len(head), PyBytes_AS_STRING(tail), len(tail))

    cdef Py_ssize_t _send(self, void* head, size_t head_size, void* tail, size_t tail_size) except -1:
        cdef iovec parts[2]
        cdef msghdr message
        cdef ssize_t sent
        cdef int number = self._number
        memset(&message, 0, sizeof(message))
        parts[0].iov_base, parts[0].iov_len = head, head_size
        parts[1].iov_base, parts[1].iov_len = tail, tail_size
        message.msg_iov = parts
        message.msg_iovlen = 2
        if tail == NULL and head_size < LARGE:
            sent = c_send(number, head, head_size, MSG_DONTWAIT | MSG_NOSIGNAL)
        elif head_size + tail_size < LARGE:
            sent = sendmsg(number, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
        else:
            with nogil:
                sent = sendmsg(number, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent < 0:
            if errno == EAGAIN or errno == EINTR:
                return 0
            # A TimeoutError would be taken for a deadline that has passed.
            PyErr_SetFromErrno(ConnectionAbortedError if errno == ETIMEDOUT else OSError)
        self.sent += sent
        return sent
