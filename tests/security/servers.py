"""The servers of ours that run an app, each in the way that its users start it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from peers import start
from raw_client import DEADLINE
from support import require_module

import syncws

__all__ = ["SERVERS", "serving"]

TESTS = Path(__file__).resolve().parent.parent

# What starts them in a process of their own; the first is served in this one.
_BIND = ["--bind", "127.0.0.1:0"]
SERVERS: dict[str, list[str]] = {
    "threads": [],
    "greenlets": ["syncws", "serve", "--gevent", *_BIND],
    "gunicorn-threads": ["gunicorn", "--worker-class", "syncws.gunicorn.ThreadWorker", *_BIND],
    "gunicorn-greenlets": ["gunicorn", "--worker-class", "syncws.gunicorn.GeventWorker", *_BIND],
}


@contextlib.contextmanager
def serving(name: str, app: Callable[..., Any], *, tracebacks: bool = False) -> Iterator[Any]:
    """Run a server until the block is left; give its address.

    :param app: a function at the top of its module.
    :param tracebacks: the log may have some.
    """
    if SERVERS[name]:
        with _in_a_process(name, f"{app.__module__}:{app.__name__}", tracebacks) as address:
            yield address
        return
    with syncws.WSGIServer(("127.0.0.1", 0), app) as server:
        accepting = start(server.serve_forever)
        yield server.server_address
        start(server.shutdown).result(DEADLINE)
        accepting.result(DEADLINE)


@contextlib.contextmanager
def _in_a_process(name: str, app: str, tracebacks: bool) -> Iterator[Any]:
    if "gunicorn" in name:
        require_module("gunicorn")
    if "greenlets" in name:
        require_module("gevent")
    command = [sys.executable, "-m", *SERVERS[name], f"security.{app.rpartition('security.')[2]}"]
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    output = subprocess.PIPE
    with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment) as process:
        try:
            assert process.stdout is not None
            found = None
            while not found:
                line = process.stdout.readline().decode()
                assert line, "the server has ended"
                found = re.search(r"istening .*http://([\d.]+):(\d+)", line)
            draining = start(process.stdout.read)
            yield found[1], int(found[2])
            process.terminate()
            log = draining.result(DEADLINE).decode()
            assert tracebacks == ("Traceback" in log), log
        finally:
            process.kill()
