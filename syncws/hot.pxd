"""The C types of hot.py, where it is compiled."""

cimport cython

from .hot_writer cimport HotWriter
from .locks cimport HotLock
from .prepared cimport PreparedMessage
from .protocol.messages cimport MessageReader


cdef class Stretch:
    cdef public int count


cdef class HotTurn:
    cdef public HotLock _lock
    cdef public int _waiting
    cdef public object _on_free
    cdef public int wanted

    cpdef bint take_now(self) except -1

    cpdef release(self)


cdef class HotConnection:
    cdef public object _ending
    cdef public bint _gone
    cdef public bint _limited
    cdef public bint _more
    cdef public object _rates
    cdef public object _read_some
    cdef public MessageReader _reader
    cdef public long long _received
    cdef public bint _receiving
    cdef public Stretch _stretch
    cdef public object _transport
    cdef public HotTurn _turn
    cdef public HotWriter _writer

    @cython.locals(turn=HotTurn)
    cpdef object receive_now(self)

    @cython.locals(opcode=int, payload=bytes, prepared=PreparedMessage, sent=int, writer=HotWriter)
    cpdef bint send_now(self, object data, bint wait) except -1

    @cython.locals(writer=HotWriter)
    cdef bint _may_read(self) except -1

    @cython.locals(since=double, seconds=double, data=bytes)
    cdef object _read_plain(self)


@cython.final
cdef class Messages:
    cdef HotConnection _connection
