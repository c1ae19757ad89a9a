"""A fixture for pytest: :func:`websocket_connect`. In ``conftest.py``: ``pytest_plugins = ["syncws.testing_pytest"]``.

It is no plugin that pytest loads by itself: that would import syncws in every test run, before a ``conftest.py`` has
had the time to patch the standard library for gevent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .testing import InProcessWebSocket, connect

__all__ = ["websocket_connect"]


@pytest.fixture
def websocket_connect() -> Iterator[Callable[..., InProcessWebSocket]]:
    """Give :func:`syncws.testing.connect`; what it has opened is closed at the end of the test.

    What an app has raised, and the test has not seen, is raised then.
    """
    with contextlib.ExitStack() as stack:

        def connect_and_close(app: Any, url: str = "/", **options: Any) -> InProcessWebSocket:
            return stack.enter_context(connect(app, url, **options))

        yield connect_and_close
