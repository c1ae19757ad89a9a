"""The conversation behind ``syncws connect``: what is typed or piped in is sent, messages are shown.

:func:`converse` returns the exit status. What it shows, and where, is the business of its
:class:`~syncws.console.display.Display`.

One thread receives and one sends, since the peer, the keyboard or whoever reads the output may hold up either for ever;
a third one deals with the end. The one that calls :func:`converse` waits for what ends the conversation, and so is
always there for a signal; after that it waits for none of the others without a limit.
"""

from __future__ import annotations

import concurrent.futures
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

from ..errors import ConnectionClosed
from ..websocket import WebSocket
from .commands import Hint, perform
from .display import Display
from .formats import printable
from .keyboard import Keyboard, open_keyboard

__all__ = ["STOP", "converse", "next_event"]

STOP = "stop"  # what a signal handler puts into the queue of events
_OPEN = "open"
_CONTINUED = "continued"  # after Ctrl-Z
_INPUT_ENDED = "input ended"
_OVER = "over"
_FINISHED = "finished"

_ENDED_WELL = (1000, 1001, 1005)
_LONGEST_NAP = 0.5  # seconds
_LONGEST_SLEEP = 3600.0  # seconds; time.sleep() refuses infinity
_LONGEST_CLOSING = 15.0  # seconds after a signal; the closing handshake takes 10 at most, if not told otherwise
_LONGEST_SHOWING = 5.0  # seconds for what is shown at the end
_LONGEST_NOTE = 2.0  # seconds for saying that it was not shown


def converse(
    open_connection: Callable[[], WebSocket],
    events: SimpleQueue[str],
    display: Display | None = None,
    *,
    wait: float | None,
    commands: bool | None = None,
) -> int:
    """Open a connection, talk until one side ends it, and return the exit status.

    The status is 0 after :data:`STOP`, and when the connection ended with 1000, 1001 or 1005 or by ``/close``; it is 1
    after any other close code, when the input or the output failed, and when a command in a pipe could not be done.

    :param open_connection: opens the connection; what it raises, this function raises.
    :param events: a queue into which a signal handler puts :data:`STOP` to end the conversation.
    :param display: what messages are shown on; ``None``: one with nothing set.
    :param wait: seconds. When the input has ended, the connection is closed as soon as no message has come for so
        long; ``math.inf``: never. ``None``: 0 on a terminal, where the person has seen the replies, and 1 otherwise.
    :param commands: whether lines that begin with a slash are commands; ``None``: if the input is a terminal.
    """
    by_person = bool(sys.stdin and sys.stdin.isatty())
    display = display or Display()
    talk = _Conversation(open_connection, events, display, by_person if commands is None else commands)
    receiver = threading.Thread(target=talk.receive, name="syncws-receive", daemon=True)
    receiver.start()
    event = next_event(events)
    if event == _OPEN:
        assert talk.ws is not None
        if wait is None:
            wait = 0.0 if by_person else 1.0
        if by_person and talk.commands:
            display.note("/help shows what else than text to type; Ctrl-D ends")
        display.keyboard = open_keyboard()
        threading.Thread(target=talk.send_lines, args=(talk.ws, wait), name="syncws-send", daemon=True).start()
        event = next_event(events) if display.keyboard is None else _next_event_at(display.keyboard, events)
    if talk.ws is None:
        if talk.failure is not None:
            raise talk.failure
        return 0  # stopped before the connection was open
    code = 1001 if event == STOP else 1000
    threading.Thread(target=talk.finish, args=(talk.ws, code, receiver), name="syncws-finish", daemon=True).start()
    while event not in (STOP, _FINISHED):
        event = next_event(events)
    if event == STOP:
        talk.closed.wait(_LONGEST_CLOSING)
        if not concurrent.futures.wait([talk.status], _LONGEST_SHOWING).done:
            _in_time(_LONGEST_NOTE, lambda: display.note("nobody reads the output: what was not read of it is lost"))
            return 0
    status = talk.status.result()
    return 0 if event == STOP else status


def _in_time(seconds: float, action: Callable[[], None]) -> None:
    """Do what may wait for the reader of an output for ever; that it is not done after a while is no error."""
    thread = threading.Thread(target=action, name="syncws-show", daemon=True)
    thread.start()
    thread.join(seconds)


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


def _next_event_at(keyboard: Keyboard, events: SimpleQueue[str]) -> str:
    """Do what :func:`next_event` does while a person types, then close the keyboard.

    It is closed before anything is done that may take its time, since a second signal ends the process.
    """
    before = signal.signal(signal.SIGCONT, lambda *_: events.put(_CONTINUED))
    try:
        while (event := next_event(events)) == _CONTINUED:
            keyboard.resume()
    finally:
        _in_time(_LONGEST_SHOWING, keyboard.close)
        signal.signal(signal.SIGCONT, before)
    return event


