"""syncws.protocol.zlibs: what each library writes is read by zlib, byte by byte and with the window that was agreed."""

from __future__ import annotations

import importlib
import importlib.util
import random
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from payloads import JSON, NOISE, TAIL, contents, library
from support import require_module

from syncws.protocol import zlibs
from syncws.protocol.deflate import Deflate
from syncws.protocol.zlibs import Settings, compress_once, fast_library, new_stream


@pytest.fixture(autouse=True, scope="module", params=["zlib", "isal"])
def compressing(request: pytest.FixtureRequest) -> Iterator[str]:
    """With each of the libraries."""
    with library(request.param):
        yield request.param


def read(stream: Any, payload: bytes) -> bytes:
    """Inflate byte by byte, because zlib also looks back at what it has written in the same call."""
    data = b""
    while True:
        byte = stream.decompress(payload, 1)
        if not byte:
            return data
        data += byte
        payload = stream.unconsumed_tail


ALL_SETTINGS = st.builds(Settings, st.integers(1, 9), st.integers(9, 15), st.integers(1, 9))
small = st.one_of(contents.map(lambda data: data[:3000]), st.just(JSON[:1000]))


@settings(deadline=None)
@given(choice=ALL_SETTINGS, messages=st.lists(small, min_size=1, max_size=6))
def test_stream_is_read_with_its_window(choice: Settings, messages: list[bytes]) -> None:
    stream, reader = new_stream(choice), zlib.decompressobj(-choice.window_bits)
    for message in filter(None, messages):
        payload = stream.compress(message) + stream.flush(zlib.Z_SYNC_FLUSH)
        assert payload.endswith(TAIL)
        # What the limit on the wire allows a message: see syncws.protocol.messages.
        assert len(payload) <= len(message) * 5 // 4 + 16
        assert read(reader, payload) == message


@settings(deadline=None)
@given(choice=ALL_SETTINGS, messages=st.lists(small, min_size=1, max_size=6), fast=st.booleans())
def test_messages_by_themselves_are_read_by_themselves(choice: Settings, messages: list[bytes], fast: bool) -> None:
    for message in messages:
        payload = compress_once(message, choice, fast=fast)
        assert 1 <= len(payload) <= len(message) * 5 // 4 + 12
        assert read(zlib.decompressobj(-choice.window_bits), payload + TAIL) == message


@pytest.mark.parametrize("level", range(1, 10))
def test_the_same_message_is_always_the_same_payload(level: int) -> None:
    # Whatever was compressed in between: nothing of that is in it.
    choice = Settings(level, 12, 5)
    first = [compress_once(message, choice) for message in (JSON, NOISE[:500], b"x", b"")]
    assert [compress_once(message, choice) for message in (JSON, NOISE[:500], b"x", b"")] == first
    assert first[-1] == b"\x00"


@pytest.mark.parametrize("level", range(1, 10))
def test_which_library_compresses(level: int, compressing: str) -> None:
    fast = compressing == "isal" and level <= 5
    assert type(new_stream(Settings(level, 12, 5))).__module__ == ("isal_zlib" if fast else "zlib")
    assert type(new_stream(Settings(level, 12, 5), fast=False)).__module__ == "zlib"


def test_streams_are_shared_by_those_with_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Settings] = []

    def counted(choice: Settings, fast: bool) -> Any:
        made.append(choice)
        return new_stream(choice, fast)

    monkeypatch.setattr(zlibs, "new_stream", counted)
    monkeypatch.setattr(zlibs, "_shared", {})
    choices = [Settings(level, bits, 5) for level in (1, 9) for bits in (12, 13)]
    for choice in choices * 10:
        compress_once(JSON, choice)
    assert made == choices


@pytest.mark.parametrize("at", [1, 2])
def test_stream_that_was_interrupted_is_not_used_again(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = Settings(5, 12, 5)

    class Interrupted:
        def __init__(self) -> None:
            self.real = new_stream(choice)
            self.flushes = 0

        def compress(self, data: bytes) -> bytes:
            return self.real.compress(data)

        def flush(self, mode: int) -> bytes:
            self.flushes += 1
            if self.flushes == at:
                raise KeyboardInterrupt
            return self.real.flush(mode)

    monkeypatch.setattr(zlibs, "_shared", {})
    with monkeypatch.context() as patch:
        patch.setattr(zlibs, "new_stream", lambda choice, fast: Interrupted())
        with pytest.raises(KeyboardInterrupt):
            compress_once(b"never sent", choice)
    assert read(zlib.decompressobj(-12), compress_once(b"sent", choice) + TAIL) == b"sent"


def test_threads_that_compress_at_the_same_time() -> None:
    rounds, threads = 60, 8
    together = threading.Barrier(threads)
    choice = Settings(5, 12, 5)

    def compress(number: int) -> None:
        source = random.Random(number)
        together.wait(30)
        for _ in range(rounds):
            message = JSON[: source.randrange(1, 20_000)] + bytes([number]) * source.randrange(100)
            assert zlib.decompressobj(-12).decompress(compress_once(message, choice) + TAIL) == message

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(compress, number) for number in range(threads)]:
            done.result(60)
    assert all(len(kept) <= 4 for kept in zlibs._shared.values())


def test_without_the_extra_zlib_compresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert fast_library.__wrapped__() is None


def test_with_the_extra_isal_compresses() -> None:
    require_module("isal")
    assert fast_library.__wrapped__() is importlib.import_module("isal.isal_zlib")


def test_a_library_that_cannot_be_used_is_an_error_where_compression_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(name: str) -> Any:
        raise ImportError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "found")
    monkeypatch.setattr(importlib, "import_module", broken)
    fast_library.cache_clear()
    try:
        with pytest.raises(ImportError, match=r"isal\.isal_zlib: cannot open"):
            Deflate()
    finally:
        fast_library.cache_clear()
