"""The terminal while a line is being typed on it: what is shown meanwhile goes above that line.

:func:`open_keyboard` takes the terminal over, :meth:`Keyboard.close` gives it back as it was. In between the terminal
sends each key at once and echoes none. Only the character for interrupt remains what it is: a signal.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
import sys
import termios
import threading
from collections import deque

from .formats import printable
from .history import History, history_file
from .line_editor import SUSPEND, LineEditor
from .output import write_text

__all__ = ["Keyboard", "open_keyboard"]

_PROMPT = "> "
_ERASE = "\r\x1b[K"  # ECMA-48, 8.3.41: EL
# How long, in seconds, it may take until Ctrl-Z stops the process; without a shell that could continue it, it does not.
_LONGEST_STOPPING = 0.5
_PASTE_ON, _PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"  # the terminal marks what is pasted


def open_keyboard() -> Keyboard | None:
    """Return the keyboard, if a person sits in front of a terminal that knows escape sequences."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        return None
    if os.environ.get("TERM", "dumb") == "dumb":
        return None
    return Keyboard(sys.stdin.fileno(), History(history_file()))


class Keyboard:
    """The terminal at both of its ends. One thread reads lines; any thread shows text and closes."""

    def __init__(self, fd: int, history: History) -> None:
        """Take over the terminal of the descriptor, which standard output has to lead to as well."""
        self._fd = fd
        self._history = history
        self._editor = LineEditor(history.lines)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._outcomes: deque[tuple[str, str]] = deque()
        self._lock = threading.Condition(threading.Lock())  # for what is below and for the editor
        self._suspended = False
        self._drawn = False  # the line is on the screen, and the cursor in it
        self._closed = False
        self._before = termios.tcgetattr(fd)
        self._take_over()

    def read_line(self) -> str:
        """Wait until a line is finished and return it.

        :raises EOFError: Ctrl-D was typed, the terminal is gone, or the keyboard is closed.
        """
        while True:
            with self._lock:
                while self._outcomes and not self._closed:
                    kind, line = self._outcomes.popleft()
                    if kind == "line":
                        self._leave(line)
                        return line
                    if kind != SUSPEND:
                        raise EOFError
                    self._suspend()
                if self._closed:
                    raise EOFError
                self._write(self._line())
                self._drawn = True
            data = b""
            with contextlib.suppress(OSError):  # EIO: the terminal has gone
                data = os.read(self._fd, 4096)
            if not data:
                raise EOFError
            with self._lock:
                self._outcomes += self._editor.feed(self._decoder.decode(data))

    def show(self, text: str) -> None:
        """Show text that ends with a line feed, above the line that is being typed if there is one."""
        with self._lock:
            self._write(f"{_ERASE}{text}{self._line()}" if self._drawn else text)

    def resume(self) -> None:
        """Take the terminal over once more, and draw the line: the process was stopped, and a shell had it."""
        with self._lock:
            self._suspended = False
            self._lock.notify_all()
            if not self._closed:
                self._take_over()
                if self._drawn:
                    self._write(self._line())

    def close(self) -> None:
        """Give the terminal back. A line that is not finished stays to be seen, and is kept in the history.

        This waits as long as the terminal takes no output, after Ctrl-S for one; its settings are given back before.
        """
        if not self._closed:
            with contextlib.suppress(termios.error):  # it may have gone
                termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
        with self._lock:
            if self._closed:
                return
            self._closed, self._suspended = True, False
            self._lock.notify_all()
            drawn, self._drawn = self._drawn, False
            self._history.add(self._editor.text)
            with contextlib.suppress(OSError, termios.error):
                if drawn:
                    self._write(f"{_ERASE}{_PROMPT}{printable(self._editor.text)}\n" if self._editor.text else _ERASE)
                self._give_back()

    def _leave(self, line: str) -> None:
        self._write(f"{_ERASE}{_PROMPT}{printable(line)}\n")
        self._drawn = False
        self._history.add(line)

    def _line(self) -> str:
        width = os.get_terminal_size(self._fd).columns or 80
        text, before = self._editor.row(max(width - len(_PROMPT), 2))
        return f"{_ERASE}{_PROMPT}{text}\r\x1b[{len(_PROMPT) + before}C"

    def _take_over(self) -> None:
        mode = termios.tcgetattr(self._fd)
        mode[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        # Ctrl-Z is a key like others: the terminal has to be given back first. So is Ctrl-\, which does nothing: a
        # process that it ends gives nothing back.
        disabled = os.fpathconf(self._fd, "PC_VDISABLE").to_bytes(1, "big")
        mode[6][termios.VSUSP] = mode[6][termios.VQUIT] = disabled
        termios.tcsetattr(self._fd, termios.TCSANOW, mode)
        self._write(_PASTE_ON)

    def _give_back(self) -> None:
        self._write(_PASTE_OFF)
        termios.tcsetattr(self._fd, termios.TCSANOW, self._before)

    def _suspend(self) -> None:
        """Give the terminal back, stop the process, and take the terminal over when it goes on; needs the lock."""
        self._write(_ERASE)
        self._give_back()
        self._drawn, self._suspended = False, True
        os.kill(0, signal.SIGTSTP)
        # It is another thread that the signal stops first, so that this one gets here before the process stops. When it
        # goes on, this time is over.
        self._lock.wait_for(lambda: not self._suspended, _LONGEST_STOPPING)
        self._suspended = False
        if not self._closed:
            self._take_over()

    def _write(self, text: str) -> None:
        write_text(sys.stdout, text)
