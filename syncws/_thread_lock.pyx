"""The lock of threads, compiled: what threading.Lock is, of which compiled code would know only that it is an object.

Who has it is noted under the GIL, so this is not compiled where there is none. A thread that has to wait does so with a
lock of the operating system, made for the first of them: whoever releases this lock lets one of them look again.
"""

from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport (
    NOWAIT_LOCK, PY_LOCK_ACQUIRED, PY_LOCK_INTR, PyLockStatus, PyThread_acquire_lock, PyThread_allocate_lock,
    PyThread_free_lock, PyThread_release_lock, PyThread_type_lock,
)
from time import monotonic

from .locks cimport HotLock

cdef extern from "pythread.h" nogil:
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int interruptible)

# In seconds: a longer wait is made of several, as the operating system's own limit depends on the platform.
cdef double LONGEST = 1000.0


cdef class ThreadLock(HotLock):
    """A lock that any thread may release. A signal handler runs while a thread waits for it, and may raise."""

    cdef PyThread_type_lock _bell  # taken, but for a moment after each ring
    cdef bint _rung
    cdef bint _held
    cdef int _waiting

    def __dealloc__(self):
        if self._bell != NULL:
            if not self._rung:  # what is held must not be freed
                PyThread_release_lock(self._bell)
            PyThread_free_lock(self._bell)

    def __enter__(self):
        self.acquire()

    def __exit__(self, *_):
        self.release()

    def locked(self):
        """Return whether a thread has it."""
        return self._held

    cpdef bint acquire(self, bint blocking=True, double timeout=-1.0) except -1:
        """See locks.py."""
        if not self._held:
            self._held = True
            return True
        return blocking and self._wait(timeout)

    cpdef release(self):
        """See locks.py.

        :raises RuntimeError: nobody has it.
        """
        if not self._held:
            raise RuntimeError("a lock that nobody holds cannot be released")
        self._held = False
        if self._waiting and not self._rung:
            self._rung = True
            PyThread_release_lock(self._bell)

    cdef bint _wait(self, double timeout) except -1:
        cdef double deadline = monotonic() + timeout
        if self._bell == NULL:
            self._bell = PyThread_allocate_lock()
            if self._bell == NULL:
                raise MemoryError("there is no room for a further lock")
            PyThread_acquire_lock(self._bell, NOWAIT_LOCK)
        self._waiting += 1
        try:
            while self._held:
                if not self._await_bell(LONGEST if timeout < 0 else deadline - monotonic()):
                    return False
            self._held = True
            return True
        finally:
            self._waiting -= 1

    cdef bint _await_bell(self, double left) except -1:
        """Wait until it may have been released; return False if the time is over."""
        cdef long long microseconds = <long long>(min(left, LONGEST) * 1e6) + 1
        cdef PyLockStatus status
        if left <= 0:
            return False
        with nogil:
            status = PyThread_acquire_lock_timed(self._bell, microseconds, 1)
        if status == PY_LOCK_ACQUIRED:
            self._rung = False
        elif status == PY_LOCK_INTR:
            PyErr_CheckSignals()
        return True
