"""The conversation behind ``syncws connect``: lines of standard input are sent, messages are shown.

:func:`converse` returns the exit status. Text messages go to standard output as lines of UTF-8, binary messages as a
line with their size and their bytes in hexadecimal. All that is about the connection goes to standard error, so that
a pipe gets the messages only. On a terminal messages are marked with ``<``, and characters that could steer the
terminal are shown as escapes: they come from a stranger.

There are three threads. One receives and one sends, since the peer or the keyboard may hold up either for ever; the
one that calls :func:`converse` waits for what ends the conversation, and so is always there for a signal.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

from .errors import ConnectionClosed
from .escapes import escaped
from .websocket import WebSocket

__all__ = ["STOP", "converse", "next_event", "printable"]

STOP = "stop"  # what a signal handler puts into the queue of events
_OPEN = "open"
_INPUT_ENDED = "input ended"
_OVER = "over"

_ENDED_WELL = (1000, 1001, 1005)
_LONGEST_NAP = 0.5  # seconds
_LONGEST_SLEEP = 3600.0  # seconds; time.sleep() refuses infinity


def converse(open_connection: Callable[[], WebSocket], events: SimpleQueue[str], *, wait: float | None) -> int:
    """Open a connection, talk until one side ends it, and return the exit status.

    The status is 0 after :data:`STOP` and when the connection ended with 1000, 1001 or 1005; it is 1 after any other
    close code, and when the input or the output failed.

    :param open_connection: opens the connection; what it raises, this function raises.
    :param events: a queue into which a signal handler puts :data:`STOP` to end the conversation.
    :param wait: seconds. When the input has ended, the connection is closed as soon as no message has come for so
        long; ``math.inf``: never. ``None``: 0 on a terminal, where the person has seen the replies, and 1 otherwise.
    """
    talk = _Conversation(open_connection, events)
    receiver = threading.Thread(target=talk.receive, name="syncws-receive", daemon=True)
    receiver.start()
    event = next_event(events)
    if event == _OPEN:
        assert talk.ws is not None
        threading.Thread(target=talk.send_lines, args=(talk.ws, wait), name="syncws-send", daemon=True).start()
        event = next_event(events)
    if talk.ws is None:
        if talk.failure is not None:
            raise talk.failure
        return 0  # stopped before the connection was open
    talk.ws.close(1001 if event == STOP else 1000)
    receiver.join()
    status = talk.report()
    return 0 if event == STOP else status


def next_event(events: SimpleQueue[str]) -> str:
    """Wait for an event, in the main thread, where a signal handler may be what puts it into the queue.

    A signal that arrives in the moment before the thread goes to sleep does not wake it up, and Python runs the
    handler only when the thread is awake. So the wait is a row of short ones.
    """
    while True:
        try:
            return events.get(timeout=_LONGEST_NAP)
        except Empty:
            continue


def printable(text: str) -> str:
    """Return ``text`` with every character escaped that is not to be seen, the tabulator and line feed excepted."""
    return escaped(text, keep="\t\n")


class _Conversation:
    """What the three threads share. Each attribute is written by one of them only."""

    def __init__(self, open_connection: Callable[[], WebSocket], events: SimpleQueue[str]) -> None:
        self._open_connection = open_connection
        self._events = events
        self._last_message = 0.0  # time.monotonic()
        self._input_problem = ""
        self.ws: WebSocket | None = None
        self.failure: Exception | None = None

    def receive(self) -> None:
        """Open the connection and show messages until it is over. Runs in the receiving thread."""
        try:
            self.ws = ws = self._open_connection()
            _note(_greeting(ws))
            self._events.put(_OPEN)
            while True:
                _show(ws.receive())
                self._last_message = time.monotonic()
        except Exception as error:  # the waiting thread has to learn of whatever ended this one
            self.failure = error
        self._events.put(_OVER)

    def send_lines(self, ws: WebSocket, wait: float | None) -> None:
        """Send each line of the input, then wait until the peer is quiet. Runs in the sending thread."""
        try:
            for line in _lines_of_input():
                ws.send(line.removesuffix(b"\n").decode())
        except ConnectionClosed:
            return  # the receiving thread learns of it too
        except UnicodeDecodeError as error:
            self._input_problem = f"the input is not UTF-8 text: {error}"
        except TimeoutError as error:  # of send()
            self._input_problem = str(error)
        except OSError as error:
            self._input_problem = f"cannot read the input: {error.strerror}"
        else:
            ended = time.monotonic()
            if wait is None:
                wait = 0.0 if sys.stdin and sys.stdin.isatty() else 1.0
            while (left := max(ended, self._last_message) + wait - time.monotonic()) > 0:
                time.sleep(min(left, _LONGEST_SLEEP))
        self._events.put(_INPUT_ENDED)

    def report(self) -> int:
        """Tell how the conversation ended, and return the exit status for it."""
        if self._input_problem:
            _note(self._input_problem)
        if isinstance(self.failure, ConnectionClosed):
            _note(printable(str(self.failure)))
            return 0 if self.failure.code in _ENDED_WELL and not self._input_problem else 1
        if isinstance(self.failure, OSError):  # of the output: an open connection raises none
            if not isinstance(self.failure, BrokenPipeError):  # whoever read it has gone, as "head" does
                _note(f"cannot write the output: {self.failure.strerror}")
            # What is left in the buffer must not fail once more when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        assert self.failure is not None
        raise self.failure


def _lines_of_input() -> Iterator[bytes]:
    if sys.stdin is None:  # the process was started without one
        return
    # Not sys.stdin itself: the interpreter aborts if it ends while a thread waits in there.
    with open(sys.stdin.fileno(), "rb", closefd=False) as lines:
        yield from lines


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _greeting(ws: WebSocket) -> str:
    agreed = [f"subprotocol {ws.subprotocol}"] if ws.subprotocol else []
    agreed += ws.extensions
    return f"connected ({', '.join(agreed)})" if agreed else "connected"


def _show(message: str | bytes) -> None:
    if sys.stdout is None:  # the process was started without one
        return
    on_terminal = sys.stdout.isatty()
    if isinstance(message, bytes):
        line = f"({len(message)} bytes) {message.hex(' ')}"
    else:
        line = printable(message) if on_terminal else message
    sys.stdout.buffer.write(f"{'< ' if on_terminal else ''}{line}\n".encode())
    sys.stdout.buffer.flush()
