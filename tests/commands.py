"""Running ``python -m syncws`` in a process of its own, as its users do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

__all__ = ["DEADLINE", "Server", "run", "running", "start"]

DEADLINE = 30.0  # seconds: for what takes a fraction of one


SYNCWS = ("-m", "syncws")


def start(*arguments: str, program: Sequence[str] = SYNCWS, **options: object) -> subprocess.Popen[str]:
    """Start a command with all three streams piped, unless ``options`` of Popen say otherwise.

    :param program: what Python is to run, if not syncws.
    """
    command = [sys.executable, *program, *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **{**pipes, **options})  # type: ignore[call-overload,no-any-return]


def run(*arguments: str, input: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "syncws", *arguments]
    return subprocess.run(command, input=input, cwd=cwd, capture_output=True, text=True, timeout=DEADLINE)


class Server:
    """A server command that runs; ``url`` is where it says that it listens."""

    def __init__(self, process: subprocess.Popen[str], log: IO[bytes]) -> None:
        self.process = process
        self._log = log
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on "), line + self.log()
        self.url = line.removeprefix("listening on ").strip()

    @property
    def ws_url(self) -> str:
        """The URL with the scheme of a WebSocket."""
        return self.url.replace("http", "ws", 1)

    def log(self) -> str:
        """What has come on standard error so far."""
        return os.pread(self._log.fileno(), 1 << 20, 0).decode()

    def wait_for_log(self, text: str) -> None:
        """Wait until ``text`` has come on standard error."""
        tries = threading.Event()
        for _ in range(round(DEADLINE / 0.02)):
            if text in self.log():
                return
            tries.wait(0.02)
        raise AssertionError(f"{text!r} is not in the log:\n{self.log()}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


@contextlib.contextmanager
def running(*arguments: str, program: Sequence[str] = SYNCWS, cwd: Path | None = None) -> Iterator[Server]:
    """Run a server command until the block is left.

    :param program: what Python is to run, if not syncws; it has to say where it listens as syncws does.
    """
    with (
        tempfile.TemporaryFile() as log,
        start(*arguments, program=program, stdin=subprocess.DEVNULL, stderr=log, cwd=cwd) as process,
    ):
        try:
            yield Server(process, log)
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE)
            finally:
                process.kill()
