"""Running the programs of ``examples/`` as their docstrings say: in a process of its own, ended with Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from commands import DEADLINE

import syncws

__all__ = ["EXAMPLES", "fetch", "interrupt", "printing", "receive_json", "running", "started", "websocket_url"]

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@contextlib.contextmanager
def running(name: str, failures: int = 0) -> Iterator[str]:
    """Run a server among the examples on a free port; give the URL that it prints.

    :param failures: how many tracebacks it is to log.
    """
    with printing(name, failures) as line:
        found = re.search(r"(wss?|http)://\S+", line)
        assert found, line
        yield found.group()


@contextlib.contextmanager
def printing(name: str, failures: int = 0) -> Iterator[str]:
    """The same; give the line that it prints. In the end it gets a Ctrl-C, which is no failure."""
    with started(name, failures=failures) as (process, line):
        yield line
        interrupt(process)


@contextlib.contextmanager
def started(name: str, *arguments: str, failures: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run an example, with the port 0 unless there are other arguments; give the process and its first line."""
    command = [sys.executable, str(EXAMPLES / name), *(arguments or ["0"])]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()
            process.wait(DEADLINE)
            log.seek(0)
            errors = log.read()
        assert errors.count("Traceback") == failures, errors


def interrupt(process: subprocess.Popen[str]) -> None:
    """Do what Ctrl-C does, and see the program end well."""
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE) == 0


def websocket_url(url: str, path: str = "") -> str:
    """The URI of a WebSocket beside a page."""
    return url.replace("http:", "ws:", 1) + path


def fetch(url: str, data: bytes | None = None) -> str:
    """Return the text of a page."""
    with urllib.request.urlopen(url, data, timeout=DEADLINE) as response:
        return str(response.read().decode())


def receive_json(ws: syncws.WebSocket) -> Any:
    """Receive a message, and return what it says in JSON."""
    return json.loads(ws.receive(timeout=DEADLINE))
