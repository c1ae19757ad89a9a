"""A terminal with a person in front of it: pyte, which draws what a process writes as a terminal does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import pyte
from commands import DEADLINE

__all__ = ["Terminal", "on_terminal"]


class Terminal:
    """The person's end.

    :ivar written: everything that the process has written so far.
    """

    def __init__(self, person: int, terminal: int, process: subprocess.Popen[bytes], columns: int) -> None:
        self._person = person
        self._terminal = terminal
        self.process = process
        self.written = b""
        self._screen = pyte.Screen(columns, 50)
        self._stream = pyte.ByteStream(self._screen)

    def type(self, keys: str) -> None:
        """Type on the keyboard."""
        os.write(self._person, keys.encode())

    @property
    def rows(self) -> list[str]:
        """The rows of the screen down to the cursor's, without the space at their ends."""
        return [row.rstrip() for row in self._screen.display[: self._screen.cursor.y + 1]]

    @property
    def cursor(self) -> int:
        """How many cells are left of the cursor."""
        column: int = self._screen.cursor.x
        return column

    def modes(self) -> list[object]:
        """The settings of the terminal, such as whether it echoes."""
        return termios.tcgetattr(self._person)

    def stop_output(self) -> None:
        """Have the terminal take no output, as Ctrl-S does."""
        termios.tcflow(self._terminal, termios.TCOOFF)

    def wait_for(self, *rows: str, cursor: int | None = None) -> None:
        """Wait until the last rows are these, and the cursor is in this column."""
        self.wait_until(lambda: self.rows[-len(rows) :] == [*rows] and cursor in (None, self.cursor))

    def wait_for_text(self, text: str) -> None:
        """Wait until the text has been shown anywhere."""
        self.wait_until(lambda: text in "\n".join(self.rows))

    def wait_until(self, reached: object) -> None:
        """Draw what the process writes until a function says so."""
        assert callable(reached)
        deadline = time.monotonic() + DEADLINE
        while not reached():
            ready, _, _ = select.select([self._person], [], [], max(deadline - time.monotonic(), 0))
            data = b""
            with contextlib.suppress(OSError):  # the process has gone
                data = os.read(self._person, 4096) if ready else b""
            assert data, "\n".join([*self.rows, f"(cursor at {self.cursor})", repr(self.written)])
            self.written += data
            self._stream.feed(data)

    def ends(self, status: int = 0) -> None:
        """Wait until the process ends with this exit status."""
        assert self.process.wait(DEADLINE) == status


@contextlib.contextmanager
def on_terminal(
    *arguments: str,
    home: Path,
    columns: int = 80,
    stdout: TextIO | None = None,
    program: Sequence[str] = (sys.executable, "-m", "syncws"),
    **environment: str,
) -> Iterator[Terminal]:
    """Run syncws on a terminal of its own, of the usual kind, with colours; ``environment`` says otherwise.

    :param home: where the process keeps its files.
    :param program: what is to run, if not syncws.
    :param stdout: where the standard output goes, if not to the terminal.
    """
    person, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    given = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "XDG_STATE_HOME")}
    environment = {**given, "HOME": str(home), "TERM": "xterm", **environment}
    # The leader of a session that opens a terminal gets it as its controlling one: Ctrl-C is a signal then.
    command = ["sh", "-c", 'exec "$@" <>"$0"', os.ttyname(terminal), *program, *arguments]
    try:
        with subprocess.Popen(
            command, stdout=stdout or terminal, stderr=terminal, env=environment, start_new_session=True
        ) as process:
            try:
                yield Terminal(person, terminal, process, columns)
            finally:
                process.terminate()
                try:
                    process.wait(DEADLINE)
                finally:
                    process.kill()
                    os.close(terminal)  # not before: its settings go with it
    finally:
        os.close(person)
