"""Text for a stream whose reader may not read."""

from __future__ import annotations

import io
import os

import pytest
from peers import start

from syncws.console.output import write_text


def test_all_of_the_text_is_written() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as reader, open(writing, "w") as stream:
        done = start(lambda: write_text(stream, 100_000 * "é\ud800"))  # more than a pipe takes
        expected = 100_000 * b"\xc3\xa9\\ud800"
        assert reader.read(len(expected)) == expected
        assert done.result() is None


def test_write_that_takes_a_part_only() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with open(reading, "rb") as reader, open(writing, "w") as stream:
        with pytest.raises(BlockingIOError):  # the first write takes what the pipe does, the second nothing
            write_text(stream, 1_000_000 * "x")
        assert reader.read1(1) == b"x"


def test_nothing_is_left_in_the_buffer() -> None:
    with open("/dev/full", "w") as stream:
        with pytest.raises(OSError, match="No space left"):
            write_text(stream, "text\n")
        stream.flush()


def test_stream_that_is_no_file() -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    write_text(stream, "é\n")
    assert stream.buffer.read() == b""
    stream.buffer.seek(0)
    assert stream.buffer.read() == b"\xc3\xa9\n"
