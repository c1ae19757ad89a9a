"""What a WSGI app reads: ``wsgi.input``, the request's body (PEP 3333, "Input and Error Streams").

:func:`input_stream` returns a buffered binary stream with all the methods that PEP 3333 and the rest of the world
expect of one. It ends where the body ends, for chunked bodies too. Reading waits for the client; what goes wrong then
is raised to the app and kept in :attr:`RequestBody.failure`, so that the gateway knows it again when it comes back.
The thread that serves the request may read.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO, cast

from .http import BadRequest, RequestReader

__all__ = ["RequestBody", "input_stream"]


class RequestBody(io.RawIOBase):
    """The raw stream below ``wsgi.input``.

    :param reader: has read the head of the request.
    :param send_continue: sends ``100 Continue``; called before the first byte is read if the client waits for it,
        unless :attr:`continue_due` has been set to false by then.
    :ivar continue_due: the client waits for ``100 Continue`` and has not got it.
    :ivar failure: the exception that ended the reading, if one did.
    """

    def __init__(self, reader: RequestReader, send_continue: Callable[[], None]) -> None:
        super().__init__()
        self._reader = reader
        self._send_continue = send_continue
        self.continue_due = reader.expects_continue and reader.has_body
        self.failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # what BufferedReader passes
        """Fill ``buffer`` with the next bytes of the body; 0 at its end.

        :raises BadRequest: the chunks break a rule, or the connection ended in the middle of the body.
        :raises TimeoutError: the client sent nothing for too long.
        :raises OSError: the connection was lost.
        """
        if self.failure is not None:
            raise self.failure
        try:
            if self.continue_due:
                self.continue_due = False
                self._send_continue()
            piece = self._reader.read_body(len(buffer))
        except (BadRequest, OSError) as error:
            self.failure = error
            raise
        buffer[: len(piece)] = piece
        return len(piece)

    def drain(self, limit: int) -> bool:
        """Read and drop the rest of the body, at most about ``limit`` bytes; return whether its end was reached."""
        try:
            while self.failure is None and limit > 0:
                piece = self._reader.read_body()
                if not piece:
                    return True
                limit -= len(piece)
        except (BadRequest, OSError):
            pass  # the connection is of no use any more
        return False


def input_stream(body: RequestBody, reader: RequestReader) -> BinaryIO:
    """Return ``wsgi.input`` for a request; for one without a body a stream that is at its end."""
    return cast(BinaryIO, io.BufferedReader(body)) if reader.has_body else io.BytesIO()
