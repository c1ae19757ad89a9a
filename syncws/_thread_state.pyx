"""What Python keeps for the calling thread."""

from cpython.ref cimport PyObject


cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030D0000
    /* From here on, threading.local does not use the dictionary. */
    #define SYNCWS_USED_LOCAL() (PyThreadState_Get()->threading_local_key != NULL)
    #else
    #define SYNCWS_USED_LOCAL() 0
    #endif
    """
    bint used_local "SYNCWS_USED_LOCAL"()
    PyObject* thread_dict "PyThreadState_GetDict"()
    Py_ssize_t size_of "PyDict_Size"(PyObject* mapping)


def has_locals() -> bool:
    """See runtime_threads.py."""
    cdef PyObject* kept = thread_dict()
    return used_local() or kept == NULL or size_of(kept) > 0