class _Conversation:
    """What the threads share. Each attribute is written by one of them only."""

    def __init__(
        self, open_connection: Callable[[], WebSocket], events: SimpleQueue[str], display: Display, commands: bool
    ) -> None:
        self._open_connection = open_connection
        self._events = events
        self._display = display
        self.commands = commands
        self._last_message = 0.0  # time.monotonic()
        self._input_problem = ""
        self._dealing = threading.Lock()  # held by the sending thread while it deals with a line
        self._closing = False  # by a command
        self._reported = False  # how it ended has been told, or is about to be
        self.ws: WebSocket | None = None
        self.failure: Exception | None = None
        self.closed = threading.Event()  # the closing handshake is over
        self.status: concurrent.futures.Future[int] = concurrent.futures.Future()  # the exit status

    def receive(self) -> None:
        """Open the connection and show messages until it is over. Runs in the receiving thread."""
        try:
            self.ws = ws = self._open_connection()
            self._display.note(_greeting(ws))
            self._events.put(_OPEN)
            while True:
                self._display.message(ws.receive())
                self._last_message = time.monotonic()
        except Exception as error:  # the waiting thread has to learn of whatever ended this one
            self.failure = error
        self._events.put(_OVER)

    def send_lines(self, ws: WebSocket, wait: float) -> None:
        """Deal with each line of the input, then wait until the peer is quiet. Runs in the sending thread."""
        try:
            for line in _lines_of_input(self._display):
                with self._dealing:
                    if self._reported:
                        return
                    self._deal_with(ws, line)
                if self._closing:
                    return  # what there still is to show comes before the peer's close frame
                if self._input_problem:
                    break
            else:
                self._wait_for_quiet(wait)
        except ConnectionClosed:
            return  # the receiving thread learns of it too
        except UnicodeDecodeError as error:
            self._input_problem = f"the input is not UTF-8 text: {error}"
        except OSError as error:
            self._input_problem = f"cannot read the input: {error.strerror}"
        self._events.put(_INPUT_ENDED)

    def _deal_with(self, ws: WebSocket, line: str) -> None:
        """Send a line, or do what it says. What cannot be done is told a person, and ends the input of a program."""
        try:
            if not self.commands or not line.startswith("/"):
                ws.send(line)
            elif line.startswith("//"):
                ws.send(line[1:])
            else:
                self._closing = line.split()[0] == "/close"
                perform(ws, line, self._display.note)
        except Hint as hint:
            self._closing = False
            if sys.stdin.isatty():
                self._display.note(str(hint))
            else:
                self._input_problem = str(hint)
        except TimeoutError as error:  # of send()
            self._input_problem = str(error)

    def _wait_for_quiet(self, seconds: float) -> None:
        """Wait until no message has come for so long."""
        ended = time.monotonic()
        while (left := max(ended, self._last_message) + seconds - time.monotonic()) > 0:
            time.sleep(min(left, _LONGEST_SLEEP))

    def finish(self, ws: WebSocket, code: int, receiver: threading.Thread) -> None:
        """Close the connection, wait until all is shown, and set the status. Runs in a thread of its own."""
        try:
            ws.close(code)
            self.closed.set()
            receiver.join()
            self.status.set_result(self._report())
        except Exception as error:  # the waiting thread has to learn of this too
            self.status.set_exception(error)
        self._events.put(_FINISHED)

    def _report(self) -> int:
        """Tell how the conversation ended, and return the exit status for it."""
        # A thread that was sending is told of the end as well, and what it says about it belongs in front of this.
        if self._dealing.acquire(timeout=_LONGEST_NAP):
            self._reported = True  # it may get the lock back, but has no more to say
            self._dealing.release()
        if self._input_problem:
            self._display.note(self._input_problem)
        if isinstance(self.failure, ConnectionClosed):
            self._display.note(printable(str(self.failure)))
            as_wanted = self.failure.code in _ENDED_WELL or (self._closing and self.failure.initiator == "local")
            return 0 if as_wanted and not self._input_problem else 1
        if isinstance(self.failure, OSError):  # of the output: an open connection raises none
            if not isinstance(self.failure, BrokenPipeError):  # whoever read it has gone, as "head" does
                self._display.note(f"cannot write {self.failure.filename or 'the output'}: {self.failure.strerror}")
            return 1
        assert self.failure is not None
        raise self.failure


def _lines_of_input(display: Display) -> Iterator[str]:
    if display.keyboard is not None:
        while True:
            try:
                yield display.keyboard.read_line()
            except EOFError:
                return
    if sys.stdin is None:  # the process was started without one
        return
    # Not sys.stdin itself: the interpreter aborts if it ends while a thread waits in there.
    with open(sys.stdin.fileno(), "rb", closefd=False) as lines:
        for line in lines:
            yield line.removesuffix(b"\n").decode()


def _greeting(ws: WebSocket) -> str:
    agreed = [f"subprotocol {ws.subprotocol}"] if ws.subprotocol else []
    agreed += ws.extensions
    return f"connected ({', '.join(agreed)})" if agreed else "connected"
