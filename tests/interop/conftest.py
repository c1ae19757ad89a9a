"""The libraries, each loaded when the first test asks for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from interop.peers import Authority, Library
from support import require_module

# Name: the module that fits it to the tests, its class, and the Python package that it needs.
LIBRARIES = {
    "websockets": ("interop.with_websockets", "Websockets", "websockets"),
    "websocket-client": ("interop.with_websocket_client", "WebsocketClient", "websocket"),
    "aiohttp": ("interop.with_aiohttp", "Aiohttp", "aiohttp"),
    "ws": ("interop.with_ws", "Ws", None),
}


@pytest.fixture(scope="session", autouse=True)
def no_proxy() -> Iterator[None]:
    """All connections of these tests are direct ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        patch.setenv("no_proxy", "*")
        yield


@pytest.fixture(scope="session")
def library_called() -> Iterator[Callable[[str], Library]]:
    """A function that loads a library by its name."""
    loaded: dict[str, Library] = {}

    def load(name: str) -> Library:
        if name not in loaded:
            module, class_name, needed = LIBRARIES[name]
            if needed is not None:
                require_module(needed)
            loaded[name] = getattr(importlib.import_module(module), class_name)()
        return loaded[name]

    yield load
    for library in loaded.values():
        library.close()


@pytest.fixture
def library(request: Any, library_called: Callable[[str], Library]) -> Library:
    """The library that the test is parametrized with."""
    return library_called(request.param)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))
