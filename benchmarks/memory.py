"""What a connection costs a server in memory, while nothing happens on it.

It is what the resident set of the server's process grows by when many connections are opened, with a first few before
it that pay for what is needed once. A thread's stack counts as far as it was used; memory of the kernel does not.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from pathlib import Path

from load import LoadError, Measured, connections

__all__ = ["memory_per_connection"]

_FIRST = 50  # connections
_STEP, _LONGEST = 0.25, 15.0  # seconds between two looks, and at the most
_MATTERS = 0.01  # of the size


def memory_per_connection(
    process: int, port: int, *, count: int, idle: float, frames: Sequence[bytes] = (), extensions: str = ""
) -> Measured:
    """Return the KiB that each connection adds to a server's process.

    :param count: connections that are opened.
    :param idle: seconds that the memory has to stay the same, before it is what is wanted.
    :param frames: each connection sends one of them, and awaits its echo, if there are any.
    :param extensions: what to offer.
    """
    with contextlib.ExitStack() as stack:
        sizes = []
        for number in (_FIRST, count):
            opened = stack.enter_context(connections(port, number, extensions))
            for index, sock in enumerate(opened[0] if frames else []):
                sock.sendall(frames[index % len(frames)])
                if not sock.recv(1 << 16):
                    raise LoadError("the server has closed the connection instead of sending an echo")
            sizes.append(_settled(process, idle))
    return Measured((sizes[1] - sizes[0]) / count, 0.0)


def _settled(process: int, idle: float) -> float:
    """Return the KiB of memory of a process as soon as they do not change any more."""
    size = _resident(process)
    changed = begin = time.monotonic()
    while (now := time.monotonic()) < begin + _LONGEST and now < changed + idle:
        time.sleep(min(_STEP, idle))
        if abs(_resident(process) - size) > _MATTERS * size:
            size, changed = _resident(process), time.monotonic()
    return _resident(process)


def _resident(process: int) -> float:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    assert found is not None
    return float(found[1])
