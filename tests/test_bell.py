"""The bell: whoever waits in a selector wakes up, once for any number of rings."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from syncws.bell import Bell


@pytest.fixture
def bell() -> Iterator[Bell]:
    bell = Bell()
    yield bell
    bell.close()


def rings(bell: Bell) -> bool:
    return bool(select.select([bell.fileno()], [], [], 0)[0])


def test_ring_and_hush(bell: Bell) -> None:
    assert not rings(bell)
    for _ in range(2):
        for _ in range(100_000):  # more than fit into the socket
            bell.ring()
        assert rings(bell)
        bell.hush()
        assert not rings(bell)
    bell.hush()


def test_nobody_listens() -> None:
    bell = Bell()
    bell.close()
    bell.ring()
