"""Is there memory for one connection more?"""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from syncws.listener_headroom import NoHeadroom, check_headroom
from syncws.runtime import THREADS
from syncws.runtime_gevent import GREENLETS


def test_headroom() -> None:
    check_headroom(THREADS)
    check_headroom(GREENLETS)


def test_a_thread_needs_its_stack() -> None:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (6 << 20), limits[1]))
    try:
        with pytest.raises(NoHeadroom, match="not even 10 MiB"):
            check_headroom(THREADS)
        check_headroom(GREENLETS)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
