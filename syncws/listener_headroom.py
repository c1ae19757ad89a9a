"""Whether there is memory enough for one connection more, found out before a thread or greenlet is started for it.

A thread that gets its stack and then nothing more dies before its first line, and :meth:`threading.Thread.start` waits
for it for ever; a greenlet dies there as well, and its connection is never given back. So the memory that both need at
their start is asked for beforehand, where the lack of it can still be answered. It takes a few microseconds, because
the operating system need not really find the memory. Any thread may call what is here.
"""

from __future__ import annotations

import mmap

from .runtime import THREADS, Runtime

__all__ = ["NoHeadroom", "check_headroom"]

# Bytes for a thread's stack, as is usual. What threading.stack_size() says cannot be asked: without an argument it sets
# the size to the default. If there is no memory for a larger one, the thread cannot be started, and that is an error.
_STACK = 8 << 20
# Bytes for what a connection needs besides; pymalloc asks for 1 MiB at a time.
_BESIDES = 2 << 20
# Not shared with other processes, where that is a question.
_FLAGS = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}


class NoHeadroom(Exception):
    """There is not enough memory."""


def check_headroom(runtime: Runtime) -> None:
    """Raise an error unless there is memory to serve another connection.

    :raises NoHeadroom: there is none.
    """
    size = _BESIDES
    if runtime is THREADS:
        size += _STACK
    try:
        mmap.mmap(-1, size, **_FLAGS).close()
    except OSError as error:
        raise NoHeadroom(f"not even {size >> 20} MiB of memory") from error
