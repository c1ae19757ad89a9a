"""Text for a stream whose reader may not read, for ever."""

from __future__ import annotations

import os
from typing import TextIO

__all__ = ["write_text"]


def write_text(stream: TextIO, text: str) -> None:
    """Write text, which need not be fit for UTF-8, and wait until all of it is written. Any thread.

    The stream's buffer is left out. A thread that waits in there holds its lock, and the interpreter aborts if it ends
    meanwhile.

    :raises OSError: the stream cannot be written.
    """
    data = memoryview(text.encode(errors="backslashreplace"))
    try:
        fd = stream.fileno()
    except OSError:  # io.UnsupportedOperation: a program has put something into its place that is no file
        stream.buffer.write(data)
        stream.buffer.flush()
        return
    while data:
        data = data[os.write(fd, data) :]
