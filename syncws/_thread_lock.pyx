"""The lock of threads, compiled: what threading.Lock is, of which compiled code would know only that it is an object.

Who has it is noted under the GIL, so this is not compiled where there is none. A thread that has to wait does so with a
lock of the operating system, made for the first of them. Whoever releases this lock hands it on to one of them: a thread
that takes it again and again, and waits with it, would leave none of them a moment in which it is free.
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

    cdef PyThread_type_lock _bell  # taken, but from a ring until one of those that wait has heard it
    cdef bint _rung  # the lock has been handed on to whoever hears it
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
        if not self._held or self._rung:
            raise RuntimeError("a lock that nobody holds cannot be released")
        if self._waiting:
            self._rung = True
            PyThread_release_lock(self._bell)
        else:
            self._held = False

    cdef bint _wait(self, double timeout) except -1:
        cdef double deadline = monotonic() + timeout
        if self._bell == NULL:
            self._bell = PyThread_allocate_lock()
            if self._bell == NULL:
                raise MemoryError("there is no room for a further lock")
            PyThread_acquire_lock(self._bell, NOWAIT_LOCK)
        self._waiting += 1
        try:
            while not self._hear_bell(LONGEST if timeout < 0 else deadline - monotonic()):
                if timeout >= 0 and monotonic() >= deadline:
                    return self._is_heir()
            return True
        except BaseException:
            if self._is_heir():
                self._held = False
            raise
        finally:
            self._waiting -= 1

    cdef bint _hear_bell(self, double left) except -1:
        """Wait for the bell, at most so many seconds, or until a signal comes; return whether it has been heard."""
        cdef long long microseconds = <long long>(max(0.0, min(left, LONGEST)) * 1e6)
        cdef PyLockStatus status
        with nogil:
            status = PyThread_acquire_lock_timed(self._bell, microseconds, 1)
        if status == PY_LOCK_ACQUIRED:
            self._rung = False
        elif status == PY_LOCK_INTR:
            PyErr_CheckSignals()
        return status == PY_LOCK_ACQUIRED

    cdef bint _is_heir(self) noexcept:
        """Whether it has been handed on to a thread that gives up, since no other one waits that could hear the bell."""
        if not self._rung or self._waiting > 1:
            return False
        PyThread_acquire_lock(self._bell, NOWAIT_LOCK)
        self._rung = False
        return True
