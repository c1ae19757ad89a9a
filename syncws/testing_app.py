"""The server's side of a connection to an app that a test runs in its own process, for :mod:`syncws.testing`.

An :class:`AppConnection` is served by a thread or greenlet of its own, as a server does it. The test's thread waits for
its end, and asks it what the app has raised.
"""

from __future__ import annotations

import inspect
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType
from typing import Any

from .errors import ConnectionClosed
from .opening import deadline_after
from .options import Options
from .runtime import THREADS
from .transport import Transport
from .wsgi import WSGIConnection
from .wsgi_exchange import ON_ERROR_KEY, WSGIApp

__all__ = ["AppConnection", "check_app"]


def check_app(app: Any) -> None:
    """Raise an error unless something can be a WSGI app.

    :raises TypeError: it cannot be called, or not with the arguments of one.
    """
    if not callable(app):
        raise TypeError(f"app must be a WSGI app or a Werkzeug test client, not {app!r}")
    try:
        signature = inspect.signature(app)
    except ValueError:
        return  # a builtin that does not tell
    try:
        signature.bind({}, None)
    except TypeError:
        raise TypeError(
            f"{app!r} is not called with environ and start_response, as a WSGI app is; for a function that takes a "
            "WebSocket there is syncws.testing.connect_handler()"
        ) from None


class AppConnection(WSGIConnection):
    """A connection that is served by a WSGI app, and that knows what the app has raised.

    :param environ: what the app's environ is to have besides what the request says.
    """

    def __init__(self, transport: Transport, app: WSGIApp, options: Options, environ: Mapping[str, Any]) -> None:
        super().__init__(transport, self._call, options)
        self._tested = app
        self._environ = environ
        self._changed = transport.runtime.condition()  # guards the next four, and tells of the end
        self._failures: list[BaseException] = []
        self._told = 0  # so many of them have been raised in the test
        self._over = False
        self._find_frame: Callable[[], FrameType | None] = lambda: None

    def start(self, name: str) -> None:
        """Serve the connection in a thread or greenlet of its own."""
        self._transport.runtime.spawn(self._run, name)

    def wait(self, timeout: float | None) -> bool:
        """Wait until the app has returned and the connection is over; return whether that was in time."""
        deadline = deadline_after(timeout)
        with self._changed:
            while not self._over:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def give_up(self) -> None:
        """Drop the connection, and let nobody wait any longer for an app that does not return."""
        self.abort()
        with self._changed:
            self._over = True

    def raise_failure(self, path: str) -> None:
        """Raise what the app has raised and a test does not know yet; return if it knows all."""
        with self._changed:
            if not self.untold:
                return
            failure = self.untold[0]
            self._told += 1
        add_note = getattr(failure, "add_note", None)  # Python 3.11
        if add_note is not None:
            # It may be of a kind that the test expects for reasons of its own, such as a TimeoutError.
            add_note(f"raised by the app, for {path}")
        raise failure

    @property
    def untold(self) -> list[BaseException]:
        """What the app has raised and a test does not know yet. Takes no lock, so that a finaliser may ask."""
        return self._failures[self._told :]

    def where(self) -> str:
        """Return where the app is, as lines of a traceback."""
        frame = self._find_frame()
        stack = traceback.extract_stack(frame) if frame is not None else traceback.StackSummary()
        ours = [index for index, entry in enumerate(stack) if entry.filename == __file__]
        return "".join(traceback.format_list(stack[ours[-1] + 1 :] if ours else stack)).rstrip()

    def note(self, error: BaseException) -> None:
        """Note what a handler has raised, unless it is the end of its own WebSocket, or has been noted."""
        own_end = isinstance(error, ConnectionClosed) and error.websocket is self._ws
        with self._changed:
            if not own_end and not any(error is known for known in self._failures):
                self._failures.append(error)

    def _run(self) -> None:
        self._find_frame = _frame_finder(self._transport)
        try:
            self.serve()
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _call(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start_and_note(status: str, headers: Any, exc_info: Any = None) -> Any:
            if exc_info is not None:
                # PEP 3333: what an app gives here is an error that it answers with a page of its own.
                self.note(exc_info[1])
            elif status.startswith("5") and self._ws is not None and not self._failures:
                self.note(RuntimeError(f"the app has answered {status!r} after the 101; its log says why"))
            return start_response(status, headers, exc_info)

        environ.update(self._environ)
        environ[ON_ERROR_KEY] = self.note
        try:
            result = self._tested(environ, start_and_note)
        except BaseException as error:
            self.note(error)
            raise
        # These cannot raise while they are iterated; and what they are decides how the response is framed.
        return result if isinstance(result, (list, tuple, environ["wsgi.file_wrapper"])) else _Pieces(result, self.note)


class _Pieces:
    """The body of a response; what is raised on the way through it is noted."""

    def __init__(self, pieces: Iterable[bytes], note: Callable[[BaseException], None]) -> None:
        self._pieces = pieces
        self._note = note

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._pieces
        except Exception as error:
            self._note(error)
            raise

    def close(self) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


def _frame_finder(transport: Transport) -> Callable[[], FrameType | None]:
    """Return a function that finds where the calling thread or greenlet is, whenever it is called."""
    if transport.runtime is THREADS:
        ident = transport.runtime.ident()
        return lambda: sys._current_frames().get(ident)
    import gevent

    greenlet = gevent.getcurrent()
    return lambda: greenlet.gr_frame
